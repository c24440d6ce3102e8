//! What a process inherits from whoever starts it, where that is out of the ordinary.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::ask;
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::namespaces::MOUNTS;
use crate::support::process::{Process, blocked, command, prepared, run};
use crate::support::sidebearer::directory;
use crate::support::{any_port, eventually, smallest};

#[tokio::test]
async fn what_a_limit_of_file_sizes_cuts_off_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let printed = path("printed");
    for arguments in [&["schema"][..], &["man"], &["--help"]] {
        let prepare = format!("ulimit -f 1; exec >{printed}");
        let ended = run(prepared(&prepare, &command(arguments))).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        let told = "error: cannot write to stdout: File too large";
        assert!(ended.stderr.starts_with(told), "{ended:?}");
        std::fs::remove_file(&printed).unwrap();
    }
    let temp = path("temp");
    std::fs::create_dir(&temp).unwrap();
    let mut demo = command(&["demo", "--once"]);
    demo.env("TMPDIR", &temp);
    let ca = path("ca");
    let ca = ["ca", "create", "--domain", "example.com", "--out", &ca];
    let file = path("new.toml");
    let init = [
        "init",
        "--listen",
        "127.0.0.1:1",
        "--upstream",
        "https://api.example.com",
        "--token-endpoint",
        "https://idp.example.com/token",
        "--client-id",
        "billing",
        "--client-secret-file",
        &path("secret"),
        "--offline",
        &file,
    ];
    std::fs::write(path("secret"), "s3cret\n").unwrap();
    for whole in [&demo, &command(&ca), &command(&init)] {
        let ended = run(prepared("ulimit -f 0", whole)).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("File too large"), "{ended:?}");
    }
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
    assert!(!dir.path().join("new.toml").exists());
    // Nothing is in the way of another try.
    let again = ask(&ca).await;
    assert_eq!(again.code, 0, "{again:?}");
}

#[tokio::test]
async fn a_process_that_serves_heeds_signals_that_were_blocked() {
    let Some(block) = blocked("HUP,TERM,INT") else {
        return;
    };
    let (api, idp) = (Api::open(), Idp::start());
    for end in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        let spawn = |command, dir| Process::spawn(prepared(&block, &command), dir);
        let process = Process::start_by(spawn, dir, &smallest(&api, &idp)).await;
        process.signal(Signal::HUP);
        eventually("reloaded", async || {
            process.told("configuration reloaded").is_some()
        })
        .await;
        process.signal(end);
        assert_eq!(process.ended().await.code, 0);
    }
}

#[tokio::test]
async fn a_umask_keeps_nothing_from_the_user_that_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let create = ["ca", "create", "--domain", "example.com", "--out"];
    let create = command(&[&create[..], &[ca.to_str().unwrap()]].concat());
    let ended = run(prepared("umask 777", &create)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for (name, expected) in [("", 0o700), ("issuer.key", 0o600), ("issuer.pem", 0o600)] {
        let found = ca.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(found & 0o777, expected, "{name}");
    }
    let temp = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo", "--once"]);
    demo.env("TMPDIR", temp.path());
    let ended = run(prepared("umask 777", &demo)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_unix_socket_without_proc_is_refused_with_that_reason() {
    if !MOUNTS.can_be_had() {
        return;
    }
    let no_proc = "mount -t tmpfs none /proc; exec \"$@\"";
    let (api, idp) = (Api::open(), Idp::start());
    let any = any_port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", dir.path().join("app.sock").display());
    let (_dir, path) = directory(&smallest(&api, &idp).replacen(&any, &socket, 1));
    let serve = command(&["run", "--config", &path]);
    let ended = run(MOUNTS.around_script(no_proc, &serve)).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.stderr.contains("/proc/self/fd, by which"),
        "{ended:?}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
