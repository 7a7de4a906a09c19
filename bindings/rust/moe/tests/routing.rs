// SPDX-License-Identifier: MIT
//! Routers, experts, policies, steering: what changes, what does not, and that it can be undone to the bit.

mod common;
use common::*;
use moe::{Edit, ExpertSource, Matrix, Override, OverrideKind, Place, PolicyOptions, Session, Status, Use};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Experts that each token got in a layer.
fn chosen(s: &mut Session, layer: u32) -> Vec<Vec<u32>> {
    let mut rows = Vec::new();
    s.reset();
    s.eval_observed(PROMPT, |v| {
        if v.layer() == layer {
            rows.extend(v.rows().map(|r| r.experts().to_vec()));
        }
    })
    .unwrap();
    rows
}

#[test]
fn recipes_by_text_and_by_struct() {
    let model = qwen();
    let mut s = session(&model);
    let native = logits(&mut s);
    assert!(s.router(0).unwrap().info().unwrap().is_native());
    s.routers().set_named("topk:k=1").unwrap();
    assert!(chosen(&mut s, 1).iter().all(|r| r.len() == 1));
    assert_ne!(logits(&mut s), native);
    assert!(s.router_ref(1).unwrap().named().unwrap().contains("k=1"));

    let mut spec = s.router(0).unwrap().native_spec().unwrap();
    assert_eq!(spec, model.route(0).unwrap());
    spec.top_k = 5;
    s.router(0).unwrap().set_spec(&spec).unwrap();
    assert_eq!(s.router_ref(0).unwrap().spec().unwrap().top_k, 5);
    assert!(chosen(&mut s, 0).iter().all(|r| r.len() == 5));
    spec.top_k = 99;
    let e = s.router(0).unwrap().set_spec(&spec).unwrap_err();
    assert_eq!(e.status(), Status::Invalid);
    assert!(e.message().contains("99"), "{e}");
    let e = s.routers().set_named("topk:q=3").unwrap_err();
    assert_eq!(e.status(), Status::Invalid);
    assert_eq!(s.routers().info().unwrap_err().status(), Status::State);
    assert_eq!(s.router(99).unwrap_err().status(), Status::Range);
    assert_eq!(s.router(u32::MAX).unwrap_err().status(), Status::Range);
    s.routers().reset().unwrap();
    assert_eq!(logits(&mut s), native);
}

#[test]
fn uses_numbers_limits_overrides() {
    let model = qwen();
    let mut s = session(&model);
    let native = logits(&mut s);
    let n = model.info().n_experts as usize;
    s.expert(0, 2).unwrap().set_use(Use::Ban).unwrap();
    assert!(chosen(&mut s, 0).iter().flatten().all(|&e| e != 2));
    let mut uses = vec![Use::Free; n];
    uses[5] = Use::Force;
    s.router(0).unwrap().set_uses(&uses).unwrap();
    assert_eq!(s.router_ref(0).unwrap().uses().unwrap(), uses);
    assert!(chosen(&mut s, 0).iter().all(|r| r.contains(&5)));
    assert_eq!(s.router(0).unwrap().set_uses(&uses[1..]).unwrap_err().status(), Status::Invalid);
    assert!(s.router(0).unwrap().set_uses(&vec![Use::Other(300); n]).is_err());
    s.router(0).unwrap().reset().unwrap();

    let mut bias = vec![0.0; n];
    bias[3] = 1000.0;
    s.router(1).unwrap().set_values(Edit::SelectBias, &bias).unwrap();
    assert!(chosen(&mut s, 1).iter().all(|r| r[0] == 3));
    assert_eq!(s.router_ref(1).unwrap().values(Edit::SelectBias).unwrap(), bias);
    bias[0] = f32::NAN;
    assert_eq!(s.router(1).unwrap().set_values(Edit::Gain, &bias).unwrap_err().status(), Status::Numeric);
    s.router(1).unwrap().clear_values(Edit::SelectBias).unwrap();
    assert_eq!(logits(&mut s), native);

    s.expert(1, 3).unwrap().set_value(Edit::SelectBias, 1000.0).unwrap();
    assert_eq!(s.router_ref(1).unwrap().expert_ref(3).unwrap().info().unwrap().select_bias, 1000.0);
    assert!(chosen(&mut s, 1).iter().all(|r| r[0] == 3));
    let e = s.expert(1, 3).unwrap().set_value(Edit::Gain, f32::NAN).unwrap_err();
    assert_eq!(e.status(), Status::Numeric);
    s.expert(1, 3).unwrap().set_value(Edit::SelectBias, 0.0).unwrap();
    assert_eq!(logits(&mut s), native);

    s.routers().set_limit(None, Some(&[0, 1, 4])).unwrap();
    assert!(chosen(&mut s, 2).iter().flatten().all(|e| [0, 1, 4].contains(e)));
    assert!(s.routers().set_limit(None, Some(&[])).is_err());
    s.routers().set_limit(None, None).unwrap();

    let mut row = vec![0.0; n];
    row[6] = 50.0;
    let mut o = Override::new(OverrideKind::Logits, row);
    o.first = 2;
    o.last = Some(3);
    s.router(0).unwrap().add_override(&o).unwrap();
    let rows = chosen(&mut s, 0);
    assert_eq!((rows[2][0], rows[3][0]), (6, 6));
    o.row.pop();
    assert_eq!(s.router(0).unwrap().add_override(&o).unwrap_err().status(), Status::Invalid);
    s.router(0).unwrap().clear_overrides().unwrap();
    assert_eq!(logits(&mut s), native);
}

#[test]
fn routes_are_kept_and_made() {
    let model = qwen();
    let mut s = Session::options().threads(1).keep_routes(true).create(&model).unwrap();
    assert_eq!(s.router_ref(0).unwrap().last().unwrap_err().status(), Status::State);
    s.eval(PROMPT).unwrap();
    {
        let router = s.router_ref(0).unwrap();
        let view = router.last().unwrap();
        assert_eq!(view.len(), PROMPT.len());
        let row = view.row(1);
        assert_eq!((row.token(), row.pos(), row.seq()), (Some(PROMPT[1]), 1, 0));
        assert_eq!(row.logits().len(), model.info().n_experts as usize);
        assert_eq!(row.weights().len(), row.experts().len());
        assert_eq!(view.experts().len(), view.rows().map(|r| r.experts().len()).sum::<usize>());
        assert!(format!("{view:?}").contains("experts"));
    }
    let dim = model.info().dim as usize;
    let mut router = s.router(0).unwrap();
    let view = router.route(&vec![0.5; 2 * dim]).unwrap();
    assert_eq!((view.len(), view.row(0).token()), (2, None));
    assert_eq!(view.row(0).experts(), view.row(1).experts());
    assert!(router.route(&vec![0.5; dim + 1]).is_err());
}

#[test]
fn experts_are_read_replaced_redirected() {
    let model = qwen();
    let mut s = session(&model);
    let native = logits(&mut s);
    let info = s.expert(1, 3).unwrap().info().unwrap();
    assert_eq!((info.layer, info.index, info.source, info.r#use), (1, 3, ExpertSource::Own, Use::Free));
    let read = |s: &mut Session, m| s.expert(1, 3).unwrap().read(m).unwrap();
    let (gate, up, down) = (read(&mut s, Matrix::Gate), read(&mut s, Matrix::Up), read(&mut s, Matrix::Down));
    assert_eq!(gate.len(), (info.dim * info.dim_ff) as usize);
    let same = moe::Weights::from_f32(&model, &gate, &up, &down).unwrap();
    for e in 0..model.info().n_experts {
        s.expert(1, e).unwrap().redirect(None, 3).unwrap();
    }
    let redirected = logits(&mut s);
    assert_ne!(redirected, native);
    for e in 0..model.info().n_experts {
        s.expert(1, e).unwrap().replace(&same).unwrap();
    }
    assert_eq!(s.router_ref(1).unwrap().expert_ref(0).unwrap().info().unwrap().source, ExpertSource::Weights);
    assert_eq!(logits(&mut s), redirected, "the same weights, another way");
    let x: Vec<f32> = (0..info.dim).map(|i| i as f32 / 10.0).collect();
    let y = s.expert(1, 0).unwrap().apply(&x).unwrap();
    for e in 0..model.info().n_experts {
        s.router(1).unwrap().expert(e).unwrap().restore().unwrap();
    }
    assert_eq!(bits(&s.expert(1, 3).unwrap().apply(&x).unwrap()), bits(&y));
    assert!(s.expert(1, 3).unwrap().apply(&x[1..]).is_err());
    assert_eq!(logits(&mut s), native);
    assert!(moe::Weights::from_f32(&model, &gate[1..], &up, &down).is_err());
    assert_eq!(s.expert(0, 99).unwrap_err().status(), Status::Range);
    drop(same.clone());
}

#[test]
fn functions_are_experts_and_go_with_them() {
    let model = qwen();
    let mut s = session(&model);
    let native = logits(&mut s);
    let x: Vec<f32> = (0..model.info().dim).map(|i| i as f32 / 10.0).collect();
    let rows = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&rows);
    s.routers()
        .expert(2)
        .unwrap()
        .replace_fn(move |call| {
            assert!(call.index() == 2 && !call.is_empty() && call.tokens().len() == call.len());
            assert_eq!((call.positions().len(), call.sequences().len()), (call.len(), call.len()));
            calls.fetch_add(call.len(), Ordering::Relaxed);
            call.map_rows(|x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = -x));
        })
        .unwrap();
    assert_eq!(s.expert(0, 2).unwrap().apply(&x).unwrap()[3], -x[3]);
    assert_ne!(logits(&mut s), native);
    assert!(rows.load(Ordering::Relaxed) > 1);

    let mut copy = session(&model);
    copy.copy_routing(&s).unwrap();
    let changed = logits(&mut s);
    drop(s);
    let copied = std::thread::spawn(move || {
        let all = logits(&mut copy);
        (copy, all)
    });
    let (mut copy, all) = copied.join().unwrap();
    assert_eq!(all, changed);
    assert_eq!(Arc::strong_count(&rows), 2);
    copy.expert(0, 2).unwrap().restore().unwrap();
    assert_eq!(Arc::strong_count(&rows), 2, "other layers still have it");
    copy.routers().reset().unwrap();
    assert_eq!(Arc::strong_count(&rows), 1, "nobody has it");
    assert_eq!(logits(&mut copy), native);

    copy.expert(0, 1).unwrap().replace_fn(|call| call.split().1.fill(f32::NAN)).unwrap();
    copy.router(0).unwrap().set_uses(&[Use::Free; 8]).unwrap();
    copy.expert(0, 1).unwrap().set_use(Use::Force).unwrap();
    assert_eq!(copy.eval(PROMPT).unwrap_err().status(), Status::Callback);
}

#[test]
fn hooks_look_and_edit() {
    let model = qwen();
    let mut s = session(&model);
    let native = logits(&mut s);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    s.on_layer(None, Place::Router, move |e| {
        assert_eq!(e.hidden().len(), e.len() * e.dim());
        assert!(!e.is_empty() && e.tokens() == PROMPT && e.positions().len() == e.sequences().len());
        notes.lock().unwrap().push((e.layer(), e.place()));
    })
    .unwrap();
    assert_eq!(logits(&mut s), native);
    let expected: Vec<_> = (0..model.info().n_layers).map(|l| (l, Place::Router)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    s.on_layer(Some(1), Place::Router, |_| ()).unwrap(); // in the place of one of them
    s.on_layer(Some(0), Place::Output, |e| e.hidden_mut().fill(0.25)).unwrap();
    assert_ne!(logits(&mut s), native);
    s.clear_layer_hook(Some(0), Place::Output).unwrap();
    s.clear_layer_hook(None, Place::Router).unwrap();
    assert_eq!(Arc::strong_count(&seen), 1);
    assert_eq!(logits(&mut s), native);
    assert_eq!(s.on_layer(Some(99), Place::Input, |_| ()).unwrap_err().status(), Status::Range);
}

#[test]
fn policies_as_closures() {
    let model = qwen();
    let mut s = session(&model);
    let native = logits(&mut s);
    let k = model.info().top_k as usize;
    let like_native = move |input: &moe::RouteInput<'_>, output: &mut moe::RouteOutput<'_>| {
        for row in input.rows() {
            assert_eq!(row.choice().len(), input.n_experts() as usize);
            output.push_row(&row.ranked()[..k]);
        }
    };
    s.routers().set_policy(PolicyOptions::new("like native").max_k(k as u32), like_native).unwrap();
    assert_eq!(logits(&mut s), native);
    assert!(s.router(0).unwrap().info().unwrap().is_custom());
    assert_eq!(s.router(0).unwrap().named().unwrap_err().status(), Status::Unsupported);

    for threads in [1, 4] {
        s.set_threads(threads).unwrap();
        s.routers()
            .set_policy(PolicyOptions::new("parallel").max_k(k as u32).parallel(), move |i, o| {
                like_native(i, o)
            })
            .unwrap();
        assert_eq!(logits(&mut s), native);
    }
    let dim = model.info().dim as usize;
    let options = PolicyOptions::new("weighted").max_k(2).weights().hidden();
    s.routers()
        .set_policy(options, move |input, output| {
            for row in input.rows() {
                assert_eq!(row.hidden().len(), dim * (input.len() - row.pos() as usize).min(1));
                assert_eq!((row.seq(), row.token()), (0, PROMPT[row.pos() as usize]));
                assert!(row.logits().len() == row.scores().len());
                output.push_weighted(4, 3.0);
                output.push_weighted(6, 1.0); // the recipe's norm follows
                output.end_row();
            }
        })
        .unwrap();
    s.reset();
    s.eval_observed(PROMPT, |v| {
        v.rows().for_each(|r| assert_eq!((r.experts(), r.weights()), (&[4, 6][..], &[0.75, 0.25][..])))
    })
    .unwrap();

    let too_many =
        |_: &moe::RouteInput<'_>, output: &mut moe::RouteOutput<'_>| (0..100).for_each(|e| output.push(e));
    s.routers().set_policy(PolicyOptions::new("too many").max_k(2), too_many).unwrap();
    let e = s.eval(PROMPT).unwrap_err();
    assert!(e.status() == Status::Policy && e.message().contains("room"), "{e}");
    s.routers()
        .set_policy(PolicyOptions::new("no such expert"), |i, o| (0..i.len()).for_each(|_| o.push_row(&[77])))
        .unwrap();
    assert_eq!(s.eval(PROMPT).unwrap_err().status(), Status::Policy);
    s.routers().set_policy(PolicyOptions::new("none"), |_, _| ()).unwrap(); // no experts at all
    s.eval(PROMPT).unwrap();
    s.routers().clear_policy().unwrap();
    assert_eq!(logits(&mut s), native);
    assert_eq!(
        s.routers().set_policy(PolicyOptions::new("z\0"), |_, _| ()).unwrap_err().status(),
        Status::Invalid
    );
}

/// Takes turns through the experts, per sequence.
struct Turns {
    next: Vec<u32>,
    n: u32,
    notes: Arc<Mutex<Vec<String>>>,
    alive: Arc<AtomicU32>,
}

impl moe::Policy for Turns {
    fn route(&mut self, input: &moe::RouteInput<'_>, output: &mut moe::RouteOutput<'_>) -> moe::Result<()> {
        for row in input.rows() {
            let next = &mut self.next[row.seq() as usize];
            output.push_row(&[*next % self.n]);
            *next += 1;
        }
        Ok(())
    }
    fn seq_reset(&mut self, seq: Option<moe::Seq>) {
        self.notes.lock().unwrap().push(format!("reset {seq:?}"));
        match seq {
            Some(q) => self.next[q as usize] = 0,
            None => self.next.fill(0),
        }
    }
    fn seq_copy(&mut self, from: moe::Seq, to: moe::Seq) {
        self.notes.lock().unwrap().push(format!("copy {from} {to}"));
        self.next[to as usize] = self.next[from as usize];
    }
    fn seq_truncate(&mut self, seq: moe::Seq, keep: moe::Pos) {
        self.notes.lock().unwrap().push(format!("truncate {seq} {keep}"));
        self.next[seq as usize] = keep as u32;
    }
    fn seq_remove(&mut self, seq: moe::Seq, first: moe::Pos, n: moe::Pos) {
        self.notes.lock().unwrap().push(format!("remove {seq} {first} {n}"));
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn policies_with_a_state() {
    let model = qwen();
    let mut s = Session::options().threads(1).n_seq_max(2).n_output_max(4).create(&model).unwrap();
    let (notes, alive) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(0)));
    let (n, a) = (Arc::clone(&notes), Arc::clone(&alive));
    s.routers()
        .set_policy_with(PolicyOptions::new("turns").max_k(1), move |info| {
            a.fetch_add(1, Ordering::Relaxed);
            assert_eq!(info.spec.top_k, 3);
            Turns {
                next: vec![0; info.n_seq_max as usize],
                n: info.n_experts,
                notes: Arc::clone(&n),
                alive: Arc::clone(&a),
            }
        })
        .unwrap();
    let layers = model.info().n_moe_layers;
    assert_eq!(alive.load(Ordering::Relaxed), layers);
    assert_eq!(chosen(&mut s, 0), [[0], [1], [2], [3], [4], [5]]);
    s.seq_copy(0, 1).unwrap();
    s.seq_truncate(1, 2).unwrap();
    s.seq_remove(1, 0..1).unwrap();
    let seen = notes.lock().unwrap().join(", ");
    assert!(
        seen.contains("reset None")
            && seen.contains("copy 0 1")
            && seen.contains("truncate 1 2, remove 1 0 1"),
        "{seen}"
    );

    let mut copy = Session::options().threads(1).n_seq_max(2).create(&model).unwrap();
    copy.copy_routing(&s).unwrap();
    assert_eq!(alive.load(Ordering::Relaxed), 2 * layers);
    drop(s);
    assert_eq!(alive.load(Ordering::Relaxed), layers);
    assert_eq!(chosen(&mut copy, 2).len(), PROMPT.len()); // its factory is still there
    copy.router(0).unwrap().set_named("native").unwrap();
    assert_eq!(alive.load(Ordering::Relaxed), layers - 1);
    drop(copy);
    assert_eq!((alive.load(Ordering::Relaxed), Arc::strong_count(&alive)), (0, 1));

    let mut s = session(&model);
    let make = |_: &moe::PolicyInfo| -> Turns { unreachable!() };
    let e = s.routers().set_policy_with(PolicyOptions::new("p").parallel(), make).unwrap_err();
    assert_eq!(e.status(), Status::Invalid);
}

#[test]
fn steering_is_saved_and_loaded() {
    let model = qwen();
    let mut a = session(&model);
    let native = logits(&mut a);
    a.expert(1, 2).unwrap().set_use(Use::Drop).unwrap();
    a.router(0).unwrap().set_named("topk:k=2").unwrap();
    a.expert(2, 0).unwrap().redirect(Some(1), 4).unwrap();
    let steered = logits(&mut a);
    let text = a.steering().unwrap();
    let mut b = session(&model);
    b.load_steering(&text).unwrap();
    assert_eq!(logits(&mut b), steered);
    let folder = Folder::new();
    a.save_steering_file(folder.file("steering.json")).unwrap();
    b.routers().reset().unwrap();
    assert_eq!(logits(&mut b), native);
    b.load_steering_file(folder.file("steering.json")).unwrap();
    assert_eq!(logits(&mut b), steered);
    let e = b.load_steering("{").unwrap_err();
    assert_eq!(e.status(), Status::Format);
    assert_eq!(logits(&mut b), steered, "as before");

    let gone = Arc::new(());
    let inside = Arc::clone(&gone);
    b.expert(0, 0)
        .unwrap()
        .replace_fn(move |c| {
            let _ = &inside;
            c.split().1.fill(0.0)
        })
        .unwrap();
    assert_eq!(b.steering().unwrap_err().status(), Status::Unsupported);
    b.load_steering(&text).unwrap();
    assert_eq!(Arc::strong_count(&gone), 1, "the function's expert is steered away");
    assert_eq!(logits(&mut b), steered);
    let other = moe::Model::open(tiny("olmoe.gguf")).unwrap();
    assert_eq!(session(&other).load_steering(&text).unwrap_err().status(), Status::State);
    assert_eq!(session(&other).copy_routing(&a).unwrap_err().status(), Status::State);
}

#[test]
fn contrast_and_mixtures() {
    let model = qwen();
    let (mut strong, mut weak) = (session(&model), session(&model));
    weak.routers().set_named("ranks:ids=1").unwrap_or_else(|e| panic!("{e}"));
    logits(&mut strong);
    logits(&mut weak);
    let contrast = moe::Contrast::default();
    let a = contrast.sessions(&strong, &weak, 0).unwrap();
    let b = contrast.logits(strong.logits(0).unwrap(), weak.logits(0).unwrap()).unwrap();
    assert_eq!(bits(&a), bits(&b));
    assert!(contrast.logits(&[1.0], &[1.0, 2.0]).is_err());
    assert!(moe::Contrast { alpha: 2.0, ..contrast }.sessions(&strong, &weak, 0).is_err());

    let rows = [strong.logits(0).unwrap(), weak.logits(0).unwrap()];
    for mode in [moe::Mix::Logits, moe::Mix::Probs, moe::Mix::Lse] {
        let of_rows = moe::mix_logits(mode, &rows, Some(&[2.0, 1.0])).unwrap();
        let of_sessions = moe::mix_sessions(mode, &[&strong, &weak], Some(&[2.0, 1.0]), 0).unwrap();
        assert_eq!(bits(&of_rows), bits(&of_sessions));
    }
    assert!(moe::mix_logits(moe::Mix::Logits, &[], None).is_err());
    assert!(moe::mix_logits(moe::Mix::Logits, &rows, Some(&[1.0])).is_err());
    assert!(moe::mix_sessions(moe::Mix::Logits, &[&strong], None, 7).is_err());
}

#[test]
fn recipes_without_a_session() {
    let mut spec = moe::RouteSpec::default();
    spec.top_k = 2;
    spec.n_null = 2;
    let rows = [1.0, 0.5, 0.2, 0.1, 0.3, 0.9, 0.1, 0.2];
    let (bias, reached) = spec.null_bias_for(&rows, 4, 1.0).unwrap();
    assert!(bias.is_finite() && (reached - 1.0).abs() <= 0.5);
    assert!(spec.null_bias_for(&rows, 3, 1.0).is_err());
    assert!(spec.route_row(&[1.0], 0, 0).is_err());
    let (experts, weights) = spec.route_row(&[0.0, 3.0, 1.0, 2.0, -9.0, -9.0], 0, 0).unwrap();
    assert_eq!((experts, weights.len()), (vec![1, 3], 2));
}
