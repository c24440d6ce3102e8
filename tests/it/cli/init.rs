//! `sidebearer init`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::terminal::{Terminal, words};
use super::without_file::{Setup, add};
use crate::support::client::get;
use crate::support::eventually;
use crate::support::idp::Behaviour;
use crate::support::process::{Ended, Process, command, run};
use crate::support::tls::Ca;

/// `init` with what has to be given.
fn init(setup: &Setup, path: &str) -> Command {
    let mut init = command(&["init", path]);
    for (name, value) in setup.given() {
        add(&mut init, name, &value, false);
    }
    init
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The names in a directory.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Serves by this file, and sends one request through.
async fn serves(setup: &Setup, path: &str) {
    let process = Process::spawn(
        command(&["run", "--config", path]),
        tempfile::tempdir().unwrap(),
    );
    eventually("listening", async || process.told("admin").is_some()).await;
    assert_eq!(get(process.address(), "/").await.text(), "ok");
    let seen = setup.api.seen();
    let token = seen.last().unwrap().authorization().to_owned();
    assert!(token.starts_with("Bearer token-"), "{token}");
}

#[tokio::test]
async fn what_it_writes_serves() {
    let setup = Setup::new();
    let path = setup.path("new.toml");
    let ended = run(init(&setup, &path)).await;
    assert_eq!(
        (ended.code, ended.stdout.trim_end()),
        (0, path.as_str()),
        "{ended:?}"
    );
    for tried in ["ok      credential localhost", "ok      upstream localhost"] {
        let tried = tried.replace("localhost", "api");
        assert!(ended.stderr.contains(&tried), "{ended:?}");
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!(mode(&path) & 0o600, 0o600);
    assert_eq!(names(setup.dir.path()), ["new.toml", "secret"]);
    serves(&setup, &path).await;
}

#[tokio::test]
async fn every_key_can_be_given_by_argument_and_by_variable() {
    let setup = Setup::new();
    let ca = Ca::new();
    let key = format!("{}/tests/keys/p256.pkcs8.pem", env!("CARGO_MANIFEST_DIR"));
    let ca = ca.file().to_str().unwrap().to_owned();
    let mut sets = vec![setup.given(), setup.given()];
    sets[0].extend([
        ("allow-network", "true".to_owned()),
        ("auth-method", "client_secret_post".to_owned()),
        ("scopes", "read write".to_owned()),
        ("audience", "https://api.example.com".to_owned()),
    ]);
    sets[1]
        .retain(|(name, _)| !["token-endpoint", "client-secret-file", "upstream"].contains(name));
    sets[1].extend([
        ("issuer", "https://login.example.com".to_owned()),
        ("upstream", "https://crm.example.com/v2".to_owned()),
        ("private-key-file", key),
        ("ca-file", ca),
    ]);
    let help = run(command(&["run", "--help"])).await.stdout;
    let mut documented: Vec<_> = help
        .split("[env: ")
        .skip(1)
        .map(|it| it.split(']').next().unwrap())
        .collect();
    documented.retain(|name| *name != "SIDEBEARER_CONFIG");
    for set in &sets {
        let mut printed = Vec::new();
        for by_variable in [false, true] {
            let mut init = command(&["init", "--print"]);
            for (name, value) in set {
                add(&mut init, name, value, by_variable);
                let variable = format!("SIDEBEARER_{}", name.to_uppercase().replace('-', "_"));
                documented.retain(|name| *name != variable);
            }
            let ended = run(init).await;
            assert_eq!(ended.code, 0, "{ended:?}");
            for (_, value) in set {
                let said = value.split(' ').all(|word| ended.stdout.contains(word));
                assert!(said, "{value}: {ended:?}");
            }
            printed.push(ended.stdout);
        }
        assert_eq!(printed[0], printed[1]);
    }
    assert!(documented.is_empty(), "untried: {documented:?}");
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_is_left_over() {
    let setup = Setup::new();
    fs::write(setup.path("there.toml"), "mine").unwrap();
    fs::create_dir(setup.path("directory")).unwrap();
    symlink(setup.path("there.toml"), setup.path("link")).unwrap();
    symlink("/nowhere/at/all", setup.path("dangling")).unwrap();
    let before = names(setup.dir.path());
    for (name, told) in [
        ("there.toml", "exists, and is not overwritten"),
        ("link", "exists, and is not overwritten"),
        ("dangling", "exists, and is not overwritten"),
        ("directory", "is a directory: name a file, such as"),
        ("absent/new.toml", "it has to be there: mkdir -p"),
        ("there.toml/new.toml", "Not a directory"),
        ("new/", "is no name of a file"),
    ] {
        let ended = run(init(&setup, &setup.path(name))).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (1, ""),
            "{name}: {ended:?}"
        );
        assert!(ended.stderr.contains(told), "{name}: {ended:?}");
        assert!(!ended.stderr.contains("credential"), "{name}: {ended:?}");
    }
    assert_eq!(names(setup.dir.path()), before);
    assert_eq!(
        fs::read_to_string(setup.path("there.toml")).unwrap(),
        "mine"
    );
}

#[tokio::test]
async fn of_many_at_once_one_writes() {
    let setup = Setup::new();
    let path = setup.path("new.toml");
    let started = (0..8).map(|_| {
        let mut init = init(&setup, &path);
        init.arg("--offline");
        tokio::spawn(run(init))
    });
    let started: Vec<_> = started.collect();
    let mut codes = Vec::new();
    for ended in started {
        let Ended { code, stderr, .. } = ended.await.unwrap();
        assert!(
            code == 0 || stderr.contains("exists, and is not overwritten"),
            "{stderr}"
        );
        codes.push(code);
    }
    assert_eq!(
        codes.iter().filter(|code| **code == 0).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(names(setup.dir.path()), ["new.toml", "secret"]);
}

#[tokio::test]
async fn without_a_terminal_all_that_is_missing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.toml");
    let ended = run(command(&["init", path.to_str().unwrap()])).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    for name in [
        "--listen",
        "--upstream",
        "--token-endpoint",
        "--client-id",
        "--client-secret-file",
    ] {
        assert!(
            ended.stderr.contains(&format!("{name} is missing")),
            "{name}: {ended:?}"
        );
    }
    assert!(names(dir.path()).is_empty());
}

#[tokio::test]
async fn what_fails_online_is_told_and_the_file_stays() {
    let setup = Setup::new();
    setup.idp.behave(Behaviour::Answers(
        401,
        r#"{"error":"invalid_client"}"#.to_owned(),
    ));
    let path = setup.path("new.toml");
    let ended = run(init(&setup, &path)).await;
    assert_eq!(
        (ended.code, ended.stdout.trim_end()),
        (1, path.as_str()),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("FAILED  credential"), "{ended:?}");
    assert!(
        ended.stderr.contains("is written all the same"),
        "{ended:?}"
    );
    assert!(fs::exists(&path).unwrap());
}

#[tokio::test]
async fn it_asks_until_every_answer_is_good() {
    let setup = Setup::new();
    let (path, secret) = (setup.path("new.toml"), setup.path("made"));
    let Some(mut terminal) =
        Terminal::open(&words(&["init", &path, "--admin", "127.0.0.1:0"]), &[])
    else {
        return;
    };
    terminal.answer("The API, such as", "crm.example.com").await;
    terminal
        .shows("invalid --upstream: expected a URL such as")
        .await;
    terminal.type_in("\n");
    terminal
        .answer("this has to be known", &setup.api.url())
        .await;
    terminal
        .answer("token endpoint", "http://login.example.com")
        .await;
    terminal
        .answer("plain text: use https", &setup.idp.endpoint())
        .await;
    terminal.answer("Client id", "billing").await;
    terminal
        .answer(
            "Its file (one that does not exist is made)",
            "/nowhere/secret",
        )
        .await;
    terminal.answer("it has to be there", &secret).await;
    terminal.answer("The secret, for", "").await;
    terminal
        .answer("expected at least one character", "s3cret")
        .await;
    terminal.answer("Scopes", "read write").await;
    terminal.answer("Audience", "").await;
    terminal.answer("[127.0.0.1:7080]", "7").await;
    terminal.answer("did you mean", "127.0.0.1:0").await;
    let (code, shown) = terminal.ended().await;
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("ok      credential"), "{shown}");
    assert_eq!(mode(&secret), 0o600);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "s3cret\n");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("scopes = [\"read\", \"write\"]") && !text.contains("s3cret"),
        "{text}"
    );
    serves(&setup, &path).await;
}

#[tokio::test]
async fn what_is_given_and_wrong_is_told_before_anything_is_asked() {
    let setup = Setup::new();
    let new = setup.path("new.toml");
    for (wrong, told) in [
        ("--upstream=nonsense", "invalid --upstream"),
        ("--auth-method=tls_client_auth", "only a file can say it"),
        ("--client-secret-file=/nowhere/s", "cannot be read from"),
    ] {
        let Some(terminal) = Terminal::open(&words(&["init", &new, wrong]), &[]) else {
            return;
        };
        let (code, shown) = terminal.ended().await;
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains(told), "{shown}");
        assert!(!shown.contains("Ctrl-C"), "{shown}");
    }
}

#[tokio::test]
async fn a_private_key_is_asked_for_where_the_method_needs_one() {
    let setup = Setup::new();
    let key = format!("{}/tests/keys/p256.pkcs8.pem", env!("CARGO_MANIFEST_DIR"));
    let mut arguments = vec!["init".to_owned(), "--print".to_owned()];
    arguments.push("--auth-method=private_key_jwt".to_owned());
    for (name, value) in setup.given() {
        if name != "client-secret-file" {
            arguments.push(format!("--{name}={value}"));
        }
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let Some(mut terminal) = Terminal::open(&words(&arguments), &[]) else {
        return;
    };
    let asked = "The file of its private key";
    terminal.answer(asked, &setup.path("secret")).await;
    let told = "it holds neither a PEM private key nor a private JWK";
    terminal.answer(told, &key).await;
    terminal.answer("Scopes", "").await;
    terminal.answer("Audience", "").await;
    let (code, shown) = terminal.ended().await;
    assert_eq!(code, 0, "{shown}");
    let expected = format!("private_key = {{ file = \"{key}\" }}");
    assert!(shown.contains(&expected), "{shown}");
}

#[tokio::test]
async fn what_it_writes_of_a_secret_in_a_variable_can_be_run() {
    let setup = Setup::new();
    let path = setup.path("new.toml");
    let mut init = command(&["init", &path]);
    for (name, value) in setup.given() {
        if name != "client-secret-file" {
            add(&mut init, name, &value, false);
        }
    }
    init.env("SIDEBEARER_CLIENT_SECRET", "s3cret");
    let ended = run(init).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains("variable CLIENT_SECRET:"),
        "{ended:?}"
    );
    let mut checked = command(&["check", "--online", "--config", &path]);
    checked.env("CLIENT_SECRET", "s3cret");
    let ended = run(checked).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "ok\n"),
        "{ended:?}"
    );
}
