// SPDX-License-Identifier: MIT
//! What this crate costs against C:  cargo run --release --example overhead -- MODEL.gguf [TOKENS] [ROUNDS]
//!
//! The same work by both interfaces, side by side, in turns: decode TOKENS tokens, one thread, picking each with the same
//! chain. Once through the safe crate (an iterator of text), once through the C functions as a C program calls them.
//! Printed: the median over the rounds of the processor time of a token, the median of the differences of neighbours,
//! and both in percent. On Linux other programs that run at the same time disturb little; elsewhere it is wall time.

use moe::moe_sys as sys;

const CHAIN: &str = "top-k:k=40;temp:t=0.8;dist:seed=7";
const PROMPT: &str = "Once upon a time";

/// Nanoseconds that this thread has run.
#[cfg(target_os = "linux")]
fn cpu_ns() -> u64 {
    #[repr(C)]
    struct TimeSpec {
        s: std::os::raw::c_long,
        ns: std::os::raw::c_long,
    }
    extern "C" {
        fn clock_gettime(clock: std::os::raw::c_int, time: *mut TimeSpec) -> std::os::raw::c_int;
    }
    const THREAD_CPUTIME: std::os::raw::c_int = 3;
    let mut time = TimeSpec { s: 0, ns: 0 };
    // SAFETY: the C library's function and struct, which std links with.
    assert_eq!(unsafe { clock_gettime(THREAD_CPUTIME, &mut time) }, 0);
    time.s as u64 * 1_000_000_000 + time.ns as u64
}

#[cfg(not(target_os = "linux"))]
fn cpu_ns() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64)
}

/// Nanoseconds per token, tokens, bytes of text.
type Run = (f64, usize, usize);

fn safe(session: &mut moe::Session, n: usize) -> moe::Result<Run> {
    session.reset();
    let mut sampler = moe::Sampler::parse(CHAIN)?;
    let mut text = session.generate(PROMPT, &mut sampler)?.max_tokens(n + 1);
    let mut len = text.next().transpose()?.map_or(0, |t| t.len()); // the prompt is done
    let before = text.tokens_so_far();
    let start = cpu_ns();
    for piece in &mut text {
        len += piece?.len();
    }
    let tokens = text.tokens_so_far() - before;
    let per_token = (cpu_ns() - start) as f64 / tokens.max(1) as f64;
    Ok((per_token, tokens, len))
}

/// As examples/01_generate.c does it.
fn plain(session: *mut sys::moe_session, tokenizer: *const sys::moe_tokenizer, n: usize) -> Run {
    let mut out = [0 as std::os::raw::c_char; 512];
    let mut ids = [0; 64];
    let (mut len, mut n_ids, mut id) = (0, 0, 0);
    let mut stream = sys::MOE_STREAM_INIT;
    let chain = std::ffi::CString::new(CHAIN).expect("no zero bytes");
    let mut sampler = std::ptr::null_mut();
    // SAFETY: as moe.h says; buffers are as large as told.
    unsafe {
        let ok = |status: i32| assert_eq!(status, sys::MOE_OK);
        sys::moe_session_reset(session);
        ok(sys::moe_sampler_create(&mut sampler, std::ptr::null()));
        ok(sys::moe_sampler_add_named(sampler, chain.as_ptr()));
        let flags = sys::MOE_ENCODE_BOS;
        let text = PROMPT.as_ptr().cast();
        ok(sys::moe_tokenizer_encode(tokenizer, text, PROMPT.len(), flags, ids.as_mut_ptr(), 64, &mut n_ids));
        ok(sys::moe_session_eval(session, ids.as_ptr(), n_ids));
        ids[..n_ids].iter().for_each(|&id| ok(sys::moe_sampler_accept(sampler, id)));
        let mut start = cpu_ns();
        let (mut tokens, mut bytes) = (0, 0);
        for i in 0..=n {
            if i > 0 {
                ok(sys::moe_session_eval(session, &id, 1));
            }
            ok(sys::moe_sampler_pick(sampler, session, 0, &mut id));
            ok(sys::moe_sampler_accept(sampler, id));
            if sys::moe_tokenizer_attr(tokenizer, id) & sys::MOE_ATTR_END != 0 {
                break;
            }
            ok(sys::moe_tokenizer_stream(tokenizer, &mut stream, id, out.as_mut_ptr(), 512, &mut len));
            bytes += len;
            if i == 0 {
                start = cpu_ns();
            } else {
                tokens += 1;
            }
        }
        let per_token = (cpu_ns() - start) as f64 / tokens.max(1) as f64;
        sys::moe_sampler_free(sampler);
        (per_token, tokens, bytes)
    }
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(|a, b| a.total_cmp(b));
    x[x.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: overhead MODEL.gguf [TOKENS] [ROUNDS]")?;
    let n = args.next().map_or(Ok(100), |n| n.parse())?;
    let rounds: usize = args.next().map_or(Ok(41), |n| n.parse())?;

    let model = moe::Model::open(&path)?;
    let mut session = moe::Session::options().threads(1).create(&model)?;
    let c_path = std::ffi::CString::new(path)?;
    let (mut m, mut s, mut t) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null());
    let options = sys::moe_session_options { n_threads: 1, ..sys::MOE_SESSION_OPTIONS_INIT };
    // SAFETY: as moe.h says.
    unsafe {
        assert_eq!(sys::moe_model_open(&mut m, c_path.as_ptr(), std::ptr::null()), sys::MOE_OK);
        assert_eq!(sys::moe_session_create(&mut s, m, &options), sys::MOE_OK);
        assert_eq!(sys::moe_model_tokenizer(m, &mut t), sys::MOE_OK);
    }
    let (mut rust, mut c, mut difference) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        // Neighbours in time, who goes first changes.
        let (a, b) = if round % 2 == 0 {
            let a = safe(&mut session, n)?;
            (a, plain(s, t, n))
        } else {
            let b = plain(s, t, n);
            (safe(&mut session, n)?, b)
        };
        assert_eq!((a.1, a.2), (b.1, b.2), "the same text");
        if round > 0 {
            rust.push(a.0);
            c.push(b.0);
            difference.push(a.0 - b.0);
        }
    }
    // SAFETY: made above, used no more.
    unsafe {
        sys::moe_session_free(s);
        sys::moe_model_release(m);
    }
    let (rust, c, difference) = (median(rust), median(c), median(difference));
    println!("C       {:9.2} us per token", c / 1e3);
    println!("Rust    {:9.2} us per token, {:+.2} %", rust / 1e3, 100.0 * (rust / c - 1.0));
    println!("median difference of neighbours {:+.2} us, {:+.2} %", difference / 1e3, 100.0 * difference / c);
    Ok(())
}
