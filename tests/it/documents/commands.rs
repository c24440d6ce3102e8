//! What the documents tell people to type works.

use std::path::Path;
use std::process::Command;

use clap::Parser;
use rustix::process::Signal;
use sidebearer::cli::Cli;

use super::Document;
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::{Process, run};
use crate::support::{eventually, loopback, skip};

/// Commands that are not run here, by how they begin, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo build", "the binary is built before the tests"),
    ("cargo test", "it would begin again"),
    ("cargo run --release -- demo", "`cli.rs` runs the demo"),
    ("SIDEBEARER_", "tests at full size: CI runs them"),
    (".ci/run", "it takes half an hour"),
    (
        ". /run/sidebearer/trust/",
        "needs a CA; tests/it/interception has clients that trust one",
    ),
    ("https_proxy=", "the same"),
    ("docker ", "needs Docker"),
    ("kubectl ", "needs a cluster"),
    ("helm ", "needs a cluster; CI renders the charts"),
    ("install ", "changes the system"),
    (
        "deploy/debian/build ",
        "needs the release build: CI makes the package",
    ),
    ("apt-get ", "changes the system"),
    ("systemd-sysusers", "changes the system"),
    ("systemctl ", "changes the system"),
    ("nft ", "changes the system"),
];

/// An API, an authorization server, and where sidebearer stands between them.
struct World {
    api: Api,
    /// What stands in the documents, and what it is here.
    replaced: Vec<(&'static str, String)>,
    config: String,
}

impl World {
    /// Runs `sidebearer run`, as the README says.
    async fn start() -> (Self, Process) {
        let dir = tempfile::tempdir().unwrap();
        let (api, idp) = (Api::open(), Idp::start());
        let [listener, forward, admin] = [loopback(), loopback(), loopback()];
        let socket = dir.path().join("app.sock");
        let socket = socket.to_str().unwrap();
        let file = dir.path().join("sidebearer.toml");
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "s3cret\n").unwrap();
        // The name in the documents is a host of the upstream's `url`, which is another one here.
        let text = format!(
            r#"
[log]
format = "json"

[admin]
address = "{admin}"

[[listeners]]
address = "{listener}"
upstream = "crm"
hosts = ["crm.example.com"]

[[listeners]]
address = "unix:{socket}"
upstream = "crm"

[[listeners]]
address = "{forward}"
kind = "forward"

[upstreams.crm]
url = "{}"
hosts = ["crm.example.com:80"]
credential = "crm"

[credentials.crm]
token_endpoint = "{}"
client_id = "billing"
client_secret = {{ file = "secret" }}
"#,
            api.url(),
            idp.endpoint()
        );
        std::fs::write(&file, text).unwrap();
        let config = file.to_str().unwrap().to_owned();
        let world = Self {
            api,
            replaced: vec![
                ("127.0.0.1:7080", listener.to_string()),
                ("127.0.0.1:3128", forward.to_string()),
                ("127.0.0.1:7090", admin.to_string()),
                ("/run/sidebearer/app.sock", socket.to_owned()),
                ("/etc/sidebearer/sidebearer.toml", config.clone()),
                ("/run/sidebearer-check.toml", format!("{config}.check")),
                ("/run/secrets/crm", secret.to_str().unwrap().to_owned()),
            ],
            config,
        };
        let process = Process::spawn(world.shell("exec sidebearer run"), dir);
        eventually("ready", async || {
            process.told("admin").is_some() && run(world.shell("sidebearer health")).await.code == 0
        })
        .await;
        (world, process)
    }

    /// This command for a shell that finds the binary and its configuration.
    fn shell(&self, line: &str) -> Command {
        let mut line = line.to_owned();
        for (documented, here) in &self.replaced {
            line = line.replace(documented, here);
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_sidebearer"));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", binary.parent().unwrap().display());
        let mut command = Command::new("sh");
        command.args(["-ec", &line]).env("PATH", path);
        // What a command writes is not to lie in the checkout.
        command.current_dir(Path::new(&self.config).parent().unwrap());
        command.env("SIDEBEARER_CONFIG", &self.config);
        for variable in [
            "no_proxy",
            "NO_PROXY",
            "http_proxy",
            "HTTP_PROXY",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(variable);
        }
        command
    }
}

/// The commands of a block, without comments.
fn commands(block: &str) -> Vec<String> {
    let block = block.replace("\\\n", " ");
    let lines = block.lines().map(|line| {
        let comment = line.find(" #").unwrap_or(line.len());
        line[..comment].trim().to_owned()
    });
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[tokio::test]
async fn every_command_works() {
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    let (world, process) = World::start().await;
    let (mut ran, mut unused) = (0, NOT_RUN.to_vec());
    for document in Document::all() {
        for (place, block) in document.blocks_of("sh") {
            for line in commands(&block) {
                if let Some((start, _)) = NOT_RUN.iter().find(|(start, _)| line.starts_with(start))
                {
                    unused.retain(|(known, _)| known != start);
                    continue;
                }
                ran += 1;
                if line == "sidebearer run" {
                    continue; // It is what everything else talks to.
                }
                let mut typed =
                    world.shell(&line.replace("sidebearer run --", "sidebearer check --"));
                if line.starts_with("sidebearer run --") {
                    typed.env_remove("SIDEBEARER_CONFIG");
                }
                if line.contains("curl ") && !has_curl {
                    skip("curl", &format!("a command of {place}: {line}"));
                    continue;
                }
                let before = world.api.seen().len();
                let ended = run(typed).await;
                assert_eq!(ended.code, 0, "{place}: {line}: {ended:?}");
                if line.contains("curl ") && line.contains("/v2/") {
                    let requests = world.api.seen();
                    let last = requests
                        .get(before)
                        .unwrap_or_else(|| panic!("{place}: {line}: {ended:?}"));
                    assert!(
                        last.authorization().starts_with("Bearer token-"),
                        "{place}: {last:?}"
                    );
                }
            }
        }
    }
    assert!(ran > 15, "{ran} commands");
    assert!(unused.is_empty(), "no document has {unused:?}");
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}

#[test]
fn commands_that_are_mentioned_are_understood() {
    let mut checked = 0;
    for document in Document::all() {
        let prose = document.prose();
        for span in prose.split('`').skip(1).step_by(2) {
            if span.starts_with("sidebearer ") && !span.contains(['[', ';', '\n']) {
                checked += 1;
                if let Err(error) = Cli::try_parse_from(span.split_whitespace()) {
                    let shown = matches!(
                        error.kind(),
                        clap::error::ErrorKind::DisplayHelp
                            | clap::error::ErrorKind::DisplayVersion
                    );
                    assert!(shown, "{}: {span}: {error}", document.path.display());
                }
            }
        }
    }
    assert!(checked > 10, "{checked} commands");
}
