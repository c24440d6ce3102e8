//! What the log says of handshakes that failed.

use rustix::process::Signal;
use serde_json::Value;

use super::{NAME, OPTIONAL, REQUIRED, config, connect, write};
use crate::support::api::Api;
use crate::support::client;
use crate::support::process::Process;
use crate::support::tls::{Ca, CertificateAndKey};

/// Starts a process with a log in JSON, and with this CA of clients.
async fn start(ca: &Ca, clients: &Ca, config: &str) -> Process {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "own", &ca.certificate(&[NAME]));
    std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
    let log = "[log]\nformat = \"json\"\n";
    Process::start_in(dir, &format!("{log}{config}")).await
}

/// Sends a request with this certificate, and ends the process: its log.
async fn log_of(process: Process, ca: &Ca, certificate: &CertificateAndKey) -> String {
    let connected = connect(process.address(), ca.client_with(certificate), NAME).await;
    // In TLS 1.3 a client learns only afterwards that it was refused.
    if let Ok(stream) = connected {
        let _ = client::Connection::over(stream).await.get("/").await;
    }
    process.signal(Signal::TERM);
    process.ended().await.stderr
}

#[tokio::test]
async fn the_cause_tells_a_ca_certificate_that_is_shown_as_ones_own() {
    let (ca, clients, api) = (Ca::new(), Ca::new(), Api::open());
    let process = start(&ca, &clients, &config(&api, REQUIRED, "")).await;
    let log = log_of(process, &ca, &clients.itself()).await;
    let line = log.lines().find(|line| line.contains("handshake failed"));
    let cause = "the client presents a CA certificate as its own; it needs one signed by a CA";
    assert!(line.is_some_and(|line| line.contains(cause)), "{log}");
}

#[tokio::test]
async fn the_cause_tells_a_certificate_of_no_caller_from_none() {
    let (ca, clients, api) = (Ca::new(), Ca::new(), Api::open());
    let caller = "[callers.alpha]\ncertificate_name = \"alpha.internal\"\n";
    let config = config(&api, OPTIONAL, "callers = [\"*\"]");
    let process = start(&ca, &clients, &format!("{caller}{config}")).await;
    let log = log_of(process, &ca, &clients.certificate(&["beta.internal"])).await;
    let line = log.lines().find(|line| line.contains("caller_unknown"));
    let cause = "the client's certificate is of no caller, and the request shows none";
    assert!(line.is_some_and(|line| line.contains(cause)), "{log}");
}

#[tokio::test]
async fn a_failed_handshake_is_a_line_and_many_are_counted() {
    let (ca, clients, api) = (Ca::new(), Ca::new(), Api::open());
    let process = start(&ca, &clients, &config(&api, OPTIONAL, "")).await;
    // A name that would be a line of its own, if it were written as it is.
    let foreign = Ca::new().certificate(&["spiffe://corp.example/a\n{\"error\":\"forged\"}"]);
    for _ in 0..12 {
        let connected = connect(process.address(), ca.client_with(&foreign), NAME).await;
        // In TLS 1.3 a client learns only afterwards that it was refused.
        if let Ok(stream) = connected {
            let mut connection = client::Connection::over(stream).await;
            connection.get("/").await.unwrap_err();
        }
    }
    process.signal(Signal::TERM);
    let log = process.ended().await.stderr;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &str| -> Vec<&Value> {
        let is = |line: &&Value| line["message"] == message;
        lines.iter().filter(is).collect()
    };
    let failed = of("a TLS handshake failed");
    assert_eq!(failed.len(), 10, "{log}");
    for line in failed {
        assert_eq!(line["listener"], "app");
        assert_eq!(line["error"], "unknown_ca");
        assert!(line["client"].as_str().unwrap().starts_with("127."));
        assert!(line["cause"].as_str().unwrap().contains("client_ca_file"));
    }
    let counted = of("more requests failed in the same way");
    assert_eq!(counted.len(), 1, "{log}");
    assert_eq!(counted[0]["requests"], 2);
    assert!(!log.contains("forged"), "{log}");
}
