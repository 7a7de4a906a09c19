// SPDX-License-Identifier: MIT
//! Load and run Mixture-of-Experts language models on the CPU, watch what their routers decide, and steer them:
//! libmoe for Rust.
//!
//! ```
//! # fn main() -> moe::Result<()> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/demo.gguf");
//! let model = moe::Model::open(path)?;
//! let mut session = model.session()?;
//! let mut sampler = moe::Sampler::parse("top-k:k=40;temp:t=0.8;dist:seed=7")?;
//! for piece in session.generate("Once upon a time", &mut sampler)?.max_tokens(30) {
//!     print!("{}", piece?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Objects
//!
//! | type | what | threads |
//! | --- | --- | --- |
//! | [`Model`], [`Tokenizer`], [`Weights`] | immutable, a clone is another reference | `Send + Sync` |
//! | [`Session`] | all that changes while a model runs; keeps its model alive | `Send` |
//! | [`Router`], [`Expert`] | borrow their session | `Send` |
//! | [`RouterRef`], [`ExpertRef`] | the same, to look at | |
//! | [`Sampler`], [`Profile`], [`Trace`] | one owner at a time | `Send` |
//! | [`Interrupt`] | stops a session from anywhere | `Send + Sync` |
//!
//! What borrows from a session (logits, routers, views) is borrowed in the eyes of the compiler too: misuse is a compile
//! error. A session with a profile or a trace owns it until it is taken back.
//!
//! # Closures
//!
//! Observers, policies, expert functions, hooks, progress and sampler stages are closures. They return nothing, a
//! `Result`, or a [`ControlFlow`](std::ops::ControlFlow) ([`Outcome`]). An error comes out of the call that they ran in,
//! as it is. A panic is caught before it reaches C and goes on in the caller; the session is then as after a failed
//! call. (Allocators, loggers and sources that panic on a thread of the library's make the call fail instead.)
//!
//! # Errors
//!
//! [`Error`] has a [`Status`] and the library's message, which tells what, where, expected and found.
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]
#![warn(missing_debug_implementations, rust_2018_idioms)]

mod enums;
mod error;
mod executor;
mod expert;
mod ffi;
mod generate;
mod hook;
mod info;
mod library;
mod memory;
mod mix;
mod model;
mod policy;
mod profile;
mod quantize;
mod route;
mod sampler;
mod session;
mod source;
mod tokenizer;
mod trace;
mod view;

pub use enums::*;
pub use error::{Error, Rejected, Result, Status};
pub use executor::Executor;
pub use expert::{Expert, ExpertCall, ExpertRef, ExpertWeights, Weights};
pub use ffi::Outcome;
pub use generate::{Text, Tokens};
pub use hook::LayerEvent;
pub use info::*;
pub use library::*;
pub use memory::{Allocator, MemoryLimit};
pub use mix::{mix_logits, mix_sessions, Contrast, Shape};
pub use model::{plan, MetaValue, Model, ModelOptions, TensorInfo};
pub use moe_sys;
pub use policy::{InputRow, Policy, PolicyInfo, PolicyOptions, RouteInput, RouteOutput};
pub use profile::{Profile, ProfileOptions};
pub use quantize::Quantize;
pub use route::{Override, RouteSpec, Router, RouterRef};
pub use sampler::{Candidates, Sampler, Stage as SampleStage};
pub use session::{Batch, Interrupt, KvType, Session, SessionOptions, Want};
pub use source::Source;
pub use tokenizer::{Decoder, Encode, TokenAttr, Tokenizer};
pub use trace::{Trace, TraceOptions, TraceRow};
pub use view::{RouteRow, RouteRows, RouteView};

/// Index into the vocabulary.
pub type Token = moe_sys::moe_token;
/// Position in a sequence, from 0.
pub type Pos = moe_sys::moe_pos;
/// Sequence of a session, from 0.
pub type Seq = moe_sys::moe_seq;

/// "No expert" in routing results: a null expert was chosen.
pub const NO_EXPERT: u32 = moe_sys::MOE_EXPERT_NONE;

// What may go where. The opposite stands in compile-fail examples (Session) and below.
const _: () = {
    const fn send<T: Send>() {}
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Model>();
    send_and_sync::<Tokenizer>();
    send_and_sync::<Weights>();
    send_and_sync::<Interrupt>();
    send_and_sync::<Error>();
    send_and_sync::<MemoryLimit>();
    send_and_sync::<Batch>();
    send_and_sync::<RouteSpec>();
    send::<Session>();
    send::<Router<'static>>();
    send::<Expert<'static>>();
    send::<Sampler>();
    send::<Profile>();
    send::<Trace>();
    send::<Text<'static>>();
    send::<Decoder>();
};

/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<moe::Sampler>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<moe::Profile>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<moe::Trace>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<moe::RouterRef<'static>>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<moe::RouteView<'static>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<moe::Router<'static>>();
/// ```
#[cfg(doctest)]
#[allow(dead_code)]
struct NotAcrossThreads;
