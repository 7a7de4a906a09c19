// SPDX-License-Identifier: MIT
//! What the library in use and this CPU can do.

use std::os::raw::{c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::enums::TensorType;
use crate::error::{static_text, Error, Result, Status};
use crate::ffi::c_text;
use moe_sys as sys;

/// Version of the library in use as `(major, minor, patch)`.
pub fn version() -> (u8, u8, u8) {
    // SAFETY: takes nothing.
    let v = unsafe { sys::moe_version() };
    ((v >> 16) as u8, (v >> 8) as u8, v as u8)
}

/// Version of the library in use as text.
pub fn version_string() -> &'static str {
    // SAFETY: static text.
    unsafe { static_text(sys::moe_version_string()) }
}

/// Compiler, build type, thread layer, compiled instruction sets, on one line.
pub fn build_info() -> &'static str {
    // SAFETY: static text.
    unsafe { static_text(sys::moe_build_info()) }
}

/// Whether the build has a feature: `openmp`, `pool`, `serial`, `mmap`, `avx2`, `avx512`, `vnni`.
pub fn has_feature(name: &str) -> bool {
    // SAFETY: zero-terminated text.
    c_text(name).map_or(false, |name| unsafe { sys::moe_has_feature(name.as_ptr()) } != 0)
}

/// The best instruction-set level of this CPU that the build has kernels for.
pub fn cpu_isa() -> &'static str {
    // SAFETY: static text.
    unsafe { static_text(sys::moe_cpu_isa()) }
}

/// Names of the supported architectures, as in `general.architecture` of model files.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    // SAFETY: takes any number; static text.
    (0..unsafe { sys::moe_arch_count() }).map(|i| unsafe { static_text(sys::moe_arch_name(i)) })
}

/// The supported types of tensors.
pub fn tensor_types() -> impl Iterator<Item = TensorType> {
    // SAFETY: takes any number.
    (0..unsafe { sys::moe_type_count() }).map(|i| TensorType::from_raw(unsafe { sys::moe_type_at(i) }))
}

/// The compute kernels: name, and the instruction-set level of the version that runs on this CPU.
pub fn kernels() -> impl Iterator<Item = (&'static str, &'static str)> {
    // SAFETY: takes nothing.
    (0..unsafe { sys::moe_kernel_count() }).filter_map(|i| {
        let (mut name, mut isa): (*const c_char, *const c_char) = (ptr::null(), ptr::null());
        // SAFETY: both receive static text if the answer is 0.
        (unsafe { sys::moe_kernel_at(i, &mut name, &mut isa) } == 0)
            .then(|| unsafe { (static_text(name), static_text(isa)) })
    })
}

/// Rules and family recipes that [`Router::set_named`](crate::Router::set_named) knows: name and a line about each.
pub fn policies() -> impl Iterator<Item = (&'static str, &'static str)> {
    (0..).map_while(|i| {
        let mut summary: *const c_char = ptr::null();
        // SAFETY: takes any number; static text or NULL past the end.
        unsafe {
            let name = sys::moe_policy_name(i, &mut summary);
            (!name.is_null()).then(|| (static_text(name), static_text(summary)))
        }
    })
}

/// Recipes that [`Quantize`](crate::Quantize) knows.
pub fn quantize_recipes() -> impl Iterator<Item = &'static str> {
    (0..).map_while(|i| {
        // SAFETY: takes any number; static text or NULL past the end.
        unsafe {
            let name = sys::moe_recipe_name(i);
            (!name.is_null()).then(|| static_text(name))
        }
    })
}

/// Refuses a library older than the declarations. Everything that opens or makes something asks first.
pub(crate) fn check_version() -> Result<()> {
    static GOOD: AtomicBool = AtomicBool::new(false);
    if GOOD.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: takes nothing.
    let found = unsafe { sys::moe_version() };
    if found < sys::MOE_VERSION {
        let (major, minor, patch) = version();
        return Err(Error::new(
            Status::Version,
            format!(
                "libmoe {major}.{minor}.{patch} is older than this crate needs ({:#x})",
                sys::MOE_VERSION
            ),
        ));
    }
    GOOD.store(true, Ordering::Relaxed);
    Ok(())
}

/// Threads as C has them.
pub(crate) fn thread_count(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}
