// SPDX-License-Identifier: MIT
//! Every public function of the library is used by this crate.

use std::fs;
use std::path::Path;

/// Names of functions in api.json: the entries of the list "functions", two levels in.
fn functions(json: &str) -> Vec<String> {
    let list = json.split("\n \"functions\": [").nth(1).expect("a list of functions");
    list.split("\n  {\n   \"name\": \"").skip(1).map(|e| e.split('"').next().unwrap().to_owned()).collect()
}

/// The text without comments.
fn code(text: &str) -> String {
    text.lines().map(|l| l.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_function_is_used() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let json = fs::read_to_string(here.join("../../api.json")).unwrap();
    let functions = functions(&json);
    assert_eq!(functions, moe::moe_sys::MOE_FUNCTIONS, "moe-sys is stale");
    assert!(functions.len() >= 155, "{} functions", functions.len());

    let mut all = String::new();
    for entry in fs::read_dir(here.join("src")).unwrap() {
        all += &code(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let used = |name: &String| {
        all.match_indices(&format!("sys::{name}")).any(|(i, m)| {
            let next = all[i + m.len()..].chars().next().unwrap_or(' ');
            !next.is_alphanumeric() && next != '_'
        })
    };
    let missing: Vec<_> = functions.iter().filter(|f| !used(f)).collect();
    assert!(missing.is_empty(), "not in the safe crate: {missing:?}");
}

#[test]
fn the_library_tells_about_itself() {
    assert!(moe::version() >= (0, 2, 0));
    assert!(moe::version_string().starts_with("0."));
    assert!(!moe::build_info().is_empty());
    assert!(!moe::cpu_isa().is_empty());
    assert!(moe::architectures().any(|a| a == "qwen3moe"));
    assert!(moe::tensor_types().any(|t| t == moe::TensorType::Q4K));
    assert_eq!(moe::TensorType::Q4K.name(), Some("Q4_K"));
    assert_eq!(moe::TensorType::Other(9999).name(), None);
    assert!(moe::kernels().count() > 5);
    assert!(moe::policies().any(|(name, summary)| name == "topp" && !summary.is_empty()));
    assert!(moe::quantize_recipes().any(|r| r == "Q8_0"));
    assert!(!moe::has_feature("no such thing") && !moe::has_feature("zero\0byte"));
    assert!(moe::has_feature("pool") || moe::has_feature("openmp") || moe::has_feature("serial"));
}

#[test]
fn numbers_keep_what_has_no_name() {
    assert_eq!(moe::Status::from_raw(-4), moe::Status::Format);
    assert_eq!(moe::Status::from_raw(-99), moe::Status::Other(-99));
    assert_eq!(moe::Status::Other(-99).to_raw(), -99);
    assert_eq!(moe::Status::Format.name(), "MOE_E_FORMAT");
    let e = moe::Error::new(moe::Status::Format, "");
    assert_eq!(e.to_string(), "MOE_E_FORMAT");
    let io: std::io::Error = e.into();
    assert_eq!(io.kind(), std::io::ErrorKind::InvalidData);
}
