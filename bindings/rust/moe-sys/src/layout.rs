// SPDX-License-Identifier: MIT
//! Sizes and offsets as Rust has them against those that the C compiler prints.

use super::*;
use std::mem::{align_of, size_of, MaybeUninit};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::addr_of;
use std::{env, fs};

type Row = (&'static str, usize, usize, Vec<(&'static str, usize)>);

macro_rules! layout {
    ($($name:ident: $($member:ident)+;)+) => {
        fn table() -> Vec<Row> {
            vec![$({
                let place = MaybeUninit::<$name>::uninit();
                let start = place.as_ptr();
                // SAFETY: only addresses are taken.
                let members = unsafe {
                    vec![$((stringify!($member), addr_of!((*start).$member) as usize - start as usize)),+]
                };
                (stringify!($name), size_of::<$name>(), align_of::<$name>(), members)
            }),+]
        }
    };
}
include!(concat!(env!("OUT_DIR"), "/layout.rs"));

fn include_dir() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["vendor/include", "../../../include"]
        .iter()
        .map(|p| here.join(p))
        .find(|p| p.join("moe/moe.h").is_file())
}

/// A program that prints what the table holds, in the same form.
fn program(table: &[Row]) -> String {
    let mut text =
        String::from("#include <moe/ext.h>\n#include <moe/study.h>\n#include <stdio.h>\nint main(void)\n{\n");
    for (name, _, _, members) in table {
        text += &format!(
            "  printf(\"{name} %zu %zu\\n\", sizeof({name}), offsetof(struct {{ char c; {name} s; }}, s));\n"
        );
        for (member, _) in members {
            let member = member.trim_start_matches("r#");
            text += &format!("  printf(\"{name}.{member} %zu\\n\", offsetof({name}, {member}));\n");
        }
    }
    text + "  return 0;\n}\n"
}

fn printed(table: &[Row]) -> String {
    let mut text = String::new();
    for (name, size, align, members) in table {
        text += &format!("{name} {size} {align}\n");
        for (member, offset) in members {
            text += &format!("{name}.{} {offset}\n", member.trim_start_matches("r#"));
        }
    }
    text
}

#[test]
fn layouts_are_those_of_the_c_compiler() {
    let include = include_dir().expect("the headers: run package.sh, or test in the repository");
    let table = table();
    assert!(table.len() > 35, "{} structs", table.len());
    let dir = env::temp_dir().join(format!("moe-sys-layout-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (source, binary) = (dir.join("layout.c"), dir.join("layout"));
    fs::write(&source, program(&table)).unwrap();
    let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status =
        Command::new(cc).arg("-std=c11").arg("-I").arg(&include).arg(&source).arg("-o").arg(&binary).status();
    assert!(status.expect("a C compiler").success());
    let output = Command::new(&binary).output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    for (ours, theirs) in printed(&table).lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(printed(&table).lines().count(), theirs.lines().count());
}
