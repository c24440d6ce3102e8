//! What nobody should see of what is typed: the secret that `init` asks for.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::init::names;
use super::terminal::{Terminal, words};
use super::without_file::Setup;
use crate::support::eventually;

/// A shell that runs this in place of `init`, up to the question for the secret.
async fn hidden(setup: &Setup, shell: impl FnOnce(&str) -> String) -> Option<Terminal> {
    let mut arguments = vec!["init".to_owned(), setup.path("new.toml")];
    for (name, value) in setup.given() {
        if name != "client-secret-file" {
            arguments.extend([format!("--{name}"), value]);
        }
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut terminal = Terminal::open(&shell(&words(&arguments)), &[])?;
    terminal.answer("Its file", &setup.path("made")).await;
    terminal.shows("The secret, for").await;
    Some(terminal)
}

/// Whether a terminal shows what is typed.
fn is_shown(terminal: &str) -> bool {
    let mut asked = Command::new("stty");
    let told = asked.args(["-F", terminal, "-a"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().contains(" echo ")
}

/// The name of a terminal in which `tty` was the first command.
fn name(terminal: &Terminal) -> String {
    terminal.shown().lines().next().unwrap().trim().to_owned()
}

#[tokio::test]
async fn what_is_typed_is_hidden_before_it_is_asked_for() {
    const STOP_OUTPUT: &str = "\x13";
    const GO_ON: &str = "\x11";
    let setup = Setup::new();
    let mut arguments = vec!["init".to_owned(), setup.path("new.toml")];
    for (name, value) in setup.given() {
        if name != "client-secret-file" {
            arguments.extend([format!("--{name}"), value]);
        }
    }
    arguments.extend(["--scopes=read".to_owned(), "--audience=api".to_owned()]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let line = format!("tty; {}", words(&arguments));
    let Some(mut terminal) = Terminal::open(&line, &[]) else {
        return;
    };
    terminal.shows("Its file").await;
    let name = name(&terminal);
    // The question cannot be written, and yet who knows that it comes can answer it.
    terminal.type_in(STOP_OUTPUT);
    terminal.type_in(&format!("{}\n", setup.path("made")));
    eventually("hidden", async || !is_shown(&name)).await;
    terminal.type_in(GO_ON);
    terminal.answer("The secret, for", "s3cret").await;
    let (code, shown) = terminal.ended().await;
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_process_that_was_stopped_hides_what_is_typed_again() {
    let setup = Setup::new();
    let shell = |init: &str| format!("tty; sh -c 'echo pid=$$; exec {init}'");
    let Some(mut terminal) = hidden(&setup, shell).await else {
        return;
    };
    let shown = terminal.shown();
    let number = shown.split("pid=").nth(1).unwrap().lines().next().unwrap();
    let process = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    // As a shell does that has the terminal meanwhile.
    let name = name(&terminal);
    let mut shown = Command::new("stty");
    assert!(
        shown
            .args(["-F", &name, "echo"])
            .status()
            .unwrap()
            .success()
    );
    assert!(is_shown(&name));
    kill_process(process, Signal::CONT).unwrap();
    eventually("hidden again", async || !is_shown(&name)).await;
    // Ctrl-Z would give the terminal to the shell, and the next line, too.
    terminal.type_in("\x1a\n");
    let told = "expected text without control characters";
    terminal.answer(told, "s3cret").await;
    terminal.answer("Scopes", "\x1b[D").await;
    terminal.answer(told, "").await;
    terminal.answer("Audience", "").await;
    let (code, shown) = terminal.ended().await;
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(fs::read_to_string(setup.path("made")).unwrap(), "s3cret\n");
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind_and_gives_the_terminal_back() {
    let setup = Setup::new();
    let shell = |init: &str| format!("trap : INT; {init}; echo code=$?; stty -a");
    let Some(mut terminal) = hidden(&setup, shell).await else {
        return;
    };
    terminal.type_in("\x03");
    let (_, shown) = terminal.ended().await;
    assert!(shown.contains("code=130"), "{shown}");
    assert!(shown.contains(" echo "), "{shown}");
    assert_eq!(names(setup.dir.path()), ["secret"]);
}

#[tokio::test]
async fn a_signal_leaves_nothing_behind_and_gives_the_terminal_back() {
    let setup = Setup::new();
    let shell = |init: &str| format!("sh -c 'echo pid=$$; exec {init}'; echo code=$?; stty -a");
    let Some(terminal) = hidden(&setup, shell).await else {
        return;
    };
    let shown = terminal.shown();
    let number = shown.split("pid=").nth(1).unwrap().lines().next().unwrap();
    let process = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    let (_, shown) = terminal.ended().await;
    assert!(shown.contains("code=143"), "{shown}");
    assert!(shown.contains(" echo "), "{shown}");
    assert_eq!(names(setup.dir.path()), ["secret"]);
}

#[tokio::test]
async fn the_end_of_the_input_is_an_error() {
    let setup = Setup::new();
    let shell = |init: &str| format!("{init}; echo code=$?; stty -a");
    let Some(mut terminal) = hidden(&setup, shell).await else {
        return;
    };
    terminal.type_in("\x04");
    let (_, shown) = terminal.ended().await;
    assert!(
        shown.contains("the input has ended before all was answered"),
        "{shown}"
    );
    assert!(
        shown.contains("code=1\r\n") && shown.contains(" echo "),
        "{shown}"
    );
    assert_eq!(names(setup.dir.path()), ["secret"]);
}
