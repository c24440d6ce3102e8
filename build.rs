//! Tells the program which commit it is made of, and for what (`src/build_info.rs` has the rest), and tells the linker
//! how a release takes little memory.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Names the commit where neither a clone nor a crate does, such as in a build of an image.
const VARIABLE: &str = "SIDEBEARER_COMMIT";

/// What stands for a commit that nobody knows.
const UNKNOWN: &str = "unknown";

/// As many digits tell commits apart.
const DIGITS: usize = 12;

/// Which functions stand side by side; `benches/layout/record` makes it.
const LAYOUT: &str = "benches/layout/functions.ld";

/// The first version of glibc that reads packed relocations, and the first of the compiler whose musl does.
const PACKED_BY_GLIBC: (u32, u32) = (2, 36);
const PACKED_BY_MUSL: (u32, u32) = (1, 93);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let profile = variable("PROFILE");
    // Each commit would compile everything again.
    let asks_git = profile == "release";
    let commit = of_variable()
        .or_else(|| asks_git.then(of_clone).flatten())
        .or_else(of_crate);
    let commit = commit.unwrap_or_else(|| UNKNOWN.to_owned());
    println!("cargo::rustc-env=SIDEBEARER_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=SIDEBEARER_BUILD_PROFILE={profile}");
    println!(
        "cargo::rustc-env=SIDEBEARER_BUILD_TARGET={}",
        variable("TARGET")
    );
    if profile == "release" && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        lay_out();
    }
}

/// The system maps 16 pages of the program around each that is used, and what has a relocation is read at each start.
fn lay_out() {
    // Whoever chooses a linker, or says how to link, has the last word.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if flags.contains("link") {
        return;
    }
    println!("cargo::rerun-if-changed={LAYOUT}");
    if Path::new(LAYOUT).exists() && knows_scripts() {
        let directory = variable("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-T{directory}/{LAYOUT}");
    }
    if packs_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether it is GNU's linker or LLVM's: others refuse a script that adds to their own.
fn knows_scripts() -> bool {
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let compiler = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let said = said(&compiler, &["-Wl,--version"]).unwrap_or_default();
    said.lines()
        .any(|line| line.starts_with("GNU ld") || line.contains("LLD "))
}

/// Whether the C library reads packed relocations. A program with them does not start by one that does not.
fn packs_relocations() -> bool {
    let libc = env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    match libc.as_str() {
        // Of another machine's it is not known.
        "gnu" if variable("HOST") == variable("TARGET") => {
            version("getconf", "GNU_LIBC_VERSION", "glibc ") >= Some(PACKED_BY_GLIBC)
        }
        "musl" => version(&variable("RUSTC"), "--version", "rustc ") >= Some(PACKED_BY_MUSL),
        _ => false,
    }
}

/// The two numbers that a program says behind `before`; `None` if it does not.
fn version(program: &str, argument: &str, before: &str) -> Option<(u32, u32)> {
    let said = said(program, &[argument])?;
    let mut numbers = said.strip_prefix(before)?.split(['.', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The first digits of the name of a commit (SHA-1 or SHA-256); `None` if the text is no such name.
fn short(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_name.then(|| text[..text.len().min(DIGITS)].to_ascii_lowercase())
}

fn of_variable() -> Option<String> {
    let text = env::var(VARIABLE).ok()?;
    if text.is_empty() || text == UNKNOWN {
        return None;
    }
    let commit = short(&text);
    Some(commit.unwrap_or_else(|| panic!("{VARIABLE} is {text:?}: expected the name of a commit")))
}

/// The commit that is checked out. A directory above may be a clone of something else.
fn of_clone() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = short(&git(&["rev-parse", "HEAD"])?)?;
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let files = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    // A file that is not there would be a reason to run this each time.
    let files = files.filter_map(|file| git(&["rev-parse", "--git-path", file]));
    for file in files.filter(|file| Path::new(file).exists()) {
        println!("cargo::rerun-if-changed={file}");
    }
    Some(commit)
}

/// What git prints, if it is there and can answer.
fn git(arguments: &[&str]) -> Option<String> {
    said("git", arguments)
}

/// What a program prints, if it is there and succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// What `cargo package` has noted of the commit that it packed.
fn of_crate() -> Option<String> {
    let noted = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = noted.split_once("\"sha1\"")?;
    short(rest.split('"').nth(1)?)
}
