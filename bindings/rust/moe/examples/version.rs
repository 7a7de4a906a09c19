// SPDX-License-Identifier: MIT
//! What library this program runs with, and the kernels it uses on this CPU.
//!
//!     cargo run --example version

fn main() {
    println!("libmoe {}", moe::version_string());
    println!("{}", moe::build_info());
    println!("uses {}", moe::cpu_isa());
}
