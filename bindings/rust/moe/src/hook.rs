// SPDX-License-Identifier: MIT
//! Hooks on hidden states.

use std::cell::UnsafeCell;
use std::os::raw::{c_int, c_void};

use crate::enums::Place;
use crate::error::Result;
use crate::ffi::{enter, slice_at};
use crate::{Pos, Seq, Token};
use moe_sys as sys;

/// Hidden states on their way through a layer.
#[derive(Debug)]
pub struct LayerEvent<'a> {
    raw: &'a sys::moe_layer_event,
}

impl LayerEvent<'_> {
    /// The layer.
    pub fn layer(&self) -> u32 {
        self.raw.layer
    }

    /// The place in it.
    pub fn place(&self) -> Place {
        Place::from_raw(self.raw.r#where)
    }

    /// Rows.
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

    /// The states, row after row.
    pub fn hidden(&self) -> &[f32] {
        // SAFETY: n_rows rows of dim floats.
        unsafe { slice_at(self.raw.hidden, self.len() * self.dim()) }
    }

    /// The states, to be edited: what is written there is what the model goes on with.
    pub fn hidden_mut(&mut self) -> &mut [f32] {
        let n = self.len() * self.dim();
        if self.raw.hidden.is_null() || n == 0 {
            return &mut [];
        }
        // SAFETY: as above; this borrows the event exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.raw.hidden, n) }
    }

    /// The tokens of the rows.
    pub fn tokens(&self) -> &[Token] {
        // SAFETY: n_rows values, or NULL.
        unsafe { slice_at(self.raw.token, self.len()) }
    }

    /// Their positions.
    pub fn positions(&self) -> &[Pos] {
        // SAFETY: as above.
        unsafe { slice_at(self.raw.pos, self.len()) }
    }

    /// Their sequences.
    pub fn sequences(&self) -> &[Seq] {
        // SAFETY: as above.
        unsafe { slice_at(self.raw.seq, self.len()) }
    }
}

type Closure = Box<dyn FnMut(&mut LayerEvent<'_>) -> Result<()> + Send>;

/// A hook, shared by the layers of one session.
pub(crate) struct HookFn(UnsafeCell<Closure>);

// SAFETY: called only by the thread that evaluates its session, one event at a time.
unsafe impl Sync for HookFn {}

impl HookFn {
    pub(crate) fn new(f: Closure) -> HookFn {
        HookFn(UnsafeCell::new(f))
    }
}

pub(crate) unsafe extern "C" fn hook_for_c(event: *const sys::moe_layer_event, user: *mut c_void) -> c_int {
    // SAFETY: user is a HookFn that its session keeps, which nobody else uses now; event is valid during the call.
    let (f, raw) = unsafe { (&mut *(*(user as *const HookFn)).0.get(), &*event) };
    enter(|| f(&mut LayerEvent { raw }))
}
