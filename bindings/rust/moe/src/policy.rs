// SPDX-License-Identifier: MIT
//! Selection rules written in Rust.
//!
//! C holds a pointer to a [`Factory`] and one to the [`State`] of each router. Every state keeps its factory alive, and
//! C only makes new states (for a session that copies the routing) where there is one already; so the factory goes
//! with its last state.

use std::ffi::CString;
use std::marker::PhantomData;
use std::os::raw::{c_int, c_void};
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::ffi::{c_text, current_stash, enter, enter_in, enter_or, slice_at, Outcome, Stash};
use crate::route::RouteSpec;
use crate::{Pos, Seq, Token};
use moe_sys as sys;

/// A selection rule with a state: one value for each router.
///
/// Called after bias, override, ban, score and groups, before weight, norm, scale and multipliers. Results are checked
/// by the library ([`Status::Policy`]).
pub trait Policy: Send {
    /// Chooses experts for each row.
    fn route(&mut self, input: &RouteInput<'_>, output: &mut RouteOutput<'_>) -> Result<()>;

    /// A sequence (`None`: all) was emptied, or a saved session took its place.
    fn seq_reset(&mut self, _seq: Option<Seq>) {}

    /// `to` became a copy of `from`.
    fn seq_copy(&mut self, _from: Seq, _to: Seq) {}

    /// The sequence now has `keep` tokens; also called when a failed evaluation is undone.
    fn seq_truncate(&mut self, _seq: Seq, _keep: Pos) {}

    /// `n` tokens from `first` were taken out of the sequence; those behind moved down.
    fn seq_remove(&mut self, _seq: Seq, _first: Pos, _n: Pos) {}
}

/// Name and needs of a policy.
#[derive(Clone, Debug)]
#[must_use]
pub struct PolicyOptions {
    name: String,
    flags: u32,
    max_k: u32,
}

impl PolicyOptions {
    /// With a name for messages.
    pub fn new(name: impl Into<String>) -> PolicyOptions {
        PolicyOptions { name: name.into(), flags: 0, max_k: 0 }
    }

    /// Most experts of a row; 0 = all.
    pub fn max_k(mut self, n: u32) -> Self {
        self.max_k = n;
        self
    }

    /// The policy gives weights ([`RouteOutput::push_weighted`]); else the recipe makes them.
    pub fn weights(mut self) -> Self {
        self.flags |= sys::MOE_POLICY_WEIGHTS;
        self
    }

    /// The policy reads hidden rows ([`InputRow::hidden`]).
    pub fn hidden(mut self) -> Self {
        self.flags |= sys::MOE_POLICY_HIDDEN;
        self
    }

    /// A row's result depends on the others: one call for a whole sub-batch.
    pub fn batch_coupled(mut self) -> Self {
        self.flags |= sys::MOE_POLICY_BATCH_COUPLED;
        self
    }

    /// The closure may run on several threads at once, for different rows. Not for policies with a state.
    pub fn parallel(mut self) -> Self {
        self.flags |= sys::MOE_POLICY_PARALLEL;
        self
    }
}

/// What a policy is made for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyInfo {
    /// Its layer.
    pub layer: u32,
    /// Real experts.
    pub n_experts: u32,
    /// Null experts.
    pub n_null: u32,
    /// Sequences of the session.
    pub n_seq_max: u32,
    /// The recipe.
    pub spec: RouteSpec,
}

/// Rows to route.
#[derive(Debug)]
pub struct RouteInput<'a> {
    raw: &'a sys::moe_route_input,
}

/// One row to route.
#[derive(Clone, Copy, Debug)]
pub struct InputRow<'a> {
    raw: &'a sys::moe_route_input,
    row: usize,
}

impl<'a> RouteInput<'a> {
    /// The layer.
    pub fn layer(&self) -> u32 {
        self.raw.layer
    }

    /// Real experts: 0 .. n_experts.
    pub fn n_experts(&self) -> u32 {
        self.raw.n_experts
    }

    /// Null experts, which follow the real ones.
    pub fn n_null(&self) -> u32 {
        self.raw.n_null
    }

    /// `top_k` of the recipe.
    pub fn top_k(&self) -> u32 {
        self.raw.top_k
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
    pub fn row(&self, row: usize) -> InputRow<'a> {
        assert!(row < self.len(), "row {row} of {}", self.len());
        InputRow { raw: self.raw, row }
    }

    /// All rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = InputRow<'a>> + 'a {
        let raw = self.raw;
        (0..self.len()).map(move |row| InputRow { raw, row })
    }
}

impl<'a> InputRow<'a> {
    fn of_experts(&self, p: *const f32) -> &'a [f32] {
        let start = self.row * self.raw.stride;
        let n = (self.raw.n_experts + self.raw.n_null) as usize;
        // SAFETY: n_rows rows, `stride` >= n floats apart.
        unsafe { slice_at(p, start + n) }.get(start..).unwrap_or(&[])
    }

    /// Logits after bias, override, ban and temperature; -infinity: banned.
    pub fn logits(&self) -> &'a [f32] {
        self.of_experts(self.raw.logits)
    }

    /// Scores of the logits.
    pub fn scores(&self) -> &'a [f32] {
        self.of_experts(self.raw.score)
    }

    /// What to select by: -infinity: not to be taken, +infinity: forced.
    pub fn choice(&self) -> &'a [f32] {
        self.of_experts(self.raw.choice)
    }

    /// Experts that may be taken, best first by [`choice`](InputRow::choice); ties go to the lower number.
    pub fn ranked(&self) -> Vec<u32> {
        let choice = self.choice();
        let mut ids: Vec<u32> =
            (0..choice.len() as u32).filter(|&e| choice[e as usize] > f32::NEG_INFINITY).collect();
        ids.sort_by(|&a, &b| choice[b as usize].total_cmp(&choice[a as usize]));
        ids
    }

    /// The router's input, of policies that asked for it; else empty.
    pub fn hidden(&self) -> &'a [f32] {
        let dim = self.raw.dim as usize;
        // SAFETY: n_rows rows of dim floats, or NULL.
        unsafe { slice_at(self.raw.hidden, (self.row + 1) * dim) }.get(self.row * dim..).unwrap_or(&[])
    }

    /// The token; -1 if it is not known.
    pub fn token(&self) -> Token {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.token, self.row + 1) }.last().copied().unwrap_or(sys::MOE_TOKEN_NONE)
    }

    /// Its position.
    pub fn pos(&self) -> Pos {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.pos, self.row + 1) }.last().copied().unwrap_or(0)
    }

    /// Its sequence.
    pub fn seq(&self) -> Seq {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.seq, self.row + 1) }.last().copied().unwrap_or(0)
    }
}

/// Where a policy puts its choice, row after row, best first. Rows that are not ended have no experts.
#[derive(Debug)]
pub struct RouteOutput<'a> {
    raw: &'a mut sys::moe_route_output,
    n_rows: usize,
    row: usize,
    n: usize,
    weighted: bool,
    overflow: bool,
    lives: PhantomData<&'a mut [u32]>,
}

impl RouteOutput<'_> {
    /// Adds an expert to the row; a null expert, or [`NO_EXPERT`](crate::NO_EXPERT), is computed by nobody.
    pub fn push(&mut self, expert: u32) {
        if self.row >= self.n_rows || self.n >= self.raw.cap {
            self.overflow = true;
            return;
        }
        // SAFETY: room for `cap` values.
        unsafe { *self.raw.expert.add(self.n) = expert };
        self.n += 1;
    }

    /// Adds an expert with its weight, in a policy that gives weights.
    pub fn push_weighted(&mut self, expert: u32, weight: f32) {
        let n = self.n;
        self.push(expert);
        if self.n > n && self.weighted {
            // SAFETY: as above.
            unsafe { *self.raw.weight.add(n) = weight };
        }
    }

    /// Ends the row; the next expert belongs to the next one.
    pub fn end_row(&mut self) {
        if self.row >= self.n_rows {
            self.overflow = true;
            return;
        }
        self.row += 1;
        // SAFETY: n_rows + 1 offsets; n is at most cap, which fits.
        unsafe { *self.raw.offset.add(self.row) = self.n as u32 };
    }

    /// Adds a whole row.
    pub fn push_row(&mut self, experts: &[u32]) {
        for &e in experts {
            self.push(e);
        }
        self.end_row();
    }

    fn finish(&mut self) -> Result<()> {
        if self.overflow {
            return Err(Error::new(
                Status::Policy,
                "the policy chose more rows or experts than there is room for",
            ));
        }
        while self.row < self.n_rows {
            self.end_row();
        }
        Ok(())
    }
}

type Shared = dyn Fn(&RouteInput<'_>, &mut RouteOutput<'_>) -> Result<()> + Send + Sync;

enum Kind {
    Shared(Arc<Shared>),
    Own(Box<dyn Policy>),
}

pub(crate) struct Factory {
    make: Box<dyn Fn(&PolicyInfo) -> Kind + Send + Sync>,
    weighted: bool,
}

struct State {
    kind: Kind,
    factory: Arc<Factory>,
    stash: Arc<Stash>,
}

/// A policy ready to be given to routers.
pub(crate) struct Made {
    factory: Arc<Factory>,
    name: CString,
    flags: u32,
    max_k: u32,
}

pub(crate) fn shared<F, R>(options: PolicyOptions, route: F) -> Result<Made>
where
    F: Fn(&RouteInput<'_>, &mut RouteOutput<'_>) -> R + Send + Sync + 'static,
    R: Outcome,
{
    let route: Arc<Shared> = Arc::new(move |i, o| route(i, o).outcome());
    made(options, Box::new(move |_| Kind::Shared(Arc::clone(&route))))
}

pub(crate) fn stateful<F, P>(options: PolicyOptions, make: F) -> Result<Made>
where
    F: Fn(&PolicyInfo) -> P + Send + Sync + 'static,
    P: Policy + 'static,
{
    if options.flags & sys::MOE_POLICY_PARALLEL != 0 {
        return Err(Error::new(Status::Invalid, "a policy with a state cannot run in parallel"));
    }
    made(options, Box::new(move |info| Kind::Own(Box::new(make(info)))))
}

fn made(options: PolicyOptions, make: Box<dyn Fn(&PolicyInfo) -> Kind + Send + Sync>) -> Result<Made> {
    let weighted = options.flags & sys::MOE_POLICY_WEIGHTS != 0;
    Ok(Made {
        name: c_text(&options.name)?,
        flags: options.flags,
        max_k: options.max_k,
        factory: Arc::new(Factory { make, weighted }),
    })
}

impl Made {
    /// Valid as long as this is.
    pub(crate) fn to_raw(&self) -> sys::moe_policy {
        sys::moe_policy {
            name: self.name.as_ptr(),
            flags: self.flags,
            max_k: self.max_k,
            create: Some(create),
            destroy: Some(destroy),
            seq_reset: Some(seq_reset),
            seq_copy: Some(seq_copy),
            seq_truncate: Some(seq_truncate),
            route: Some(route),
            seq_remove: Some(seq_remove),
            ..sys::MOE_POLICY_INIT
        }
    }

    pub(crate) fn user(&self) -> *mut c_void {
        Arc::as_ptr(&self.factory) as *mut c_void
    }
}

unsafe extern "C" fn create(
    state: *mut *mut c_void,
    info: *const sys::moe_policy_info,
    user: *mut c_void,
) -> c_int {
    // SAFETY: user is the factory, which a Made or a State holds; info is valid during the call.
    let (factory, info) = unsafe {
        let factory = user as *const Factory;
        Arc::increment_strong_count(factory);
        (Arc::from_raw(factory), &*info)
    };
    enter(|| {
        let info = PolicyInfo {
            layer: info.layer,
            n_experts: info.n_experts,
            n_null: info.n_null,
            n_seq_max: info.n_seq_max,
            // SAFETY: the recipe is valid during the call.
            spec: unsafe { RouteSpec::from_raw(&*info.spec) },
        };
        let kind = (factory.make)(&info);
        let made = Box::new(State { kind, factory: Arc::clone(&factory), stash: current_stash() });
        // SAFETY: to be filled in.
        unsafe { *state = Box::into_raw(made).cast() };
    })
}

unsafe extern "C" fn destroy(state: *mut c_void) {
    // SAFETY: made by create, ended once.
    let state = unsafe { Box::from_raw(state as *mut State) };
    enter_or((), || drop(state));
}

unsafe extern "C" fn route(
    state: *mut c_void,
    input: *const sys::moe_route_input,
    output: *mut sys::moe_route_output,
) -> c_int {
    let state = state as *mut State;
    // SAFETY: a state of create; the rest is valid during the call. Policies with a state are never called twice at
    // once, so only those are borrowed exclusively.
    unsafe {
        let stash = &*std::ptr::addr_of!((*state).stash);
        let weighted = (&*std::ptr::addr_of!((*state).factory)).weighted;
        let input = RouteInput { raw: &*input };
        let n_rows = input.len();
        let mut output = RouteOutput {
            raw: &mut *output,
            n_rows,
            row: 0,
            n: 0,
            weighted,
            overflow: false,
            lives: PhantomData,
        };
        enter_in(stash, || {
            if let Kind::Shared(f) = &*std::ptr::addr_of!((*state).kind) {
                f(&input, &mut output)?;
            } else if let Kind::Own(p) = &mut *std::ptr::addr_of_mut!((*state).kind) {
                p.route(&input, &mut output)?;
            }
            output.finish()
        })
    }
}

/// # Safety
/// A state of create, used by nobody else now.
unsafe fn with_own(state: *mut c_void, call: impl FnOnce(&mut dyn Policy)) {
    // SAFETY: as promised by the caller.
    let state = unsafe { &mut *(state as *mut State) };
    if let Kind::Own(p) = &mut state.kind {
        enter_or((), || call(p.as_mut()));
    }
}

unsafe extern "C" fn seq_reset(state: *mut c_void, seq: Seq) {
    // SAFETY: called on the thread that owns the session, while nothing runs.
    unsafe { with_own(state, |p| p.seq_reset((seq != sys::MOE_ALL_SEQS).then_some(seq))) }
}

unsafe extern "C" fn seq_copy(state: *mut c_void, from: Seq, to: Seq) {
    // SAFETY: as above.
    unsafe { with_own(state, |p| p.seq_copy(from, to)) }
}

unsafe extern "C" fn seq_truncate(state: *mut c_void, seq: Seq, keep: Pos) {
    // SAFETY: as above.
    unsafe { with_own(state, |p| p.seq_truncate(seq, keep)) }
}

unsafe extern "C" fn seq_remove(state: *mut c_void, seq: Seq, first: Pos, n: Pos) {
    // SAFETY: as above.
    unsafe { with_own(state, |p| p.seq_remove(seq, first, n)) }
}
