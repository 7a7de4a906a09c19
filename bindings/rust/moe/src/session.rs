// SPDX-License-Identifier: MIT
//! Sessions: all that changes while a model runs.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::ops::{BitOr, Range};
use std::os::raw::{c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::enums::Place;
use crate::error::{check, Error, Rejected, Result, Status};
use crate::executor::{run_for_c, Executor};
use crate::expert::{Expert, ExpertFn};
use crate::ffi::{
    c_path, collect, enter, guarded, guarded_drop, guarded_in, slice_at, Outcome, Pinned, Stash,
};
use crate::hook::{hook_for_c, HookFn, LayerEvent};
use crate::info::{Progress, SessionInfo, Stats};
use crate::library::thread_count;
use crate::memory::{Hooks, Keep};
use crate::model::{progress_for_c, Model, ProgressFn};
use crate::profile::Profile;
use crate::route::{Router, RouterRef};
use crate::trace::Trace;
use crate::view::RouteView;
use crate::{Pos, Seq, Token};
use moe_sys as sys;

/// Type of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvType {
    /// 16-bit floats, the default.
    F16,
    /// 32-bit floats.
    F32,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// Blocks of 32 signed bytes with a scale; heads must be a multiple of 32 wide.
    Q8_0,
    /// Blocks of 32 four-bit numbers with a scale; heads must be a multiple of 32 wide.
    Q4_0,
}

type SendProgressFn = Box<dyn FnMut(&Progress) -> Result<()> + Send>;

/// How a session is made. [`Session::options`], then [`SessionOptions::create`].
#[derive(Default)]
#[must_use]
pub struct SessionOptions {
    flags: u32,
    n_ctx: u32,
    n_seq_max: u32,
    n_batch_max: u32,
    n_output_max: u32,
    n_threads: c_int,
    kv_k: i32,
    kv_v: i32,
    executor: Option<Box<dyn Executor>>,
    progress: Option<SendProgressFn>,
}

impl SessionOptions {
    fn flag(mut self, flag: u32, on: bool) -> Self {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// KV cells of all sequences; 0: as trained, at most 4096.
    pub fn n_ctx(mut self, n: u32) -> Self {
        self.n_ctx = n;
        self
    }

    /// Sequences; 0 = 1.
    pub fn n_seq_max(mut self, n: u32) -> Self {
        self.n_seq_max = n;
        self
    }

    /// Rows computed at once; 0 = 512.
    pub fn n_batch_max(mut self, n: u32) -> Self {
        self.n_batch_max = n;
        self
    }

    /// Rows of results one evaluation may ask for; 0 = as many as sequences.
    pub fn n_output_max(mut self, n: u32) -> Self {
        self.n_output_max = n;
        self
    }

    /// Threads; 0 = one per CPU that this process may use.
    pub fn threads(mut self, n: usize) -> Self {
        self.n_threads = thread_count(n);
        self
    }

    /// Types of cached keys and values.
    pub fn kv_types(mut self, keys: KvType, values: KvType) -> Self {
        let raw = |t| match t {
            KvType::F16 => sys::MOE_TYPE_F16,
            KvType::F32 => sys::MOE_KV_F32,
            KvType::Bf16 => sys::MOE_TYPE_BF16,
            KvType::Q8_0 => sys::MOE_TYPE_Q8_0,
            KvType::Q4_0 => sys::MOE_TYPE_Q4_0,
        };
        self.kv_k = raw(keys);
        self.kv_v = raw(values);
        self
    }

    /// A stopped evaluation keeps the sub-batches that are done.
    pub fn keep_partial(self, on: bool) -> Self {
        self.flag(sys::MOE_SESSION_KEEP_PARTIAL, on)
    }

    /// 32-bit activations against dequantised weights: slow, for tests.
    pub fn exact(self, on: bool) -> Self {
        self.flag(sys::MOE_SESSION_EXACT_ACT, on)
    }

    /// Every layer's last routing is kept, for [`RouterRef::last`].
    pub fn keep_routes(self, on: bool) -> Self {
        self.flag(sys::MOE_SESSION_KEEP_ROUTES, on)
    }

    /// The session's threads give way to others; results are the same.
    pub fn low_priority(self, on: bool) -> Self {
        self.flag(sys::MOE_SESSION_LOW_PRIORITY, on)
    }

    /// The program's own threads do the work.
    pub fn executor(mut self, executor: impl Executor + 'static) -> Self {
        self.executor = Some(Box::new(executor));
        self
    }

    /// Hears how a long evaluation (between its sub-batches) or [`Session::warm_up`] goes on, and may stop it.
    pub fn progress<F, R>(mut self, mut f: F) -> Self
    where
        F: FnMut(&Progress) -> R + Send + 'static,
        R: Outcome,
    {
        self.progress = Some(Box::new(move |p| f(p).outcome()));
        self
    }

    /// Calls with the C struct, without hooks.
    pub(crate) fn with_plain<T>(&self, call: impl FnOnce(&mut sys::moe_session_options) -> T) -> T {
        let mut o = sys::moe_session_options {
            flags: self.flags,
            n_ctx: self.n_ctx,
            n_seq_max: self.n_seq_max,
            n_batch_max: self.n_batch_max,
            n_output_max: self.n_output_max,
            n_threads: self.n_threads,
            kv_type_k: self.kv_k,
            kv_type_v: self.kv_v,
            ..sys::MOE_SESSION_OPTIONS_INIT
        };
        call(&mut o)
    }

    /// Makes a session. All its memory is taken here.
    pub fn create(mut self, model: &Model) -> Result<Session> {
        let executor = self.executor.take().map(Pinned::new);
        // A closure that is Send as one that need not be: it only runs where the session is.
        let progress = self.progress.take().map(|f| Pinned::new(f as ProgressFn<'static>));
        let hook = executor.as_ref().map(|e| sys::moe_executor {
            run: Some(run_for_c),
            user: e.user(),
            ..Default::default()
        });
        let mut out = ptr::null_mut();
        self.with_plain(|o| {
            o.executor = crate::memory::address(&hook);
            if let Some(f) = &progress {
                o.progress = Some(progress_for_c);
                o.progress_user = f.user();
            }
            // SAFETY: a valid model; what user pointers point to is kept by the session.
            guarded(|| unsafe { sys::moe_session_create(&mut out, model.raw(), o) })
        })?;
        let raw = NonNull::new(out).expect("a session that was made");
        let info = model.info();
        Ok(Session {
            raw,
            dim: info.dim as usize,
            n_layers: info.n_layers,
            n_experts: info.n_experts,
            handle: Arc::new(Handle(Mutex::new(Some(Shared(raw))))),
            stash: Arc::default(),
            profile: None,
            observer: Observer::None,
            hooks: BTreeMap::new(),
            functions: BTreeMap::new(),
            held: Vec::new(),
            kept: Vec::new(),
            slicing: None,
            _executor: executor,
            _progress: progress.map(OnOneThread),
            model: model.clone(),
            one_thread: PhantomData,
        })
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("n_ctx", &self.n_ctx)
            .field("n_seq_max", &self.n_seq_max)
            .field("n_threads", &self.n_threads)
            .finish_non_exhaustive()
    }
}

/// A closure that was checked to be Send where it was handed in.
struct OnOneThread<T>(#[allow(dead_code)] T);
// SAFETY: see there.
unsafe impl<T> Send for OnOneThread<T> {}

type ObserverFn<'f> = Box<dyn FnMut(&RouteView<'_>) -> Result<()> + 'f>;

enum Observer {
    None,
    Closure(#[allow(dead_code)] OnOneThread<Pinned<ObserverFn<'static>>>),
    Trace(Trace),
}

#[derive(Clone, Copy)]
struct Shared(NonNull<sys::moe_session>);
// SAFETY: used for moe_session_interrupt only, which any thread may call.
unsafe impl Send for Shared {}

struct Handle(Mutex<Option<Shared>>);

/// Stops a session from another thread. It may outlive its session, and then does nothing.
#[derive(Clone)]
pub struct Interrupt(Arc<Handle>);

impl Interrupt {
    /// Stops the evaluation that runs, or if none runs the next one, with [`Status::Aborted`]. It takes a lock, so it is
    /// not for signal handlers.
    pub fn interrupt(&self) {
        let place = self.0 .0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(session) = *place {
            // SAFETY: the session takes itself out of here before it is freed, under the same lock.
            unsafe { sys::moe_session_interrupt(session.0.as_ptr()) };
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").finish_non_exhaustive()
    }
}

/// What is wanted of a token of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want(u8);

impl Want {
    /// Nothing.
    pub const NOTHING: Want = Want(0);
    /// Logits over the vocabulary.
    pub const LOGITS: Want = Want(sys::MOE_WANT_LOGITS as u8);
    /// The final hidden state, after the last norm.
    pub const HIDDEN: Want = Want(sys::MOE_WANT_HIDDEN as u8);
}

impl BitOr for Want {
    type Output = Want;

    fn bitor(self, other: Want) -> Want {
        Want(self.0 | other.0)
    }
}

/// Tokens of one or more sequences, each at the position where its sequence ends. If nothing is said to be wanted,
/// the logits of each sequence's last token are.
///
/// ```
/// let mut batch = moe::Batch::new();
/// batch.extend(0, &[1, 2, 3]);
/// batch.extend(1, &[4, 5]);
/// assert_eq!(batch.len(), 5);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    token: Vec<Token>,
    seq: Vec<Seq>,
    want: Vec<u8>,
    pos: Vec<Pos>,
    says_want: bool,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Appends a token of a sequence.
    pub fn push(&mut self, seq: Seq, token: Token) {
        self.token.push(token);
        self.seq.push(seq);
        self.want.push(0);
    }

    /// Appends tokens of a sequence.
    pub fn extend(&mut self, seq: Seq, tokens: &[Token]) {
        tokens.iter().for_each(|&t| self.push(seq, t));
    }

    /// Appends a token and says what is wanted of it.
    pub fn push_want(&mut self, seq: Seq, token: Token, want: Want) {
        self.push(seq, token);
        self.want_last(want);
    }

    /// Says what is wanted of the token appended last.
    pub fn want_last(&mut self, want: Want) {
        self.says_want = true;
        if let Some(w) = self.want.last_mut() {
            *w = want.0;
        }
    }

    /// Says at which positions the tokens stand, one for each, instead of where the sequences end. The library
    /// refuses others than those where the sequences end: for programs that want this checked.
    pub fn positions(&mut self, pos: &[Pos]) {
        self.pos = pos.to_vec();
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.token.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.token.is_empty()
    }

    /// Takes all tokens out; the memory stays.
    pub fn clear(&mut self) {
        self.token.clear();
        self.seq.clear();
        self.want.clear();
        self.pos.clear();
        self.says_want = false;
    }

    fn to_raw(&self) -> Result<sys::moe_batch> {
        if !self.pos.is_empty() && self.pos.len() != self.len() {
            let message = format!("batch: {} positions for {} tokens", self.pos.len(), self.len());
            return Err(Error::new(Status::Invalid, message));
        }
        Ok(sys::moe_batch {
            n_tokens: self.len(),
            token: self.token.as_ptr(),
            pos: if self.pos.is_empty() { ptr::null() } else { self.pos.as_ptr() },
            seq: self.seq.as_ptr(),
            want: if self.says_want { self.want.as_ptr() } else { ptr::null() },
            ..sys::MOE_BATCH_INIT
        })
    }
}

/// KV cache, positions, results, routing: all that changes while a model runs. It keeps its model alive.
///
/// It may be sent to another thread, but used by one at a time, so it is `Send` and not `Sync`; [`Interrupt`] stops
/// it from anywhere.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/demo.gguf");
/// let model = moe::Model::open(path)?;
/// let mut session = model.session()?;
/// let ids = model.tokenizer()?.encode("Once upon a time")?;
/// session.eval(&ids)?;
/// let logits = session.logits(0)?; // of the last token
/// assert_eq!(logits.len(), model.info().n_vocab as usize);
/// # Ok(())
/// # }
/// ```
///
/// Logits are borrowed from the session, so they cannot be kept over the next evaluation:
///
/// ```compile_fail,E0502
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let logits = session.logits(0)?;
/// session.eval(&[1])?;
/// println!("{}", logits[0]);
/// # Ok(())
/// # }
/// ```
///
/// nor over the session's end:
///
/// ```compile_fail,E0505
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let logits = session.logits(0)?;
/// drop(session);
/// println!("{}", logits[0]);
/// # Ok(())
/// # }
/// ```
///
/// Two threads cannot use one at the same time:
///
/// ```compile_fail,E0277
/// # fn main() -> moe::Result<()> {
/// # let session = moe::Model::open("model.gguf")?.session()?;
/// std::thread::scope(|s| {
///     s.spawn(|| session.len());
/// });
/// # Ok(())
/// # }
/// ```
///
/// and closures that it keeps must be `Send`:
///
/// ```compile_fail,E0277
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let counter = std::rc::Rc::new(std::cell::Cell::new(0));
/// session.observe(move |_| counter.set(counter.get() + 1))?;
/// # Ok(())
/// # }
/// ```
pub struct Session {
    raw: NonNull<sys::moe_session>,
    dim: usize,
    n_layers: u32,
    n_experts: u32,
    handle: Arc<Handle>,
    pub(crate) stash: Arc<Stash>,
    profile: Option<Profile>,
    observer: Observer,
    hooks: BTreeMap<(u32, c_int), Arc<HookFn>>,
    functions: BTreeMap<(u32, u32), Arc<ExpertFn>>,
    /// Functions on their way into C. They stay if a panic comes out of the call, which says not how far C came.
    held: Vec<Arc<ExpertFn>>,
    /// Hooks of models whose weights stand in this session's experts.
    kept: Vec<Arc<Hooks>>,
    /// What an evaluation in slices reads until its end.
    slicing: Option<Batch>,
    _executor: Option<Pinned<Box<dyn Executor>>>,
    _progress: Option<OnOneThread<Pinned<ProgressFn<'static>>>>,
    model: Model,
    one_thread: PhantomData<*mut ()>,
}

// SAFETY: a session may be used by any one thread at a time; all closures it keeps are Send.
unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        *self.handle.0.lock().unwrap_or_else(|e| e.into_inner()) = None;
        let raw = self.raw.as_ptr();
        // SAFETY: nobody can interrupt it any more; closures are dropped after this.
        guarded_drop(Some(&self.stash), || unsafe { sys::moe_session_free(raw) });
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("info", &self.info()).finish_non_exhaustive()
    }
}

impl Session {
    /// A session with defaults.
    pub fn new(model: &Model) -> Result<Session> {
        SessionOptions::default().create(model)
    }

    /// How to make one: options, then [`SessionOptions::create`].
    pub fn options() -> SessionOptions {
        SessionOptions::default()
    }

    pub(crate) fn raw(&self) -> *mut sys::moe_session {
        self.raw.as_ptr()
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim.max(1)
    }

    /// Calls into C where that may call closures of this session.
    pub(crate) fn call(&self, call: impl FnOnce(*mut sys::moe_session) -> c_int) -> Result<()> {
        let raw = self.raw();
        guarded_in(&self.stash, || call(raw))
    }

    /// The session's model.
    pub fn model(&self) -> Model {
        // SAFETY: a valid session, whose model is the one kept here.
        unsafe { Model::retained(sys::moe_session_model(self.raw()), self.model.hooks().clone()) }
    }

    /// What the session was made with.
    pub fn info(&self) -> SessionInfo {
        let mut raw = sys::MOE_SESSION_INFO_INIT;
        // SAFETY: a valid session, a struct to fill in.
        unsafe {
            sys::moe_session_get_info(self.raw(), &mut raw);
            SessionInfo::from_raw(&raw)
        }
    }

    // ---- evaluation ----

    /// Appends tokens to sequence 0 and computes the logits of the last one.
    pub fn eval(&mut self, ids: &[Token]) -> Result<()> {
        // SAFETY: a valid session, as many tokens as said.
        self.call(|s| unsafe { sys::moe_session_eval(s, ids.as_ptr(), ids.len()) })
    }

    /// Appends a batch and computes what it wants. On failure the session is as before.
    pub fn eval_batch(&mut self, batch: &Batch) -> Result<()> {
        let raw = batch.to_raw()?;
        // SAFETY: a valid session, a batch whose arrays have its length.
        self.call(|s| unsafe { sys::moe_session_eval_batch(s, &raw) })
    }

    /// [`Session::eval`] with an observer for this call only, which may borrow. An observer or trace that the session
    /// has is put aside meanwhile.
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
    /// # let mut session = moe::Model::open(path)?.session()?;
    /// let mut chosen = Vec::new();
    /// session.eval_observed(&[1, 2, 3], |view| chosen.extend_from_slice(view.experts()))?;
    /// assert!(!chosen.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn eval_observed<F, R>(&mut self, ids: &[Token], observer: F) -> Result<()>
    where
        F: FnMut(&RouteView<'_>) -> R,
        R: Outcome,
    {
        self.observed(observer, |s| {
            // SAFETY: a valid session, as many tokens as said.
            s.call(|s| unsafe { sys::moe_session_eval(s, ids.as_ptr(), ids.len()) })
        })
    }

    /// [`Session::eval_batch`] with an observer for this call only.
    pub fn eval_batch_observed<F, R>(&mut self, batch: &Batch, observer: F) -> Result<()>
    where
        F: FnMut(&RouteView<'_>) -> R,
        R: Outcome,
    {
        let raw = batch.to_raw()?;
        // SAFETY: a valid session, a batch whose arrays have its length.
        self.observed(observer, |s| s.call(|s| unsafe { sys::moe_session_eval_batch(s, &raw) }))
    }

    /// Begins an evaluation that is done in slices, for a program that has a few milliseconds at a time. Until it is
    /// finished or cancelled the session can be read; what would change it answers [`Status::State`].
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
    /// # let mut session = moe::Model::open(path)?.session()?;
    /// let mut batch = moe::Batch::new();
    /// batch.extend(0, &[1, 2, 3]);
    /// session.eval_begin(batch)?;
    /// while session.eval_slice(std::time::Duration::from_millis(2))? {
    ///     // draw a frame
    /// }
    /// assert_eq!(session.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn eval_begin(&mut self, batch: Batch) -> Result<()> {
        let raw = batch.to_raw()?;
        // SAFETY: a valid session; the batch's arrays are kept until the end.
        self.call(|s| unsafe { sys::moe_session_eval_begin(s, &raw) })?;
        self.slicing = Some(batch);
        Ok(())
    }

    /// Goes on with an evaluation for about so long (zero: one step). Whether there is something left to do. On failure
    /// the session is as before [`Session::eval_begin`].
    pub fn eval_slice(&mut self, time: Duration) -> Result<bool> {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut more = 0;
        // SAFETY: a valid session.
        let done = self.call(|s| unsafe { sys::moe_session_eval_slice(s, ns, &mut more) });
        if more == 0 {
            self.slicing = None;
        }
        done.map(|()| more != 0)
    }

    /// Gives up an evaluation in slices.
    pub fn eval_cancel(&mut self) -> Result<()> {
        // SAFETY: a valid session.
        self.call(|s| unsafe { sys::moe_session_eval_cancel(s) })?;
        self.slicing = None;
        Ok(())
    }

    /// Makes the first evaluation as fast as later ones: has the system bring all weights into memory.
    pub fn warm_up(&mut self) -> Result<()> {
        // SAFETY: a valid session.
        self.call(|s| unsafe { sys::moe_session_warm_up(s) })
    }

    fn observed<F, R>(&mut self, mut observer: F, eval: impl FnOnce(&Session) -> Result<()>) -> Result<()>
    where
        F: FnMut(&RouteView<'_>) -> R,
        R: Outcome,
    {
        let mut f: ObserverFn<'_> = Box::new(move |v| observer(v).outcome());
        let user = &mut f as *mut ObserverFn<'_> as *mut c_void;
        // SAFETY: the closure is there until `_back` has put the old observer into its place.
        check(unsafe { sys::moe_session_observe(self.raw(), Some(observe_for_c), user) })?;
        let _back = PutBack(self);
        eval(self)
    }

    /// Has C call the observer that the session keeps, or none.
    fn set_observer(&self) -> c_int {
        let (f, user): (Option<unsafe extern "C" fn(_, _) -> _>, _) = match &self.observer {
            Observer::None => (None, ptr::null_mut()),
            Observer::Closure(f) => (Some(observe_for_c), f.0.user()),
            Observer::Trace(t) => (Some(sys::moe_trace_observe), t.raw().cast()),
        };
        // SAFETY: what user points to is kept by the session.
        unsafe { sys::moe_session_observe(self.raw(), f, user) }
    }

    /// Logits of the row-th token of the last evaluation that wanted them.
    pub fn logits(&self, row: usize) -> Result<&[f32]> {
        let (mut p, mut n) = (ptr::null(), 0);
        // SAFETY: valid until the session changes, which the borrow prevents.
        unsafe {
            check(sys::moe_session_logits(self.raw(), row, &mut p, &mut n))?;
            Ok(slice_at(p, n))
        }
    }

    /// Final hidden state of the row-th token of the last evaluation that wanted it.
    pub fn hidden(&self, row: usize) -> Result<&[f32]> {
        let (mut p, mut n) = (ptr::null(), 0);
        // SAFETY: as above.
        unsafe {
            check(sys::moe_session_hidden(self.raw(), row, &mut p, &mut n))?;
            Ok(slice_at(p, n))
        }
    }

    /// The `k` most probable tokens of a row with their natural-log probabilities, best first.
    pub fn logprobs(&self, row: usize, k: usize) -> Result<Vec<(Token, f32)>> {
        let room = k.min(self.logits(row)?.len());
        if room < k {
            return Err(Error::new(Status::Range, format!("k: {k} of {room} tokens")));
        }
        let (mut ids, mut logprob) = (vec![0 as Token; k], vec![0f32; k]);
        // SAFETY: room for k of both.
        check(unsafe {
            sys::moe_session_logprobs(self.raw(), row, k, ids.as_mut_ptr(), logprob.as_mut_ptr())
        })?;
        Ok(ids.into_iter().zip(logprob).collect())
    }

    /// Natural-log probability of one token in a row.
    pub fn logprob(&self, row: usize, id: Token) -> Result<f32> {
        let mut out = 0.0;
        // SAFETY: a valid session.
        check(unsafe { sys::moe_session_logprob(self.raw(), row, id, &mut out) })?;
        Ok(out)
    }

    // ---- sequences ----

    /// Empties all sequences; results are gone.
    pub fn reset(&mut self) {
        // SAFETY: a valid session.
        let done = self.call(|s| unsafe {
            sys::moe_session_reset(s);
            0
        });
        debug_assert!(done.is_ok());
        self.slicing = None; // such an evaluation is cancelled
    }

    /// Tokens in sequence 0.
    pub fn len(&self) -> usize {
        self.seq_len(0)
    }

    /// Whether sequence 0 has no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens in a sequence; 0 for one out of range.
    pub fn seq_len(&self, seq: Seq) -> usize {
        // SAFETY: takes any number.
        unsafe { sys::moe_session_seq_len(self.raw(), seq) }
    }

    /// Makes `to` a copy of `from`: both share their cells until one of them writes.
    pub fn seq_copy(&mut self, from: Seq, to: Seq) -> Result<()> {
        // SAFETY: takes any numbers.
        self.call(|s| unsafe { sys::moe_session_seq_copy(s, from, to) })
    }

    /// Keeps the first tokens of a sequence; 0 empties it.
    pub fn seq_truncate(&mut self, seq: Seq, keep: usize) -> Result<()> {
        let keep =
            Pos::try_from(keep).map_err(|_| Error::new(Status::Range, "more tokens than there are"))?;
        // SAFETY: takes any numbers.
        self.call(|s| unsafe { sys::moe_session_seq_truncate(s, seq, keep) })
    }

    /// Takes tokens out of a sequence; those behind move down, with what they had seen of the removed ones. For a
    /// context that is full.
    ///
    /// ```
    /// # use moe::{Model, Session};
    /// # fn main() -> moe::Result<()> {
    /// # let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/demo.gguf"))?;
    /// let mut s = Session::new(&model)?;
    /// s.eval(&[1, 2, 3, 4, 5, 6])?;
    /// s.seq_remove(0, 1..4)?;
    /// assert_eq!(s.seq_tokens(0)?, [1, 5, 6]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn seq_remove(&mut self, seq: Seq, positions: Range<usize>) -> Result<()> {
        let first = Pos::try_from(positions.start)
            .map_err(|_| Error::new(Status::Range, "more tokens than there are"))?;
        // SAFETY: takes any numbers.
        self.call(|s| unsafe { sys::moe_session_seq_remove(s, seq, first, positions.len()) })
    }

    /// Tokens of a sequence as evaluated.
    pub fn seq_tokens(&self, seq: Seq) -> Result<Vec<Token>> {
        // SAFETY: the call fills in what it says.
        unsafe {
            collect(self.seq_len(seq).max(1), |dst, cap, n| {
                sys::moe_session_seq_tokens(self.raw(), seq, dst, cap, n)
            })
        }
    }

    // ---- saving ----

    /// Writes sequences and last results.
    pub fn save<W: Write>(&self, writer: W) -> Result<()> {
        let mut writer = writer;
        // SAFETY: the writer lives during the call.
        self.call(|s| unsafe {
            sys::moe_session_save(s, Some(write_for_c::<W>), (&mut writer as *mut W).cast())
        })
    }

    /// Replaces the session's content with a saved one. On failure the session is as before.
    pub fn load<R: Read>(&mut self, reader: R) -> Result<()> {
        let mut reader = reader;
        // SAFETY: the reader lives during the call.
        self.call(|s| unsafe {
            sys::moe_session_load(s, Some(read_for_c::<R>), (&mut reader as *mut R).cast())
        })
    }

    /// [`Session::save`] to a file that appears under its name only when whole.
    pub fn save_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: zero-terminated text, as in all that follow.
        self.call(|s| unsafe { sys::moe_session_save_file(s, path.as_ptr()) })
    }

    /// [`Session::load`] from a file.
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: as above.
        self.call(|s| unsafe { sys::moe_session_load_file(s, path.as_ptr()) })
    }

    /// Writes one sequence, its keys and values, and nothing else.
    pub fn seq_save<W: Write>(&self, seq: Seq, writer: W) -> Result<()> {
        let mut writer = writer;
        // SAFETY: the writer lives during the call.
        self.call(|s| unsafe {
            sys::moe_session_seq_save(s, seq, Some(write_for_c::<W>), (&mut writer as *mut W).cast())
        })
    }

    /// Replaces one sequence by a saved one, of this or another session of the model; others and the results stay.
    pub fn seq_load<R: Read>(&mut self, seq: Seq, reader: R) -> Result<()> {
        let mut reader = reader;
        // SAFETY: the reader lives during the call.
        self.call(|s| unsafe {
            sys::moe_session_seq_load(s, seq, Some(read_for_c::<R>), (&mut reader as *mut R).cast())
        })
    }

    /// [`Session::seq_save`] to a file that appears under its name only when whole.
    pub fn seq_save_file(&self, seq: Seq, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: as above.
        self.call(|s| unsafe { sys::moe_session_seq_save_file(s, seq, path.as_ptr()) })
    }

    /// [`Session::seq_load`] from a file.
    pub fn seq_load_file(&mut self, seq: Seq, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: as above.
        self.call(|s| unsafe { sys::moe_session_seq_load_file(s, seq, path.as_ptr()) })
    }

    // ---- running ----

    /// Changes the thread count; 0 = one per CPU. Results stay the same to the bit.
    pub fn set_threads(&mut self, n: usize) -> Result<()> {
        // SAFETY: takes any number.
        self.call(|s| unsafe { sys::moe_session_set_threads(s, thread_count(n)) })
    }

    /// Something that stops this session from any thread.
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
    /// # let mut session = moe::Model::open(path)?.session()?;
    /// let stop = session.interrupt_handle();
    /// std::thread::spawn(move || stop.interrupt()).join().unwrap();
    /// let error = session.eval(&[1, 2, 3]).unwrap_err(); // the next one, since none ran
    /// assert_eq!(error.status(), moe::Status::Aborted);
    /// session.eval(&[1, 2, 3])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupt_handle(&self) -> Interrupt {
        Interrupt(Arc::clone(&self.handle))
    }

    /// Counters since the session was made or [`Session::reset_stats`].
    pub fn stats(&self) -> Stats {
        let mut raw = sys::MOE_STATS_INIT;
        // SAFETY: a valid session, a struct to fill in.
        unsafe {
            sys::moe_session_get_stats(self.raw(), &mut raw);
            Stats::from_raw(&raw)
        }
    }

    /// Sets all counters to zero.
    pub fn reset_stats(&mut self) {
        // SAFETY: a valid session.
        unsafe { sys::moe_session_reset_stats(self.raw()) }
    }

    // ---- observation ----

    /// Has a closure see every router's decisions. It takes the place of an earlier one, and of a trace.
    pub fn observe<F, R>(&mut self, mut f: F) -> Result<()>
    where
        F: FnMut(&RouteView<'_>) -> R + Send + 'static,
        R: Outcome,
    {
        let f: ObserverFn<'static> = Box::new(move |v| f(v).outcome());
        self.take_observer(Observer::Closure(OnOneThread(Pinned::new(f)))).map(drop)
    }

    /// Ends [`Session::observe`].
    pub fn stop_observing(&mut self) {
        let _ = self.take_observer(Observer::None);
    }

    /// Records into a trace until [`Session::take_trace`]. It takes the place of an observer.
    pub fn record(&mut self, trace: Trace) -> Result<()> {
        self.take_observer(Observer::Trace(trace)).map(drop)
    }

    /// Ends recording.
    pub fn take_trace(&mut self) -> Option<Trace> {
        if !matches!(self.observer, Observer::Trace(_)) {
            return None;
        }
        match self.take_observer(Observer::None) {
            Ok(Observer::Trace(trace)) => Some(trace),
            _ => None,
        }
    }

    /// The trace that is being recorded.
    pub fn trace(&self) -> Option<&Trace> {
        match &self.observer {
            Observer::Trace(trace) => Some(trace),
            _ => None,
        }
    }

    /// Begins a request of the trace that is being recorded.
    pub fn begin_request(&mut self, request: u32) -> Result<()> {
        match &mut self.observer {
            Observer::Trace(trace) => trace.begin(request),
            _ => Err(Error::new(Status::State, "the session records no trace")),
        }
    }

    fn take_observer(&mut self, new: Observer) -> Result<Observer> {
        let old = std::mem::replace(&mut self.observer, new);
        match check(self.set_observer()) {
            Ok(()) => Ok(old),
            Err(e) => {
                self.observer = old; // C still has the old one
                Err(e)
            }
        }
    }

    /// Gathers into a profile, which belongs to the session until [`Session::take_profile`]; an earlier one comes
    /// back.
    pub fn set_profile(&mut self, profile: Profile) -> Result<Option<Profile>, Rejected<Profile>> {
        // SAFETY: a valid session and a valid profile, which is kept.
        match check(unsafe { sys::moe_session_set_profile(self.raw(), profile.raw()) }) {
            Ok(()) => Ok(self.profile.replace(profile)),
            Err(error) => Err(Rejected { error, value: profile }),
        }
    }

    /// Ends gathering.
    pub fn take_profile(&mut self) -> Option<Profile> {
        let profile = self.profile.take()?;
        // SAFETY: a valid session. It cannot fail here; if it did the profile must not be freed.
        if unsafe { sys::moe_session_set_profile(self.raw(), ptr::null_mut()) } < 0 {
            self.profile = Some(profile);
            return None;
        }
        Some(profile)
    }

    /// The profile that is being gathered into.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// Begins a prompt of the profile that is being gathered into: tokens that follow are of this class.
    pub fn begin_prompt(&mut self, class: u32) -> Result<()> {
        match &mut self.profile {
            Some(profile) => profile.begin(class),
            None => Err(Error::new(Status::State, "the session gathers into no profile")),
        }
    }

    // ---- routing ----

    pub(crate) fn raw_router(&self, layer: u32) -> Result<(*mut sys::moe_router, u32)> {
        let mut out = ptr::null_mut();
        // SAFETY: a valid session.
        check(unsafe { sys::moe_session_router(self.raw(), layer, &mut out) })?;
        Ok((out, self.n_experts))
    }

    pub(crate) fn raw_expert(&self, layer: u32, index: u32) -> Result<*mut sys::moe_expert> {
        let (router, _) = self.raw_router(layer)?;
        let mut out = ptr::null_mut();
        // SAFETY: a valid router.
        check(unsafe { sys::moe_router_expert(router, index, &mut out) })?;
        Ok(out)
    }

    /// The router of a layer.
    pub fn router(&mut self, layer: u32) -> Result<Router<'_>> {
        if layer == sys::MOE_ALL_LAYERS {
            return Err(Error::new(Status::Range, format!("layer {layer}: past the end")));
        }
        Router::new(self, layer)
    }

    /// All routers at once: changes reach all of them or, on failure, none.
    pub fn routers(&mut self) -> Router<'_> {
        Router::new(self, sys::MOE_ALL_LAYERS).expect("a session has a handle for all layers")
    }

    /// The router of a layer, to be looked at.
    pub fn router_ref(&self, layer: u32) -> Result<RouterRef<'_>> {
        let (raw, n_experts) = self.raw_router(layer)?;
        // SAFETY: borrowed from the session.
        Ok(unsafe { RouterRef::new(raw, n_experts) })
    }

    /// An expert of a layer.
    pub fn expert(&mut self, layer: u32, index: u32) -> Result<Expert<'_>> {
        self.router(layer)?.into_expert(index)
    }

    /// Makes this session's routing that of another one of the same model: recipes, policies, steering, replaced
    /// experts.
    pub fn copy_routing(&mut self, from: &Session) -> Result<()> {
        for hooks in &from.kept {
            self.keep_hooks(&Some(Arc::clone(hooks)));
        }
        let held = self.hold(from.functions.values().chain(&from.held).cloned());
        // SAFETY: two valid sessions; what the other one's experts use is held.
        let copied = self.call(|s| unsafe { sys::moe_session_copy_routing(s, from.raw()) });
        if copied.is_ok() {
            let old = std::mem::replace(&mut self.functions, from.functions.clone());
            drop(old);
        }
        self.release(held);
        if copied.is_ok() {
            self.held.extend(from.held.iter().cloned());
        }
        copied
    }

    /// Keeps functions alive during a call that gives them to C.
    pub(crate) fn hold(&mut self, functions: impl IntoIterator<Item = Arc<ExpertFn>>) -> usize {
        let before = self.held.len();
        self.held.extend(functions);
        before
    }

    /// Ends [`hold`](Session::hold): the call has returned, and the table has what C has.
    pub(crate) fn release(&mut self, before: usize) {
        drop(self.held.split_off(before));
    }

    pub(crate) fn keep_hooks(&mut self, hooks: &Keep) {
        if let Some(hooks) = hooks {
            if !self.kept.iter().any(|k| Arc::ptr_eq(k, hooks)) {
                self.kept.push(Arc::clone(hooks));
            }
        }
    }

    pub(crate) fn keep_function(&mut self, layer: u32, index: u32, f: Arc<ExpertFn>) {
        let layers = if layer == sys::MOE_ALL_LAYERS { 0..self.n_layers } else { layer..layer + 1 };
        for l in layers {
            if self.raw_router(l).is_ok() {
                self.functions.insert((l, index), Arc::clone(&f));
            }
        }
    }

    /// Lets go of functions that no expert uses any more.
    pub(crate) fn sweep(&mut self) {
        let (used, unused): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.functions).into_iter().partition(|&((layer, index), _)| {
                let mut info = sys::MOE_EXPERT_INFO_INIT;
                match self.raw_expert(layer, index) {
                    // SAFETY: a valid expert, a struct to fill in. What cannot be asked about is kept.
                    Ok(e) => {
                        (unsafe { sys::moe_expert_get_info(e, &mut info) }) != 0
                            || info.source == sys::MOE_SOURCE_FUNCTION as u32
                    }
                    Err(_) => true,
                }
            });
        self.functions = used;
        drop(unused); // what they own may panic
    }

    // ---- hooks ----

    /// Has a closure look at, or edit, hidden states at a place of a layer (`None`: all layers). One for each layer
    /// and place.
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
    /// # let mut session = moe::Model::open(path)?.session()?;
    /// session.on_layer(Some(0), moe::Place::Output, |event| {
    ///     event.hidden_mut().iter_mut().for_each(|x| *x *= 1.1);
    /// })?;
    /// session.eval(&[1, 2, 3])?;
    /// session.clear_layer_hook(Some(0), moe::Place::Output)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_layer<F, R>(&mut self, layer: Option<u32>, place: Place, mut f: F) -> Result<()>
    where
        F: FnMut(&mut LayerEvent<'_>) -> R + Send + 'static,
        R: Outcome,
    {
        let f = Arc::new(HookFn::new(Box::new(move |e| f(e).outcome())));
        self.hook(layer, place, Some(f))
    }

    /// Ends [`Session::on_layer`].
    pub fn clear_layer_hook(&mut self, layer: Option<u32>, place: Place) -> Result<()> {
        self.hook(layer, place, None)
    }

    fn hook(&mut self, layer: Option<u32>, place: Place, f: Option<Arc<HookFn>>) -> Result<()> {
        let number = layer.unwrap_or(sys::MOE_ALL_LAYERS);
        let (call, user): (Option<sys::moe_layer_fn>, _) = match &f {
            Some(f) => (Some(hook_for_c), Arc::as_ptr(f) as *mut c_void),
            None => (None, ptr::null_mut()),
        };
        // SAFETY: a valid session; the closure is kept below.
        self.call(|s| unsafe { sys::moe_session_on_layer(s, number, place.to_raw(), call, user) })?;
        let layers = if number == sys::MOE_ALL_LAYERS { 0..self.n_layers } else { number..number + 1 };
        for l in layers {
            let old = match &f {
                Some(f) => self.hooks.insert((l, place.to_raw()), Arc::clone(f)),
                None => self.hooks.remove(&(l, place.to_raw())),
            };
            drop(old);
        }
        Ok(())
    }

    // ---- steering ----

    /// Writes the steering as JSON: everything about routing that differs from the model's own.
    pub fn save_steering<W: Write>(&self, writer: W) -> Result<()> {
        let mut writer = writer;
        // SAFETY: the writer lives during the call.
        self.call(|s| unsafe {
            sys::moe_session_save_steering(s, Some(write_for_c::<W>), (&mut writer as *mut W).cast())
        })
    }

    /// The steering as JSON.
    pub fn steering(&self) -> Result<String> {
        let mut bytes = Vec::new();
        self.save_steering(&mut bytes)?;
        Ok(crate::ffi::utf8(bytes))
    }

    /// Replaces the steering by that of a text. On failure the session is as before.
    pub fn load_steering(&mut self, text: &str) -> Result<()> {
        // SAFETY: as many bytes as said.
        self.call(|s| unsafe { sys::moe_session_load_steering(s, text.as_ptr().cast(), text.len()) })?;
        self.sweep();
        Ok(())
    }

    /// Writes the steering to a file that appears under its name only when whole.
    pub fn save_steering_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: zero-terminated text.
        self.call(|s| unsafe { sys::moe_session_save_steering_file(s, path.as_ptr()) })
    }

    /// Replaces the steering by that of a file.
    pub fn load_steering_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: as above.
        self.call(|s| unsafe { sys::moe_session_load_steering_file(s, path.as_ptr()) })?;
        self.sweep();
        Ok(())
    }
}

/// Gives C the session's own observer back, also when a panic goes through.
struct PutBack<'a>(&'a Session);

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if self.0.set_observer() < 0 {
            std::process::abort(); // C would go on calling a closure that is gone; it cannot happen outside of an eval
        }
    }
}

unsafe extern "C" fn observe_for_c(v: *const sys::moe_route_view, user: *mut c_void) -> c_int {
    // SAFETY: user is the closure, used by nobody else now; v is valid during the call.
    let (f, view) = unsafe { (&mut *(user as *mut ObserverFn<'_>), RouteView::from_raw(&*v)) };
    enter(|| f(&view))
}

unsafe extern "C" fn write_for_c<W: Write>(data: *const c_void, n: usize, user: *mut c_void) -> c_int {
    // SAFETY: user is the writer; n bytes are there.
    let (writer, bytes) = unsafe { (&mut *(user as *mut W), slice_at(data as *const u8, n)) };
    enter(|| writer.write_all(bytes))
}

unsafe extern "C" fn read_for_c<R: Read>(data: *mut c_void, n: usize, user: *mut c_void) -> c_int {
    if n == 0 {
        return 0;
    }
    // SAFETY: user is the reader; there is room for n bytes.
    let (reader, bytes) =
        unsafe { (&mut *(user as *mut R), std::slice::from_raw_parts_mut(data as *mut u8, n)) };
    enter(|| {
        reader.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::new(Status::Format, "the saved session ends too early")
            }
            _ => Error::from(e),
        })
    })
}
