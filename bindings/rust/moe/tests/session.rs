// SPDX-License-Identifier: MIT
//! Sessions: evaluation, sequences, saving, threads, memory.

mod common;
use common::*;
use moe::{Batch, KvType, Model, Session, Status, Want};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn logits_are_those_of_the_c_interface() {
    use moe::moe_sys::*;
    let path = std::ffi::CString::new(tiny("qwen3moe.gguf").to_str().unwrap()).unwrap();
    let (mut m, mut s, mut p, mut n) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null(), 0);
    let options = moe_session_options { n_threads: 1, ..MOE_SESSION_OPTIONS_INIT };
    // SAFETY: as moe.h says.
    let theirs = unsafe {
        assert_eq!(moe_model_open(&mut m, path.as_ptr(), std::ptr::null()), MOE_OK);
        assert_eq!(moe_session_create(&mut s, m, &options), MOE_OK);
        assert_eq!(moe_session_eval(s, PROMPT.as_ptr(), PROMPT.len()), MOE_OK);
        assert_eq!(moe_session_logits(s, 0, &mut p, &mut n), MOE_OK);
        let all = bits(std::slice::from_raw_parts(p, n));
        moe_session_free(s);
        moe_model_release(m);
        all
    };
    assert_eq!(logits(&mut session(&qwen())), theirs);
}

#[test]
fn batches_of_several_sequences() {
    let model = qwen();
    let want = logits(&mut session(&model));
    let mut s = Session::options().threads(1).n_seq_max(3).n_output_max(8).n_ctx(512).create(&model).unwrap();
    let mut batch = Batch::new();
    for &id in PROMPT {
        batch.push(0, id);
        batch.push(2, id);
    }
    s.eval_batch(&batch).unwrap();
    assert_eq!(s.info().n_outputs, 2);
    assert_eq!(bits(s.logits(0).unwrap()), want);
    assert_eq!(bits(s.logits(1).unwrap()), want);
    assert_eq!((s.seq_len(0), s.seq_len(1), s.seq_len(2)), (PROMPT.len(), 0, PROMPT.len()));

    batch.clear();
    assert!(batch.is_empty());
    batch.push_want(1, 4, Want::LOGITS | Want::HIDDEN);
    batch.push_want(1, 5, Want::HIDDEN);
    batch.push(1, 6);
    batch.positions(&[0, 1, 2]);
    s.eval_batch(&batch).unwrap();
    assert!(s.logits(0).is_ok() && s.hidden(1).is_ok());
    assert_eq!(s.logits(1).unwrap_err().status(), Status::Range);
    assert_eq!(s.hidden(0).unwrap().len(), model.info().dim as usize);
    batch.positions(&[0]);
    assert_eq!(s.eval_batch(&batch).unwrap_err().status(), Status::Invalid);
    batch.positions(&[7, 8, 9]);
    assert_eq!(s.eval_batch(&batch).unwrap_err().status(), Status::Range);
}

#[test]
fn sequences_are_copied_and_cut() {
    let model = qwen();
    let mut s = Session::options().threads(1).n_seq_max(2).create(&model).unwrap();
    s.eval(PROMPT).unwrap();
    s.seq_copy(0, 1).unwrap();
    s.seq_truncate(1, 3).unwrap();
    assert_eq!(s.seq_tokens(1).unwrap(), PROMPT[..3]);
    assert_eq!(s.seq_tokens(0).unwrap(), PROMPT);
    assert_eq!(s.seq_truncate(1, 4).unwrap_err().status(), Status::Range);
    assert_eq!(s.seq_truncate(1, usize::MAX).unwrap_err().status(), Status::Range);
    assert_eq!(s.seq_copy(0, 9).unwrap_err().status(), Status::Range);
    s.seq_remove(0, 1..4).unwrap();
    assert_eq!(s.seq_tokens(0).unwrap(), [&PROMPT[..1], &PROMPT[4..]].concat());
    assert_eq!(s.seq_remove(0, 1..9).unwrap_err().status(), Status::Range);
    assert_eq!(s.seq_remove(0, usize::MAX..usize::MAX).unwrap_err().status(), Status::Range);
    s.reset();
    assert!(s.is_empty() && s.seq_tokens(0).unwrap().is_empty());
    assert_eq!(s.logits(0).unwrap_err().status(), Status::Range);
}

#[test]
fn wrong_use_is_an_error_and_changes_nothing() {
    let model = qwen();
    let mut s = session(&model);
    assert_eq!(s.logits(0).unwrap_err().status(), Status::Range); // before any evaluation
    assert_eq!(s.eval(&[]).unwrap_err().status(), Status::Invalid);
    assert_eq!(s.eval(&[-1]).unwrap_err().status(), Status::Range);
    assert_eq!(s.eval(&[1 << 30]).unwrap_err().status(), Status::Range);
    assert!(s.is_empty());
    assert!(s.logprobs(0, 1).is_err());
    assert_eq!(s.set_threads(100_000).unwrap_err().status(), Status::Invalid);
    assert_eq!(
        Session::options().threads(1).n_seq_max(1 << 20).create(&model).unwrap_err().status(),
        Status::Invalid
    );
    let e = Session::options().threads(1).n_ctx(64).create(&model).unwrap().eval(&[1; 65]).unwrap_err();
    assert_eq!(e.status(), Status::Full);
    assert!(s.begin_request(1).is_err() && s.begin_prompt(0).is_err());
    assert!(s.take_trace().is_none() && s.take_profile().is_none());
}

#[test]
fn probabilities() {
    let model = qwen();
    let mut s =
        Session::options().threads(1).kv_types(KvType::F32, KvType::F32).exact(true).create(&model).unwrap();
    assert_eq!(s.info().kv_type_k, moe::TensorType::F32);
    s.eval(PROMPT).unwrap();
    let n = model.info().n_vocab as usize;
    let all = s.logprobs(0, n).unwrap();
    let sum: f64 = all.iter().map(|&(_, l)| f64::from(l).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    assert!(all.windows(2).all(|w| w[0].1 >= w[1].1));
    assert!((s.logprob(0, all[3].0).unwrap() - all[3].1).abs() < 1e-6);
    assert_eq!(s.logprobs(0, n + 1).unwrap_err().status(), Status::Range);
    assert_eq!(s.logprob(0, -1).unwrap_err().status(), Status::Range);
}

#[test]
fn one_sequence_saved_and_loaded() {
    let model = qwen();
    let mut a = session(&model);
    let want = logits(&mut a);
    a.seq_truncate(0, PROMPT.len() - 1).unwrap();
    let mut bytes = Vec::new();
    a.seq_save(0, &mut bytes).unwrap();
    let mut b = Session::options().threads(1).n_seq_max(3).create(&model).unwrap();
    b.seq_load(2, &bytes[..]).unwrap();
    b.eval_batch(&{
        let mut batch = Batch::new();
        batch.push(2, PROMPT[PROMPT.len() - 1]);
        batch
    })
    .unwrap();
    assert_eq!(bits(b.logits(0).unwrap()), want);
    let folder = Folder::new();
    let file = folder.file("sequence");
    b.seq_save_file(2, &file).unwrap();
    b.seq_load_file(1, &file).unwrap();
    assert_eq!(b.seq_tokens(1).unwrap(), PROMPT);
    assert_eq!(b.seq_load_file(0, folder.file("nothing")).unwrap_err().status(), Status::NotFound);
    assert_eq!(b.seq_load(0, &bytes[..80]).unwrap_err().status(), Status::Format);
    assert_eq!(b.seq_save(3, std::io::sink()).unwrap_err().status(), Status::Range);
}

#[test]
fn saved_and_loaded() {
    let model = qwen();
    let mut a = session(&model);
    let want = logits(&mut a);
    let mut bytes = Vec::new();
    a.save(&mut bytes).unwrap();
    let mut b = session(&model);
    b.load(&bytes[..]).unwrap();
    assert_eq!(bits(b.logits(0).unwrap()), want);
    assert_eq!(b.seq_tokens(0).unwrap(), PROMPT);

    let folder = Folder::new();
    let file = folder.file("session");
    a.save_file(&file).unwrap();
    b.reset();
    b.load_file(&file).unwrap();
    assert_eq!(b.len(), PROMPT.len());
    assert_eq!(b.load_file(folder.file("nothing")).unwrap_err().status(), Status::NotFound);

    for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        assert_eq!(b.load(&bytes[..cut]).unwrap_err().status(), Status::Format, "{cut}");
    }
    bytes[40] ^= 1;
    assert!(b.load(&bytes[..]).is_err());
    assert_eq!(bits(b.logits(0).unwrap()), want, "as before a failed load");

    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::new(std::io::ErrorKind::Other, "no room"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let e = a.save(Full).unwrap_err();
    assert_eq!((e.status(), e.message()), (Status::Io, "no room"));
}

#[test]
fn thread_counts_and_executors_change_nothing() {
    let model = qwen();
    let mut s = session(&model);
    let want = logits(&mut s);
    s.set_threads(3).unwrap();
    assert_eq!(s.info().n_threads, 3);
    assert_eq!(logits(&mut s), want);

    struct Jobs(Arc<AtomicUsize>);
    impl moe::Executor for Jobs {
        fn run(&self, n: u32, task: &(dyn Fn(u32) + Sync)) -> moe::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::thread::scope(|s| {
                for i in 1..n {
                    s.spawn(move || task(i));
                }
                task(0);
                task(0); // once is enough: the second call does nothing
                task(n + 5);
            });
            Ok(())
        }
    }
    let runs = Arc::new(AtomicUsize::new(0));
    let mut s = Session::options().threads(2).executor(Jobs(runs.clone())).create(&model).unwrap();
    assert_eq!(logits(&mut s), want);
    assert!(runs.load(Ordering::Relaxed) > 0);

    struct No;
    impl moe::Executor for No {
        fn run(&self, _: u32, _: &(dyn Fn(u32) + Sync)) -> moe::Result<()> {
            Err(moe::Error::new(Status::Full, "all busy"))
        }
    }
    let mut s = Session::options().threads(2).executor(No).create(&model).unwrap();
    assert_eq!(s.eval(PROMPT).unwrap_err().message(), "all busy");
    assert!(s.is_empty());
}

#[test]
fn interrupted_from_other_threads_at_any_time() {
    let model = Model::open(demo()).unwrap();
    let mut s = session(&model);
    let stop = s.interrupt_handle();
    let worker = std::thread::spawn(move || {
        let mut stopped = 0;
        for _ in 0..200 {
            s.reset();
            match s.eval(&[5; 40]) {
                Ok(()) => {}
                Err(e) => {
                    assert_eq!(e.status(), Status::Aborted);
                    assert!(s.is_empty());
                    stopped += 1;
                    if stopped == 5 {
                        break;
                    }
                }
            }
        }
        stopped
    });
    while !worker.is_finished() {
        stop.interrupt();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(worker.join().unwrap(), 5);
    stop.interrupt(); // the session is gone: nothing happens
}

#[test]
fn prefill_progress_and_partial_evaluation() {
    let model = qwen();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let mut s = Session::options()
        .threads(1)
        .n_batch_max(8)
        .keep_partial(true)
        .progress(move |p| {
            notes.lock().unwrap().push(p.done);
            if p.done >= 16 {
                return Err(moe::Error::new(Status::Aborted, "enough"));
            }
            Ok(())
        })
        .create(&model)
        .unwrap();
    let e = s.eval(&[3; 40]).unwrap_err();
    assert_eq!(e.message(), "enough");
    assert_eq!(*seen.lock().unwrap(), [8, 16]);
    assert_eq!(s.len(), 16);
    drop(s);
    assert_eq!(Arc::strong_count(&seen), 1);
}

#[test]
fn evaluations_in_slices() {
    let model = qwen();
    let mut s = session(&model);
    let want = logits(&mut s);
    s.warm_up().unwrap();
    let batch = || {
        let mut b = Batch::new();
        b.extend(0, PROMPT);
        b
    };
    s.reset();
    s.eval_begin(batch()).unwrap();
    let mut slices = 1;
    while s.eval_slice(std::time::Duration::ZERO).unwrap() {
        slices += 1;
        assert_eq!(s.eval(&[1]).unwrap_err().status(), Status::State);
        assert_eq!(s.eval_begin(batch()).unwrap_err().status(), Status::State);
        assert_eq!(s.observe(|_| ()).unwrap_err().status(), Status::State);
        assert!(s.eval_observed(&[1], |_| ()).is_err());
    }
    assert!(slices > 2, "{slices}");
    assert_eq!(bits(s.logits(0).unwrap()), want);
    assert_eq!(s.eval_slice(std::time::Duration::ZERO).unwrap_err().status(), Status::State);

    s.eval_begin(batch()).unwrap();
    s.eval_cancel().unwrap();
    assert_eq!(s.eval_cancel().unwrap_err().status(), Status::State);
    s.eval_begin(batch()).unwrap();
    s.eval_slice(std::time::Duration::ZERO).unwrap();
    s.reset();
    assert_eq!(logits(&mut s), want);
    s.eval_begin(batch()).unwrap();
    s.interrupt_handle().interrupt();
    assert_eq!(s.eval_slice(std::time::Duration::ZERO).unwrap_err().status(), Status::Aborted);
    s.eval_begin(batch()).unwrap();
    drop(s); // under way
    let mut low = Session::options().threads(2).low_priority(true).create(&model).unwrap();
    assert_eq!(logits(&mut low), want);
}

#[test]
fn counters() {
    let model = qwen();
    let mut s = session(&model);
    s.eval(PROMPT).unwrap();
    s.eval(&[1]).unwrap();
    let stats = s.stats();
    assert_eq!((stats.tokens_prefill, stats.tokens_decode), (PROMPT.len() as u64, 1));
    s.reset_stats();
    assert_eq!(s.stats().tokens_prefill, 0);
    assert_eq!(s.model().info(), model.info());
    assert!(format!("{s:?}").contains("n_ctx"));
}

#[test]
fn out_of_memory_at_every_size() {
    let path = tiny("qwen3moe.gguf");
    let memory = Arc::new(moe::MemoryLimit::new(usize::MAX));
    let options = || Session::options().threads(1).n_ctx(64);
    let model = Model::options().allocator(memory.clone()).open(&path).unwrap();
    let opened = memory.used();
    drop(options().create(&model).unwrap());
    let most = memory.peak();
    drop(model);
    assert_eq!(memory.used(), 0);
    assert!(opened > 0 && most > opened);
    let mut failures = 0;
    for part in 0..40 {
        memory.set_limit(most * part / 40);
        let made = Model::options()
            .allocator(memory.clone())
            .open(&path)
            .and_then(|m| options().create(&m).map(|s| (m, s)));
        match made {
            Err(e) => {
                assert_eq!(e.status(), Status::NoMemory, "{e}");
                failures += 1;
            }
            Ok((_, mut s)) => s.eval(PROMPT).unwrap(),
        }
        assert_eq!(memory.used(), 0, "nothing is left behind");
    }
    assert!(failures >= 39, "{failures}");
    memory.set_limit(usize::MAX);
    let model = Model::options().allocator(memory.clone()).open(&path).unwrap();
    let mut s = options().create(&model).unwrap();
    memory.set_limit(0);
    s.eval(PROMPT).unwrap(); // an evaluation takes no memory
    assert_eq!(s.expert(0, 0).unwrap().set_use(moe::Use::Ban).unwrap_err().status(), Status::NoMemory);
    drop((s, model));
    memory.set_limit(100);
    assert_eq!(moe::Sampler::new_in(Some(memory.clone())).unwrap_err().status(), Status::NoMemory);
    let tokenizer = moe::Tokenizer::open_in(demo(), Some(memory.clone()));
    assert_eq!(tokenizer.unwrap_err().status(), Status::NoMemory);
    let trace = moe::Trace::with_shape(2, 8, Default::default(), Some(memory.clone()));
    assert!(trace.is_err());
    assert_eq!(memory.used(), 0);
}

#[test]
fn memory_outlives_what_is_made_with_it() {
    let memory = Arc::new(moe::MemoryLimit::new(usize::MAX));
    let foreign = Model::options().allocator(memory.clone()).open(tiny("qwen3moe.gguf")).unwrap();
    let model = qwen();
    let mut s = session(&model);
    let info = model.info();
    let n = (info.dim * info.dim_ff_expert) as usize;
    let weights = moe::Weights::from_f32(&foreign, &vec![0.0; n], &vec![0.0; n], &vec![0.0; n]).unwrap();
    s.expert(0, 0).unwrap().replace(&weights).unwrap();
    let mut copy = session(&model);
    copy.copy_routing(&s).unwrap();
    drop((weights, foreign, s));
    assert!(memory.used() > 0, "the copy uses them");
    assert!(Arc::strong_count(&memory) > 1);
    logits(&mut copy);
    drop(copy);
    assert_eq!((memory.used(), Arc::strong_count(&memory)), (0, 1));
}
