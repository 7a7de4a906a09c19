// SPDX-License-Identifier: MIT
//! Smaller copies of model files.

use std::fmt;
use std::os::raw::c_int;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use crate::error::Result;
use crate::ffi::{c_path, c_text, guarded, Outcome};
use crate::info::Progress;
use crate::library::{check_version, thread_count};
use crate::memory::{address, c_allocator, Allocator, Hooks};
use crate::model::{progress_for_c, ProgressFn};
use moe_sys as sys;

/// Writes a quantised copy of a GGUF model; the file appears only when whole.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
/// # let copy = std::env::temp_dir().join(format!("moe-doc-{}.gguf", std::process::id()));
/// moe::Quantize::new("Q8_0").threads(1).run(path, &copy)?;
/// assert_eq!(moe::Model::open(&copy)?.info().arch, "qwen3moe");
/// # std::fs::remove_file(copy)?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Quantize<'p> {
    recipe: String,
    rules: Option<String>,
    n_threads: c_int,
    progress: Option<ProgressFn<'p>>,
    allocator: Option<Arc<dyn Allocator>>,
}

impl<'p> Quantize<'p> {
    /// By a recipe: a type (`Q8_0`) or a mix (`Q4_K_M`); see [`quantize_recipes`](crate::quantize_recipes).
    pub fn new(recipe: impl Into<String>) -> Quantize<'p> {
        Quantize { recipe: recipe.into(), rules: None, n_threads: 0, progress: None, allocator: None }
    }

    /// `pattern=TYPE,...`; the first pattern that matches a tensor's name wins.
    pub fn rules(mut self, rules: impl Into<String>) -> Self {
        self.rules = Some(rules.into());
        self
    }

    /// Threads; 0 = one per usable CPU.
    pub fn threads(mut self, n: usize) -> Self {
        self.n_threads = thread_count(n);
        self
    }

    /// Hears how it goes on, and may stop it.
    pub fn progress<F, R>(mut self, mut f: F) -> Self
    where
        F: FnMut(&Progress) -> R + 'p,
        R: Outcome,
    {
        self.progress = Some(Box::new(move |p| f(p).outcome()));
        self
    }

    /// Memory of the program's own.
    pub fn allocator(mut self, allocator: Arc<dyn Allocator>) -> Self {
        self.allocator = Some(allocator);
        self
    }

    /// Reads `src` (or the first of a split set) and writes `dst`.
    pub fn run(mut self, src: impl AsRef<Path>, dst: impl AsRef<Path>) -> Result<()> {
        check_version()?;
        let (src, dst) = (c_path(src.as_ref())?, c_path(dst.as_ref())?);
        let recipe = c_text(&self.recipe)?;
        let rules = self.rules.as_deref().map(c_text).transpose()?;
        let keep = Hooks::of(self.allocator.take());
        let hook = c_allocator(&keep);
        let mut raw = sys::moe_quantize_options {
            recipe: recipe.as_ptr(),
            rules: rules.as_ref().map_or(ptr::null(), |r| r.as_ptr()),
            n_threads: self.n_threads,
            allocator: address(&hook),
            ..sys::MOE_QUANTIZE_OPTIONS_INIT
        };
        if let Some(f) = &mut self.progress {
            raw.progress = Some(progress_for_c);
            raw.progress_user = (f as *mut ProgressFn<'p>).cast();
        }
        // SAFETY: everything lives during the call.
        guarded(|| unsafe { sys::moe_quantize(src.as_ptr(), dst.as_ptr(), &raw) })
    }
}

impl fmt::Debug for Quantize<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quantize").field("recipe", &self.recipe).finish_non_exhaustive()
    }
}
