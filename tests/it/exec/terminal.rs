//! `exec` under a terminal: what is typed, and jobs of an interactive shell.

use std::io::Write;
use std::process::{ChildStdin, Command};

use super::{World, works};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::skip;

/// An interactive shell on a terminal of its own.
struct Terminal {
    process: Process,
    keys: ChildStdin,
}

impl Terminal {
    /// `None` where there is no `script`: the test has told so.
    async fn open(world: &World) -> Option<Self> {
        if !works("script", &["-qec", "true", "/dev/null"]) {
            skip("script", "it needs bsdutils");
            return None;
        }
        let mut script = Command::new("script");
        // What is typed is not shown, so that only what programs write is read.
        script.args([
            "-qefc",
            "stty -echo; echo begun; exec bash --norc --noprofile --noediting -i",
            "/dev/null",
        ]);
        script.env("PS1", "").env("SHELL", "/bin/bash");
        script.current_dir(world.dir.path());
        let mut process = Process::spawn_typed(script, tempfile::tempdir().unwrap());
        let keys = process.take_keys();
        let terminal = Self { process, keys };
        // What is typed before that is shown.
        terminal.shows("begun").await;
        Some(terminal)
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    async fn shows(&self, text: &str) {
        eventually(text, async || self.process.stdout().contains(text)).await;
    }

    fn shown(&self, text: &str) -> usize {
        self.process.stdout().matches(text).count()
    }
}

/// The command line for `exec` with a script, which has no single quote.
fn line(world: &World, script: &str) -> String {
    let exec = world.exec(&["bash", "-c"]);
    let words = [exec.get_program()].into_iter().chain(exec.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    format!("{} '{script}'; echo code=$?\n", words.join(" "))
}

#[tokio::test]
async fn what_is_typed_reaches_the_program_once() {
    let world = World::start();
    let Some(mut terminal) = Terminal::open(&world).await else {
        return;
    };
    let script = "trap \"echo got INT\" INT; echo ready; read x; read x; exit 5";
    terminal.type_in(&line(&world, script));
    terminal.shows("ready").await;
    terminal.type_in("\x03");
    terminal.shows("got INT").await;
    terminal.type_in("\n\n");
    terminal.shows("code=5").await;
    assert_eq!(
        terminal.shown("got INT"),
        1,
        "{}",
        terminal.process.stdout()
    );
}

#[tokio::test]
async fn a_job_is_stopped_and_goes_on() {
    let world = World::start();
    let Some(mut terminal) = Terminal::open(&world).await else {
        return;
    };
    let script = "echo ready; read x; echo read $x; curl -sS http://crm.example.com/; echo; exit 6";
    terminal.type_in(&line(&world, script));
    terminal.shows("ready").await;
    terminal.type_in("\x1a");
    terminal.shows("Stopped").await;
    // The shell has the terminal again.
    terminal.type_in("echo the-shell-is-back\n");
    terminal.shows("the-shell-is-back").await;
    terminal.type_in("fg\n");
    terminal.type_in("something\n");
    terminal.shows("read something").await;
    terminal.shows("ok").await;
}

#[tokio::test]
async fn a_program_that_ignores_the_key_is_not_stopped() {
    let world = World::start();
    let Some(mut terminal) = Terminal::open(&world).await else {
        return;
    };
    // What it starts ignores the key too.
    let script = "trap \"\" TSTP; echo ready; until [ -e go ]; do sleep 0.02; done; \
                  curl -sS http://crm.example.com/; exit 7";
    terminal.type_in(&line(&world, script));
    terminal.shows("ready").await;
    terminal.type_in("\x1a");
    std::fs::write(world.path("go"), "").unwrap();
    terminal.shows("code=7").await;
    assert!(terminal.process.stdout().contains("ok"));
}
