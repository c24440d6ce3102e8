//! The system gives no more threads: to a process that serves, and to one that starts.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::support::api::Api;
use crate::support::client::{get, post};
use crate::support::idp::Idp;
use crate::support::process::{Ended, Process, command, run};
use crate::support::sidebearer::with_admin;
use crate::support::{eventually, skip, smallest};

/// Limits of processes do not bind root. This user runs nothing else.
const USER: u32 = 64013;

/// The error names the limit.
const NAMED: &str = "RLIMIT_NPROC";

/// A folder with the configuration, and the way to run the binary there as somebody whom limits bind.
struct Bound {
    dir: TempDir,
    is_root: bool,
    user: u32,
}

impl Bound {
    /// `None` where there is no way.
    fn new(user: u32, config: &str) -> Option<Self> {
        let is_root = geteuid().is_root();
        let dir = tempfile::tempdir().unwrap();
        let bound = Self { dir, is_root, user };
        let path = bound.dir.path();
        std::fs::write(path.join("secret"), "s3cret\n").unwrap();
        std::fs::write(path.join("sidebearer.toml"), with_admin(config)).unwrap();
        if is_root {
            // The binary may lie where only root comes to.
            std::fs::copy(command(&[]).get_program(), path.join("sidebearer")).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
            for name in ["", "secret", "sidebearer.toml"] {
                chown(path.join(name), Some(user), Some(user)).unwrap();
            }
        }
        let works = bound.limited(1, &["--version"]).output();
        if works.is_ok_and(|ended| ended.status.success()) {
            return Some(bound);
        }
        skip(
            "a limit of threads",
            "it needs prlimit, and setpriv for root",
        );
        None
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A command that may have so many threads, all of the user counted together.
    fn limited(&self, threads: u32, arguments: &[&str]) -> Command {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nproc={threads}:"));
        self.complete(limited, arguments)
    }

    /// The same without a limit, until one is set.
    fn unlimited(&self, arguments: &[&str]) -> Command {
        self.complete(Command::new("env"), arguments)
    }

    /// From now on the process gets no thread.
    fn exhaust(&self, process: &Process) {
        let id = process.id().to_string();
        let mut limit = self.as_user(Command::new("env"));
        limit.args(["prlimit", "--nproc=1:", "--pid", &id]);
        assert!(limit.status().unwrap().success());
    }

    fn complete(&self, command: Command, arguments: &[&str]) -> Command {
        let mut command = self.as_user(command);
        if self.is_root {
            command.arg(self.path("sidebearer"));
        } else {
            command.arg(env!("CARGO_BIN_EXE_sidebearer"));
        }
        command.args(arguments).env_remove("SIDEBEARER_CONFIG");
        command.stdin(Stdio::null());
        command
    }

    fn as_user(&self, mut command: Command) -> Command {
        if self.is_root {
            let (user, group) = (
                format!("--reuid={}", self.user),
                format!("--regid={}", self.user),
            );
            command.args(["setpriv", &user, &group, "--clear-groups"]);
        }
        command
    }
}

/// How many threads of this name a process has.
fn threads(process: &Process, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let names = tasks.filter_map(|task| {
        // One that has just ended has no name any more.
        std::fs::read_to_string(task.unwrap().path().join("comm")).ok()
    });
    names.filter(|found| found.trim() == name).count()
}

fn assert_clean(ended: &Ended) {
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("backtrace"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_process_that_gets_no_more_threads_serves_renews_reloads_and_drains() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    // By a name, so that a resolver is asked; no token is used twice.
    let config = smallest(&api, &idp).replace("127.0.0.1", "localhost");
    let Some(bound) = Bound::new(USER, &config) else {
        return;
    };
    let path = bound.path("sidebearer.toml");
    let start = bound.unlimited(&["run", "--config", &path]);
    let process = Process::spawn(start, tempfile::tempdir().unwrap());
    eventually("ready", async || process.told("ready").is_some()).await;
    assert_eq!(get(process.address(), "/").await.status, 200);
    eventually("what had to block has long been done", async || {
        threads(&process, "files") <= 1 && threads(&process, "blocking") <= 1
    })
    .await;
    bound.exhaust(&process);
    let admin = process.admin();
    for round in 1..=3 {
        let address = process.address();
        let requests = (0..8).map(|_| get(address, "/"));
        for answer in futures_in_order(requests).await {
            assert_eq!(answer, 200, "{}", process.log());
        }
        let answer = post(admin, "/reload", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer
                .text()
                .contains(&format!("\"generation\": {}", round + 1))
        );
        for page in ["/metrics", "/status", "/readyz", "/livez"] {
            assert_eq!(get(admin, page).await.status, 200, "{page}");
        }
        std::fs::write(bound.path("secret"), format!("s3cret{round}\n")).unwrap();
    }
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("\"ended\""), "{}", ended.stderr);
    assert_clean(&ended);
}

async fn futures_in_order<F>(requests: impl Iterator<Item = F>) -> Vec<u16>
where
    F: Future<Output = crate::support::client::Answer> + Send + 'static,
{
    let begun: Vec<_> = requests.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for request in begun {
        answers.push(request.await.unwrap().status);
    }
    answers
}

#[tokio::test]
async fn a_start_without_its_threads_ends_with_an_error_that_names_the_limit() {
    let (idp, api) = (Idp::start(), Api::open());
    let Some(bound) = Bound::new(USER + 1, &smallest(&api, &idp)) else {
        return;
    };
    let path = bound.path("sidebearer.toml");
    let exec = ["exec", "--config", &path, "--", "true"];
    for (code, arguments) in [
        (1, &["run", "--config", &path][..]),
        (125, &exec),
        (1, &["check", "--online", "--config", &path]),
        (1, &["token", "api", "--config", &path]),
        (1, &["demo", "--once"]),
        (1, &["health", "--url", "http://localhost:9/readyz"]),
        (1, &["reload", "--url", "http://localhost:9/reload"]),
    ] {
        let ended = run(bound.limited(1, arguments)).await;
        assert_clean(&ended);
        assert!(ended.stderr.contains(NAMED), "{arguments:?}: {ended:?}");
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
    }
    if !bound.is_root {
        return skip("a user without processes", "a part of it needs root");
    }
    // Whichever thread it is that the system does not give.
    for count in 2..=14 {
        for (code, arguments) in [(125, &exec[..]), (1, &["demo", "--once"])] {
            let ended = run(bound.limited(count, arguments)).await;
            assert_clean(&ended);
            let is_told = ended.code == code && ended.stderr.contains(NAMED);
            assert!(ended.code == 0 || is_told, "{count}: {ended:?}");
        }
    }
}

#[tokio::test]
async fn a_start_without_open_files_ends_with_an_error_and_is_no_mistake_of_the_configuration() {
    let (idp, api) = (Idp::start(), Api::open());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(&path, with_admin(&smallest(&api, &idp))).unwrap();
    let path = path.to_str().unwrap();
    // Whichever file it is that the system does not open. With fewer the program itself cannot be loaded.
    for files in 4..=16 {
        let mut limited = Command::new("prlimit");
        limited.args([
            &format!("--nofile={files}"),
            env!("CARGO_BIN_EXE_sidebearer"),
        ]);
        limited.args(["exec", "--config", path, "--", "true"]);
        limited.stdin(Stdio::null());
        let ended = run(limited).await;
        assert_clean(&ended);
        assert!([0, 125].contains(&ended.code), "{files}: {ended:?}");
        let mut limited = Command::new("prlimit");
        limited.args([
            &format!("--nofile={files}"),
            env!("CARGO_BIN_EXE_sidebearer"),
        ]);
        limited.args(["check", "--online", "--config", path]);
        limited.stdin(Stdio::null());
        let ended = run(limited).await;
        assert_clean(&ended);
        assert!([0, 1].contains(&ended.code), "{files}: {ended:?}");
        let is_told = ended.stderr.contains("Too many open files");
        assert!(ended.code == 0 || is_told, "{files}: {ended:?}");
    }
}
