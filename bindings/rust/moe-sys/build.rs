// SPDX-License-Identifier: MIT
//! Finds libmoe, or builds it.
//!
//! In order: feature `vendored`: the C compiler (`CC`, default `cc`) builds the library's sources, which lie in
//! `vendor/` of a packaged crate and three folders up in the repository. `LIBMOE_LIB_DIR`: a folder with the library
//! (`LIBMOE_STATIC=1` takes libmoe.a). Else the program `pkg-config` (`PKG_CONFIG`) is asked for `libmoe`.
//!
//! Also writes `layout.rs`, a list of all structs and members of `src/bindings.rs`, for the test of layouts.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Oldest library that these declarations go with.
const OLDEST: &str = "0.2.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/bindings.rs");
    for name in ["LIBMOE_LIB_DIR", "LIBMOE_STATIC", "PKG_CONFIG", "PKG_CONFIG_PATH", "CC", "CFLAGS", "AR"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    write_layout(&out);
    let found = if env::var_os("DOCS_RS").is_some() {
        Ok(()) // documentation needs no library
    } else if env::var_os("CARGO_FEATURE_VENDORED").is_some() {
        build_library(&out)
    } else if let Some(dir) = env::var_os("LIBMOE_LIB_DIR") {
        link_folder(Path::new(&dir))
    } else {
        ask_pkg_config()
    };
    if let Err(why) = found {
        eprintln!("error: {why}");
        std::process::exit(1);
    }
}

// ------------------------------------------------------------------------------------------ an installed library

fn link_folder(dir: &Path) -> Result<(), String> {
    if !dir.is_dir() {
        return Err(format!("LIBMOE_LIB_DIR: {} is no folder", dir.display()));
    }
    println!("cargo:rustc-link-search=native={}", dir.display());
    if env::var("LIBMOE_STATIC").map_or(false, |v| v != "0") {
        println!("cargo:rustc-link-lib=static=moe");
        system_libraries();
    } else {
        println!("cargo:rustc-link-lib=moe");
    }
    Ok(())
}

fn system_libraries() {
    if target("OS") != "windows" {
        println!("cargo:rustc-link-lib=m");
        println!("cargo:rustc-link-lib=pthread");
    }
}

fn ask_pkg_config() -> Result<(), String> {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| OsString::from("pkg-config"));
    let hint = "install libmoe, or set LIBMOE_LIB_DIR, or use the feature `vendored`, which builds it";
    let output = Command::new(&program)
        .args(["--libs", &format!("libmoe >= {OLDEST}")])
        .output()
        .map_err(|e| format!("{} cannot be run ({e}): {hint}", program.to_string_lossy()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{} knows no libmoe of at least {OLDEST}: {hint}\n{said}",
            program.to_string_lossy()
        ));
    }
    let mut named = false;
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if let Some(dir) = word.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={dir}");
        } else if let Some(library) = word.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={library}");
            named |= library == "moe";
        }
    }
    if !named {
        println!("cargo:rustc-link-lib=moe"); // a system folder, which pkg-config leaves out
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------- building it

/// Flags that every file needs: the library's results are the same to the bit only with these.
const STRICT: &[&str] = &[
    "-std=c11",
    "-O3",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-DMOE_BUILDING",
];

/// The kernels of one instruction set: a line of src/kernel/*/levels.txt, which meson.build reads too.
struct Level {
    name: String,
    defines: Vec<String>,
    flags: Vec<String>,
    files: Vec<String>,
}

/// Folder in src/kernel of the target; `None`: plain C, which every build has.
fn kernel_folder() -> Option<&'static str> {
    match (target("ARCH").as_str(), target("ENDIAN").as_str()) {
        ("x86_64", _) => Some("x86"),
        ("aarch64", "little") => Some("arm"),
        _ => None,
    }
}

fn levels(folder: &Path) -> Result<Vec<Level>, String> {
    let list = folder.join("levels.txt");
    let text = fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let words = |column: &str| column.split_whitespace().map(String::from).collect::<Vec<_>>();
    let lines = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    lines
        .map(|line| match line.split('|').collect::<Vec<_>>()[..] {
            [name, _option, defines, flags, files] => Ok(Level {
                name: name.trim().into(),
                defines: defines.split_whitespace().map(|d| format!("-D{d}")).collect(),
                flags: words(flags),
                files: words(files),
            }),
            _ => Err(format!("{}: not five columns: {line}", list.display())),
        })
        .collect()
}

struct Compiler {
    program: OsString,
    flags: Vec<String>,
    out: PathBuf,
}

impl Compiler {
    fn new(root: &Path, out: &Path) -> Compiler {
        let program = tool("CC", "cc", "gcc");
        let mut flags: Vec<String> = STRICT.iter().map(|f| f.to_string()).collect();
        flags.push(format!("-I{}", root.join("include").display()));
        flags.push(format!("-I{}", root.join("src").display()));
        flags.extend(env::var("CFLAGS").unwrap_or_default().split_whitespace().map(String::from));
        if target("OS") == "windows" {
            flags.push("-D__USE_MINGW_ANSI_STDIO=1".into());
        }
        Compiler { program, flags, out: out.to_path_buf() }
    }

    fn start(&self, source: &Path, object: &str, more: &[String]) -> Result<(PathBuf, Child), String> {
        let object = self.out.join(object);
        let child = Command::new(&self.program)
            .args(&self.flags)
            .args(more)
            .arg("-c")
            .arg(source)
            .arg("-o")
            .arg(&object)
            .spawn()
            .map_err(|e| format!("the C compiler {} cannot be run: {e}", self.program.to_string_lossy()))?;
        Ok((object, child))
    }

    fn takes(&self, flags: &[String]) -> bool {
        let empty = self.out.join("empty.c");
        if fs::write(&empty, "typedef int nothing;\n").is_err() {
            return false;
        }
        let status = Command::new(&self.program)
            .args(flags)
            .arg("-c")
            .arg(&empty)
            .arg("-o")
            .arg(self.out.join("empty.o"))
            .stderr(std::process::Stdio::null())
            .status();
        status.map_or(false, |s| s.success())
    }
}

/// A program of the C toolchain: `NAME_<target>`, `NAME`, else the system's, with the target's prefix if that is another.
fn tool(name: &str, native: &str, cross: &str) -> OsString {
    let triple = env::var("TARGET").unwrap_or_default();
    let of_target = format!("{name}_{}", triple.replace('-', "_"));
    println!("cargo:rerun-if-env-changed={of_target}");
    env::var_os(of_target).or_else(|| env::var_os(name)).unwrap_or_else(|| {
        if triple == env::var("HOST").unwrap_or_default() {
            return native.into();
        }
        let prefix = triple.replace("-unknown-", "-").replace("-pc-windows-gnu", "-w64-mingw32");
        format!("{prefix}-{cross}").into()
    })
}

fn target(what: &str) -> String {
    env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default()
}

/// The library's sources: in the crate, else in the repository that the crate lies in.
fn sources() -> Result<PathBuf, String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    for root in [here.join("vendor"), here.join("../../..")] {
        if root.join("src/moe_all.c").is_file() {
            println!("cargo:rerun-if-changed={}", root.join("src").display());
            println!("cargo:rerun-if-changed={}", root.join("include").display());
            return Ok(root);
        }
    }
    Err("vendored: the sources of libmoe are not in this package (package.sh puts them there)".into())
}

/// What is compiled: the one-file build, and the kernels of the instruction sets that the compiler knows.
fn jobs(root: &Path, cc: &Compiler) -> Result<Vec<(PathBuf, String, Vec<String>)>, String> {
    let src = root.join("src");
    let mut have = Vec::new();
    let mut jobs = Vec::new();
    if let Some(folder) = kernel_folder() {
        let folder = src.join("kernel").join(folder);
        let mut common = vec!["-O3".to_string()];
        // gcc's bug 54412, see src/kernel/meson.build
        let unaligned = ["-Wa,-muse-unaligned-vector-move".to_string()];
        if target("OS") == "windows" && target("ARCH") == "x86_64" && cc.takes(&unaligned) {
            common.extend(unaligned);
        }
        for level in levels(&folder)?.iter().filter(|l| cc.takes(&l.flags)) {
            have.push(format!("-DMOE_HAVE_{}", level.name.to_uppercase()));
            for file in &level.files {
                let mut args = [&level.flags[..], &level.defines, &common].concat();
                args.push(format!("-DMOE_ISA={}", level.name));
                let object = format!("{}_{}.o", level.name, file.rsplit('/').next().unwrap_or(file));
                jobs.push((folder.join(format!("{file}.c")), object, args));
            }
        }
        jobs.push((folder.join("init.c"), "init.o".into(), have.clone()));
    }
    jobs.insert(0, (src.join("moe_all.c"), "moe_all.o".into(), have));
    Ok(jobs)
}

fn build_library(out: &Path) -> Result<(), String> {
    if target("ENV") == "msvc" {
        return Err(
            "vendored: the sources are C11 with attributes of gcc and clang; use the -gnu target".into()
        );
    }
    let root = sources()?;
    let cc = Compiler::new(&root, out);
    let at_once = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut running: Vec<(PathBuf, Child)> = Vec::new();
    let mut objects = Vec::new();
    for (source, object, more) in jobs(&root, &cc)? {
        if running.len() >= at_once {
            objects.push(finish(running.remove(0))?);
        }
        running.push(cc.start(&source, &object, &more)?);
    }
    for job in running {
        objects.push(finish(job)?);
    }
    let archive = out.join("libmoe.a");
    let _ = fs::remove_file(&archive);
    let ar = tool("AR", "ar", "ar");
    let status = Command::new(&ar).arg("crs").arg(&archive).args(&objects).status();
    if !status.map_err(|e| format!("{} cannot be run: {e}", ar.to_string_lossy()))?.success() {
        return Err(format!("{} cannot write {}", ar.to_string_lossy(), archive.display()));
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=moe");
    println!("cargo:include={}", root.join("include").display());
    system_libraries();
    Ok(())
}

fn finish((object, mut child): (PathBuf, Child)) -> Result<PathBuf, String> {
    match child.wait() {
        Ok(status) if status.success() => Ok(object),
        Ok(_) => Err(format!("{} could not be compiled", object.display())),
        Err(e) => Err(format!("{}: {e}", object.display())),
    }
}

// ------------------------------------------------------------------------------------------------------ layouts

/// `layout! { moe_model_options: size flags ... ; ... }` from the text of the declarations.
fn write_layout(out: &Path) {
    let text = fs::read_to_string("src/bindings.rs").expect("src/bindings.rs");
    let mut list = String::from("layout! {\n");
    let mut name = None;
    let mut members = String::new();
    for line in text.lines() {
        if let Some(start) = line.strip_prefix("pub struct ").and_then(|l| l.strip_suffix(" {")) {
            name = Some(start);
            members.clear();
        } else if line == "}" {
            if let (Some(name), false) = (name.take(), members.is_empty()) {
                writeln!(list, "    {name}:{members};").expect("a string takes all");
                // handles have no members
            }
        } else if let (Some(_), Some(member)) = (name, line.strip_prefix("    pub ")) {
            members.push(' ');
            members.push_str(member.split(':').next().unwrap_or_default());
        }
    }
    list.push_str("}\n");
    fs::write(out.join("layout.rs"), list).expect("layout.rs");
}
