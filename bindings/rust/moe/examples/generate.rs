// SPDX-License-Identifier: MIT
//! Continues a prompt:  cargo run --example generate -- MODEL.gguf "Once upon a time" [TOKENS]

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, prompt) = match (args.next(), args.next()) {
        (Some(path), Some(prompt)) => (path, prompt),
        _ => return Err("usage: generate MODEL.gguf PROMPT [TOKENS]".into()),
    };
    let n_tokens = args.next().map_or(Ok(100), |n| n.parse())?;

    let model = moe::Model::open(path)?;
    let mut session = model.session()?;
    let mut sampler = moe::Sampler::parse("top-k:k=40;top-p:p=0.95;temp:t=0.8;dist:seed=7")?;
    print!("{prompt}");
    for piece in session.generate(&prompt, &mut sampler)?.max_tokens(n_tokens) {
        print!("{}", piece?); // whole characters, as soon as they are known
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
