//! A disk that is full, and a file that may not grow.

use std::path::PathBuf;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::{config, records, spoil, wait_for};
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::namespaces::MOUNTS;
use crate::support::process::{Process, command, prepared};
use crate::support::sidebearer::{Sidebearer, with_admin};
use crate::support::{client, eventually};

#[tokio::test]
async fn nothing_is_served_without_a_record_on_a_full_disk_where_that_is_to_be_refused() {
    let (api, idp) = (Api::open(), Idp::start());
    let text = config(&api.url(), &idp.endpoint(), "/dev/full", "refuse");
    let sidebearer = Sidebearer::start(&text);
    eventually("the disk is found full", async || {
        client::get(sidebearer.address(), "/crm").await.status == 503
    })
    .await;
    let before = api.seen().len();
    for _ in 0..20 {
        let refused = client::get(sidebearer.address(), "/crm").await;
        assert_eq!(refused.code(), "overloaded");
        assert!(
            refused.text().contains("audit records cannot be written"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(api.seen().len(), before, "nothing has left");
}

#[tokio::test]
async fn everything_is_served_on_a_full_disk_where_records_may_be_dropped() {
    let (api, idp) = (Api::open(), Idp::start());
    let text = config(&api.url(), &idp.endpoint(), "/dev/full", "drop");
    let sidebearer = Sidebearer::start(&text);
    for _ in 0..20 {
        assert_eq!(client::get(sidebearer.address(), "/crm").await.status, 200);
    }
    eventually("the errors are counted", async || {
        sidebearer
            .metric("sidebearer_audit_write_errors_total")
            .await
            >= 2.0
    })
    .await;
    let written = "sidebearer_audit_records_total{outcome=\"written\"}";
    assert_eq!(sidebearer.metric(written).await, 0.0);
}

#[tokio::test]
async fn what_waits_is_counted_with_its_method() {
    let (api, idp) = (Api::open(), Idp::start());
    let method = "X".repeat(20_000);
    for overflow in ["drop", "refuse"] {
        let text = config(&api.url(), &idp.endpoint(), "audit.jsonl", overflow);
        let sidebearer = Sidebearer::start(&text);
        sidebearer.ready().await;
        let file = sidebearer.dir().join("audit.jsonl");
        // Nothing waits, so that the failure is not noticed before the request is let in.
        wait_for(&file, "token", 1).await;
        spoil(&file);
        let head =
            format!("{method} /crm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = client::raw(sidebearer.address(), head).await;
        assert_eq!(client::status_of(&answer).unwrap(), 200, "{answer}");
        eventually("the record waits, and counts", async || {
            let waiting = &sidebearer.status().await["audit"]["waiting_bytes"];
            waiting.as_u64().unwrap() > 20_000
        })
        .await;
    }
}

/// The process with a file system of 64 KiB at `small` below its directory, which only it sees, and the path there for
/// others. `None` where that is not possible: the test has told so, and must not go on.
async fn on_a_small_disk(text: &str) -> Option<(Process, PathBuf)> {
    if !MOUNTS.can_be_had() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, with_admin(text)).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none '{}' && exec \"$@\"",
        small.display()
    );
    let serve = command(&["run", "--config", path.to_str().unwrap()]);
    let process = Process::spawn(MOUNTS.around_script(&script, &serve), dir);
    eventually("listening", async || process.told("admin").is_some()).await;
    let seen = format!("/proc/{}/root{}", process.id(), small.display());
    Some((process, seen.into()))
}

#[tokio::test]
async fn a_disk_that_was_full_has_every_record_and_only_whole_lines_once_there_is_room() {
    let (api, idp) = (Api::open(), Idp::start());
    for overflow in ["refuse", "drop"] {
        let text = config(&api.url(), &idp.endpoint(), "small/audit.jsonl", overflow);
        let Some((process, small)) = on_a_small_disk(&text).await else {
            return;
        };
        // All but one page.
        let filler = small.join("filler");
        std::fs::write(&filler, vec![0; 56 << 10]).unwrap();
        let (mut served, mut refused) = (0, 0);
        while refused == 0 && served < 100 {
            match client::get(process.address(), "/crm").await.status {
                200 => served += 1,
                _ => refused += 1,
            }
        }
        if overflow == "drop" {
            assert_eq!((served, refused), (100, 0));
        } else {
            eventually("it stays refused", async || {
                client::get(process.address(), "/crm").await.status == 503
            })
            .await;
        }
        eventually("the log says so", async || {
            process.log().contains("audit records cannot be written")
        })
        .await;
        std::fs::remove_file(&filler).unwrap();
        let file = small.join("audit.jsonl");
        eventually("what waited is written", async || {
            let found = records(&file);
            let found = found.iter().filter(|record| record["status"] == 200);
            found.count() >= served
        })
        .await;
        assert_eq!(client::get(process.address(), "/crm").await.status, 200);
        eventually("the log says so", async || {
            process
                .log()
                .matches("audit records are written again")
                .count()
                == 1
        })
        .await;
    }
}

#[tokio::test]
async fn at_a_limit_of_file_sizes_every_record_waits_until_there_is_room() {
    let (api, idp) = (Api::open(), Idp::start());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let file = dir.path().join("audit.jsonl");
    let text = config(&api.url(), &idp.endpoint(), "audit.jsonl", "refuse");
    let spawn = |command, dir| Process::spawn(prepared("ulimit -Sf 4", &command), dir);
    let process = Process::start_by(spawn, dir, &text).await;
    let mut served = 0;
    while client::get(process.address(), "/crm").await.status == 200 {
        served += 1;
        assert!(served < 10_000, "{}", process.log());
    }
    eventually("the log says why", async || {
        process.log().contains("File too large")
    })
    .await;

    let own = getrlimit(Resource::Fsize);
    let process_number = Pid::from_raw(process.id().try_into().unwrap());
    let room = Rlimit {
        current: own.maximum,
        maximum: own.maximum,
    };
    prlimit(process_number, Resource::Fsize, room).unwrap();
    eventually("what waited is written", async || {
        let found = records(&file);
        let found = found.iter().filter(|record| record["status"] == 200);
        found.count() >= served
    })
    .await;
    eventually("it is served again", async || {
        client::get(process.address(), "/crm").await.status == 200
    })
    .await;
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}
