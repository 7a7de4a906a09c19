// SPDX-License-Identifier: MIT
//! Which experts a text uses:  cargo run --example observe -- MODEL.gguf TEXT
//!
//! An observer for one evaluation counts how often each expert of each layer is chosen; it may borrow, since it is gone
//! when the call returns. A profile, which the session owns meanwhile, tells how evenly the work is spread.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, text) = match (args.next(), args.next()) {
        (Some(path), Some(text)) => (path, text),
        _ => return Err("usage: observe MODEL.gguf TEXT".into()),
    };
    let model = moe::Model::open(path)?;
    let info = model.info();
    let ids = model.tokenizer()?.encode(&text)?;
    let mut session = model.session()?;
    session.set_profile(moe::Profile::new(&model, moe::ProfileOptions::default())?)?;

    let mut counts = vec![vec![0u32; info.n_experts as usize]; info.n_layers as usize];
    session.eval_observed(&ids, |view| {
        for row in view.rows() {
            for &expert in row.experts().iter().filter(|&&e| e != moe::NO_EXPERT) {
                counts[view.layer() as usize][expert as usize] += 1;
            }
        }
    })?;

    let profile = session.take_profile().expect("the one set above");
    println!("{} tokens; how often each of {} experts was chosen:", ids.len(), info.n_experts);
    for (layer, counts) in counts.iter().enumerate() {
        let cells: String = counts.iter().map(|c| format!("{c:5}")).collect();
        let balance = profile.router(layer as u32)?.lbl_global;
        println!("layer {layer:2} {cells}   balance {balance:.2} (1 = even)");
    }
    Ok(())
}
