//! What the log says of handshakes that failed.

use rustix::process::Signal;
use serde_json::Value;

use super::{NAME, config, connect, write};
use crate::support::api::Api;
use crate::support::client;
use crate::support::process::Process;
use crate::support::tls::Ca;

#[tokio::test]
async fn a_failed_handshake_is_a_line_and_many_are_counted() {
    let (ca, api, dir) = (Ca::new(), Api::open(), tempfile::tempdir().unwrap());
    write(dir.path(), "own", &ca.certificate(&[NAME]));
    let clients = Ca::new();
    std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
    let log = "[log]\nformat = \"json\"\n";
    let tls = ", client_ca_file = \"clients.pem\"";
    let process = Process::start_in(dir, &format!("{log}{}", config(&api, tls, ""))).await;
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
