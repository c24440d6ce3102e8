//! Commands by arguments and variables, without a file.

use std::process::Command;

use rustix::process::Signal;

use crate::support::api::Api;
use crate::support::client::get;
use crate::support::idp::Idp;
use crate::support::process::{Process, command, run};
use crate::support::{any_port, eventually};

/// An API, its authorization server, and the file with the secret.
pub(super) struct Setup {
    pub(super) api: Api,
    pub(super) idp: Idp,
    pub(super) dir: tempfile::TempDir,
}

impl Setup {
    pub(super) fn new() -> Self {
        let (api, idp, dir) = (Api::open(), Idp::start(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        Self { api, idp, dir }
    }

    /// What has to be given, by its name as an argument.
    pub(super) fn given(&self) -> Vec<(&'static str, String)> {
        vec![
            ("listen", any_port().to_string()),
            ("upstream", self.api.url()),
            ("token-endpoint", self.idp.endpoint()),
            ("client-id", "billing".to_owned()),
            ("client-secret-file", self.path("secret")),
            ("admin", any_port().to_string()),
        ]
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }
}

/// Gives one of them.
pub(super) fn add(command: &mut Command, name: &str, value: &str, by_variable: bool) {
    if by_variable {
        let name = name.to_uppercase().replace('-', "_");
        command.env(format!("SIDEBEARER_{name}"), value);
    } else {
        command.arg(format!("--{name}={value}"));
    }
}

#[tokio::test]
async fn arguments_and_variables_serve_without_a_file() {
    // All arguments, all variables, every second one.
    for variables in [0b000000, 0b111111, 0b101010] {
        let setup = Setup::new();
        let mut started = command(&["run"]);
        for (at, (name, value)) in setup.given().iter().enumerate() {
            add(&mut started, name, value, variables >> at & 1 == 1);
        }
        let process = Process::spawn(started, tempfile::tempdir().unwrap());
        eventually("listening", async || process.told("admin").is_some()).await;
        let answer = get(process.address(), "/").await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(setup.api.seen()[0].authorization(), "Bearer token-1");
        let log = process.log();
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[tokio::test]
async fn a_reload_without_a_file_reads_the_secret_again() {
    let setup = Setup::new();
    let mut started = command(&["run"]);
    for (name, value) in setup.given() {
        add(&mut started, name, &value, false);
    }
    let process = Process::spawn(started, tempfile::tempdir().unwrap());
    eventually("listening", async || process.told("admin").is_some()).await;
    process.signal(Signal::HUP);
    eventually("reloaded", async || {
        process.told("configuration reloaded").is_some()
    })
    .await;
    let told = process.told("configuration reloaded").unwrap();
    assert_eq!(told["path"], "command line");

    std::fs::write(setup.path("secret"), "another\n").unwrap();
    eventually("the secret is noticed", async || {
        process.log().contains("a secret has changed")
    })
    .await;
    assert_eq!(get(process.address(), "/").await.text(), "ok");
}

#[tokio::test]
async fn a_file_and_arguments_do_not_mix() {
    for (file, argument) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut mixed = command(&["check"]);
        add(&mut mixed, "config", "/nowhere.toml", file);
        add(&mut mixed, "upstream", "https://crm.example.com", argument);
        let ended = run(mixed).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        let names = [
            if file {
                "SIDEBEARER_CONFIG"
            } else {
                "--config"
            },
            if argument {
                "SIDEBEARER_UPSTREAM"
            } else {
                "--upstream"
            },
        ];
        for name in names {
            assert!(ended.stderr.contains(name), "{name}: {ended:?}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_no_argument_and_is_not_repeated() {
    for arguments in [
        &["check", "--client-secret", "pa55word"][..],
        &["check", "--client-secret=pa55word"],
        &["run", "--client-id", "billing", "--client-secret"],
    ] {
        let ended = run(command(arguments)).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains("--client-secret-file"), "{ended:?}");
        assert!(!ended.stderr.contains("pa55word"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_variable_may_hold_the_secret_which_is_never_shown() {
    let setup = Setup::new();
    for secret in ["s3cret", "s3cret "] {
        let mut checked = command(&["check", "--online"]);
        for (name, value) in setup.given() {
            if name != "client-secret-file" {
                add(&mut checked, name, &value, true);
            }
        }
        checked.env("SIDEBEARER_CLIENT_SECRET", secret);
        let ended = run(checked).await;
        assert_eq!(ended.code, i32::from(secret != "s3cret"), "{ended:?}");
        assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
    }
    let mut twice = command(&["check", "--client-secret-file", "/s"]);
    twice.env("SIDEBEARER_CLIENT_SECRET", "s3cret");
    let ended = run(twice).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let both = "--client-secret-file and SIDEBEARER_CLIENT_SECRET cannot be given together";
    assert!(ended.stderr.contains(both), "{ended:?}");
}

fn with_empty_path(mut command: Command) -> Command {
    command.env("SIDEBEARER_CONFIG", "");
    command
}

#[tokio::test]
async fn an_empty_variable_is_none_and_an_empty_argument_is_missed() {
    let mut empty = command(&["check", "--config", "/nowhere.toml"]);
    empty
        .env("SIDEBEARER_UPSTREAM", "")
        .env("SIDEBEARER_CLIENT_SECRET", "");
    let ended = run(empty).await;
    assert!(ended.stderr.contains("/nowhere.toml"), "{ended:?}");
    // Nor does one name a file that leaves no room for arguments.
    let setup = Setup::new();
    let new = setup.path("new.toml");
    for (command_line, told) in [
        (&["check"][..], "ok\n"),
        (&["init", "--print"], "client_id = \"billing\"\n"),
        (&["init", &new, "--offline"], &new),
    ] {
        let mut empty = command(command_line);
        for (name, value) in setup.given() {
            add(&mut empty, name, &value, false);
        }
        let ended = run(with_empty_path(empty)).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains(told), "{ended:?}");
    }
    let ended = run(with_empty_path(command(&["token", "api"]))).await;
    assert!(
        ended.stderr.contains("/etc/sidebearer/sidebearer.toml"),
        "{ended:?}"
    );
    for arguments in [&["check", "--config", ""][..], &["init", ""]] {
        let ended = run(command(arguments)).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(
            ended.stderr.contains("is empty: expected a path"),
            "{ended:?}"
        );
    }
    // `--upstream "$URL"` does not read another configuration because URL is empty.
    let ended = run(command(&["check", "--upstream", ""])).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("--upstream is missing"), "{ended:?}");
}

#[tokio::test]
async fn what_is_not_text_or_misspelt_is_told_by_its_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bytes = OsStr::from_bytes(b"https://\xff");
    let mut by_argument = command(&["check", "--upstream"]);
    by_argument.arg(bytes);
    let mut by_variable = command(&["check"]);
    by_variable.env("SIDEBEARER_AUDIENCE", bytes);
    let mut misspelt = command(&["check", "--upstream", "https://crm.example.com"]);
    misspelt.env("SIDEBEARER_SCOPE", "read");
    for (wrong, told) in [
        (by_argument, "--upstream is not UTF-8 text"),
        (by_variable, "SIDEBEARER_AUDIENCE is not UTF-8 text"),
        (misspelt, "did you mean SIDEBEARER_SCOPES?"),
    ] {
        let ended = run(wrong).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}

#[tokio::test]
async fn what_is_explained_and_which_token_comes_is_told_without_a_file_too() {
    let setup = Setup::new();
    let mut process = command(&["run"]);
    let mut explained = command(&["explain", "GET", "/x"]);
    let mut live = command(&["explain", "GET", "/x", "--live"]);
    let mut token = command(&["token", "api"]);
    let given = setup.given();
    for (at, (name, value)) in given.iter().enumerate() {
        add(&mut process, name, value, false);
        for asked in [&mut explained, &mut live, &mut token] {
            add(asked, name, value, at % 2 == 1);
        }
    }
    let explained = run(explained).await;
    assert_eq!(
        (explained.code, &*explained.stderr),
        (0, ""),
        "{explained:?}"
    );
    for line in ["\ncredential    api\n", "\nsent          GET /x\n"] {
        assert!(explained.stdout.contains(line), "{explained:?}");
    }
    assert_eq!(setup.idp.requests(), 0);
    let token = run(token).await;
    assert_eq!(token.code, 0, "{token:?}");
    assert_eq!(setup.idp.requests(), 1);

    let (_, admin) = given.iter().find(|(name, _)| *name == "admin").unwrap();
    let refused = run(live).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains(admin), "{refused:?}");
    let process = Process::spawn(process, tempfile::tempdir().unwrap());
    eventually("listening", async || process.told("admin").is_some()).await;
    let admin = process.admin().to_string();
    let path = setup.path("of-another.toml");
    let another = "[admin]\naddress = \"127.0.0.1:9\"\n";
    std::fs::write(&path, another).unwrap();
    // As `health` and `reload`: whom to ask is said by either, whatever a file says.
    for by_variable in [false, true] {
        for files in [&[][..], &["--config", &path], &["--config", "/nowhere"]] {
            let mut live = command(&["explain", "GET", "/x", "--live"]);
            live.args(files);
            add(&mut live, "admin", &admin, by_variable);
            let live = run(live).await;
            assert_eq!(live.code, 0, "{files:?} {live:?}");
            assert!(live.stdout.contains("\ntoken         "), "{live:?}");
        }
    }
    // Without that, the file says it; and an empty variable says nothing.
    let mut of_file = command(&["explain", "GET", "/x", "--live", "--config", &path]);
    of_file.env("SIDEBEARER_ADMIN", "");
    let refused = run(of_file).await;
    assert!(
        refused.stderr.contains("http://127.0.0.1:9/"),
        "{refused:?}"
    );
    // What is not asked of the process has no room for it.
    let mixed = ["explain", "GET", "/x", "--config", &path, "--admin", &admin];
    let refused = run(command(&mixed)).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("no room for --admin:"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_admin_variable_alone_is_no_configuration() {
    let setup = Setup::new();
    let path = setup.path("new.toml");
    let mut init = command(&["init", &path, "--offline"]);
    for (name, value) in setup.given() {
        add(&mut init, name, &value, false);
    }
    assert_eq!(run(init).await.code, 0);
    let mut by_argument = command(&["check", "--config", &path]);
    by_argument.env("SIDEBEARER_ADMIN", "127.0.0.1:9");
    let mut by_variable = command(&["check"]);
    by_variable
        .env("SIDEBEARER_ADMIN", "127.0.0.1:9")
        .env("SIDEBEARER_CONFIG", &path);
    for checked in [by_argument, by_variable] {
        let ended = run(checked).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (0, "ok\n"),
            "{ended:?}"
        );
    }
    let mut usual = command(&["check"]);
    usual.env("SIDEBEARER_ADMIN", "127.0.0.1:9");
    let ended = run(usual).await;
    let file = "/etc/sidebearer/sidebearer.toml";
    assert!(ended.stderr.contains(file), "{ended:?}");
    // Other arguments still are one.
    let mut both = command(&["check", "--config", &path, "--client-id", "x"]);
    both.env("SIDEBEARER_ADMIN", "127.0.0.1:9");
    let ended = run(both).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("no room for --client-id:"),
        "{ended:?}"
    );
}
