// SPDX-License-Identifier: MIT
//! Model files that do not lie in the file system.

use std::ffi::CString;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::ffi::{enter, enter_or, text_at};
use moe_sys as sys;

/// A file of the program's own: in memory, in an archive. Called from several threads at once, while the model is
/// opened and until its last clone, session and tokenizer are gone.
pub trait Source: Send + Sync {
    /// Bytes of the file.
    fn length(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`, all of it.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The whole file in place, if it lies in memory. Weights are then used where they are, if their addresses are
    /// multiples of 4.
    fn bytes(&self) -> Option<&[u8]> {
        None
    }

    /// Another file of a split set, `name` being its name beside this one.
    fn sibling(&self, name: &str) -> Result<Box<dyn Source>> {
        Err(Error::new(Status::NotFound, format!("no file {name} beside this one")))
    }

    /// Name for messages.
    fn name(&self) -> String {
        "memory".into()
    }
}

macro_rules! in_memory {
    ($($ty:ty),+) => {
        $(impl Source for $ty {
            fn length(&self) -> u64 {
                self.len() as u64
            }

            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
                let all: &[u8] = self;
                let start = usize::try_from(offset).ok().filter(|&o| o <= all.len());
                match start.and_then(|o| all[o..].get(..buf.len())) {
                    Some(part) => {
                        buf.copy_from_slice(part);
                        Ok(())
                    }
                    None => Err(Error::new(Status::Io, "read past the end")),
                }
            }

            fn bytes(&self) -> Option<&[u8]> {
                Some(self)
            }
        })+
    };
}
in_memory!(Vec<u8>, Box<[u8]>, Arc<[u8]>, &'static [u8]);

/// A source in C's hands.
struct Held {
    source: Box<dyn Source>,
}

/// The C struct and its user pointer, which C gives back to `close`.
pub(crate) fn hand_over(source: Box<dyn Source>) -> (sys::moe_file, CString, *mut c_void) {
    let name = CString::new(source.name().replace('\0', "")).unwrap_or_default();
    let file = sys::moe_file {
        name: ptr::null(), // set by the caller, who has the text
        length: Some(length),
        read_at: Some(read_at),
        map: Some(map),
        sibling: Some(sibling),
        close: Some(close),
        ..sys::MOE_FILE_INIT
    };
    (file, name, Box::into_raw(Box::new(Held { source })).cast())
}

/// # Safety
/// `f` is a Held that was not closed.
unsafe fn held<'a>(f: *mut c_void) -> &'a Held {
    // SAFETY: as promised by the caller.
    unsafe { &*(f as *const Held) }
}

unsafe extern "C" fn length(f: *mut c_void) -> u64 {
    // SAFETY: C calls with what it was given.
    let held = unsafe { held(f) };
    enter_or(0, || held.source.length())
}

unsafe extern "C" fn read_at(f: *mut c_void, off: u64, dst: *mut c_void, n: usize) -> c_int {
    if n == 0 {
        return 0;
    }
    // SAFETY: as above; dst has room for n bytes, which nobody else uses now.
    let (held, buf) = unsafe { (held(f), std::slice::from_raw_parts_mut(dst as *mut u8, n)) };
    enter(|| held.source.read_at(off, buf))
}

unsafe extern "C" fn map(f: *mut c_void, off: u64, n: usize) -> *const c_void {
    // SAFETY: as above. The slice is borrowed from the source, which is neither moved nor changed until close.
    let held = unsafe { held(f) };
    let part = enter_or(None, || held.source.bytes()?.get(usize::try_from(off).ok()?..)?.get(..n));
    part.map_or(ptr::null(), |p: &[u8]| p.as_ptr().cast())
}

unsafe extern "C" fn sibling(
    f: *mut c_void,
    name: *const c_char,
    out: *mut sys::moe_file,
    out_user: *mut *mut c_void,
) -> c_int {
    // SAFETY: as above; name is text during the call, out and out_user are to be filled in.
    let (held, name) = unsafe { (held(f), text_at(name)) };
    enter(|| -> Result<()> {
        let other = held.source.sibling(&name)?;
        let (file, _, user) = hand_over(other);
        // SAFETY: as above. Without a name C uses the one it asked for, or none.
        unsafe {
            *out = file;
            *out_user = user;
        }
        Ok(())
    })
}

unsafe extern "C" fn close(f: *mut c_void) {
    // SAFETY: called once, with what hand_over made.
    let held = unsafe { Box::from_raw(f as *mut Held) };
    enter_or((), || drop(held));
}
