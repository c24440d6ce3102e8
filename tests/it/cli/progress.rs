//! What `check --online` shows while it waits.

use super::terminal::{Terminal, words};
use crate::support::api::Api;
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::{command, run};
use crate::support::sidebearer::directory;
use crate::support::{protected, smallest};

/// A configuration whose token may take long.
fn patient(api: &Api, idp: &Idp) -> String {
    protected(&api.url(), &idp.endpoint(), "", "fetch_timeout = \"60s\"")
}

/// What takes a line away.
const CLEARED: &str = "\r\u{1b}[2K";

#[tokio::test]
async fn a_terminal_shows_what_is_waited_for_and_for_how_long() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Holds);
    let (_dir, path) = directory(&patient(&api, &idp));
    let line = words(&["check", "--online", "--config", &path]);
    let Some(terminal) = Terminal::open(&line, &[]) else {
        return;
    };
    let waits = format!(
        "credential api: waiting for a token from http://{}",
        idp.address
    );
    terminal.shows(&format!("0s {waits}")).await;
    terminal.shows(&format!("1s {waits}")).await;
    idp.let_go(1);
    let (code, shown) = terminal.ended().await;
    assert_eq!(code, 0, "{shown:?}");
    // Nothing is left of the lines that were drawn.
    let told: Vec<_> = shown.lines().filter(|line| line.contains("ok ")).collect();
    assert_eq!(told.len(), 2, "{shown:?}");
    for line in told {
        let seen = line.rsplit_once(CLEARED).map_or(line, |(_, seen)| seen);
        assert!(seen.starts_with("ok      "), "{shown:?}");
    }
    assert!(shown.ends_with("ok\r\n"), "{shown:?}");
}

#[tokio::test]
async fn ctrl_c_takes_the_line_away_and_ends_by_the_signal() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Holds);
    let (_dir, path) = directory(&patient(&api, &idp));
    let checked = words(&["check", "--online", "--config", &path]);
    let line = format!("trap : INT; {checked}; echo code=$?");
    let Some(mut terminal) = Terminal::open(&line, &[]) else {
        return;
    };
    terminal.shows("waiting for a token").await;
    terminal.type_in("\x03");
    let (_, shown) = terminal.ended().await;
    let (_, after) = shown.rsplit_once("waiting for a token").unwrap();
    assert!(after.contains(CLEARED), "{shown:?}");
    assert!(after.contains("code=130"), "{shown:?}");
}

#[tokio::test]
async fn what_is_no_terminal_or_a_dumb_one_gets_plain_lines() {
    let (api, idp) = (Api::open(), Idp::start());
    let (_dir, path) = directory(&smallest(&api, &idp));
    let arguments = ["check", "--online", "--config", &path];
    let ended = run(command(&arguments)).await;
    assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
    assert!(!ended.stderr.contains(['\r', '\u{1b}']), "{ended:?}");
    let Some(terminal) = Terminal::open(&words(&arguments), &[("TERM", "dumb")]) else {
        return;
    };
    let (code, shown) = terminal.ended().await;
    assert_eq!(code, 0, "{shown:?}");
    assert!(
        !shown.contains('\u{1b}') && !shown.contains("waiting"),
        "{shown:?}"
    );
}
