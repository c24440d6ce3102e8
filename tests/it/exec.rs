//! `sidebearer exec`: programs that know nothing of tokens, started by the real binary.

mod codes;
mod environment;
mod inheritance;
mod interception;
mod jobs;
mod signals;
mod terminal;
mod users;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Once};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use tempfile::TempDir;

use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::{Ended, Process, command, run};

/// Calls the API by a name that only sidebearer knows.
const CALL: &str = "curl -sS --max-time 20 http://crm.example.com/me";

/// An API that wants a token, and a configuration for programs that call it.
struct World {
    api: Api,
    idp: Idp,
    dir: TempDir,
}

impl World {
    fn start() -> Self {
        Self::with("")
    }

    /// With more lines of the configuration.
    fn with(lines: &str) -> Self {
        heed_ignored_signals();
        let idp = Idp::start();
        let api = Api::protected_by(&idp);
        let world = Self {
            api,
            idp,
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::write(world.path("secret"), "s3cret\n").unwrap();
        let upstream = world.api.url();
        world.configure(&format!("{}{lines}", world.config(&upstream)));
        world
    }

    /// The smallest useful configuration, with the API at `upstream`.
    fn config(&self, upstream: &str) -> String {
        format!(
            "[upstreams.crm]\nurl = \"{upstream}\"\nhosts = [\"crm.example.com:80\"]\ncredential = \"crm\"\n\
             [credentials.crm]\ntoken_endpoint = \"{}\"\nclient_id = \"billing\"\n\
             client_secret = {{ file = \"secret\" }}\n",
            self.idp.endpoint()
        )
    }

    /// Puts a configuration there as a whole: one that is running reads it at any moment.
    fn configure(&self, config: &str) {
        let beside = self.path(".app.toml.new");
        std::fs::write(&beside, config).unwrap();
        std::fs::rename(beside, self.path("app.toml")).unwrap();
    }

    /// A file beside the configuration.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `sidebearer exec -- PROGRAM...`, without the proxies of whoever runs the tests.
    fn exec(&self, program: &[&str]) -> Command {
        self.exec_with(&[], program)
    }

    /// The same with more options.
    fn exec_with(&self, options: &[&str], program: &[&str]) -> Command {
        let config = self.path("app.toml");
        let config = ["exec", "--config", config.to_str().unwrap()];
        let mut command = command(&[&config[..], options, &["--"], program].concat());
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command.env_remove("JAVA_TOOL_OPTIONS");
        // What a killed one leaves behind goes with the test.
        command.env("TMPDIR", self.dir.path());
        command
    }

    /// Runs a script of the shell to its end.
    async fn shell(&self, script: &str) -> Ended {
        run(self.exec(&["sh", "-c", script])).await
    }

    /// Starts a script of the shell that says `ready` once it has begun.
    async fn begin(&self, script: &str) -> Process {
        self.begin_as(self.exec(&["sh", "-c", script])).await
    }

    async fn begin_as(&self, command: Command) -> Process {
        let process = Process::spawn(command, tempfile::tempdir().unwrap());
        said(&process, "ready").await;
        process
    }
}

/// Makes what is started from here on begin with the usual way of all signals. A shell without jobs has what it starts
/// with `&` ignore some of them, and what is ignored stays so in all that is started. For the tests themselves nothing
/// changes.
fn heed_ignored_signals() {
    static HEEDED: Once = Once::new();
    HEEDED.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM] {
            if ignored & 1 << (signal - 1) != 0 {
                // A signal with a handler has its usual way again in a program that is started.
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

/// Waits for a line of the program.
async fn said(process: &Process, line: &str) {
    crate::support::eventually(line, async || {
        process.stdout().lines().any(|said| said == line)
    })
    .await;
}

/// Whether a tool is there and works.
fn works(tool: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_program_that_knows_nothing_of_tokens_sends_one() {
    let world = World::start();
    let ended = world.shell(CALL).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "ok"), "{ended:?}");
    // It is the program that talks.
    assert_eq!(ended.stderr, "");
    let seen = world.api.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].target, "/me");
    assert_eq!(seen[0].authorization(), "Bearer token-1");
}

#[tokio::test]
async fn what_no_upstream_is_for_goes_on_as_before() {
    let other = Api::open();
    let world = World::start();
    let ended = world.shell(&format!("curl -sS {}/x", other.url())).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "ok"), "{ended:?}");
    // By the proxy, since the upstream is on loopback too; to any address and port, and without a token.
    let seen = other.seen();
    assert!(seen[0].header("via").contains("sidebearer"), "{seen:?}");
    assert_eq!(seen[0].authorization(), "");
}

#[tokio::test]
async fn a_changed_configuration_is_taken_over_without_its_listeners() {
    let world = World::start();
    let taken = crate::support::loopback();
    let _taken = std::net::TcpListener::bind(taken).unwrap();
    let listeners = format!("[[listeners]]\naddress = \"{taken}\"\nupstream = \"nobody\"\n");
    world.configure(&format!("{listeners}{}", world.config(&world.api.url())));
    let again = world.path("again");
    let script = format!(
        "{CALL}; echo; echo ready; until [ -e {} ]; do sleep 0.05; done; \
         until curl -sSf --max-time 20 http://new.example.com/me; do sleep 0.05; done",
        again.display()
    );
    let process = world.begin(&script).await;
    let config = world.config(&world.api.url());
    let config = config.replace("crm.example.com:80", "new.example.com:80");
    world.configure(&format!("{listeners}{config}"));
    std::fs::write(again, "").unwrap();
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let new = world.api.seen();
    let new = new.iter().filter(|seen| seen.authorization() != "");
    assert_eq!(new.count(), 2);
}
