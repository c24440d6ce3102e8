//! What may become of the file while it is written.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::process::Signal;

use super::{config, records, wait_for};
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::sidebearer::Sidebearer;
use crate::support::{client, eventually};

struct Audited {
    sidebearer: Sidebearer,
    file: PathBuf,
    _servers: (Api, Idp),
}

async fn start(overflow: &str) -> Audited {
    let servers = (Api::open(), Idp::start());
    let text = config(
        &servers.0.url(),
        &servers.1.endpoint(),
        "audit.jsonl",
        overflow,
    );
    let sidebearer = Sidebearer::start(&text);
    sidebearer.ready().await;
    Audited {
        file: sidebearer.dir().join("audit.jsonl"),
        sidebearer,
        _servers: servers,
    }
}

impl Audited {
    async fn ask(&self, path: &str) -> u16 {
        client::get(self.sidebearer.address(), path).await.status
    }
}

#[tokio::test]
async fn the_file_may_be_moved_removed_replaced_and_truncated_at_any_time() {
    let audited = start("refuse").await;
    let file = &audited.file;
    for round in 0..3 {
        assert_eq!(audited.ask("/crm/moved").await, 200);
        wait_for(file, "request", 1).await;
        let moved = file.with_extension(format!("{round}"));
        std::fs::rename(file, &moved).unwrap();
        assert_eq!(audited.ask("/crm/removed").await, 200);
        let found = wait_for(file, "request", 1).await;
        assert_eq!(found[0]["path"], "/crm/removed");
        assert_eq!(wait_for(&moved, "request", 1).await.len(), 1);

        std::fs::remove_file(file).unwrap();
        assert_eq!(audited.ask("/crm/replaced").await, 200);
        wait_for(file, "request", 1).await;

        let other = file.with_extension("other");
        std::fs::write(&other, "").unwrap();
        std::fs::rename(&other, file).unwrap();
        assert_eq!(audited.ask("/crm/truncated").await, 200);
        wait_for(file, "request", 1).await;

        std::fs::File::create(file).unwrap();
        assert_eq!(audited.ask("/crm/last").await, 200);
        let found = wait_for(file, "request", 1).await;
        assert_eq!(found[0]["path"], "/crm/last");
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn a_symbolic_link_is_not_followed_and_what_must_be_recorded_is_refused_until_it_is_gone() {
    let audited = start("refuse").await;
    let file = &audited.file;
    let target = file.with_extension("target");
    assert_eq!(audited.ask("/crm").await, 200);
    wait_for(file, "request", 1).await;
    std::fs::remove_file(file).unwrap();
    symlink(&target, file).unwrap();
    let mut served = 0;
    eventually("it is noticed", async || {
        let status = audited.ask("/crm").await;
        served += usize::from(status == 200);
        status == 503
    })
    .await;
    let answer = client::get(audited.sidebearer.address(), "/crm").await;
    assert_eq!(
        (answer.code(), answer.header("retry-after")),
        ("overloaded".to_owned(), "1")
    );
    assert!(!target.exists());
    assert_eq!(
        audited.sidebearer.metric("sidebearer_audit_failing").await,
        1.0
    );
    let status = audited.sidebearer.status().await;
    assert_eq!(status["audit"]["writing"], false);
    assert!(
        status["audit"]["last_error"]
            .as_str()
            .unwrap()
            .contains("symbolic link")
    );
    std::fs::remove_file(file).unwrap();
    eventually("it is written again", async || {
        audited.ask("/crm/again").await == 200
    })
    .await;
    let expected = served + 1;
    eventually("every request that was served is recorded", async || {
        let found = records(file);
        let served = found.iter().filter(|record| record["status"] == 200);
        served.count() == expected
    })
    .await;
    assert_eq!(
        audited.sidebearer.metric("sidebearer_audit_failing").await,
        0.0
    );
}

#[tokio::test]
async fn a_line_that_a_dead_process_left_incomplete_is_ended() {
    let servers = (Api::open(), Idp::start());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let file = dir.path().join("audit.jsonl");
    std::fs::write(&file, "{\"event\":\"request\"}\n{\"time\":\"20").unwrap();
    let text = config(
        &servers.0.url(),
        &servers.1.endpoint(),
        "audit.jsonl",
        "drop",
    );
    let sidebearer = Sidebearer::start_in(dir, &text);
    sidebearer.ready().await;
    assert_eq!(client::get(sidebearer.address(), "/crm").await.status, 200);
    eventually("the request is recorded", async || {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        lines[1] == "{\"time\":\"20"
            && lines[2..].iter().any(|line| {
                serde_json::from_str::<serde_json::Value>(line)
                    .is_ok_and(|record| record["path"] == "/crm")
            })
    })
    .await;
}

#[tokio::test]
async fn a_file_that_cannot_be_made_refuses_the_start_and_a_reload() {
    let servers = (Api::open(), Idp::start());
    let (url, endpoint) = (servers.0.url(), servers.1.endpoint());
    let sidebearer = Sidebearer::start(&config(&url, &endpoint, "audit.jsonl", "drop"));
    let wrong = config(&url, &endpoint, "no/such/directory/audit.jsonl", "drop");
    let refused = sidebearer
        .reconfigure(&wrong)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("[audit]") && refused.contains("no/such/directory"),
        "{refused}"
    );
    assert_eq!(client::get(sidebearer.address(), "/crm").await.status, 200);
    // Another file that can be made takes over.
    let other = config(&url, &endpoint, "other.jsonl", "drop");
    sidebearer.reconfigure(&other).await.unwrap();
    assert_eq!(client::get(sidebearer.address(), "/crm").await.status, 200);
    wait_for(&sidebearer.dir().join("other.jsonl"), "request", 1).await;
}

#[tokio::test]
async fn sighup_opens_the_new_file_at_once_and_stdout_is_a_place_too() {
    let servers = (Api::open(), Idp::start());
    let (url, endpoint) = (servers.0.url(), servers.1.endpoint());
    let process = Process::start(&config(&url, &endpoint, "audit.jsonl", "drop")).await;
    let file = process.dir().join("audit.jsonl");
    std::fs::rename(&file, file.with_extension("1")).unwrap();
    process.signal(Signal::HUP);
    let reloads = wait_for(&file, "reload", 1).await;
    assert_eq!(reloads[0]["decision"], "allowed");

    let process = Process::start(&config(&url, &endpoint, "stdout", "refuse")).await;
    assert_eq!(
        client::get(process.address(), "/crm/stdout").await.status,
        200
    );
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    assert!(
        ended.stdout.contains("\"path\":\"/crm/stdout\""),
        "{}",
        ended.stdout
    );
    for line in ended.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}
