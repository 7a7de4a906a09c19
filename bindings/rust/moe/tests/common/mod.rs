// SPDX-License-Identifier: MIT
//! Models of the repository, and a folder that goes with its owner.
#![allow(dead_code)] // each test program uses some of it

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A tiny model of the C library's tests.
pub fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/data").join(name)
}

/// The bundled model.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/models/demo.gguf")
}

pub fn qwen() -> moe::Model {
    moe::Model::open(tiny("qwen3moe.gguf")).unwrap()
}

/// One thread: the tests run side by side.
pub fn session(model: &moe::Model) -> moe::Session {
    moe::Session::options().threads(1).create(model).unwrap()
}

pub const PROMPT: &[moe::Token] = &[1, 5, 9, 2, 7, 3];

/// Bits, so that -0 and 0 differ and NaN equals itself.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Bits of the logits behind the prompt.
pub fn logits(session: &mut moe::Session) -> Vec<u32> {
    session.reset();
    session.eval(PROMPT).unwrap();
    bits(session.logits(0).unwrap())
}

pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static N: AtomicU32 = AtomicU32::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("moe-rust-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
