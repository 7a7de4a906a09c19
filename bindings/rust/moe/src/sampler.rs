// SPDX-License-Identifier: MIT
//! From a row of logits to a token.

use std::fmt;
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::ffi::{c_text, enter, guarded, guarded_drop, slice_at, Outcome};
use crate::library::check_version;
use crate::memory::{address, c_allocator, Allocator, Hooks, Keep};
use crate::session::Session;
use crate::Token;
use moe_sys as sys;

/// A sampling stage; the library's docs/sampling.md has each with its formula and source.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Stage<'a> {
    /// The best candidate.
    Greedy,
    /// A draw from what is left.
    Dist { seed: u64 },
    /// Divides the logits; 0 = greedy.
    Temp { t: f32 },
    /// Temperature by entropy.
    TempDynamic { t: f32, range: f32, exponent: f32 },
    /// The k best.
    TopK { k: i32 },
    /// The best ones whose probabilities add up to p.
    TopP { p: f32, keep: i32 },
    /// Those of at least p times the best one's probability.
    MinP { p: f32, keep: i32 },
    /// Locally typical ones.
    Typical { p: f32, keep: i32 },
    /// Those within n standard deviations of the best logit.
    TopNSigma { n: f32 },
    /// Takes out the best ones now and then.
    Xtc { probability: f32, threshold: f32, keep: i32, seed: u64 },
    /// Against repetition, over a window of accepted tokens (-1 = all).
    Penalties { window: i32, repeat: f32, frequency: f32, presence: f32 },
    /// Against repeated sequences.
    Dry { window: i32, multiplier: f32, base: f32, allowed: i32, breakers: &'a [Token] },
    /// Mirostat 2.
    Mirostat { tau: f32, eta: f32, seed: u64 },
    /// Added to the logits of tokens.
    LogitBias { biases: &'a [(Token, f32)] },
}

impl Stage<'_> {
    fn with_raw<T>(&self, call: impl FnOnce(&sys::moe_sample_stage) -> T) -> T {
        let mut s = sys::MOE_SAMPLE_STAGE_INIT;
        let (ids, values): (Vec<Token>, Vec<f32>) = match self {
            Stage::LogitBias { biases } => biases.iter().copied().unzip(),
            Stage::Dry { breakers, .. } => (breakers.to_vec(), Vec::new()),
            _ => (Vec::new(), Vec::new()),
        };
        match *self {
            Stage::Greedy => s.kind = sys::MOE_SAMPLE_GREEDY,
            Stage::Dist { seed } => {
                s.kind = sys::MOE_SAMPLE_DIST;
                s.seed = seed;
            }
            Stage::Temp { t } => {
                s.kind = sys::MOE_SAMPLE_TEMP;
                s.a = t;
            }
            Stage::TempDynamic { t, range, exponent } => {
                s.kind = sys::MOE_SAMPLE_TEMP_DYNAMIC;
                (s.a, s.b, s.c) = (t, range, exponent);
            }
            Stage::TopK { k } => {
                s.kind = sys::MOE_SAMPLE_TOP_K;
                s.n = k;
            }
            Stage::TopP { p, keep } => {
                s.kind = sys::MOE_SAMPLE_TOP_P;
                (s.a, s.n) = (p, keep);
            }
            Stage::MinP { p, keep } => {
                s.kind = sys::MOE_SAMPLE_MIN_P;
                (s.a, s.n) = (p, keep);
            }
            Stage::Typical { p, keep } => {
                s.kind = sys::MOE_SAMPLE_TYPICAL;
                (s.a, s.n) = (p, keep);
            }
            Stage::TopNSigma { n } => {
                s.kind = sys::MOE_SAMPLE_TOP_N_SIGMA;
                s.a = n;
            }
            Stage::Xtc { probability, threshold, keep, seed } => {
                s.kind = sys::MOE_SAMPLE_XTC;
                (s.a, s.b, s.n, s.seed) = (probability, threshold, keep, seed);
            }
            Stage::Penalties { window, repeat, frequency, presence } => {
                s.kind = sys::MOE_SAMPLE_PENALTIES;
                (s.n, s.a, s.b, s.c) = (window, repeat, frequency, presence);
            }
            Stage::Dry { window, multiplier, base, allowed, .. } => {
                s.kind = sys::MOE_SAMPLE_DRY;
                (s.n, s.a, s.b, s.m) = (window, multiplier, base, allowed);
            }
            Stage::Mirostat { tau, eta, seed } => {
                s.kind = sys::MOE_SAMPLE_MIROSTAT;
                (s.a, s.b, s.seed) = (tau, eta, seed);
            }
            Stage::LogitBias { .. } => s.kind = sys::MOE_SAMPLE_LOGIT_BIAS,
        }
        if !ids.is_empty() {
            s.ids = ids.as_ptr();
            s.n_data = ids.len();
        }
        if !values.is_empty() {
            s.values = values.as_ptr();
        }
        call(&s)
    }
}

/// Candidates under way through a chain. A stage may reorder, edit and shrink them.
#[derive(Debug)]
pub struct Candidates<'a> {
    raw: &'a mut sys::moe_candidates,
}

impl Candidates<'_> {
    /// Candidates left.
    pub fn len(&self) -> usize {
        self.raw.n
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.raw.n == 0
    }

    /// Their tokens.
    pub fn ids(&self) -> &[Token] {
        // SAFETY: n values.
        unsafe { slice_at(self.raw.id, self.raw.n) }
    }

    /// Their logits.
    pub fn logits(&self) -> &[f32] {
        // SAFETY: n values.
        unsafe { slice_at(self.raw.logit, self.raw.n) }
    }

    /// Whether logits fall.
    pub fn is_sorted(&self) -> bool {
        self.raw.sorted != 0
    }

    /// Tokens and logits, to be edited. They then count as unsorted.
    pub fn edit(&mut self) -> (&mut [Token], &mut [f32]) {
        self.raw.sorted = 0;
        let n = self.raw.n;
        if n == 0 {
            return (&mut [], &mut []);
        }
        // SAFETY: n values each, which do not overlap; this borrows the candidates exclusively.
        unsafe {
            (
                std::slice::from_raw_parts_mut(self.raw.id, n),
                std::slice::from_raw_parts_mut(self.raw.logit, n),
            )
        }
    }

    /// Keeps the candidates that a function likes, in their order. If it likes none the first one stays.
    pub fn retain(&mut self, mut keep: impl FnMut(Token, f32) -> bool) {
        let sorted = self.raw.sorted;
        let (ids, logits) = self.edit();
        let mut n = 0;
        for i in 0..ids.len() {
            if keep(ids[i], logits[i]) {
                ids.swap(n, i);
                logits.swap(n, i);
                n += 1;
            }
        }
        self.raw.n = n.max(1).min(self.raw.n);
        self.raw.sorted = sorted;
    }

    /// Keeps the first ones, at least one.
    pub fn truncate(&mut self, n: usize) {
        self.raw.n = self.raw.n.min(n.max(1));
    }

    /// Picks the candidate at a place.
    pub fn pick(&mut self, index: usize) {
        self.raw.picked = index as i64; // checked by the library
    }
}

type StageFn = Box<dyn Fn(&mut Candidates<'_>) -> Result<()> + Send + Sync>;

unsafe extern "C" fn stage_for_c(c: *mut sys::moe_candidates, user: *mut c_void) -> c_int {
    // SAFETY: user is a closure that the sampler keeps; c is valid during the call.
    let (f, raw) = unsafe { (&*(user as *const StageFn), &mut *c) };
    enter(|| f(&mut Candidates { raw }))
}

/// A chain of sampling stages with its own state: one thread at a time.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// use moe::{Sampler, SampleStage};
/// let mut sampler = Sampler::new()?;
/// sampler.add(&SampleStage::TopK { k: 2 })?;
/// sampler.add_fn(|candidates| candidates.retain(|id, _| id != 3))?; // a stage of our own
/// assert_eq!(sampler.pick_logits(&[0.0, 1.0, 2.0, 9.0])?, 2);
/// # Ok(())
/// # }
/// ```
pub struct Sampler {
    raw: NonNull<sys::moe_sampler>,
    /// Copies of a chain share their closures.
    stages: Vec<Arc<StageFn>>,
    keep: Keep,
}

// SAFETY: a sampler may be used by any one thread at a time; closures are Send + Sync.
unsafe impl Send for Sampler {}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: a valid sampler; closures and hook are dropped after this.
        guarded_drop(None, || unsafe { sys::moe_sampler_free(self.raw.as_ptr()) });
    }
}

impl Sampler {
    /// An empty chain, which picks the best candidate.
    pub fn new() -> Result<Sampler> {
        Sampler::new_in(None)
    }

    /// The same with memory of the program's own.
    pub fn new_in(allocator: Option<Arc<dyn Allocator>>) -> Result<Sampler> {
        check_version()?;
        let keep = Hooks::of(allocator);
        let hook = c_allocator(&keep);
        let mut out = ptr::null_mut();
        // SAFETY: the hook is kept as long as the sampler.
        guarded(|| unsafe { sys::moe_sampler_create(&mut out, address(&hook)) })?;
        Ok(Sampler { raw: NonNull::new(out).expect("a sampler that was made"), stages: Vec::new(), keep })
    }

    /// A chain from text, e.g. `penalties:repeat=1.1;top-p:p=0.95;temp:t=0.8;dist:seed=7`.
    pub fn parse(text: &str) -> Result<Sampler> {
        let mut sampler = Sampler::new()?;
        sampler.add_named(text)?;
        Ok(sampler)
    }

    /// A copy with the same stages and state.
    pub fn try_clone(&self) -> Result<Sampler> {
        let mut out = ptr::null_mut();
        // SAFETY: a valid sampler; what the copy points to is kept by it too.
        guarded(|| unsafe { sys::moe_sampler_clone(&mut out, self.raw.as_ptr()) })?;
        let raw = NonNull::new(out).expect("a sampler that was made");
        Ok(Sampler { raw, stages: self.stages.clone(), keep: self.keep.clone() })
    }

    pub(crate) fn raw(&mut self) -> *mut sys::moe_sampler {
        self.raw.as_ptr()
    }

    fn call(&mut self, call: impl FnOnce(*mut sys::moe_sampler) -> c_int) -> Result<()> {
        guarded(|| call(self.raw.as_ptr()))
    }

    /// Appends a stage. Nothing can follow one that picks.
    pub fn add(&mut self, stage: &Stage<'_>) -> Result<()> {
        // SAFETY: a valid sampler, a stage that lives during the call.
        stage.with_raw(|raw| self.call(|p| unsafe { sys::moe_sampler_add(p, raw) }))
    }

    /// Appends stages from text.
    pub fn add_named(&mut self, text: &str) -> Result<()> {
        let text = c_text(text)?;
        // SAFETY: zero-terminated text.
        self.call(|p| unsafe { sys::moe_sampler_add_named(p, text.as_ptr()) })
    }

    /// Appends a stage of the program's own. Copies of the chain share it.
    pub fn add_fn<F, R>(&mut self, f: F) -> Result<()>
    where
        F: Fn(&mut Candidates<'_>) -> R + Send + Sync + 'static,
        R: Outcome,
    {
        let f: Arc<StageFn> = Arc::new(Box::new(move |c| f(c).outcome()));
        let user = Arc::as_ptr(&f) as *mut c_void;
        // Before the call: a panic of an allocator in it may come out when C has the closure.
        self.stages.push(f);
        // SAFETY: the closure is kept as long as the sampler.
        let added = self.call(|p| unsafe { sys::moe_sampler_add_custom(p, Some(stage_for_c), user) });
        if added.is_err() {
            self.stages.pop();
        }
        added
    }

    /// Forgets accepted tokens and restarts the random numbers.
    pub fn reset(&mut self) -> Result<()> {
        // SAFETY: a valid sampler.
        self.call(|p| unsafe { sys::moe_sampler_reset(p) })
    }

    /// Sets the seed of every stage that draws.
    pub fn set_seed(&mut self, seed: u64) -> Result<()> {
        // SAFETY: a valid sampler.
        self.call(|p| unsafe { sys::moe_sampler_set_seed(p, seed) })
    }

    /// Tells the chain that a token was taken.
    pub fn accept(&mut self, id: Token) -> Result<()> {
        // SAFETY: a valid sampler.
        self.call(|p| unsafe { sys::moe_sampler_accept(p, id) })
    }

    /// Picks from a row of a session's logits; does not accept the token.
    pub fn pick(&mut self, session: &Session, row: usize) -> Result<Token> {
        let mut id = sys::MOE_TOKEN_NONE;
        // SAFETY: a valid sampler and a valid session.
        self.call(|p| unsafe { sys::moe_sampler_pick(p, session.raw(), row, &mut id) })?;
        Ok(id)
    }

    /// Picks from a row of logits; does not accept the token.
    pub fn pick_logits(&mut self, logits: &[f32]) -> Result<Token> {
        let mut id = sys::MOE_TOKEN_NONE;
        // SAFETY: as many logits as said.
        self.call(|p| unsafe { sys::moe_sampler_pick_logits(p, logits.as_ptr(), logits.len(), &mut id) })?;
        Ok(id)
    }

    /// Runs the chain over candidates of the program's own. They come back as the chain leaves them, with the place
    /// of the one it picked, if it picks.
    pub fn apply(&mut self, candidates: &mut Vec<(Token, f32)>) -> Result<Option<usize>> {
        let (mut ids, mut logits): (Vec<Token>, Vec<f32>) = candidates.iter().copied().unzip();
        let mut raw = sys::moe_candidates {
            n: ids.len(),
            id: ids.as_mut_ptr(),
            logit: logits.as_mut_ptr(),
            ..sys::MOE_CANDIDATES_INIT
        };
        // SAFETY: as many candidates as said.
        self.call(|p| unsafe { sys::moe_sampler_apply(p, &mut raw) })?;
        if raw.n > ids.len() {
            return Err(Error::new(Status::Internal, "the chain made candidates"));
        }
        candidates.clear();
        candidates.extend(ids.into_iter().zip(logits).take(raw.n));
        Ok(usize::try_from(raw.picked).ok())
    }
}
