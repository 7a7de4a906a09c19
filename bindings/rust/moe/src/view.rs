// SPDX-License-Identifier: MIT
//! What routers decided, as the library shows it and as a program can write it down.

use std::fmt;
use std::marker::PhantomData;

use crate::error::{Error, Result, Status};
use crate::ffi::slice_at;
use crate::{Pos, Seq, Token};
use moe_sys as sys;

/// One layer's routing of some rows. What it borrows from ends with the callback or with the next change of the
/// session.
///
/// A view cannot leave the observer that it is shown to:
///
/// ```compile_fail
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let mut kept = Vec::new();
/// session.eval_observed(&[1, 2, 3], |view| kept.push(view.row(0).experts()))?; // the rows are gone after the call
/// println!("{}", kept.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct RouteView<'a> {
    raw: sys::moe_route_view,
    lives: PhantomData<&'a ()>,
}

/// One row of a [`RouteView`].
#[derive(Clone, Copy)]
pub struct RouteRow<'a> {
    raw: sys::moe_route_view,
    row: usize,
    lives: PhantomData<&'a ()>,
}

impl<'a> RouteView<'a> {
    /// # Safety
    /// Filled in by the library, or consistent like that; its pointers live for 'a.
    pub(crate) unsafe fn from_raw(raw: &sys::moe_route_view) -> RouteView<'a> {
        RouteView { raw: *raw, lives: PhantomData }
    }

    pub(crate) fn raw(&self) -> &sys::moe_route_view {
        &self.raw
    }

    /// Its layer.
    pub fn layer(&self) -> u32 {
        self.raw.layer
    }

    /// Experts to choose from.
    pub fn n_experts(&self) -> u32 {
        self.raw.n_experts
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.raw.n_rows as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row, from 0.
    ///
    /// # Panics
    /// Past the end.
    pub fn row(&self, row: usize) -> RouteRow<'a> {
        assert!(row < self.len(), "row {row} of {}", self.len());
        RouteRow { raw: self.raw, row, lives: PhantomData }
    }

    /// All rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = RouteRow<'a>> + 'a {
        let view = *self;
        (0..self.len()).map(move |row| RouteRow { raw: view.raw, row, lives: PhantomData })
    }

    /// All experts of all rows, rank by rank.
    pub fn experts(&self) -> &'a [u32] {
        // SAFETY: offset has n_rows + 1 values, the last one is the number of pairs.
        unsafe {
            let offset = slice_at(self.raw.offset, self.len() + 1);
            slice_at(self.raw.expert, offset.last().map_or(0, |&n| n as usize))
        }
    }
}

impl<'a> RouteRow<'a> {
    fn pairs(&self) -> std::ops::Range<usize> {
        // SAFETY: offset has n_rows + 1 values.
        let offset: &[u32] = unsafe { slice_at(self.raw.offset, self.raw.n_rows as usize + 1) };
        offset[self.row] as usize..offset[self.row + 1] as usize
    }

    /// Experts in order of rank; `u32::MAX` ([`NO_EXPERT`](crate::NO_EXPERT)) stands for a null expert.
    pub fn experts(&self) -> &'a [u32] {
        let pairs = self.pairs();
        // SAFETY: expert has offset[n_rows] values.
        unsafe { &slice_at(self.raw.expert, pairs.end)[pairs] }
    }

    /// Their weights as applied; 0: chosen, but dropped. Empty if they are not known.
    pub fn weights(&self) -> &'a [f32] {
        let pairs = self.pairs();
        // SAFETY: weight has offset[n_rows] values, or is NULL.
        unsafe { slice_at(self.raw.weight, pairs.end) }.get(pairs).unwrap_or(&[])
    }

    /// The router's logits, before biases and bans. Empty if they are not known.
    pub fn logits(&self) -> &'a [f32] {
        let n = self.raw.n_logits as usize;
        // SAFETY: logits has n_rows * n_logits values, or is NULL.
        unsafe { slice_at(self.raw.logits, (self.row + 1) * n) }.get(self.row * n..).unwrap_or(&[])
    }

    /// The token, if it is known.
    pub fn token(&self) -> Option<Token> {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.token, self.row + 1) }.last().copied().filter(|&t| t >= 0)
    }

    /// Its position; 0 if it is not known.
    pub fn pos(&self) -> Pos {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.pos, self.row + 1) }.last().copied().unwrap_or(0)
    }

    /// Its sequence; 0 if it is not known.
    pub fn seq(&self) -> Seq {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.seq, self.row + 1) }.last().copied().unwrap_or(0)
    }
}

impl fmt::Debug for RouteView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteView").field("layer", &self.layer()).field("rows", &RowList(*self)).finish()
    }
}

struct RowList<'a>(RouteView<'a>);

impl fmt::Debug for RowList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.rows()).finish()
    }
}

impl fmt::Debug for RouteRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteRow")
            .field("token", &self.token())
            .field("experts", &self.experts())
            .field("weights", &self.weights())
            .finish_non_exhaustive()
    }
}

/// Routing that comes from elsewhere, to be counted by a [`Profile`](crate::Profile) or recorded by a
/// [`Trace`](crate::Trace).
///
/// ```
/// let mut rows = moe::RouteRows::new(0, 4);
/// rows.push(17, 0, 0, &[(2, 0.75), (1, 0.25)], &[])?;
/// assert_eq!(rows.view().row(0).experts(), [2, 1]);
/// # Ok::<(), moe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RouteRows {
    layer: u32,
    n_experts: u32,
    n_logits: u32,
    offset: Vec<u32>,
    expert: Vec<u32>,
    weight: Vec<f32>,
    logits: Vec<f32>,
    token: Vec<Token>,
    pos: Vec<Pos>,
    seq: Vec<Seq>,
}

impl RouteRows {
    /// No rows yet, of a layer with so many experts.
    pub fn new(layer: u32, n_experts: u32) -> RouteRows {
        RouteRows {
            layer,
            n_experts,
            n_logits: n_experts,
            offset: vec![0],
            expert: Vec::new(),
            weight: Vec::new(),
            logits: Vec::new(),
            token: Vec::new(),
            pos: Vec::new(),
            seq: Vec::new(),
        }
    }

    /// Appends a row: its experts with their weights, best first, and the router's logits, which may be missing in
    /// all rows.
    pub fn push(
        &mut self,
        token: Token,
        pos: Pos,
        seq: Seq,
        pairs: &[(u32, f32)],
        logits: &[f32],
    ) -> Result<()> {
        let first = self.token.is_empty();
        let known = !first && !self.logits.is_empty();
        if (first || known) && !logits.is_empty() {
            let expected = if first { self.n_experts } else { self.n_logits } as usize;
            if logits.len() < expected || (!first && logits.len() != expected) {
                return Err(Error::new(Status::Invalid, format!("{} logits of {expected}", logits.len())));
            }
        } else if known == logits.is_empty() && !first {
            return Err(Error::new(Status::Invalid, "logits must come with all rows, or with none"));
        }
        let n = u32::try_from(self.expert.len() + pairs.len())
            .map_err(|_| Error::new(Status::Range, "too many pairs"))?;
        if first && !logits.is_empty() {
            self.n_logits =
                u32::try_from(logits.len()).map_err(|_| Error::new(Status::Range, "too many logits"))?;
        }
        self.expert.extend(pairs.iter().map(|p| p.0));
        self.weight.extend(pairs.iter().map(|p| p.1));
        self.offset.push(n);
        self.logits.extend_from_slice(logits);
        self.token.push(token);
        self.pos.push(pos);
        self.seq.push(seq);
        Ok(())
    }

    /// All rows.
    pub fn view(&self) -> RouteView<'_> {
        let raw = sys::moe_route_view {
            size: std::mem::size_of::<sys::moe_route_view>(),
            layer: self.layer,
            n_rows: self.token.len() as u32,
            n_experts: self.n_experts,
            n_logits: self.n_logits,
            offset: self.offset.as_ptr(),
            expert: self.expert.as_ptr(),
            weight: self.weight.as_ptr(),
            logits: if self.logits.is_empty() { std::ptr::null() } else { self.logits.as_ptr() },
            token: self.token.as_ptr(),
            pos: self.pos.as_ptr(),
            seq: self.seq.as_ptr(),
        };
        RouteView { raw, lives: PhantomData }
    }
}
