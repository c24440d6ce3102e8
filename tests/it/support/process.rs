//! The real binary, in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::sidebearer::with_admin;

/// `sidebearer run`, or another command that stays. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    dir: TempDir,
    stdout: Lines,
    stderr: Lines,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What arrives on a pipe, read by a thread.
struct Lines {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    /// Where the reader waits to be told to begin.
    held: Option<Arc<Barrier>>,
}

/// Resident memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Memory {
    Now,
    /// Now, without what is read from files, such as code.
    Anonymous,
    /// The most there ever was.
    Peak,
}

/// Resident memory of a process, in KiB.
pub(crate) fn memory(process: u32, kind: Memory) -> usize {
    let field = match kind {
        Memory::Now => "VmRSS:",
        Memory::Anonymous => "RssAnon:",
        Memory::Peak => "VmHWM:",
    };
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.split(field).nth(1).unwrap();
    resident.split_whitespace().next().unwrap().parse().unwrap()
}

/// A number that the environment may raise, for runs that take longer than a test should.
pub(crate) fn scale(variable: &str, usual: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |given| given.parse().expect("a number"))
}

/// A command with these arguments, without the environment of the test.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidebearer"));
    command.args(arguments).stdin(Stdio::null());
    command.env_remove("SIDEBEARER_CONFIG");
    command
}

/// The same command by a shell that first does `prepare`, which can be what a process inherits.
pub(crate) fn prepared(prepare: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("{prepare}; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).stdin(Stdio::null());
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// What blocks these signals in [`prepared`]; `None`, told past the harness, where no tool can.
pub(crate) fn blocked(signals: &str) -> Option<String> {
    let option = format!("--block-signal={signals}");
    let can = Command::new("env").args([&option, "true"]).output();
    if !can.is_ok_and(|can| can.status.success()) {
        super::skip("env --block-signal", "it needs coreutils 8.31");
        return None;
    }
    Some(format!("exec env {option} \"$0\" \"$@\""))
}

/// Runs a command to its end; -1 when a signal was that.
pub(crate) async fn run(command: Command) -> Ended {
    let process = Process::spawn(command, tempfile::tempdir().unwrap());
    process.ended_somehow().await
}

impl Process {
    /// Runs this configuration; a file `secret` holding `s3cret` lies beside it.
    pub(crate) async fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        Self::start_in(dir, config).await
    }

    /// As [`Process::start`], beside files that a test has put there. Returns when it listens.
    pub(crate) async fn start_in(dir: TempDir, config: &str) -> Self {
        Self::start_by(Self::spawn, dir, config).await
    }

    /// As [`Process::start_in`], by a way of its own to start a command.
    pub(crate) async fn start_by(
        spawn: impl FnOnce(Command, TempDir) -> Self,
        dir: TempDir,
        config: &str,
    ) -> Self {
        let path = dir.path().join("sidebearer.toml");
        std::fs::write(&path, with_admin(config)).unwrap();
        let arguments = ["run", "--config", path.to_str().unwrap()];
        let process = spawn(command(&arguments), dir);
        super::eventually("listening", async || process.told("admin").is_some()).await;
        process
    }

    /// Runs this configuration, and reads nothing of its log before [`Process::read_log`].
    pub(crate) fn start_unread(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidebearer.toml");
        std::fs::write(&path, config).unwrap();
        let command = command(&["run", "--config", path.to_str().unwrap()]);
        Self::spawn_held(command, dir, Some(Arc::new(Barrier::new(2))))
    }

    /// Starts any command.
    pub(crate) fn spawn(command: Command, dir: TempDir) -> Self {
        Self::spawn_held(command, dir, None)
    }

    fn spawn_held(mut command: Command, dir: TempDir, held: Option<Arc<Barrier>>) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            stdout: Lines::of(child.stdout.take().unwrap(), None),
            stderr: Lines::of(child.stderr.take().unwrap(), held),
            child,
            dir,
        }
    }

    /// From now on the log is read.
    pub(crate) fn read_log(&mut self) {
        if let Some(held) = self.stderr.held.take() {
            held.wait();
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory of this kind, in KiB.
    pub(crate) fn memory(&self, kind: Memory) -> usize {
        memory(self.id(), kind)
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id()));
        files.unwrap().count()
    }

    /// The value of one series of `/metrics`; 0 when there is no such line.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = super::client::get(self.admin(), "/metrics").await.text();
        super::series(&page, series)
    }

    /// What it has written to stderr so far: its log.
    pub(crate) fn log(&self) -> String {
        self.stderr.text.lock().unwrap().clone()
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text.lock().unwrap().clone()
    }

    /// The first line of a JSON log with this message.
    pub(crate) fn told(&self, message: &str) -> Option<serde_json::Value> {
        self.log().lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then_some(line)
        })
    }

    /// The address of its listener, which is the only one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_in("listening")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.address_in("admin")
    }

    fn address_in(&self, message: &str) -> SocketAddr {
        let line = self.told(message).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// As [`Process::spawn`], with an input to write to.
    pub(crate) fn spawn_typed(mut command: Command, dir: TempDir) -> Self {
        command.stdin(Stdio::piped());
        Self::spawn(command, dir)
    }

    /// The input of a process that was started with one.
    pub(crate) fn take_keys(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// What it has ended with, if it has, whoever holds its output open.
    pub(crate) fn has_ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// The same for one that may have ended.
    pub(crate) fn signal_if_there(&self, signal: Signal) {
        // It has not been waited for, so that the number is still its own.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for its end, which no signal may be.
    pub(crate) async fn ended(self) -> Ended {
        let ended = self.ended_somehow().await;
        assert_ne!(ended.code, -1, "{ended:?}");
        ended
    }

    async fn ended_somehow(mut self) -> Ended {
        let deadline = Instant::now() + super::PATIENCE;
        let mut looks = super::Looks::default();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            looks.next().await;
        };
        self.read_log();
        let read_whole = |lines: &mut Lines| {
            let reader = std::mem::replace(&mut lines.reader, std::thread::spawn(|| ()));
            reader.join().unwrap();
            lines.text.lock().unwrap().clone()
        };
        Ended {
            code: status.code().unwrap_or(-1),
            stdout: read_whole(&mut self.stdout),
            stderr: read_whole(&mut self.stderr),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.read_log();
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(pipe: impl std::io::Read + Send + 'static, held: Option<Arc<Barrier>>) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&text);
        let told = held.clone();
        let reader = std::thread::spawn(move || {
            if let Some(told) = told {
                told.wait();
            }
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|length| length > 0) {
                into.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Self { text, reader, held }
    }
}
