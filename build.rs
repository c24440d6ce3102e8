//! Tells the program which commit it is made of, and for what: `src/build_info.rs` has the rest.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Names the commit where neither a clone nor a crate does, such as in a build of an image.
const VARIABLE: &str = "SIDEBEARER_COMMIT";

/// What stands for a commit that nobody knows.
const UNKNOWN: &str = "unknown";

/// As many digits tell commits apart.
const DIGITS: usize = 12;

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
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// What `cargo package` has noted of the commit that it packed.
fn of_crate() -> Option<String> {
    let noted = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = noted.split_once("\"sha1\"")?;
    short(rest.split('"').nth(1)?)
}
