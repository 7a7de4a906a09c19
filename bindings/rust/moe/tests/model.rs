// SPDX-License-Identifier: MIT
//! Models: what they tell, where they come from, what goes wrong.

mod common;
use common::*;
use moe::{Encode, MetaValue, Model, Special, Status};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn a_model_tells_what_it_is() {
    let model = qwen();
    let info = model.info();
    assert_eq!(info.arch, "qwen3moe");
    assert!(info.n_experts > info.top_k && info.top_k > 0);
    let layer = model.layer(0).unwrap();
    assert_eq!((layer.ffn_kind, layer.n_experts), (moe::Ffn::Moe, info.n_experts));
    assert_eq!(model.layer(info.n_layers).unwrap_err().status(), Status::Range);
    assert_eq!(model.route(0).unwrap().top_k, info.top_k);
    assert!(format!("{model:?}").contains("qwen3moe"));
}

#[test]
fn metadata_of_all_kinds() {
    let model = Model::open(demo()).unwrap();
    assert!(model.meta().count() > 10);
    let arch = model.meta_find("general.architecture").unwrap();
    assert_eq!(arch.as_str(), Some(model.info().arch.as_str()));
    let (key, _) = model.meta().next().unwrap();
    assert!(key.contains('.'));
    let tokens = model.meta_array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.len(), model.info().n_vocab as usize);
    assert!(matches!(tokens[0], MetaValue::Text(_)));
    assert_eq!(model.meta_elem("tokenizer.ggml.tokens", 1 << 40).unwrap_err().status(), Status::Range);
    assert_eq!(model.meta_find("no.such.key").unwrap_err().status(), Status::NotFound);
    assert!(model.meta().any(|(_, v)| v.as_u64().is_some() && v.as_f64().is_some()));
}

#[test]
fn tensors_are_read() {
    let model = qwen();
    let i = model.tensor_find("token_embd.weight").unwrap();
    let info = model.tensor(i).unwrap();
    assert_eq!(info.dims[0], u64::from(model.info().dim));
    assert!(model.tensors().any(|t| t == info));
    let mut row = vec![f32::NAN; info.dims[0] as usize];
    model.tensor_read(i, 0, &mut row).unwrap();
    assert!(row.iter().all(|x| x.is_finite()));
    assert_eq!(model.tensor_read(i, 1 << 60, &mut row).unwrap_err().status(), Status::Range);
    assert_eq!(model.tensor_find("nothing").unwrap_err().status(), Status::NotFound);
    assert!(model.tensor(1 << 30).is_err());
}

#[test]
fn failures_have_kind_and_message() {
    let missing = Model::open("/no/such/file.gguf").unwrap_err();
    assert_eq!(missing.status(), Status::NotFound);
    assert!(missing.message().contains("file.gguf"), "{missing}");
    assert_eq!(Model::open("zero\0byte").unwrap_err().status(), Status::Invalid);

    let folder = Folder::new();
    let whole = std::fs::read(tiny("qwen3moe.gguf")).unwrap();
    let damaged = folder.file("damaged.gguf");
    for cut in [0, 1, 37, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&damaged, &whole[..cut]).unwrap();
        let e = Model::open(&damaged).unwrap_err();
        assert_eq!(e.status(), Status::Format, "{cut} bytes: {e}");
        assert_eq!(Model::from_source(whole[..cut].to_vec()).unwrap_err().status(), Status::Format);
    }
    let mut flipped = whole;
    flipped[..4].copy_from_slice(b"GGML");
    assert_eq!(Model::from_source(flipped).unwrap_err().status(), Status::Format);
}

#[test]
fn options_reach_the_library() {
    let path = tiny("qwen3moe.gguf");
    let mut seen = Vec::new();
    let model = Model::options()
        .mmap(false)
        .resident(true)
        .check_data(true)
        .threads(1)
        .isa_max("ref")
        .progress(|p| seen.push((p.done, p.total)))
        .open(&path)
        .unwrap();
    drop(model);
    assert!(!seen.is_empty() && seen.last().unwrap().0 == seen.last().unwrap().1);

    let e = Model::options().isa_max("abacus").open(&path).unwrap_err();
    assert_eq!(e.status(), Status::Invalid);
    assert_eq!(Model::options().memory_budget(1000).open(&path).unwrap_err().status(), Status::Full);
    let bare = Model::options().metadata_only(true).open(&path).unwrap();
    assert_eq!(bare.session().unwrap_err().status(), Status::State);
    let stopped = Model::options().mmap(false).progress(|_| std::ops::ControlFlow::Break(())).open(&path);
    assert_eq!(stopped.unwrap_err().status(), Status::Aborted);
}

#[test]
fn plans() {
    let path = tiny("qwen3moe.gguf");
    let options = moe::Session::options().n_ctx(256).threads(1);
    let planned = moe::plan(&path, &Model::options(), &options).unwrap();
    let told = qwen().memory(&options).unwrap();
    assert_eq!(planned, told);
    assert!(planned.total >= planned.experts + planned.kv && planned.kv > 0);
}

/// A file that counts what is asked of it, and that it was closed.
struct Counting {
    bytes: Vec<u8>,
    in_place: bool,
    reads: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl moe::Source for Counting {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> moe::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        moe::Source::read_at(&self.bytes, offset, buf)
    }
    fn bytes(&self) -> Option<&[u8]> {
        self.in_place.then_some(&self.bytes[..])
    }
    fn name(&self) -> String {
        "an archive".into()
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn sources_live_as_long_as_anything_needs_them() {
    let want = logits(&mut session(&qwen()));
    for in_place in [true, false] {
        let (reads, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let bytes = std::fs::read(tiny("qwen3moe.gguf")).unwrap();
        let source = Counting { bytes, in_place, reads: reads.clone(), closed: closed.clone() };
        let model = Model::from_source(source).unwrap();
        let mut session = session(&model);
        let tokenizer = model.tokenizer();
        drop(model);
        assert_eq!(logits(&mut session), want);
        assert_eq!(closed.load(Ordering::Relaxed), 0);
        drop(session);
        drop(tokenizer);
        assert_eq!(closed.load(Ordering::Relaxed), 1, "in place: {in_place}");
        assert!(in_place || reads.load(Ordering::Relaxed) > 0);
    }
    let closed = Arc::new(AtomicUsize::new(0));
    let source =
        Counting { bytes: vec![1; 100], in_place: true, reads: closed.clone(), closed: closed.clone() };
    assert_eq!(Model::from_source(source).unwrap_err().status(), Status::Format);
    assert_eq!(closed.load(Ordering::Relaxed), 1, "closed on failure too");
}

struct Broken;
impl moe::Source for Broken {
    fn length(&self) -> u64 {
        1 << 20
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> moe::Result<()> {
        Err(std::io::Error::new(std::io::ErrorKind::Other, "the disk is on fire").into())
    }
}

#[test]
fn an_error_of_a_source_comes_out_as_it_is() {
    let e = Model::from_source(Broken).unwrap_err();
    assert_eq!((e.status(), e.message()), (Status::Io, "the disk is on fire"));
}

#[test]
fn models_and_sessions_end_in_any_order_on_any_thread() {
    let model = qwen();
    let handles: Vec<_> = (0..4)
        .map(|_| {
            let model = model.clone();
            std::thread::spawn(move || {
                let mut session = session(&model);
                drop(model);
                logits(&mut session)
            })
        })
        .collect();
    drop(model);
    let all: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    assert!(all.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn tokenizers() {
    let model = Model::open(demo()).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let alone = moe::Tokenizer::open(demo()).unwrap();
    assert!(tokenizer.model().is_some() && alone.model().is_none());
    assert_eq!(tokenizer.same(&alone), Ok(()));
    drop(model);
    let text = "The café, twice:\n\tcafé \u{1f600}";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert_eq!(alone.encode(text).unwrap(), ids);
    let long = text.repeat(1000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&long).unwrap()).unwrap(), long);
    assert_eq!(tokenizer.encode("").unwrap(), []);
    let mut decoder = alone.decoder(false);
    let mut streamed = String::new();
    for &id in &ids {
        streamed += decoder.push(id).unwrap();
    }
    streamed += decoder.finish().unwrap();
    assert_eq!(streamed, text);
    assert_eq!(tokenizer.decode(&[-5]).unwrap_err().status(), Status::Range);
    assert!(decoder.push(1 << 30).is_err());

    let piece = tokenizer.piece(ids[0]).unwrap();
    assert_eq!(tokenizer.find(piece), Some(ids[0]));
    assert_eq!(tokenizer.find("no such token, surely"), None);
    assert!(tokenizer.attr(ids[0]).bits() != 0 && tokenizer.attr(1 << 30).bits() == 0);
    let ends = [Special::Eos, Special::Eot].iter().filter_map(|&s| tokenizer.special(s)).collect::<Vec<_>>();
    assert!(ends.iter().any(|&e| tokenizer.is_end(e)), "{ends:?}");
    let bos = tokenizer.encode_with("a", Encode { bos: true, special: false }).unwrap();
    assert!(bos.len() >= tokenizer.encode("a").unwrap().len());
    match tokenizer.chat_name() {
        Some(_) => assert!(tokenizer.chat(&[("user", "hello")], true).unwrap().contains("hello")),
        None => assert!(tokenizer.chat(&[("user", "hello")], true).is_err()),
    }
    assert_eq!(tokenizer.chat(&[("user", "zero\0")], true).unwrap_err().status(), Status::Invalid);
    assert!(!tokenizer.is_empty());
}

#[test]
fn loggers_hear() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&lines);
    let model = Model::options()
        .logger(moe::LogLevel::Debug, move |_, area, text| {
            ears.lock().unwrap().push(format!("{area}: {text}"))
        })
        .open(tiny("qwen3moe.gguf"))
        .unwrap();
    let mut session = session(&model);
    drop(model);
    logits(&mut session);
    drop(session);
    assert_eq!(Arc::strong_count(&lines), 1, "the hook goes with what was made with it");
}

#[test]
fn quantising() {
    let folder = Folder::new();
    let small = folder.file("small.gguf");
    let mut last = 0;
    moe::Quantize::new("Q8_0")
        .threads(1)
        .rules("*attn*=F16")
        .progress(|p| last = p.done)
        .run(tiny("qwen2moe-dense.gguf"), &small)
        .unwrap();
    assert!(last > 0);
    let model = Model::open(&small).unwrap();
    assert!(model.tensors().any(|t| t.kind == moe::TensorType::Q8_0));
    let e = moe::Quantize::new("Q9_9").run(tiny("qwen3moe.gguf"), folder.file("x")).unwrap_err();
    assert_eq!(e.status(), Status::Invalid);
    assert!(!folder.file("x").exists());
}

#[test]
fn shapes() {
    let model = qwen();
    let info = model.info();
    let shape = moe::Shape {
        dim: info.dim,
        dim_ff_expert: info.dim_ff_expert,
        n_experts: info.n_experts,
        top_k: info.top_k,
        ..Default::default()
    };
    let measured = shape.measure().unwrap();
    assert_eq!(measured.activation, model.layer(0).unwrap().activation);
    assert!(moe::Shape::default().measure().is_err());
}
