//! A build knows its commit where somebody can tell it: `build.rs`, compiled and run where builds happen.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::skip;

struct ScriptDirectory {
    directory: tempfile::TempDir,
    script: PathBuf,
}

impl ScriptDirectory {
    /// An empty directory, and the compiled script.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(compiler)
            .args(["--edition", "2024", "-o"])
            .args([&script, &source])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        std::fs::create_dir(directory.path().join("package")).unwrap();
        Self { directory, script }
    }

    fn package(&self) -> PathBuf {
        self.directory.path().join("package")
    }

    /// What cargo does with the script.
    fn run(&self, profile: &str, variable: Option<&str>) -> Output {
        let mut command = Command::new(&self.script);
        command
            .current_dir(self.package())
            .env("PROFILE", profile)
            .env("TARGET", "riscv64gc-unknown-linux-musl")
            .env_remove("SIDEBEARER_COMMIT");
        if let Some(variable) = variable {
            command.env("SIDEBEARER_COMMIT", variable);
        }
        command.output().unwrap()
    }

    fn commit(&self, profile: &str, variable: Option<&str>) -> String {
        let output = self.run(profile, variable);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("SIDEBEARER_BUILD_TARGET=riscv64gc-unknown-linux-musl\n"));
        assert!(said.contains(&format!("SIDEBEARER_BUILD_PROFILE={profile}\n")));
        let start = "cargo::rustc-env=SIDEBEARER_BUILD_COMMIT=";
        let commit = said.lines().find_map(|line| line.strip_prefix(start));
        commit.unwrap().to_owned()
    }
}

/// Makes a clone with one commit, whose name it returns; `None` without git.
fn make_clone(directory: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(directory)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
            .args(arguments)
            .output();
        let text = String::from_utf8(output.ok()?.stdout).unwrap();
        Some(text.trim().to_owned())
    };
    git(&["init", "--quiet"])?;
    git(&["commit", "--quiet", "--allow-empty", "--message", "One"])?;
    git(&["rev-parse", "HEAD"])
}

const TOLD: &str = "ABCDEF0123456789abcdef0123456789abcdef01";

#[test]
fn a_commit_that_is_told_is_the_one() {
    let place = ScriptDirectory::new();
    for profile in ["debug", "release"] {
        assert_eq!(place.commit(profile, Some(TOLD)), "abcdef012345");
        for nothing in [None, Some(""), Some("unknown")] {
            assert_eq!(place.commit(profile, nothing), "unknown");
        }
    }
    let refused = place.run("release", Some("main"));
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("SIDEBEARER_COMMIT is \"main\": expected the name of a commit"),
        "{said}"
    );
}

#[test]
fn a_crate_has_the_commit_that_it_was_packed_from() {
    let place = ScriptDirectory::new();
    let noted =
        format!("{{\n  \"git\": {{\n    \"sha1\": \"{TOLD}\"\n  }},\n  \"path_in_vcs\": \"\"\n}}");
    std::fs::write(place.package().join(".cargo_vcs_info.json"), noted).unwrap();
    assert_eq!(place.commit("release", None), "abcdef012345");
    assert_eq!(place.commit("debug", None), "abcdef012345");
}

#[test]
fn a_release_of_a_clone_has_the_commit_that_is_checked_out() {
    let place = ScriptDirectory::new();
    let Some(commit) = make_clone(&place.package()) else {
        return skip("git", "it is missing");
    };
    assert_eq!(place.commit("release", None), commit[..12]);
    // Each commit would compile everything again.
    assert_eq!(place.commit("debug", None), "unknown");
}

#[test]
fn a_clone_around_the_sources_is_not_theirs() {
    let place = ScriptDirectory::new();
    if make_clone(place.directory.path()).is_none() {
        return skip("git", "it is missing");
    }
    assert_eq!(place.commit("release", None), "unknown");
}

/// What the linker is told for a release with a layout, where `linker` says that of itself.
fn told_to_linker(place: &ScriptDirectory, linker: &str, flags: &str, libc: &str) -> Vec<String> {
    let layout = place.package().join("benches/layout");
    std::fs::create_dir_all(&layout).unwrap();
    std::fs::write(layout.join("functions.ld"), "").unwrap();
    let program = |name: &str, says: &str| {
        let path = place.directory.path().join(name);
        // By a process of its own: a file that is open for writing anywhere cannot be run.
        let write = r#"printf '#!/bin/sh\necho "%s"\n' "$1" >"$0" && chmod 700 "$0""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", write]).arg(&path).arg(says);
        assert!(shell.status().unwrap().success());
        path
    };
    let output = Command::new(&place.script)
        .current_dir(place.package())
        .env("PROFILE", "release")
        .env("HOST", "riscv64gc-unknown-linux-gnu")
        .env("TARGET", "riscv64gc-unknown-linux-gnu")
        .env("CARGO_CFG_TARGET_OS", "linux")
        .env("CARGO_CFG_TARGET_ENV", "gnu")
        .env("CARGO_MANIFEST_DIR", "/sources")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("RUSTC_LINKER", program("linker", linker))
        .env("PATH", program("getconf", libc).parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let start = "cargo::rustc-link-arg-bins=";
    let told = said.lines().filter_map(|line| line.strip_prefix(start));
    told.map(str::to_owned).collect()
}

#[test]
fn a_linker_gets_the_layout_where_it_can_read_it() {
    let place = ScriptDirectory::new();
    let told = |linker, flags| told_to_linker(&place, linker, flags, "glibc 2.31");
    let layout = ["-T/sources/benches/layout/functions.ld"];
    let gnu = "GNU ld (GNU Binutils for Debian) 2.40";
    assert_eq!(told(gnu, ""), layout);
    assert_eq!(told("Debian LLD 17.0.6", "-Ctarget-cpu=native"), layout);
    for other in ["mold 2.4.0 (compatible with GNU ld)", "GNU gold 1.16", ""] {
        assert!(told(other, "").is_empty(), "{other}");
    }
    assert!(told(gnu, "-Clink-arg=-fuse-ld=mold").is_empty());
}

#[test]
fn relocations_are_packed_where_the_c_library_reads_them() {
    let place = ScriptDirectory::new();
    let packs = |libc| {
        let told = told_to_linker(&place, "", "", libc);
        told == ["-Wl,-z,pack-relative-relocs"]
    };
    assert!(packs("glibc 2.36") && packs("glibc 2.41.9000") && packs("glibc 3.0"));
    assert!(!packs("glibc 2.35") && !packs("musl") && !packs("glibc"));
}
