// SPDX-License-Identifier: MIT
//! The boundary: calls into C that may call back, closures called from C, texts and arrays.
//!
//! A closure that panics, or that returns an error of its own, cannot tell C about it. It is kept here, C gets a
//! negative status, the call ends, and [`guarded`] takes up what was kept. Closures run on the thread that called,
//! so what is kept stands in a thread local; parallel policies, which run on other threads, use their session's
//! [`Stash`]. Other functions that run on threads of the library's (allocators, loggers, sources while weights are
//! read) fail with the status alone.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::raw::{c_char, c_int, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{check, Error, Result, Status};
use moe_sys as sys;

/// What a closure left behind.
pub(crate) enum Pending {
    Panic(Box<dyn Any + Send>),
    Error(Error),
}

thread_local! {
    /// Calls under way on this thread: without one nobody would take up what is kept.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PENDING: RefCell<Option<Pending>> = const { RefCell::new(None) };
    static CURRENT: RefCell<Option<Arc<Stash>>> = const { RefCell::new(None) };
}

/// The first thing kept counts.
fn keep_first(place: &mut Option<Pending>, new: Pending) {
    if place.is_none() {
        *place = Some(new);
    } else {
        discard(new);
    }
}

/// Drops what nobody will hear of. That may panic in turn, in which case the new payload is leaked.
fn discard(pending: Pending) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(pending))) {
        std::mem::forget(payload);
    }
}

fn swap_pending(new: Option<Pending>) -> Option<Pending> {
    PENDING.try_with(|p| p.replace(new)).unwrap_or(None)
}

/// Where closures on other threads leave things.
#[derive(Default)]
pub(crate) struct Stash {
    full: AtomicBool,
    pending: Mutex<Option<Pending>>,
}

impl Stash {
    pub(crate) fn keep(&self, new: Pending) {
        let mut place = self.pending.lock().unwrap_or_else(|e| e.into_inner());
        keep_first(&mut place, new);
        self.full.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Pending> {
        if !self.full.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.pending.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

/// The stash of the session that a policy is being made for.
pub(crate) fn current_stash() -> Arc<Stash> {
    CURRENT.try_with(|c| c.borrow().clone()).ok().flatten().unwrap_or_default()
}

/// [`guarded`] for a session: policies made during the call use its stash.
pub(crate) fn guarded_in(stash: &Arc<Stash>, call: impl FnOnce() -> c_int) -> Result<()> {
    let before = CURRENT.try_with(|c| c.replace(Some(Arc::clone(stash)))).unwrap_or(None);
    let (status, pending) = run(call);
    let _ = CURRENT.try_with(|c| c.replace(before));
    settle(status, stash.take().or(pending))
}

/// Calls into C; a panic of a closure goes on here, an error of a closure is the result.
pub(crate) fn guarded(call: impl FnOnce() -> c_int) -> Result<()> {
    let (status, pending) = run(call);
    settle(status, pending)
}

/// [`guarded`] for `Drop`: a panic goes on unless there is one already.
pub(crate) fn guarded_drop(stash: Option<&Stash>, call: impl FnOnce()) {
    let (_, pending) = run(|| {
        call();
        0
    });
    match stash.and_then(Stash::take).or(pending) {
        Some(Pending::Panic(payload)) if !std::thread::panicking() => resume_unwind(payload),
        Some(other) => discard(other),
        None => {}
    }
}

fn run(call: impl FnOnce() -> c_int) -> (c_int, Option<Pending>) {
    let outer = swap_pending(None); // of a closure that this call is made from
    let _ = DEPTH.try_with(|d| d.set(d.get() + 1));
    let status = call();
    let _ = DEPTH.try_with(|d| d.set(d.get() - 1));
    (status, swap_pending(outer))
}

fn settle(status: c_int, pending: Option<Pending>) -> Result<()> {
    match pending {
        Some(Pending::Panic(payload)) => resume_unwind(payload),
        Some(Pending::Error(e)) if status < 0 => Err(e),
        _ => check(status),
    }
}

/// What a closure given to the library may return: nothing, a `Result`, or a [`ControlFlow`] whose `Break` stops with
/// [`Status::Aborted`].
pub trait Outcome {
    /// As a result.
    fn outcome(self) -> Result<()>;
}

impl Outcome for () {
    fn outcome(self) -> Result<()> {
        Ok(())
    }
}

impl<E: Into<Error>> Outcome for std::result::Result<(), E> {
    fn outcome(self) -> Result<()> {
        self.map_err(Into::into)
    }
}

impl Outcome for ControlFlow<()> {
    fn outcome(self) -> Result<()> {
        match self {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::new(Status::Aborted, "stopped by a callback")),
        }
    }
}

fn attempt<R: Outcome>(call: impl FnOnce() -> R) -> std::result::Result<(), (c_int, Pending)> {
    match catch_unwind(AssertUnwindSafe(|| call().outcome())) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err((e.code(), Pending::Error(e))),
        Err(payload) => Err((sys::MOE_E_ABORTED, Pending::Panic(payload))),
    }
}

fn keep_here(new: Pending) {
    if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
        return discard(new); // a thread of the library's: the status alone tells
    }
    let mut new = Some(new);
    let _ = PENDING.try_with(|p| {
        if let Some(new) = new.take() {
            keep_first(&mut p.borrow_mut(), new);
        }
    });
    if let Some(new) = new {
        discard(new);
    }
}

/// Runs a closure on behalf of C: a status, never a panic.
pub(crate) fn enter<R: Outcome>(call: impl FnOnce() -> R) -> c_int {
    match attempt(call) {
        Ok(()) => 0,
        Err((status, pending)) => {
            keep_here(pending);
            status
        }
    }
}

/// The same on any thread.
pub(crate) fn enter_in<R: Outcome>(stash: &Stash, call: impl FnOnce() -> R) -> c_int {
    match attempt(call) {
        Ok(()) => 0,
        Err((status, pending)) => {
            stash.keep(pending);
            status
        }
    }
}

/// Runs a closure with a result for C; `otherwise` if it panics.
pub(crate) fn enter_or<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => value,
        Err(payload) => {
            keep_here(Pending::Panic(payload));
            otherwise
        }
    }
}

/// An owned value that C has a pointer to. Unlike a `Box` it may be moved while the pointer is in use.
pub(crate) struct Pinned<T>(*mut T);

// SAFETY: it owns its value like a Box.
unsafe impl<T: Send> Send for Pinned<T> {}

impl<T> Pinned<T> {
    pub(crate) fn new(value: T) -> Pinned<T> {
        Pinned(Box::into_raw(Box::new(value)))
    }

    pub(crate) fn user(&self) -> *mut c_void {
        self.0.cast()
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: made by Box::into_raw, dropped once.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

// -------------------------------------------------------------------------------------------- texts and arrays

pub(crate) fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|e| {
        Error::new(Status::Invalid, format!("a zero byte at place {} of a text", e.nul_position()))
    })
}

#[cfg(unix)]
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Status::Invalid, format!("{}: a zero byte in a path", path.display())))
}

#[cfg(not(unix))]
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    match path.to_str() {
        Some(text) => c_text(text),
        None => Err(Error::new(Status::Invalid, format!("{}: a path that is not Unicode", path.display()))),
    }
}

/// # Safety
/// NULL, or zero-terminated text valid for 'a.
pub(crate) unsafe fn text_at<'a>(p: *const c_char) -> std::borrow::Cow<'a, str> {
    if p.is_null() {
        return "".into();
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(p) }.to_string_lossy()
}

/// # Safety
/// NULL (then the slice is empty), or n values valid for 'a.
pub(crate) unsafe fn slice_at<'a, T>(p: *const T, n: usize) -> &'a [T] {
    if p.is_null() || n == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { std::slice::from_raw_parts(p, n) }
}

/// Calls a function of the form `(dst, cap, &n)` until its answer fits. `guess` is the first room.
///
/// # Safety
/// `call` fills in as many values as it says, at most `cap`.
pub(crate) unsafe fn collect<T: Copy>(
    guess: usize,
    mut call: impl FnMut(*mut T, usize, &mut usize) -> c_int,
) -> Result<Vec<T>> {
    let mut out: Vec<T> = Vec::with_capacity(guess);
    loop {
        let mut n = 0;
        let status = call(out.as_mut_ptr(), out.capacity(), &mut n);
        if status == sys::MOE_E_BUFFER && n > out.capacity() {
            out.reserve_exact(n);
            continue;
        }
        check(status)?;
        // SAFETY: the call has filled in n values; never beyond the room, whatever it says.
        unsafe { out.set_len(n.min(out.capacity())) };
        return Ok(out);
    }
}

/// [`collect`] for text.
///
/// # Safety
/// As for [`collect`].
pub(crate) unsafe fn collect_text(
    call: impl FnMut(*mut c_char, usize, &mut usize) -> c_int,
) -> Result<Vec<u8>> {
    // SAFETY: as promised by the caller; c_char and u8 have the same layout.
    let chars = unsafe { collect(256, call) }?;
    Ok(chars.into_iter().map(|c| c as u8).collect())
}

pub(crate) fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Values of C structs as Rust has them.
pub(crate) trait FromC<T> {
    /// # Safety
    /// Pointers are NULL or valid.
    unsafe fn from_c(value: T) -> Self;
}

macro_rules! plain {
    ($($ty:ty),+) => {
        $(impl FromC<$ty> for $ty {
            unsafe fn from_c(value: $ty) -> $ty { value }
        })+
    };
}
plain!(u32, u64, i32, f32, f64);

impl FromC<*const c_char> for String {
    unsafe fn from_c(value: *const c_char) -> String {
        // SAFETY: as promised by the caller.
        unsafe { text_at(value) }.into_owned()
    }
}

macro_rules! from_enum {
    ($($name:ident: $ty:ty),+) => {
        $(impl FromC<$ty> for crate::enums::$name {
            unsafe fn from_c(value: $ty) -> Self { Self::from_raw(value) }
        })+
    };
}
from_enum!(TensorType: i32, Ffn: i32, Use: i32, ExpertSource: u32);

impl FromC<u32> for crate::enums::Use {
    unsafe fn from_c(value: u32) -> Self {
        Self::from_raw(value as i32)
    }
}

impl FromC<u32> for crate::enums::TensorType {
    unsafe fn from_c(value: u32) -> Self {
        Self::from_raw(value as i32)
    }
}
