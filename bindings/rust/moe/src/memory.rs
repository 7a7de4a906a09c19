// SPDX-License-Identifier: MIT
//! Hooks that a model carries: memory and log.

use std::alloc::{alloc, dealloc, Layout};
use std::ffi::CStr;
use std::mem::size_of;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use crate::enums::LogLevel;
use crate::ffi::enter_or;
use moe_sys as sys;

/// Where the library takes memory from. Its functions are called from several threads at once.
///
/// # Safety
/// `alloc` gives memory that is as large and aligned as asked, and that nothing else uses until `free`.
pub unsafe trait Allocator: Send + Sync {
    /// At least `size` > 0 bytes aligned to `align` (a power of two), or null when there are none left.
    fn alloc(&self, size: usize, align: usize) -> *mut u8;

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` came from `alloc` of this allocator with this `size`, and is given back once.
    unsafe fn free(&self, block: *mut u8, size: usize);
}

/// Rust's own memory, counted, and refused above a limit.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
/// use std::sync::Arc;
/// let memory = Arc::new(moe::MemoryLimit::new(1000));
/// let error = moe::Model::options().allocator(memory.clone()).open(path).unwrap_err();
/// assert_eq!(error.status(), moe::Status::NoMemory);
/// assert_eq!(memory.used(), 0); // nothing is left behind
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryLimit {
    limit: AtomicUsize,
    used: AtomicUsize,
    peak: AtomicUsize,
    blocks: AtomicUsize,
}

impl MemoryLimit {
    /// At most so many bytes at a time.
    pub fn new(bytes: usize) -> MemoryLimit {
        let zero = || AtomicUsize::new(0);
        MemoryLimit { limit: AtomicUsize::new(bytes), used: zero(), peak: zero(), blocks: zero() }
    }

    /// Another limit from now on; what is taken stays.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Most bytes that were in use at a time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Blocks handed out so far.
    pub fn blocks(&self) -> usize {
        self.blocks.load(Ordering::Relaxed)
    }

    fn layout(size: usize, pad: usize) -> Option<Layout> {
        Layout::from_size_align(size.checked_add(pad)?, pad).ok()
    }
}

// SAFETY: blocks come from Rust's allocator; each has its padding, a multiple of its alignment, in front, and the
// padding's size right before the block, since `free` is not told it.
unsafe impl Allocator for MemoryLimit {
    fn alloc(&self, size: usize, align: usize) -> *mut u8 {
        let pad = align.max(2 * size_of::<usize>());
        let layout = match MemoryLimit::layout(size, pad) {
            Some(layout) => layout,
            None => return ptr::null_mut(),
        };
        let limit = self.limit.load(Ordering::Relaxed);
        let grow = |used: usize| used.checked_add(size).filter(|&n| n <= limit);
        let used = match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
            Ok(before) => before + size,
            Err(_) => return ptr::null_mut(),
        };
        // SAFETY: the layout's size is not zero.
        let block = unsafe { alloc(layout) };
        if block.is_null() {
            self.used.fetch_sub(size, Ordering::Relaxed);
            return block;
        }
        self.peak.fetch_max(used, Ordering::Relaxed);
        self.blocks.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the padding has room for a number and is aligned for it.
        unsafe {
            let start = block.add(pad);
            start.cast::<usize>().sub(1).write(pad);
            start
        }
    }

    unsafe fn free(&self, block: *mut u8, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
        // SAFETY: the block is one of `alloc` with this size, so its padding stands before it.
        unsafe {
            let pad = block.cast::<usize>().sub(1).read();
            if let Some(layout) = MemoryLimit::layout(size, pad) {
                dealloc(block.sub(pad), layout);
            }
        }
    }
}

pub(crate) type LogFn = dyn Fn(LogLevel, &str, &str) + Send + Sync;

/// What C keeps pointers to. It lives as long as anything made with it.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) allocator: Option<Arc<dyn Allocator>>,
    pub(crate) logger: Option<(LogLevel, Arc<LogFn>)>,
}

/// `None`: no hooks, nothing to keep.
pub(crate) type Keep = Option<Arc<Hooks>>;

impl Hooks {
    pub(crate) fn keep(&self) -> Keep {
        (self.allocator.is_some() || self.logger.is_some()).then(|| Arc::new(self.clone()))
    }

    pub(crate) fn of(allocator: Option<Arc<dyn Allocator>>) -> Keep {
        Hooks { allocator, logger: None }.keep()
    }
}

/// The C struct for a hook; its `user` points into `keep`.
pub(crate) fn c_allocator(keep: &Keep) -> Option<sys::moe_allocator> {
    let hooks = keep.as_ref().filter(|h| h.allocator.is_some())?;
    Some(sys::moe_allocator {
        alloc: Some(alloc_for_c),
        free: Some(free_for_c),
        user: Arc::as_ptr(hooks) as *mut c_void,
        ..sys::MOE_ALLOCATOR_INIT
    })
}

pub(crate) fn c_logger(keep: &Keep) -> Option<sys::moe_logger> {
    let hooks = keep.as_ref()?;
    let (level, _) = hooks.logger.as_ref()?;
    Some(sys::moe_logger {
        level: level.to_raw(),
        write: Some(log_for_c),
        user: Arc::as_ptr(hooks) as *mut c_void,
        ..sys::MOE_LOGGER_INIT
    })
}

/// The address of a struct, or NULL.
pub(crate) fn address<T>(value: &Option<T>) -> *const T {
    value.as_ref().map_or(ptr::null(), |v| v)
}

unsafe extern "C" fn alloc_for_c(n: usize, align: usize, user: *mut c_void) -> *mut c_void {
    // SAFETY: `user` is a Hooks that is kept as long as the library may call.
    let hooks = unsafe { &*(user as *const Hooks) };
    enter_or(ptr::null_mut(), || match &hooks.allocator {
        Some(a) => a.alloc(n, align).cast(),
        None => ptr::null_mut(),
    })
}

unsafe extern "C" fn free_for_c(p: *mut c_void, n: usize, user: *mut c_void) {
    // SAFETY: as above; p came from alloc_for_c with n.
    let hooks = unsafe { &*(user as *const Hooks) };
    enter_or((), || {
        if let Some(a) = &hooks.allocator {
            // SAFETY: as above.
            unsafe { a.free(p.cast(), n) }
        }
    });
}

unsafe extern "C" fn log_for_c(level: c_int, area: *const c_char, msg: *const c_char, user: *mut c_void) {
    // SAFETY: `user` as above; both texts are valid during the call.
    let (hooks, area, msg) = unsafe {
        (
            &*(user as *const Hooks),
            CStr::from_ptr(area).to_string_lossy(),
            CStr::from_ptr(msg).to_string_lossy(),
        )
    };
    enter_or((), || {
        if let Some((_, log)) = &hooks.logger {
            log(LogLevel::from_raw(level), &area, &msg);
        }
    });
}
