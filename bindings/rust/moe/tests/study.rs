// SPDX-License-Identifier: MIT
//! Profiles and traces.

mod common;
use common::*;
use moe::{
    CachePolicy, Profile, ProfileArray, ProfileOptions, Rank, RouteRows, SrpLevel, Status, Trace,
    TraceOptions,
};

fn full() -> ProfileOptions {
    ProfileOptions { outputs: true, pairs: true, n_classes: 2, n_tokens_max: 64, n_pos_max: 16 }
}

#[test]
fn profiles_are_gathered_saved_and_asked() {
    let model = qwen();
    let (n, k) = (model.info().n_experts as usize, model.info().top_k);
    let mut s = session(&model);
    let want = logits(&mut s);
    s.reset();
    let mut profile = Profile::new(&model, full()).unwrap();
    profile.mark(Some(1), &[9]).unwrap();
    assert!(s.set_profile(profile).unwrap().is_none());
    s.begin_prompt(0).unwrap();
    assert_eq!(s.begin_prompt(7).unwrap_err().status(), Status::Range);
    s.eval(PROMPT).unwrap();
    assert_eq!(bits(s.logits(0).unwrap()), want);
    assert_eq!(s.profile().unwrap().info().n_tokens, PROMPT.len() as u64);
    let mut profile = s.take_profile().unwrap();
    drop(s);

    let router = profile.router(1).unwrap();
    assert_eq!((router.tokens, router.pairs), (PROMPT.len() as u64, PROMPT.len() as u64 * u64::from(k)));
    let sum = |what| profile.read(1, what).unwrap().iter().sum::<f64>();
    assert_eq!(sum(ProfileArray::Count), router.pairs as f64);
    assert_eq!(sum(ProfileArray::Top1), router.tokens as f64);
    assert_eq!(profile.read(0, ProfileArray::Together).unwrap().len(), n * n);
    assert_eq!(profile.read(0, ProfileArray::ClassTokens).unwrap(), [5.0, 1.0]);
    assert_eq!(profile.read(99, ProfileArray::Count).unwrap_err().status(), Status::Range);
    let best = profile.rank(Rank::Rate, 0, None, 3).unwrap();
    assert!(best.len() == 3 && best[0].value >= best[2].value);
    assert!(profile.super_experts().unwrap().len() <= n * 3);

    let folder = Folder::new();
    let file = folder.file("profile");
    profile.save_file(&file).unwrap();
    let loaded = Profile::load_file(Some(&model), &file).unwrap();
    assert_eq!(loaded.router(1).unwrap(), router);
    assert!(Profile::load_file(None, &file).is_ok());
    profile.merge(&loaded).unwrap();
    assert_eq!(profile.router(1).unwrap().tokens, 2 * router.tokens);
    profile.mark(None, &[9]).unwrap();
    profile.reset();
    assert_eq!(profile.info().n_tokens, 0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(Profile::load_file(None, &file).unwrap_err().status(), Status::Format);

    let other = moe::Model::open(tiny("olmoe.gguf")).unwrap();
    let rejected = session(&other).set_profile(profile).unwrap_err();
    assert_eq!(rejected.error.status(), Status::State);
    rejected.value.router(0).unwrap(); // it comes back
}

#[test]
fn a_session_may_end_with_its_profile_and_trace() {
    let model = qwen();
    let mut s = session(&model);
    s.set_profile(Profile::new(&model, full()).unwrap()).unwrap();
    s.record(Trace::new(&model, TraceOptions::default()).unwrap()).unwrap();
    drop(model);
    s.eval(PROMPT).unwrap();
    let old = s.set_profile(Profile::new(&s.model(), full()).unwrap()).unwrap();
    assert_eq!(old.unwrap().info().n_tokens, PROMPT.len() as u64);
    s.eval(PROMPT).unwrap();
    std::thread::spawn(move || drop(s)).join().unwrap();
}

#[test]
fn traces_are_recorded_saved_and_analysed() {
    let model = qwen();
    let info = model.info();
    let mut s = session(&model);
    let all = TraceOptions { logits: true, weights: true };
    s.record(Trace::new(&model, all).unwrap()).unwrap();
    s.begin_request(3).unwrap();
    s.eval(PROMPT).unwrap();
    let mut trace = s.take_trace().unwrap();
    let told = trace.info();
    assert_eq!((told.n_tokens, told.n_layers, told.n_requests), (PROMPT.len() as u64, info.n_moe_layers, 1));
    let row = trace.row(2, 1).unwrap();
    assert_eq!((row.request(), row.pos(), row.token(), row.model_layer()), (3, 2, Some(PROMPT[2]), 1));
    assert_eq!((row.experts().len(), row.weights().len()), (info.top_k as usize, info.top_k as usize));
    assert_eq!(row.logits().len(), info.n_experts as usize);
    assert_eq!(trace.row(99, 0).unwrap_err().status(), Status::Range);

    let reuse = trace.reuse(None).unwrap();
    assert!((0.0..=1.0).contains(&reuse));
    let (srp, rho) = trace.srp(Some(0), 2, SrpLevel::Layer).unwrap();
    assert!(srp > 0.0 && srp <= 1.0 && rho > 0.0);
    for policy in [CachePolicy::Lru, CachePolicy::Lfu, CachePolicy::Belady] {
        let rates = trace.cache(policy, false, Some(0), 0, &[1, 4, 8]).unwrap();
        assert!(rates.windows(2).all(|w| w[0] <= w[1]), "{policy:?} {rates:?}");
    }
    assert!(trace.cache(CachePolicy::Segment, true, None, 2, &[8]).unwrap()[0] > 0.0);
    assert!(trace.cache(CachePolicy::Lru, false, None, 0, &[0]).is_err());

    let folder = Folder::new();
    let file = folder.file("trace");
    trace.save_file(&file).unwrap();
    let loaded = Trace::load_file(&file).unwrap();
    assert_eq!((loaded.info().n_tokens, loaded.reuse(None).unwrap()), (told.n_tokens, reuse));
    assert!(format!("{loaded:?}").contains("n_tokens"));
    assert_eq!(Trace::load_file(folder.file("none")).unwrap_err().status(), Status::NotFound);
}

#[test]
fn routing_from_elsewhere() {
    let mut trace = Trace::with_shape(2, 4, TraceOptions::default(), None).unwrap();
    trace.begin(1).unwrap();
    for layer in 0..2 {
        let mut rows = RouteRows::new(layer, 4);
        rows.push(7, 0, 0, &[(layer, 1.0)], &[]).unwrap();
        rows.push(8, 1, 0, &[(3, 0.5), (0, 0.5)], &[]).unwrap();
        trace.observe(&rows.view()).unwrap();
    }
    assert_eq!(trace.info().n_tokens, 2);
    assert_eq!(trace.row(1, 1).unwrap().experts(), [3, 0]);
    let mut half = RouteRows::new(0, 4);
    half.push(9, 2, 0, &[(1, 1.0)], &[]).unwrap();
    trace.observe(&half.view()).unwrap();
    trace.trim().unwrap();
    assert_eq!(trace.info().n_tokens, 2);
    assert!(Trace::with_shape(0, 4, TraceOptions::default(), None).is_err());

    let model = qwen();
    let mut profile = Profile::new(&model, ProfileOptions::default()).unwrap();
    let mut rows = RouteRows::new(0, model.info().n_experts);
    rows.push(1, 0, 0, &[(2, 1.0)], &[0.0; 8]).unwrap();
    assert!(rows.push(1, 1, 0, &[(2, 1.0)], &[]).is_err(), "logits in all rows or in none");
    assert!(rows.push(1, 1, 0, &[(2, 1.0)], &[0.0; 7]).is_err());
    profile.add(&rows.view()).unwrap();
    assert_eq!(profile.read(0, ProfileArray::Count).unwrap()[2], 1.0);
    let mut wrong = RouteRows::new(0, 3);
    wrong.push(1, 0, 0, &[(2, 1.0)], &[]).unwrap();
    assert!(profile.add(&wrong.view()).is_err());
}
