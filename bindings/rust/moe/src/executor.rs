// SPDX-License-Identifier: MIT
//! The program's own threads for a session's work.

use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::ffi::enter;
use moe_sys as sys;

/// Runs tasks of a session on threads of the program's own, e.g. a game's job system.
pub trait Executor: Send + Sync {
    /// Calls `task(i)` once for every i < n, at the same time (all n must be running or done before it returns: they
    /// wait for one another), and returns when all have. An error: no call was made; the evaluation then fails.
    fn run(&self, n: u32, task: &(dyn Fn(u32) + Sync)) -> Result<()>;
}

const WORDS: usize = 16; // one bit for each of at most 1024 members

struct Task {
    call: unsafe extern "C" fn(*mut c_void, u32),
    arg: *mut c_void,
    n: u32,
    called: [AtomicU64; WORDS],
}

// SAFETY: the library lets each task be called on any thread.
unsafe impl Sync for Task {}

impl Task {
    /// Once for each i; a second call, or an i past the end, is left out: the library would not survive it.
    fn call(&self, i: u32) {
        let bit = 1u64 << (i % 64);
        let word = match self.called.get(i as usize / 64) {
            Some(word) if i < self.n => word,
            _ => return,
        };
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            // SAFETY: i < n, called once.
            unsafe { (self.call)(self.arg, i) }
        }
    }
}

/// For a session whose options hold the executor: `user` is a `Box<dyn Executor>`.
pub(crate) unsafe extern "C" fn run_for_c(
    n: u32,
    task: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    arg: *mut c_void,
    user: *mut c_void,
) -> c_int {
    // SAFETY: kept by the session.
    let executor = unsafe { &*(user as *const Box<dyn Executor>) };
    let call = match task {
        Some(call) if n as usize <= WORDS * 64 => call,
        _ => return sys::MOE_E_CALLBACK,
    };
    let task = Task { call, arg, n, called: Default::default() };
    enter(|| executor.run(n, &|i| task.call(i)))
}
