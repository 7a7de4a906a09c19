// SPDX-License-Identifier: MIT
//! A selection rule as a closure:  cargo run --example policy -- MODEL.gguf PROMPT
//!
//! Each token keeps its best expert and takes a second one only where the router is in doubt: where the second score
//! is at least half the first. The text is generated with the model's own routing and with this one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, prompt) = match (args.next(), args.next()) {
        (Some(path), Some(prompt)) => (path, prompt),
        _ => return Err("usage: policy MODEL.gguf PROMPT".into()),
    };
    let model = moe::Model::open(path)?;
    let mut session = model.session()?;
    let mut sampler = moe::Sampler::new()?; // the best token

    let own = session.generate(&prompt, &mut sampler)?.max_tokens(40).collect_text()?;
    println!("as the model says: {prompt}{own}");

    // The closure may run on several threads at once, so it counts with atomics.
    let (pairs, rows) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (p, r) = (Arc::clone(&pairs), Arc::clone(&rows));
    let options = moe::PolicyOptions::new("when in doubt").max_k(2).parallel();
    session.routers().set_policy(options, move |input, output| {
        for row in input.rows() {
            let ranked = row.ranked();
            let score = |i: usize| row.scores()[ranked[i] as usize];
            let k = if ranked.len() > 1 && score(1) >= 0.5 * score(0) { 2 } else { 1 };
            p.fetch_add(k as u64, Ordering::Relaxed);
            output.push_row(&ranked[..k]);
        }
        r.fetch_add(input.len() as u64, Ordering::Relaxed);
    })?;
    session.reset();
    sampler.reset()?;
    let doubt = session.generate(&prompt, &mut sampler)?.max_tokens(40).collect_text()?;
    println!("when in doubt:     {prompt}{doubt}");
    let mean = pairs.load(Ordering::Relaxed) as f64 / rows.load(Ordering::Relaxed).max(1) as f64;
    println!("experts of a token in a layer: {mean:.2} of {}", model.info().top_k);
    Ok(())
}
