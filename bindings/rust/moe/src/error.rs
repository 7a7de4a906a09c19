// SPDX-License-Identifier: MIT
//! Statuses and the error type.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::os::raw::c_int;

use crate::enums::raw_enum;
use moe_sys as sys;

/// What all fallible functions of this crate answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

raw_enum! {
    /// Kinds of failure. docs/errors.md of the library says when each appears.
    Status: c_int {
        /// A wrong argument.
        Invalid = MOE_E_INVALID,
        /// An allocation failed.
        NoMemory = MOE_E_NOMEM,
        /// The operating system refused a file operation.
        Io = MOE_E_IO,
        /// A damaged or self-contradictory file.
        Format = MOE_E_FORMAT,
        /// A sound file or request that this build of the library cannot serve.
        Unsupported = MOE_E_UNSUPPORTED,
        /// Struct, file or library versions do not go together.
        Version = MOE_E_VERSION,
        /// An index, token or position out of range.
        Range = MOE_E_RANGE,
        /// The call is not legal now.
        State = MOE_E_STATE,
        /// No room left: KV cache, sequences, rows of results, memory budget, threads.
        Full = MOE_E_FULL,
        /// A buffer is too small.
        Buffer = MOE_E_BUFFER,
        /// No such file, key, tensor, token or name.
        NotFound = MOE_E_NOTFOUND,
        /// Interrupted, or a callback said stop.
        Aborted = MOE_E_ABORTED,
        /// A callback broke its contract.
        Callback = MOE_E_CALLBACK,
        /// A routing policy returned an illegal result.
        Policy = MOE_E_POLICY,
        /// Infinite or not-a-number values where finite ones are needed.
        Numeric = MOE_E_NUMERIC,
        /// A fault of the library itself; please report it.
        Internal = MOE_E_INTERNAL,
    }
}

impl Status {
    /// Name of the status in C, e.g. `MOE_E_FORMAT`.
    pub fn name(self) -> &'static str {
        // SAFETY: takes any number, gives static text.
        unsafe { static_text(sys::moe_status_name(self.to_raw())) }
    }
}

/// Why a call failed: the kind, and the library's message, which tells what, where, expected and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: Cow<'static, str>,
}

impl Error {
    /// An error of the program's own, e.g. to stop an evaluation from a callback: it comes out of the call that the
    /// callback ran in.
    ///
    /// ```
    /// let e = moe::Error::new(moe::Status::Aborted, "the player walked away");
    /// assert_eq!(e.to_string(), "the player walked away");
    /// ```
    pub fn new(status: Status, message: impl Into<Cow<'static, str>>) -> Error {
        Error { status, message: message.into() }
    }

    /// What kind of failure it is.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The message, without the kind.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What this thread's last call into the library says.
    pub(crate) fn last(status: c_int) -> Error {
        // SAFETY: never NULL, valid until this thread's next call.
        let text = unsafe { CStr::from_ptr(sys::moe_last_error()) };
        Error { status: Status::from_raw(status), message: text.to_string_lossy().into_owned().into() }
    }

    /// The number that a callback returns for it: always below zero.
    pub(crate) fn code(&self) -> c_int {
        let code = self.status.to_raw();
        if code < 0 {
            code
        } else {
            sys::MOE_E_ABORTED
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.message.is_empty() { self.status.name() } else { &self.message })
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        let status = match e.kind() {
            std::io::ErrorKind::NotFound => Status::NotFound,
            std::io::ErrorKind::OutOfMemory => Status::NoMemory,
            _ => Status::Io,
        };
        Error::new(status, e.to_string())
    }
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> std::io::Error {
        use std::io::ErrorKind;
        let kind = match e.status {
            Status::NotFound => ErrorKind::NotFound,
            Status::NoMemory => ErrorKind::OutOfMemory,
            Status::Invalid => ErrorKind::InvalidInput,
            Status::Format => ErrorKind::InvalidData,
            Status::Unsupported => ErrorKind::Unsupported,
            Status::Aborted => ErrorKind::Interrupted,
            _ => ErrorKind::Other,
        };
        std::io::Error::new(kind, e)
    }
}

/// Something that a call did not take, and why. `?` turns it into the [`Error`].
#[derive(Debug)]
pub struct Rejected<T> {
    /// Why it was not taken.
    pub error: Error,
    /// What was handed in.
    pub value: T,
}

impl<T> From<Rejected<T>> for Error {
    fn from(r: Rejected<T>) -> Error {
        r.error
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for Rejected<T> {}

pub(crate) fn check(status: c_int) -> Result<()> {
    if status >= 0 {
        Ok(())
    } else {
        Err(Error::last(status))
    }
}

/// # Safety
/// NULL, or zero-terminated text that lives forever.
pub(crate) unsafe fn static_text(p: *const std::os::raw::c_char) -> &'static str {
    if p.is_null() {
        return "";
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(p) }.to_str().unwrap_or("")
}
