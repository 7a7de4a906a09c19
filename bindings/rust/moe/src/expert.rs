// SPDX-License-Identifier: MIT
//! Experts of a session, and weights for them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::enums::{Edit, Matrix, TensorType, Use};
use crate::error::{check, Error, Result, Status};
use crate::ffi::{collect, enter, guarded, guarded_drop, guarded_in, slice_at, Outcome};
use crate::info::ExpertInfo;
use crate::model::Model;
use crate::session::Session;
use crate::{Pos, Seq, Token};
use moe_sys as sys;

/// Rows for an expert of the program's own, and where its output goes.
#[derive(Debug)]
pub struct ExpertCall<'a> {
    raw: &'a sys::moe_expert_call,
}

impl ExpertCall<'_> {
    /// Its layer.
    pub fn layer(&self) -> u32 {
        self.raw.layer
    }

    /// Its number.
    pub fn index(&self) -> u32 {
        self.raw.index
    }

    /// Rows that were routed to it.
    pub fn len(&self) -> usize {
        self.raw.n_rows as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width of a row.
    pub fn dim(&self) -> usize {
        self.raw.dim as usize
    }

    /// All inputs, row after row.
    pub fn input(&self) -> &[f32] {
        // SAFETY: n_rows rows of dim floats.
        unsafe { slice_at(self.raw.x, self.len() * self.dim()) }
    }

    /// Inputs and outputs, row after row: the outputs are to be filled in, unweighted.
    pub fn split(&mut self) -> (&[f32], &mut [f32]) {
        let n = self.len() * self.dim();
        if n == 0 {
            return (&[], &mut []);
        }
        // SAFETY: n_rows rows of dim floats each, which do not overlap; this borrows the call exclusively.
        unsafe { (std::slice::from_raw_parts(self.raw.x, n), std::slice::from_raw_parts_mut(self.raw.y, n)) }
    }

    /// Computes each output row from its input row.
    pub fn map_rows(&mut self, mut f: impl FnMut(&[f32], &mut [f32])) {
        let dim = self.dim().max(1);
        let (x, y) = self.split();
        for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
            f(x, y);
        }
    }

    /// The tokens of the rows.
    pub fn tokens(&self) -> &[Token] {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.token, self.len()) }
    }

    /// Their positions.
    pub fn positions(&self) -> &[Pos] {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.pos, self.len()) }
    }

    /// Their sequences.
    pub fn sequences(&self) -> &[Seq] {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.seq, self.len()) }
    }
}

/// A function in an expert's place. Copies of a session's routing share it, so it is `Fn + Send + Sync`.
pub(crate) struct ExpertFn(Box<Function>);

type Function = dyn Fn(&mut ExpertCall<'_>) -> Result<()> + Send + Sync;

unsafe extern "C" fn expert_for_c(call: *const sys::moe_expert_call, user: *mut c_void) -> c_int {
    // SAFETY: user is an ExpertFn that the session keeps; call is valid during the call.
    let (f, raw) = unsafe { (&*(user as *const ExpertFn), &*call) };
    enter(|| (f.0)(&mut ExpertCall { raw }))
}

/// An expert, to be looked at: from [`RouterRef::expert_ref`](crate::RouterRef::expert_ref).
pub struct ExpertRef<'s> {
    raw: *mut sys::moe_expert,
    lives: PhantomData<&'s Session>,
}

/// An expert of a session, or the ones of the same index in all layers, to be changed: from [`Session::expert`] or
/// [`Router::expert`](crate::Router::expert). It borrows the session and dereferences to [`ExpertRef`].
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
/// let mut session = moe::Model::open(path)?.session()?;
/// let mut expert = session.expert(0, 2)?;
/// expert.set_use(moe::Use::Ban)?;
/// expert.redirect(None, 3)?; // expert 3 of the same layer in its place
/// expert.replace_fn(|call| call.map_rows(|_x, y| y.fill(0.0)))?; // or a function
/// expert.restore()?;
/// # Ok(())
/// # }
/// ```
///
/// It cannot be kept over an evaluation:
///
/// ```compile_fail,E0499
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let mut expert = session.expert(0, 2)?;
/// session.eval(&[1])?;
/// expert.restore()?;
/// # Ok(())
/// # }
/// ```
pub struct Expert<'s> {
    view: ExpertRef<'s>,
    session: &'s mut Session,
    layer: u32,
    index: u32,
}

// SAFETY: it borrows its session, which is Send, exclusively.
unsafe impl Send for Expert<'_> {}

impl<'s> ExpertRef<'s> {
    /// # Safety
    /// An expert of a session that is borrowed for 's.
    pub(crate) unsafe fn new(raw: *mut sys::moe_expert) -> ExpertRef<'s> {
        ExpertRef { raw, lives: PhantomData }
    }

    /// What the expert is now.
    pub fn info(&self) -> Result<ExpertInfo> {
        let mut raw = sys::MOE_EXPERT_INFO_INIT;
        // SAFETY: a valid expert, a struct to fill in.
        unsafe {
            check(sys::moe_expert_get_info(self.raw, &mut raw))?;
            Ok(ExpertInfo::from_raw(&raw))
        }
    }

    /// A matrix of the weights in use, converted to f32, row after row.
    pub fn read(&self, which: Matrix) -> Result<Vec<f32>> {
        let mut n = 0;
        // SAFETY: no room, so the number is asked for.
        let asked =
            guarded(|| unsafe { sys::moe_expert_read(self.raw, which.to_raw(), ptr::null_mut(), 0, &mut n) });
        match asked {
            Err(e) if e.status() != Status::Buffer => return Err(e),
            _ => {}
        }
        // SAFETY: the call fills in what it says.
        unsafe { collect(n, |dst, cap, n| sys::moe_expert_read(self.raw, which.to_raw(), dst, cap, n)) }
    }
}

impl fmt::Debug for ExpertRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expert").field("info", &self.info().ok()).finish()
    }
}

impl fmt::Debug for Expert<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl<'s> Deref for Expert<'s> {
    type Target = ExpertRef<'s>;

    fn deref(&self) -> &ExpertRef<'s> {
        &self.view
    }
}

impl<'s> Expert<'s> {
    pub(crate) fn new(session: &'s mut Session, layer: u32, index: u32) -> Result<Expert<'s>> {
        let raw = session.raw_expert(layer, index)?;
        // SAFETY: borrowed together with the session.
        Ok(Expert { view: unsafe { ExpertRef::new(raw) }, session, layer, index })
    }

    fn set(&mut self, call: impl FnOnce(*mut sys::moe_expert) -> c_int) -> Result<()> {
        let raw = self.view.raw;
        guarded_in(&self.session.stash, || call(raw))
    }

    /// Says what the expert may do.
    pub fn set_use(&mut self, what: Use) -> Result<()> {
        // SAFETY: a valid expert, as in all that follow.
        self.set(|e| unsafe { sys::moe_expert_set_use(e, what.to_raw()) })
    }

    /// Sets one of its numbers.
    pub fn set_value(&mut self, kind: Edit, value: f32) -> Result<()> {
        // SAFETY: as above.
        self.set(|e| unsafe { sys::moe_expert_set_value(e, kind.to_raw(), value) })
    }

    /// Has it use brought weights. The session keeps them alive.
    pub fn replace(&mut self, weights: &Weights) -> Result<()> {
        self.session.keep_hooks(weights.model.hooks());
        // SAFETY: as above; the session retains the weights, and their model's hooks are kept.
        self.set(|e| unsafe { sys::moe_expert_replace(e, weights.raw.as_ptr()) })?;
        self.session.sweep();
        Ok(())
    }

    /// Has it use another expert's own weights; `layer` `None`: of the same layer.
    pub fn redirect(&mut self, layer: Option<u32>, index: u32) -> Result<()> {
        let layer = layer.unwrap_or(sys::MOE_ALL_LAYERS);
        // SAFETY: as above.
        self.set(|e| unsafe { sys::moe_expert_redirect(e, layer, index) })?;
        self.session.sweep();
        Ok(())
    }

    /// Has a function compute it, until [`restore`](Expert::restore). A function of several layers or sessions is
    /// shared by them.
    pub fn replace_fn<F, R>(&mut self, f: F) -> Result<()>
    where
        F: Fn(&mut ExpertCall<'_>) -> R + Send + Sync + 'static,
        R: Outcome,
    {
        let f = Arc::new(ExpertFn(Box::new(move |call| f(call).outcome())));
        let user = Arc::as_ptr(&f) as *mut c_void;
        let held = self.session.hold([Arc::clone(&f)]);
        // SAFETY: as above; the function is kept by the session while it stands in the expert's place.
        let set = self.set(|e| unsafe { sys::moe_expert_replace_fn(e, Some(expert_for_c), user) });
        if set.is_ok() {
            self.session.keep_function(self.layer, self.index, f);
        }
        self.session.release(held);
        set
    }

    /// Has it use its own weights again. Uses and numbers stay.
    pub fn restore(&mut self) -> Result<()> {
        // SAFETY: as above.
        self.set(|e| unsafe { sys::moe_expert_restore(e) })?;
        self.session.sweep();
        Ok(())
    }

    /// Runs it on rows of the program's own (`dim` floats each): no routing weight, no gain.
    pub fn apply(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        let dim = self.session.dim();
        if x.is_empty() || x.len() % dim != 0 {
            return Err(Error::new(
                Status::Invalid,
                format!("x: {} floats are no whole rows of {dim}", x.len()),
            ));
        }
        let mut y = vec![0f32; x.len()];
        // SAFETY: whole rows, as much room for results.
        self.set(|e| unsafe { sys::moe_expert_apply(e, x.as_ptr(), x.len() / dim, y.as_mut_ptr()) })?;
        Ok(y)
    }
}

/// What weights are made from: rows of the matrices one after the other, in the blocks of their types.
#[derive(Clone, Copy, Debug)]
pub struct ExpertWeights<'a> {
    /// Type and bytes of the gate matrix, `[dim_ff][dim]`.
    pub gate: (TensorType, &'a [u8]),
    /// Type and bytes of the up matrix, `[dim_ff][dim]`.
    pub up: (TensorType, &'a [u8]),
    /// Type and bytes of the down matrix, `[dim][dim_ff]`.
    pub down: (TensorType, &'a [u8]),
}

/// Weights for experts of a model, made once, for any number of experts and sessions. A clone is another reference.
pub struct Weights {
    raw: NonNull<sys::moe_weights>,
    model: Model,
}

// SAFETY: weights are immutable and counted atomically.
unsafe impl Send for Weights {}
// SAFETY: as above.
unsafe impl Sync for Weights {}

impl Weights {
    /// Copies the bytes.
    pub fn new(model: &Model, w: &ExpertWeights<'_>) -> Result<Weights> {
        Weights::make(model, w, 0)
    }

    /// Uses bytes that are there until the program ends where they lie.
    pub fn borrowed(model: &Model, w: &ExpertWeights<'static>) -> Result<Weights> {
        Weights::make(model, w, sys::MOE_WEIGHTS_BORROW)
    }

    /// Copies matrices of f32, row after row.
    pub fn from_f32(model: &Model, gate: &[f32], up: &[f32], down: &[f32]) -> Result<Weights> {
        fn bytes(x: &[f32]) -> (TensorType, &[u8]) {
            // SAFETY: floats have no padding, and any byte is a u8.
            (TensorType::F32, unsafe { slice_at(x.as_ptr().cast(), std::mem::size_of_val(x)) })
        }
        Weights::new(model, &ExpertWeights { gate: bytes(gate), up: bytes(up), down: bytes(down) })
    }

    fn make(model: &Model, w: &ExpertWeights<'_>, flags: u32) -> Result<Weights> {
        let info = model.info();
        let raw = sys::moe_expert_weights {
            flags,
            type_gate: w.gate.0.to_raw(),
            type_up: w.up.0.to_raw(),
            type_down: w.down.0.to_raw(),
            dim: info.dim,
            dim_ff: info.dim_ff_expert,
            gate: w.gate.1.as_ptr().cast(),
            up: w.up.1.as_ptr().cast(),
            down: w.down.1.as_ptr().cast(),
            gate_bytes: w.gate.1.len() as u64,
            up_bytes: w.up.1.len() as u64,
            down_bytes: w.down.1.len() as u64,
            ..sys::MOE_EXPERT_WEIGHTS_INIT
        };
        let mut out = ptr::null_mut();
        // SAFETY: the bytes are as long as said; borrowed ones live for ever.
        guarded(|| unsafe { sys::moe_weights_create(&mut out, model.raw(), &raw) })?;
        Ok(Weights { raw: NonNull::new(out).expect("weights that were made"), model: model.clone() })
    }
}

impl Clone for Weights {
    fn clone(&self) -> Weights {
        // SAFETY: valid weights; what is retained is released in drop.
        unsafe { sys::moe_weights_retain(self.raw.as_ptr()) };
        Weights { raw: self.raw, model: self.model.clone() }
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        // SAFETY: each Weights holds one reference.
        guarded_drop(None, || unsafe { sys::moe_weights_release(self.raw.as_ptr()) });
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").finish_non_exhaustive()
    }
}
