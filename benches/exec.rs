//! What `sidebearer exec` adds to the start of a program: `cargo bench --bench exec`.
//!
//! A program that does nothing is started alone and by `exec`, in turns, with a token endpoint on loopback that answers
//! at once. The median of the pairs' differences is what it adds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer(client));
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    for scheme in ["http", "https"] {
        let config = directory.path().join(format!("{scheme}.toml"));
        let text = format!(
            "[upstreams.crm]\nurl = \"{scheme}://crm.example.com\"\ncredential = \"crm\"\n\
             allow_plaintext = {}\n[credentials.crm]\ntoken_endpoint = \"http://{address}/token\"\nclient_id = \"billing\"\n\
             client_secret = \"s3cret\"\n",
            scheme == "http"
        );
        std::fs::write(&config, text).expect("a file");
        let mut differences: Vec<_> = (0..ROUNDS)
            .map(|_| {
                let alone = duration(Command::new("true"));
                duration(exec(&config)).saturating_sub(alone)
            })
            .collect();
        differences.sort_unstable();
        let at = |part: usize| differences[ROUNDS * part / 100].as_secs_f64() * 1e3;
        println!(
            "an API by {scheme}: exec adds {:.1} ms (5 % to 95 %: {:.1} to {:.1} ms)",
            at(50),
            at(5),
            at(95)
        );
    }
}

fn exec(config: &Path) -> Command {
    let mut exec = Command::new(env!("CARGO_BIN_EXE_sidebearer"));
    exec.arg("exec")
        .arg("--config")
        .arg(config)
        .args(["--", "true"]);
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        exec.env_remove(name);
    }
    exec
}

/// From the start of a command to its end.
fn duration(mut command: Command) -> Duration {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("it runs");
    assert!(status.success(), "{status}");
    begun.elapsed()
}

/// Gives a token to everyone who asks.
fn answer(mut client: TcpStream) {
    let mut reader = BufReader::new(client.try_clone().expect("a clone"));
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let token = r#"{"access_token":"token-1","token_type":"Bearer","expires_in":3600}"#;
    let _ = write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{token}",
        token.len()
    );
}
