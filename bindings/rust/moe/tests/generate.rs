// SPDX-License-Identifier: MIT
//! Samplers and generation.

mod common;
use common::*;
use moe::{Model, SampleStage, Sampler, Status};

const CHAIN: &str = "penalties:repeat=1.1;top-k:k=40;top-p:p=0.95;temp:t=0.8;dist:seed=7";

#[test]
fn text_is_generated_and_the_same_each_time() {
    let model = Model::open(demo()).unwrap();
    let run = |max: usize| {
        let mut s = session(&model);
        let mut p = Sampler::parse(CHAIN).unwrap();
        let mut text = String::new();
        for piece in s.generate("Once upon a time", &mut p).unwrap().max_tokens(max) {
            let piece = piece.unwrap();
            assert!(!piece.is_empty());
            text += &piece;
        }
        text
    };
    let text = run(40);
    assert!(text.len() > 40, "{text:?}");
    assert_eq!(run(40), text);
    assert!(text.starts_with(&run(10)));
    assert_eq!(run(0), "");
}

#[test]
fn a_generation_leaves_the_session_with_the_whole_text() {
    let model = Model::open(demo()).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let mut s = session(&model);
    let mut p = Sampler::parse("dist:seed=3").unwrap();
    let text = s.generate("The sea", &mut p).unwrap().max_tokens(12).collect_text().unwrap();
    let held = tokenizer.decode(&s.seq_tokens(0).unwrap()).unwrap();
    assert_eq!(held, format!("The sea{text}"));
    let more: Vec<_> = s.tokens(&mut p).max_tokens(3).collect::<Result<_, _>>().unwrap();
    assert_eq!(more.len(), 3);

    let mut tokens = s.tokens(&mut p).max_tokens(2);
    tokens.next().unwrap().unwrap();
    assert_eq!((tokens.count_so_far(), tokens.has_ended()), (1, false));
    let before = held.len();
    tokens.finish().unwrap();
    assert!(before > 0);
}

#[test]
fn generation_ends_with_the_text_and_with_errors() {
    let model = Model::open(demo()).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let end = [moe::Special::Eos, moe::Special::Eot]
        .iter()
        .filter_map(|&s| tokenizer.special(s))
        .find(|&t| tokenizer.is_end(t))
        .unwrap();
    let mut s = session(&model);
    let mut p = Sampler::new().unwrap();
    p.add(&SampleStage::LogitBias { biases: &[(end, 1e6)] }).unwrap();
    let mut text = s.generate("A", &mut p).unwrap();
    assert!(text.next().is_none() && text.next().is_none());
    assert!(text.has_ended() && text.tokens_so_far() == 0);

    let mut s = moe::Session::options().threads(1).n_ctx(64).create(&model).unwrap();
    let mut p = Sampler::parse("dist:seed=1").unwrap();
    let all: Vec<_> = s.generate("A", &mut p).unwrap().collect();
    let last = all.last().unwrap();
    assert!(last.as_ref().map_or_else(|e| e.status() == Status::Full, |_| true));
    let mut fresh = session(&model);
    let first = fresh.tokens(&mut p).next().unwrap();
    assert_eq!(first.unwrap_err().status(), Status::Range); // no logits yet
    let bare = Model::open(tiny("qwen2moe-dense.gguf")).unwrap();
    assert_eq!(session(&bare).generate("A", &mut p).unwrap_err().status(), Status::NotFound);
}

#[test]
fn all_stages() {
    let stages = [
        SampleStage::Penalties { window: -1, repeat: 1.1, frequency: 0.1, presence: 0.1 },
        SampleStage::Dry { window: 64, multiplier: 0.8, base: 1.75, allowed: 2, breakers: &[1] },
        SampleStage::LogitBias { biases: &[(3, 1.0), (4, -1.0)] },
        SampleStage::TopNSigma { n: 3.0 },
        SampleStage::TopK { k: 40 },
        SampleStage::Typical { p: 0.9, keep: 1 },
        SampleStage::TopP { p: 0.95, keep: 1 },
        SampleStage::MinP { p: 0.05, keep: 1 },
        SampleStage::Xtc { probability: 0.5, threshold: 0.1, keep: 1, seed: 2 },
        SampleStage::TempDynamic { t: 1.0, range: 0.5, exponent: 1.0 },
        SampleStage::Temp { t: 0.8 },
        SampleStage::Dist { seed: 7 },
    ];
    let mut p = Sampler::new().unwrap();
    stages.iter().for_each(|s| p.add(s).unwrap());
    assert_eq!(p.add(&SampleStage::Greedy).unwrap_err().status(), Status::Invalid);
    let logits: Vec<f32> = (0..100).map(|i| ((i * 37) % 100) as f32 / 20.0).collect();
    let draw = |p: &mut Sampler| {
        (0..20)
            .map(|_| {
                let id = p.pick_logits(&logits).unwrap();
                p.accept(id).unwrap();
                id
            })
            .collect::<Vec<_>>()
    };
    let first = draw(&mut p);
    p.reset().unwrap();
    let mut copy = p.try_clone().unwrap();
    assert_eq!(draw(&mut p), first);
    assert_eq!(draw(&mut copy), first);
    p.set_seed(99).unwrap();
    p.reset().unwrap();
    assert_ne!(draw(&mut p), first);

    let mut p = Sampler::new().unwrap();
    p.add(&SampleStage::Mirostat { tau: 5.0, eta: 0.1, seed: 1 }).unwrap();
    assert!((0..100).contains(&p.pick_logits(&logits).unwrap()));
    assert_eq!(p.accept(-1).unwrap_err().status(), Status::Range);
    assert_eq!(p.pick_logits(&[]).unwrap_err().status(), Status::Invalid);
    assert_eq!(p.pick_logits(&[f32::NAN]).unwrap_err().status(), Status::Numeric);
    assert!(Sampler::parse("top-q:k=3").unwrap_err().message().contains("top-q"));
}

#[test]
fn stages_of_our_own() {
    let mut p = Sampler::new().unwrap();
    p.add_fn(|c| {
        assert!(!c.is_empty() && c.ids().len() == c.logits().len());
        let (ids, logits) = c.edit();
        ids.reverse();
        logits.reverse();
        c.retain(|id, _| id % 2 == 0);
        c.truncate(2);
        c.pick(1);
    })
    .unwrap();
    let mut copy = p.try_clone().unwrap();
    drop(p);
    let mut candidates: Vec<(moe::Token, f32)> = (0..6).map(|i| (i, i as f32)).collect();
    let picked = std::thread::spawn(move || {
        let picked = copy.apply(&mut candidates).unwrap();
        (candidates, picked)
    });
    let (candidates, picked) = picked.join().unwrap();
    assert_eq!((candidates, picked), (vec![(4, 4.0), (2, 2.0)], Some(1)));
    let mut p = Sampler::new().unwrap();
    p.add_fn(|c| c.pick(77)).unwrap();
    assert_eq!(p.pick_logits(&[1.0]).unwrap_err().status(), Status::Callback);
}
