// SPDX-License-Identifier: MIT
//! Recorded routing, and its analysis.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::enums::{CachePolicy, SrpLevel};
use crate::error::{check, Result};
use crate::ffi::{c_path, guarded, guarded_drop, slice_at};
use crate::info::TraceInfo;
use crate::library::check_version;
use crate::memory::{address, c_allocator, Allocator, Hooks, Keep};
use crate::model::Model;
use crate::view::RouteView;
use crate::{Pos, Token};
use moe_sys as sys;

/// What a trace records besides the experts chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// The routers' logits.
    pub logits: bool,
    /// The weights.
    pub weights: bool,
}

impl TraceOptions {
    fn flags(self) -> u32 {
        (if self.logits { sys::MOE_TRACE_LOGITS } else { 0 })
            | (if self.weights { sys::MOE_TRACE_WEIGHTS } else { 0 })
    }
}

/// What routers chose, token by token ([`Session::record`]).
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
/// let model = moe::Model::open(path)?;
/// let mut session = model.session()?;
/// session.record(moe::Trace::new(&model, Default::default())?)?;
/// session.eval(&[1, 2, 3])?;
/// let mut trace = session.take_trace().unwrap();
/// assert_eq!(trace.info().n_tokens, 3);
/// assert_eq!(trace.row(0, 0)?.experts().len(), model.info().top_k as usize);
/// # Ok(())
/// # }
/// ```
///
/// A row is borrowed until the next one is asked for:
///
/// ```compile_fail,E0499
/// # fn main() -> moe::Result<()> {
/// # let mut trace = moe::Trace::load_file("trace")?;
/// let a = trace.row(0, 0)?;
/// let b = trace.row(1, 0)?;
/// println!("{:?} {:?}", a.experts(), b.experts());
/// # Ok(())
/// # }
/// ```
///
/// [`Session::record`]: crate::Session::record
pub struct Trace {
    raw: NonNull<sys::moe_trace>,
    _model: Option<Model>,
    _keep: Keep,
}

// SAFETY: a trace may be used by any one thread at a time.
unsafe impl Send for Trace {}

impl Drop for Trace {
    fn drop(&mut self) {
        // SAFETY: no session records into it: one that did would own it.
        guarded_drop(None, || unsafe { sys::moe_trace_free(self.raw.as_ptr()) });
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("info", &self.info()).finish()
    }
}

/// One token in one layer.
pub struct TraceRow<'t> {
    raw: sys::moe_trace_row,
    n_experts: u32,
    lives: PhantomData<&'t ()>,
}

impl<'t> TraceRow<'t> {
    /// Its request.
    pub fn request(&self) -> u32 {
        self.raw.request
    }
    /// Its position there.
    pub fn pos(&self) -> Pos {
        self.raw.pos
    }
    /// The token, if it is known.
    pub fn token(&self) -> Option<Token> {
        (self.raw.token >= 0).then_some(self.raw.token)
    }
    /// The layer's number in the model.
    pub fn model_layer(&self) -> u32 {
        self.raw.model_layer
    }
    /// Experts, best first.
    pub fn experts(&self) -> &'t [u32] {
        // SAFETY: k values that live for 't.
        unsafe { slice_at(self.raw.expert, self.raw.k as usize) }
    }
    /// Their weights; empty in a trace without.
    pub fn weights(&self) -> &'t [f32] {
        // SAFETY: k values that live for 't, or NULL.
        unsafe { slice_at(self.raw.weight, self.raw.k as usize) }
    }
    /// The router's logits; empty in a trace without.
    pub fn logits(&self) -> &'t [f32] {
        // SAFETY: n_experts values that live for 't, or NULL.
        unsafe { slice_at(self.raw.logits, self.n_experts as usize) }
    }
}

impl fmt::Debug for TraceRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceRow")
            .field("token", &self.token())
            .field("experts", &self.experts())
            .finish_non_exhaustive()
    }
}

fn layer_or_all(layer: Option<u32>) -> u32 {
    layer.unwrap_or(sys::MOE_ALL_LAYERS)
}

impl Trace {
    /// An empty one for a model.
    pub fn new(model: &Model, options: TraceOptions) -> Result<Trace> {
        let mut out = ptr::null_mut();
        // SAFETY: a valid model, which is kept for its hooks.
        guarded(|| unsafe { sys::moe_trace_create(&mut out, model.raw(), options.flags(), ptr::null()) })?;
        Ok(Trace::made(out, Some(model), None))
    }

    /// An empty one for routing that comes from elsewhere: layers with routers, and experts of each.
    pub fn with_shape(
        n_layers: u32,
        n_experts: u32,
        options: TraceOptions,
        allocator: Option<Arc<dyn Allocator>>,
    ) -> Result<Trace> {
        check_version()?;
        let keep = Hooks::of(allocator);
        let hook = c_allocator(&keep);
        let mut out = ptr::null_mut();
        // SAFETY: the hook is kept as long as the trace.
        guarded(|| unsafe { sys::moe_trace_create(&mut out, ptr::null(), options.flags(), address(&hook)) })?;
        let trace = Trace::made(out, None, keep);
        // SAFETY: a valid trace.
        guarded(|| unsafe { sys::moe_trace_set_shape(trace.raw(), n_layers, n_experts) })?;
        Ok(trace)
    }

    /// Reads one.
    pub fn load_file(path: impl AsRef<Path>) -> Result<Trace> {
        Trace::load_file_in(path, None)
    }

    /// The same with memory of the program's own.
    pub fn load_file_in(path: impl AsRef<Path>, allocator: Option<Arc<dyn Allocator>>) -> Result<Trace> {
        check_version()?;
        let path = c_path(path.as_ref())?;
        let keep = Hooks::of(allocator);
        let hook = c_allocator(&keep);
        let mut out = ptr::null_mut();
        // SAFETY: the hook is kept as long as the trace.
        guarded(|| unsafe { sys::moe_trace_load_file(&mut out, path.as_ptr(), address(&hook)) })?;
        Ok(Trace::made(out, None, keep))
    }

    fn made(raw: *mut sys::moe_trace, model: Option<&Model>, keep: Keep) -> Trace {
        let raw = NonNull::new(raw).expect("a trace that was made");
        Trace { raw, _model: model.cloned(), _keep: keep }
    }

    pub(crate) fn raw(&self) -> *mut sys::moe_trace {
        self.raw.as_ptr()
    }

    /// Begins a request, or goes on with one: what follows belongs to it.
    pub fn begin(&mut self, request: u32) -> Result<()> {
        // SAFETY: a valid trace, as in all that follow.
        check(unsafe { sys::moe_trace_begin(self.raw(), request) })
    }

    /// Records a layer's routing. Layers must come in the order in which they run.
    pub fn observe(&mut self, view: &RouteView<'_>) -> Result<()> {
        // SAFETY: a consistent view.
        guarded(|| unsafe { sys::moe_trace_observe(view.raw(), self.raw().cast()) })
    }

    /// Forgets tokens that lack layers.
    pub fn trim(&mut self) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { sys::moe_trace_trim(self.raw()) })
    }

    /// What it is.
    pub fn info(&self) -> TraceInfo {
        let mut raw = sys::MOE_TRACE_INFO_INIT;
        // SAFETY: a struct to fill in, without pointers.
        unsafe {
            sys::moe_trace_get_info(self.raw(), &mut raw);
            TraceInfo::from_raw(&raw)
        }
    }

    /// One token in one layer, both counted by the trace from 0.
    pub fn row(&mut self, token: u64, layer: u32) -> Result<TraceRow<'_>> {
        let mut raw = sys::MOE_TRACE_ROW_INIT;
        // SAFETY: what it points to is valid until the next call, which the borrow prevents.
        check(unsafe { sys::moe_trace_at(self.raw(), token, layer, &mut raw) })?;
        Ok(TraceRow { raw, n_experts: self.info().n_experts, lives: PhantomData })
    }

    /// Writes it to a file that appears under its name only when whole.
    pub fn save_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: zero-terminated text.
        guarded(|| unsafe { sys::moe_trace_save_file(self.raw(), path.as_ptr()) })
    }

    /// Share of a token's experts that the token before it had too; `None`: mean over layers.
    pub fn reuse(&self, layer: Option<u32>) -> Result<f64> {
        let mut out = 0.0;
        // SAFETY: a valid trace.
        guarded(|| unsafe { sys::moe_trace_reuse(self.raw(), layer_or_all(layer), &mut out) })?;
        Ok(out)
    }

    /// Segment routing best performance of windows of tokens, and the size of the set in units of the experts used.
    pub fn srp(&self, layer: Option<u32>, window: u32, level: SrpLevel) -> Result<(f64, f64)> {
        let (mut srp, mut rho) = (0.0, 0.0);
        let layer = layer_or_all(layer);
        // SAFETY: a valid trace.
        guarded(|| unsafe {
            sys::moe_trace_srp(self.raw(), layer, window, level.to_raw(), &mut srp, &mut rho)
        })?;
        Ok((srp, rho))
    }

    /// Hit rates of a cache of experts for many sizes. `warm`: an expert's first use counts as a hit while there is
    /// room. `window` for [`CachePolicy::Segment`], else 0.
    pub fn cache(
        &self,
        policy: CachePolicy,
        warm: bool,
        layer: Option<u32>,
        window: u32,
        capacities: &[u32],
    ) -> Result<Vec<f64>> {
        let policy = policy.to_raw() | if warm { sys::MOE_CACHE_WARM } else { 0 };
        let mut out = vec![0f64; capacities.len()];
        let (sizes, n, layer) = (capacities.as_ptr(), capacities.len(), layer_or_all(layer));
        // SAFETY: as many sizes as results.
        guarded(|| unsafe {
            sys::moe_trace_cache(self.raw(), policy, layer, window, sizes, n, out.as_mut_ptr())
        })?;
        Ok(out)
    }
}
