//! What the binary says about itself: its version, the page of the manual, the schema, and what shells complete by.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::ask;
use crate::support::process::{command, prepared, run};
use crate::support::skip;

const COMMANDS: [&str; 5] = ["run", "check", "exec", "schema", "completions"];

/// What a command prints.
async fn printed(arguments: &[&str]) -> String {
    let ended = ask(arguments).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    ended.stdout
}

/// A file with what a command prints.
async fn file(arguments: &[&str]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("printed");
    std::fs::write(&path, printed(arguments).await).unwrap();
    (directory, path)
}

/// What another program prints about the file that is its last argument; `None` if it is missing.
fn other(program: &str, arguments: &[&str], file: &PathBuf) -> Option<String> {
    let output = Command::new(program).args(arguments).arg(file).output();
    let Ok(output) = output else {
        skip(program, "it is missing");
        return None;
    };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_version_is_short_or_says_what_the_build_is() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(printed(&["-V"]).await, format!("sidebearer {version}\n"));
    let long = printed(&["--version"]).await;
    let start = format!("sidebearer {version} (commit ");
    assert!(
        long.starts_with(&start) && long.ends_with(" build)\n"),
        "{long}"
    );
    assert!(long.contains(", features aws-lc-rs mimalloc, "), "{long}");
    assert_eq!(long.lines().count(), 1);
}

#[tokio::test]
async fn what_cannot_be_written_is_no_success() {
    for (arguments, code) in [
        (&["--version"][..], 1),
        (&["--help"], 1),
        (&["help", "run"], 1),
        (&["exec", "--help"], 125),
        (&["schema"], 1),
    ] {
        let full = prepared("exec >/dev/full", &command(arguments));
        let ended = run(full).await;
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        let told = "error: cannot write to stdout: No space left on device";
        assert!(ended.stderr.starts_with(told), "{ended:?}");
    }
}

#[tokio::test]
async fn the_schema_is_json() {
    let schema: Value = serde_json::from_str(&printed(&["schema"]).await).unwrap();
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    assert_eq!(schema["$schema"], dialect);
    assert!(schema["properties"]["upstreams"].is_object());
}

#[tokio::test]
async fn the_page_of_the_manual_is_good_roff() {
    let (_directory, page) = file(&["man"]).await;
    // A date would be another one for each build.
    if let Some(said) = other("mandoc", &["-T", "lint", "-W", "error"], &page) {
        assert_eq!(said, "");
    }
    let groff = ["-man", "-ww", "-z", "-Tutf8"];
    other("groff", &groff, &page);
    if let Some(shown) = other("mandoc", &["-T", "ascii"], &page) {
        for text in ["sidebearer ca create", "EXIT STATUS", "SIDEBEARER_CONFIG"] {
            // Bold is written by overstriking.
            let plain = overstruck(&shown);
            assert!(plain.contains(text), "{text}: {plain}");
        }
    }
}

/// The text without the characters that a backspace takes back.
fn overstruck(shown: &str) -> String {
    let mut plain = String::new();
    for character in shown.chars() {
        if character == '\u{8}' {
            plain.pop();
        } else {
            plain.push(character);
        }
    }
    plain
}

#[tokio::test]
async fn bash_completes_commands_and_options() {
    let (_directory, script) = file(&["completions", "bash"]).await;
    let complete = "source \"$0\"; COMP_WORDS=(sidebearer \"$1\"); COMP_CWORD=1; \
                    _sidebearer sidebearer \"$1\" sidebearer; printf '%s\\n' \"${COMPREPLY[@]}\"; complete -p sidebearer";
    let Ok(output) = Command::new("bash")
        .args(["--norc", "-c", complete])
        .args([script.as_os_str(), "".as_ref()])
        .output()
    else {
        return skip("bash", "it is missing");
    };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let offered = String::from_utf8(output.stdout).unwrap();
    for command in COMMANDS {
        assert!(offered.lines().any(|line| line == command), "{offered}");
    }
    assert!(offered.contains(" -F _sidebearer sidebearer"), "{offered}");
}

#[tokio::test]
async fn zsh_completes_commands() {
    let (_directory, script) = file(&["completions", "zsh"]).await;
    // Outside of its line editor, what would be offered is printed in place of that.
    let complete = "autoload -U compinit && compinit -u -D; source \"$0\"; print -r -- $_comps[sidebearer]; \
                    _describe() { print -rl -- ${(P)4} }; _sidebearer_commands";
    let Some(offered) = other("zsh", &["-f", "-c", complete], &script) else {
        return;
    };
    assert!(offered.starts_with("_sidebearer\n"), "{offered}");
    for command in COMMANDS {
        let start = format!("{command}:");
        assert!(
            offered.lines().any(|line| line.starts_with(&start)),
            "{offered}"
        );
    }
}

#[tokio::test]
async fn fish_completes_commands_and_options() {
    let (_directory, script) = file(&["completions", "fish"]).await;
    let complete = "source $argv[1]; complete -C 'sidebearer '; complete -C 'sidebearer check --'";
    let Some(offered) = other("fish", &["--no-config", "-c", complete], &script) else {
        return;
    };
    for word in COMMANDS.into_iter().chain(["--online", "--config"]) {
        let start = format!("{word}\t");
        assert!(
            offered.lines().any(|line| line.starts_with(&start)),
            "{offered}"
        );
    }
}

#[tokio::test]
async fn scripts_for_other_shells_name_every_command() {
    for (shell, before, after) in [("elvish", "cand ", " "), ("powershell", "'", "'")] {
        let script = printed(&["completions", shell]).await;
        for command in COMMANDS {
            assert!(
                script.contains(&format!("{before}{command}{after}")),
                "{shell}: {command}"
            );
        }
    }
}
