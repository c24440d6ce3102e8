//! Reloads that name another file, or none, while records wait for the one of before.

use std::path::Path;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{config, records, spoil, wait_for};
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::server::{self, read_head};
use crate::support::sidebearer::{Sidebearer, with_admin};
use crate::support::{any_port, client, eventually};

const DROPPED: &str = "sidebearer_audit_records_total{outcome=\"dropped\"}";
const FAILING: &str = "sidebearer_audit_failing";

#[tokio::test]
async fn what_waits_for_a_file_goes_to_the_one_that_a_reload_names() {
    let (api, idp) = (Api::open(), Idp::start());
    let with_file = |file: &str| config(&api.url(), &idp.endpoint(), file, "drop");
    let sidebearer = Sidebearer::start(&with_file("before.jsonl"));
    sidebearer.ready().await;
    spoil(&sidebearer.dir().join("before.jsonl"));
    for _ in 0..12 {
        let answer = client::get(sidebearer.address(), "/crm/waits").await;
        assert_eq!(answer.status, 200);
    }
    eventually("it is noticed", async || {
        sidebearer.metric(FAILING).await == 1.0
    })
    .await;
    sidebearer
        .reconfigure(&with_file("now.jsonl"))
        .await
        .unwrap();
    let now = sidebearer.dir().join("now.jsonl");
    for request in wait_for(&now, "request", 12).await {
        assert_eq!(request["path"], "/crm/waits");
        assert_eq!(request["credential"], "crm");
    }
    eventually("nothing waits for the file of before", async || {
        let audit = &sidebearer.status().await["audit"];
        sidebearer.metric(FAILING).await == 0.0
            && (&audit["writing"], &audit["last_error"]) == (&true.into(), &().into())
    })
    .await;
    assert_eq!(sidebearer.metric(DROPPED).await, 0.0);
}

#[tokio::test]
async fn what_waits_when_a_reload_ends_the_audit_is_counted_and_fails_no_more() {
    let (api, idp) = (Api::open(), Idp::start());
    let text = config(&api.url(), &idp.endpoint(), "audit.jsonl", "drop");
    let sidebearer = Sidebearer::start(&text);
    sidebearer.ready().await;
    spoil(&sidebearer.dir().join("audit.jsonl"));
    for _ in 0..12 {
        let answer = client::get(sidebearer.address(), "/crm").await;
        assert_eq!(answer.status, 200);
    }
    let (_, without) = text.split_once("overflow = \"drop\"").unwrap();
    sidebearer.reconfigure(without).await.unwrap();
    eventually("all that waited is counted", async || {
        sidebearer.metric(DROPPED).await >= 12.0 && sidebearer.metric(FAILING).await == 0.0
    })
    .await;
    eventually("there is no audit any more", async || {
        sidebearer.status().await["audit"].is_null()
    })
    .await;
}

#[tokio::test]
async fn tunnels_of_before_that_end_with_the_process_are_recorded() {
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (any, files) = (any_port(), tempfile::tempdir().unwrap());
    let (before, now) = (files.path().join("before"), files.path().join("now"));
    let with_file = |file: &Path| {
        format!(
            "[server]\ndrain_timeout = \"1s\"\n[audit]\nfile = \"{}\"\n\
             [[listeners]]\nname = \"app\"\naddress = \"{any}\"\nupstream = \"api\"\n\
             [upstreams.api]\nurl = \"http://{api}\"\n",
            file.display()
        )
    };
    let process = Process::start(&with_file(&before)).await;
    let mut tunnels = Vec::new();
    for _ in 0..6 {
        let mut tunnel = TcpStream::connect(process.address()).await.unwrap();
        let head =
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        tunnel.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut tunnel).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        tunnels.push(tunnel);
    }
    wait_for(&before, "tunnel_begin", 6).await;
    let path = process.dir().join("sidebearer.toml");
    std::fs::write(path, with_admin(&with_file(&now))).unwrap();
    process.signal(Signal::HUP);
    wait_for(&now, "reload", 1).await;
    spoil(&before);
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    let is_end = |record: &serde_json::Value| record["event"] == "tunnel_end";
    let ends = records(&now).into_iter().filter(is_end).count();
    assert_eq!(ends, 6, "{}", ended.stderr);
}
