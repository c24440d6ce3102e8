//! What the log and the audit say of interception.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CRM, config, get, secure, trusting};
use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::server::response;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;

/// A process that logs and records all, and its API.
async fn start(ca: &Ca, idp: &Idp, audit: &Path, access: &str) -> (Process, Api) {
    start_with(ca, idp, audit, access, |config| config).await
}

/// The same with another configuration.
async fn start_with(
    ca: &Ca,
    idp: &Idp,
    audit: &Path,
    access: &str,
    change: impl Fn(String) -> String,
) -> (Process, Api) {
    let tls = ca.own_certificate().server(&["http/1.1"]);
    let api = Api::with_tls(Some(tls), |_| response(200, "crm"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let audit = audit.join("audit.jsonl");
    let config = format!(
        "[log]\nformat = \"json\"\naccess = \"{access}\"\n[audit]\nfile = \"{}\"\n{}",
        audit.display(),
        change(config(api.address, "", ca, idp))
    );
    (Process::start_in(dir, &config).await, api)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn log_of(process: Process) -> Vec<Value> {
    process.signal(Signal::TERM);
    lines(&process.ended().await.stderr)
}

#[tokio::test]
async fn a_client_that_distrusts_us_is_one_line_that_says_what_to_do() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let kept = tempfile::tempdir().unwrap();
    let (process, _api) = start(&ca, &idp, kept.path(), "errors").await;
    for _ in 0..12 {
        let stream = tunnel(process.address(), CRM).await;
        let refused = secure(stream, "crm.example.com", Ca::new().client()).await;
        refused.unwrap_err();
    }
    let trust = process.dir().join("trust");
    let log = log_of(process).await;
    let of = |message: &str| -> Vec<&Value> {
        let is = |line: &&Value| line["message"] == message;
        log.iter().filter(is).collect()
    };
    let failed = of("a TLS handshake failed");
    assert_eq!(failed.len(), 10, "{log:?}");
    for line in failed {
        assert_eq!(line["listener"], "proxy");
        assert_eq!(line["destination"], CRM);
        assert_eq!(line["error"], "refused_by_client");
        assert_eq!(line["trust_directory"], trust.to_str().unwrap());
        let cause = line["cause"].as_str().unwrap();
        assert!(cause.contains("alert UnknownCA"), "{cause}");
    }
    let counted = of("more requests failed in the same way");
    assert_eq!(counted.len(), 1, "{log:?}");
    assert_eq!(counted[0]["requests"], 2);
    assert_eq!(counted[0]["upstream"], "crm");
}

#[tokio::test]
async fn a_client_that_is_silent_after_its_handshake_is_told_as_one_that_may_distrust_us() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let kept = tempfile::tempdir().unwrap();
    let (process, _api) = start(&ca, &idp, kept.path(), "errors").await;
    let trust = process.dir().join("trust");
    let pem = std::fs::read_to_string(trust.join("ca.pem")).unwrap();
    for sends in [false, true] {
        let stream = tunnel(process.address(), CRM).await;
        let client = trusting(&pem, &["http/1.1"]);
        let mut stream = secure(stream, "crm.example.com", client).await.unwrap();
        if sends {
            let mut connection = Connection::over(stream).await;
            let answer = connection.send(get("/x", "crm.example.com")).await;
            assert_eq!(answer.unwrap().status, 200);
        } else {
            stream.shutdown().await.unwrap();
            let end = stream.read(&mut [0]).await;
            assert!(matches!(end, Ok(0)), "{end:?}");
        }
    }
    let log = log_of(process).await;
    let failed: Vec<_> = log
        .iter()
        .filter(|line| line["message"] == "a TLS handshake failed")
        .collect();
    assert_eq!(failed.len(), 1, "{log:?}");
    assert_eq!(failed[0]["destination"], CRM);
    assert_eq!(failed[0]["error"], "client_gone");
    assert_eq!(failed[0]["trust_directory"], trust.to_str().unwrap());
    let cause = failed[0]["cause"].as_str().unwrap();
    assert!(cause.contains("without a request"), "{cause}");
}

#[tokio::test]
async fn requests_inside_are_requests_and_no_tunnel() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let kept = tempfile::tempdir().unwrap();
    let (process, _api) = start(&ca, &idp, kept.path(), "all").await;
    let trust = std::fs::read_to_string(process.dir().join("trust/ca.pem")).unwrap();
    let stream = tunnel(process.address(), CRM).await;
    let client = trusting(&trust, &["http/1.1"]);
    let stream = secure(stream, "crm.example.com", client).await.unwrap();
    let mut connection = Connection::over(stream).await;
    for host in ["crm.example.com", "evil.example"] {
        connection.send(get("/x?secret=1", host)).await.unwrap();
    }
    let log = log_of(process).await;
    let access: Vec<_> = log
        .iter()
        .filter(|line| line["method"].is_string())
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (
                text("method"),
                text("host"),
                text("path"),
                line["status"].as_u64(),
                text("upstream"),
                text("error"),
            )
        })
        .collect();
    let line = |method: &str, host: &str, path: &str, status, upstream: &str, error: &str| {
        (
            method.to_owned(),
            host.to_owned(),
            path.to_owned(),
            Some(status),
            upstream.to_owned(),
            error.to_owned(),
        )
    };
    assert_eq!(
        access,
        [
            line("CONNECT", CRM, "", 200, "crm", ""),
            line("GET", "crm.example.com", "/x", 200, "crm", ""),
            line("GET", "evil.example", "/x", 421, "", "misdirected"),
        ]
    );
    let records = lines(&std::fs::read_to_string(kept.path().join("audit.jsonl")).unwrap());
    let events: Vec<_> = records
        .iter()
        .map(|record| (record["event"].as_str().unwrap(), record["method"].as_str()))
        .filter(|(event, _)| *event != "token")
        .collect();
    let request = "request";
    assert_eq!(
        events,
        [
            (request, Some("CONNECT")),
            (request, Some("GET")),
            (request, Some("GET"))
        ]
    );
}

#[tokio::test]
async fn a_connect_to_an_address_is_told_as_what_it_has_become() {
    for access in ["errors", "all"] {
        let (ca, idp) = (Ca::new(), Idp::start());
        let tls = ca.certificate(&["elsewhere.example"]).server(&[]);
        let other = Api::with_tls(Some(tls), |_| response(200, "elsewhere"));
        let port = other.address.port();
        let kept = tempfile::tempdir().unwrap();
        let hosts = format!("hosts = [\"crm.example.com:{port}\", ");
        let change = |config: String| {
            config
                .replace("intercept = true", "intercept = true\nunmatched = \"pass\"")
                .replace("hosts = [", &hosts)
                + &format!("\n[egress]\naddresses = \"any\"\nports = [{port}]\n")
        };
        let (process, _api) = start_with(&ca, &idp, kept.path(), access, change).await;
        let ours = std::fs::read_to_string(process.dir().join("trust/ca.pem")).unwrap();
        let target = other.address.to_string();
        // One that is ended here, one whose client does not trust that, one that passes.
        for (name, pem) in [
            ("crm.example.com", &ours),
            ("crm.example.com", &ca.pem),
            ("elsewhere.example", &ca.pem),
        ] {
            let stream = tunnel(process.address(), &target).await;
            let client = trusting(pem, &["http/1.1"]);
            let Ok(stream) = secure(stream, name, client).await else {
                continue;
            };
            let mut connection = Connection::over(stream).await;
            let host = format!("{name}:{port}");
            let answer = connection.send(get("/x", &host)).await.unwrap();
            assert_eq!(answer.status, 200, "{name}");
        }
        let log = log_of(process).await;
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let connects = log.iter().filter(|line| line["method"] == "CONNECT");
        let mut connects: Vec<_> = connects
            .map(|line| (text(line, "upstream"), line["route"] == "unmatched"))
            .collect();
        // A client knows of its end before that is told.
        connects.sort();
        let ended_here = || ("crm".to_owned(), false);
        let tunnel = (String::new(), true);
        let expected = match access {
            "all" => vec![tunnel, ended_here(), ended_here()],
            _ => vec![tunnel],
        };
        assert_eq!(connects, expected, "{log:?}");
        let ended = log.iter().filter(|line| line["message"] == "tunnel ended");
        assert_eq!(ended.count(), 1, "{log:?}");

        let records = lines(&std::fs::read_to_string(kept.path().join("audit.jsonl")).unwrap());
        let mut told: Vec<_> = records
            .iter()
            .filter(|record| record["method"] == "CONNECT")
            .map(|record| {
                assert_eq!(
                    (&record["decision"], &record["host"]),
                    (&"allowed".into(), &target.as_str().into())
                );
                [
                    text(record, "event"),
                    text(record, "rule"),
                    text(record, "upstream"),
                ]
                .join(" ")
            })
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                "request  crm",
                "request  crm",
                "tunnel_begin unmatched ",
                "tunnel_end unmatched ",
            ],
            "{records:?}"
        );
    }
}
