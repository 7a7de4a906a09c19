// SPDX-License-Identifier: MIT
//! Closures that fail: panics and errors come out of the call that they ran in, and everything can be used after.

mod common;
use common::*;
use moe::{Error, Model, Place, PolicyOptions, Session, Status};
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// What a call panics with.
fn panic_of<T>(call: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(_) => panic!("no panic"),
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => text.to_string(),
            Err(other) => *other.downcast::<String>().unwrap(),
        },
    }
}

/// The session works as ever.
fn unharmed(s: &mut Session) {
    s.routers().reset().unwrap();
    s.stop_observing();
    assert!(s.is_empty(), "as before the call");
    let fresh = logits(&mut session(&s.model()));
    assert_eq!(logits(s), fresh);
    s.reset();
}

#[test]
fn observers() {
    let mut s = session(&qwen());
    s.observe(|v| assert!(v.layer() < 2, "layer {}", v.layer())).unwrap();
    assert_eq!(panic_of(|| s.eval(PROMPT)), "layer 2");
    unharmed(&mut s);
    assert_eq!(panic_of(|| s.eval_observed(PROMPT, |_| -> () { panic!("borrowed") })), "borrowed");
    unharmed(&mut s);
    let mine = Error::new(Status::NotFound, "mine");
    let copy = mine.clone();
    assert_eq!(s.eval_observed(PROMPT, |_| Err(copy.clone())).unwrap_err(), mine);
    unharmed(&mut s);
    let e = s.eval_observed(PROMPT, |_| ControlFlow::Break(())).unwrap_err();
    assert_eq!(e.status(), Status::Aborted);
    // Statuses that C would take for success or a buffer's size come out as they are too.
    let odd = Error::new(Status::Other(7), "odd");
    let copy = odd.clone();
    assert_eq!(s.eval_observed(PROMPT, move |_| Err(copy.clone())).unwrap_err(), odd);
    unharmed(&mut s);
}

#[test]
fn hooks_experts_and_policies() {
    let mut s = session(&qwen());
    s.on_layer(Some(1), Place::Input, |_| -> () { panic!("in a hook") }).unwrap();
    assert_eq!(panic_of(|| s.eval(PROMPT)), "in a hook");
    s.on_layer(Some(1), Place::Input, |_| Err(Error::new(Status::Io, "hook"))).unwrap();
    assert_eq!(s.eval(PROMPT).unwrap_err().message(), "hook");
    s.clear_layer_hook(None, Place::Input).unwrap();
    unharmed(&mut s);

    for e in 0..8 {
        s.expert(0, e).unwrap().replace_fn(move |_| -> () { panic!("in expert {e}") }).unwrap();
    }
    assert!(panic_of(|| s.eval(PROMPT)).starts_with("in expert"));
    let x = vec![0.0; s.model().info().dim as usize];
    assert_eq!(panic_of(|| s.expert(0, 3).unwrap().apply(&x).err()), "in expert 3");
    unharmed(&mut s);

    s.router(1).unwrap().set_policy(PolicyOptions::new("p"), |_, _| -> () { panic!("in a policy") }).unwrap();
    assert_eq!(panic_of(|| s.eval(PROMPT)), "in a policy");
    unharmed(&mut s);
    for threads in [1, 4] {
        s.set_threads(threads).unwrap();
        s.routers()
            .set_policy(PolicyOptions::new("p").parallel(), |_, _| -> () { panic!("on some thread") })
            .unwrap();
        assert_eq!(panic_of(|| s.eval(PROMPT)), "on some thread");
        unharmed(&mut s);
        let failing =
            |_: &moe::RouteInput<'_>, _: &mut moe::RouteOutput<'_>| Err(Error::new(Status::Full, "tired"));
        s.routers().set_policy(PolicyOptions::new("p").parallel(), failing).unwrap();
        assert_eq!(s.eval(PROMPT).unwrap_err(), Error::new(Status::Full, "tired"));
        unharmed(&mut s);
    }
}

struct Faulty(&'static str);
impl moe::Policy for Faulty {
    fn route(&mut self, input: &moe::RouteInput<'_>, output: &mut moe::RouteOutput<'_>) -> moe::Result<()> {
        assert_ne!(self.0, "route");
        input.rows().for_each(|_| output.push_row(&[0]));
        Ok(())
    }
    fn seq_reset(&mut self, _: Option<moe::Seq>) {
        assert_ne!(self.0, "reset");
    }
    fn seq_copy(&mut self, _: moe::Seq, _: moe::Seq) {
        assert_ne!(self.0, "copy");
    }
    fn seq_truncate(&mut self, _: moe::Seq, _: moe::Pos) {
        assert_ne!(self.0, "truncate");
    }
    fn seq_remove(&mut self, _: moe::Seq, _: moe::Pos, _: moe::Pos) {
        assert_ne!(self.0, "remove");
    }
}
impl Drop for Faulty {
    fn drop(&mut self) {
        if self.0 == "drop" && !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn every_part_of_a_policy() {
    let model = qwen();
    let with = |what: &'static str| {
        let mut s = Session::options().threads(1).n_seq_max(2).create(&model).unwrap();
        s.router(0).unwrap().set_policy_with(PolicyOptions::new("faulty"), move |_| Faulty(what)).unwrap();
        s
    };
    assert!(panic_of(|| with("route").eval(PROMPT)).contains("route"));
    assert!(panic_of(|| with("reset").reset()).contains("reset"));
    assert!(panic_of(|| with("copy").seq_copy(0, 1)).contains("copy"));
    let mut s = with("truncate");
    s.eval(PROMPT).unwrap();
    assert!(panic_of(|| s.seq_truncate(0, 1)).contains("truncate"));
    let mut s = with("remove");
    s.eval(PROMPT).unwrap();
    assert!(panic_of(|| s.seq_remove(0, 0..2)).contains("remove"));
    assert_eq!(panic_of(|| drop(with("drop"))), "dropped");
    let mut s = with("drop");
    assert_eq!(panic_of(|| s.router(0).unwrap().reset()), "dropped");
    s.eval(PROMPT).unwrap();
    let mut s = session(&model);
    let make = |_: &moe::PolicyInfo| -> Faulty { panic!("not made") };
    assert_eq!(panic_of(|| s.routers().set_policy_with(PolicyOptions::new("p"), make)), "not made");
    unharmed(&mut s);
    assert!(s.router(0).unwrap().info().unwrap().is_native());
}

/// A panic may come out of a call that C has carried out: what C has then lives on.
#[test]
fn functions_outlive_panics() {
    let model = qwen();
    let mine = Arc::new(());
    let mut s = Session::options().threads(1).create(&model).unwrap();
    s.router(0).unwrap().set_policy_with(PolicyOptions::new("faulty"), |_| Faulty("drop")).unwrap();
    let mut other = Session::options().threads(1).create(&model).unwrap();
    for index in 0..2 {
        let mine = Arc::clone(&mine);
        let zero = move |call: &mut moe::ExpertCall<'_>| {
            let _ = &mine;
            call.split().1.fill(0.0);
        };
        other.expert(0, index).unwrap().replace_fn(zero).unwrap();
    }
    assert_eq!(panic_of(|| s.copy_routing(&other)), "dropped");
    drop(other);
    assert_eq!(Arc::strong_count(&mine), 3);
    s.eval(PROMPT).unwrap();
    let mut third = Session::options().threads(1).create(&model).unwrap();
    third.copy_routing(&s).unwrap();
    drop(s);
    assert_eq!(Arc::strong_count(&mine), 3);
    third.eval(PROMPT).unwrap();
    drop(third);
    assert_eq!(Arc::strong_count(&mine), 1);
}

#[test]
fn progress_readers_writers_sources() {
    let path = tiny("qwen3moe.gguf");
    let open = || Model::options().mmap(false).progress(|_| -> () { panic!("while loading") }).open(&path);
    assert_eq!(panic_of(open), "while loading");
    let folder = Folder::new();
    let never = folder.file("never");
    let quantize = || moe::Quantize::new("F16").progress(|_| -> () { panic!("small") }).run(&path, &never);
    assert_eq!(panic_of(quantize), "small");
    assert!(!never.exists());

    struct Pipe;
    impl std::io::Write for Pipe {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            panic!("the pipe broke")
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl std::io::Read for Pipe {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("the pipe leaks")
        }
    }
    let mut s = session(&qwen());
    assert_eq!(panic_of(|| s.save(Pipe)), "the pipe broke");
    assert_eq!(panic_of(|| s.load(Pipe)), "the pipe leaks");
    assert_eq!(panic_of(|| s.save_steering(Pipe)), "the pipe broke");
    unharmed(&mut s);

    struct Bad;
    impl moe::Source for Bad {
        fn length(&self) -> u64 {
            panic!("how long?")
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> moe::Result<()> {
            unreachable!()
        }
    }
    assert_eq!(panic_of(|| Model::from_source(Bad)), "how long?");

    let mut s = Session::options()
        .threads(1)
        .n_batch_max(4)
        .progress(|p| assert!(p.done < 8, "far enough"))
        .create(&qwen())
        .unwrap();
    assert_eq!(panic_of(|| s.eval(&[1; 20])), "far enough");
    unharmed(&mut s);
}

#[test]
fn sampler_stages_executors_allocators() {
    let mut p = moe::Sampler::new().unwrap();
    p.add_fn(|_| -> () { panic!("no choice") }).unwrap();
    assert_eq!(panic_of(|| p.pick_logits(&[1.0, 2.0])), "no choice");
    let mut p = moe::Sampler::new().unwrap();
    p.add_fn(|_| Err(Error::new(Status::State, "undecided"))).unwrap();
    assert_eq!(p.pick_logits(&[1.0, 2.0]).unwrap_err().message(), "undecided");

    struct Lazy;
    impl moe::Executor for Lazy {
        fn run(&self, _: u32, _: &(dyn Fn(u32) + Sync)) -> moe::Result<()> {
            panic!("on strike")
        }
    }
    let mut s = Session::options().threads(2).executor(Lazy).create(&qwen()).unwrap();
    assert_eq!(panic_of(|| s.eval(PROMPT)), "on strike");
    assert!(s.is_empty());

    struct Poor;
    // SAFETY: it gives no memory at all.
    unsafe impl moe::Allocator for Poor {
        fn alloc(&self, _: usize, _: usize) -> *mut u8 {
            panic!("poor")
        }
        unsafe fn free(&self, _: *mut u8, _: usize) {}
    }
    let open = || Model::options().allocator(Arc::new(Poor)).open(tiny("qwen3moe.gguf"));
    assert_eq!(panic_of(open), "poor");
}

#[test]
fn a_closure_may_use_other_sessions_and_pass_their_panics_on() {
    let model = qwen();
    let mut inner = session(&model);
    inner.observe(|_| -> () { panic!("deep inside") }).unwrap();
    let mut outer = session(&model);
    outer.observe(move |_| inner.eval(PROMPT)).unwrap();
    assert_eq!(panic_of(|| outer.eval(PROMPT)), "deep inside");
    unharmed(&mut outer);

    let mut inner = session(&model);
    outer
        .observe(move |v| {
            inner.reset();
            let caught = catch_unwind(AssertUnwindSafe(|| {
                inner.eval_observed(PROMPT, |_| -> () { panic!("caught") })
            }));
            assert!(caught.is_err());
            if v.layer() == 2 {
                return Err(Error::new(Status::Range, "mine, not the inner one's"));
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(outer.eval(PROMPT).unwrap_err().message(), "mine, not the inner one's");
    unharmed(&mut outer);
}

#[test]
fn closures_go_when_they_are_replaced() {
    let model = qwen();
    let mut s = session(&model);
    let count = Arc::new(());
    for _ in 0..3 {
        let c = Arc::clone(&count);
        s.observe(move |_| {
            let _ = &c;
        })
        .unwrap();
        assert_eq!(Arc::strong_count(&count), 2);
    }
    s.record(moe::Trace::new(&model, Default::default()).unwrap()).unwrap();
    assert_eq!(Arc::strong_count(&count), 1);
    s.eval_observed(PROMPT, |_| ()).unwrap();
    assert_eq!(s.trace().unwrap().info().n_tokens, 0, "put aside");
    s.eval(PROMPT).unwrap();
    assert_eq!(s.take_trace().unwrap().info().n_tokens, PROMPT.len() as u64);
    for _ in 0..3 {
        let c = Arc::clone(&count);
        s.routers()
            .set_policy(PolicyOptions::new("p"), move |_, _| {
                let _ = &c;
            })
            .unwrap();
        assert_eq!(Arc::strong_count(&count), 2);
    }
    drop(s);
    assert_eq!(Arc::strong_count(&count), 1);
}
