//! A terminal with somebody at it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::process::command;
use crate::support::{eventually, skip};

/// A command line on a terminal of its own. Dropping it ends what runs there.
pub(super) struct Terminal {
    script: Child,
    keys: ChildStdin,
    /// All bytes that were written: a question does not end its line.
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// `None` where there is no `script`: that has been told.
    pub(super) fn open(line: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let mut tried = Command::new("script");
        tried.args(["-qec", "true", "/dev/null"]);
        tried
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !tried.status().is_ok_and(|status| status.success()) {
            skip("script", "it needs bsdutils");
            return None;
        }
        let mut script = Command::new("script");
        script.args(["-qefc", line, "/dev/null"]);
        script
            .env_remove("SIDEBEARER_CONFIG")
            .env("SHELL", "/bin/sh");
        script.env("TERM", "xterm").envs(variables.iter().copied());
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                written.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Some(Self {
            script,
            keys,
            shown,
            reader: Some(reader),
        })
    }

    pub(super) fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Types a line when it is asked for.
    pub(super) async fn answer(&mut self, asked: &str, answer: &str) {
        self.shows(asked).await;
        self.type_in(&format!("{answer}\n"));
    }

    pub(super) async fn shows(&self, text: &str) {
        eventually(text, async || self.shown().contains(text)).await;
    }

    /// Everything that was written so far.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits for its end. Its exit code, and all that it has written.
    pub(super) async fn ended(mut self) -> (i32, String) {
        let mut status = None;
        eventually("the end", async || {
            status = self.script.try_wait().unwrap();
            status.is_some()
        })
        .await;
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.unwrap().code().unwrap_or(-1), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its terminal goes with it, which ends what runs there.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// The words of a command for a shell.
pub(super) fn words(arguments: &[&str]) -> String {
    let command = command(arguments);
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| format!("\"{}\"", word.to_str().unwrap()))
        .collect();
    words.join(" ")
}
