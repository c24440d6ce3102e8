//! Other users of the machine at the port of `exec`.

use rustix::process::{Signal, geteuid};

use super::{CALL, World, works};
use crate::support::namespaces::USERS;
use crate::support::process::{command, run};
use crate::support::skip;

/// A user who is not the one that runs the tests.
const OTHER: &str = "--reuid=64007";

#[tokio::test]
async fn where_all_others_are_shown_as_its_own_user_it_does_not_begin() {
    if !USERS.can_be_had() {
        return;
    }
    let world = World::start();
    let ended = run(USERS.around(&world.exec(&["true"]))).await;
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.stderr.contains("user 65534"), "{ended:?}");
    assert!(ended.stderr.contains("run it as another user"), "{ended:?}");
}

#[tokio::test]
async fn a_connection_of_another_user_is_closed_before_it_says_a_word() {
    if !geteuid().is_root() || !works("setpriv", &[OTHER, "--clear-groups", "true"]) {
        return skip("a second user", "it needs root and setpriv");
    }
    let world = World::start();
    let process = world
        .begin("echo $http_proxy; echo ready; exec sleep 1000")
        .await;
    let said = process.stdout();
    let proxy = said.lines().next().unwrap();
    let call = format!("http_proxy={proxy} exec {CALL}");
    let mut other = std::process::Command::new("setpriv");
    other.args([OTHER, "--clear-groups", "sh", "-c", &call]);
    let ended = run(other).await;
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(world.api.seen().is_empty());
    let told = crate::support::eventually("it is told", async || {
        process.log().contains("another user of this machine") && process.log().contains("64007")
    });
    told.await;
    // The same by the same user.
    let mut own = std::process::Command::new("sh");
    own.args(["-c", &call]);
    let ended = run(own).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "ok"), "{ended:?}");
    process.signal(Signal::TERM);
    process.ended().await;
}

#[tokio::test]
async fn a_user_that_is_not_root_runs_programs_too() {
    if !geteuid().is_root() || !works("setpriv", &[OTHER, "--clear-groups", "true"]) {
        return skip("a second user", "it needs root and setpriv");
    }
    let world = World::start();
    for name in ["", "app.toml", "secret"] {
        let path = world.path(name);
        std::os::unix::fs::chown(path, Some(64007), Some(64007)).unwrap();
    }
    // The binary may lie where only root comes to.
    let binary = world.path("sidebearer");
    std::fs::copy(command(&[]).get_program(), &binary).unwrap();
    let config = world.path("app.toml");
    let mut other = std::process::Command::new("setpriv");
    other.args([OTHER, "--clear-groups"]).arg(binary);
    other.args([
        "exec",
        "--config",
        config.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        CALL,
    ]);
    let ended = run(other).await;
    assert_eq!((ended.code, &*ended.stdout), (0, "ok"), "{ended:?}");
}
