// SPDX-License-Identifier: MIT
//! Declarations of [libmoe](https://docs.rs/moe), generated from its headers. They say what the C header says, in
//! its words: what a pointer may be, who frees what, which thread may call. The crate `moe` wraps all of it safely.
//!
//! `build.rs` tells how the library is found: `pkg-config`, `LIBMOE_LIB_DIR`, or the feature `vendored`.
#![allow(non_camel_case_types)]
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]


#[allow(missing_docs)]
#[rustfmt::skip] // generated
mod bindings;
pub use bindings::*;

#[cfg(test)]
mod layout;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_library_is_new_enough() {
        // SAFETY: takes nothing, gives static text.
        let (number, text) = unsafe { (moe_version(), CStr::from_ptr(moe_version_string())) };
        assert!(number >= MOE_VERSION, "{number:#x}");
        assert!(!text.to_bytes().is_empty());
    }

    #[test]
    fn start_values_have_their_size() {
        assert_eq!(MOE_MODEL_OPTIONS_INIT.size, std::mem::size_of::<moe_model_options>());
        assert_eq!(moe_route_spec::default().size, std::mem::size_of::<moe_route_spec>());
        assert_eq!(MOE_FUNCTIONS.first(), Some(&"moe_version"));
    }
}
