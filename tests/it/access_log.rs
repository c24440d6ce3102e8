//! What the log says about requests, and what it does not.

mod tunnels;

use std::net::SocketAddr;

use http::{HeaderValue, Method};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::api::Api;
use crate::support::client::{self, Connection, get, raw, request};
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::Process;
use crate::support::scripted::Server;
use crate::support::server::{self, read_head, response};
use crate::support::sidebearer::with_admin;
use crate::support::tls::Ca;
use crate::support::{any_port, eventually, loopback, smallest, with_patience};

/// The access lines of a whole log, every line of which is JSON.
fn access(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for key in ["timestamp", "level", "target"] {
            assert!(line[key].is_string(), "{key} of {line}");
        }
        line
    });
    lines
        .filter(|line| line["target"] == "sidebearer::access")
        .collect()
}

fn access_so_far(process: &Process) -> Vec<Value> {
    access(&process.log())
}

async fn log_of(process: Process) -> Vec<Value> {
    process.signal(Signal::TERM);
    access(&process.ended().await.stderr)
}

#[tokio::test]
async fn a_stranger_who_is_refused_chooses_little_of_a_line() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = format!("[log]\naccess = \"all\"\n{}", smallest(&api, &idp));
    let process = Process::start(&config).await;
    let long = "x".repeat(20_000);
    let head =
        format!("GET{long} /{long} HTTP/1.1\r\nHost: host.{long}\r\nConnection: close\r\n\r\n");
    let answer = raw(process.address(), head.clone()).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.len() < 5_000);
    let log = log_of(process).await;
    assert_eq!(log.len(), 1, "{log:?}");
    for (key, expected) in [
        ("method", &head[..32]),
        ("host", &format!("host.{long}")[..255]),
        ("path", &format!("/{long}")[..256]),
    ] {
        assert_eq!(log[0][key], expected, "{key}");
    }
    let line = log[0].to_string();
    assert!(line.len() < 2_000, "{line}");
}

#[tokio::test]
async fn an_access_line_says_who_got_what_and_how_long_it_took() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = format!("[log]\naccess = \"all\"\n{}", smallest(&api, &idp));
    let process = Process::start(&config).await;
    let mut posted = request(Method::POST, "/orders/7?page=2", "body of the request");
    let secret = HeaderValue::from_static("value of a header");
    posted.headers_mut().insert("x-trace", secret);
    assert_eq!(client::send(process.address(), posted).await.status, 200);

    let log = log_of(process).await;
    assert_eq!(log.len(), 1, "{log:?}");
    let line = &log[0];
    for (key, expected) in [
        ("method", "POST"),
        ("host", "localhost"),
        ("path", "/orders/7"),
        ("listener", "app"),
        ("upstream", "api"),
    ] {
        assert_eq!(line[key], expected, "{line}");
    }
    for (key, expected) in [
        ("status", 200),
        ("request_bytes", 19),
        ("response_bytes", 2),
        ("attempts", 1),
    ] {
        assert_eq!(line[key], expected, "{line}");
    }
    assert!(line["route"].is_string(), "{line}");
    for key in ["duration_ms", "token_age_s"] {
        assert!(
            line[key].as_f64().is_some_and(|number| number >= 0.0),
            "{key}: {line}"
        );
    }
    let text = line.to_string();
    for absent in ["page", "value of", "body of", "token-1"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

#[tokio::test]
async fn an_access_line_says_which_address_or_user_asked() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = format!(
        "[log]\naccess = \"all\"\n{}\n[[listeners]]\naddress = \"unix:app.sock\"\nupstream = \"api\"\n",
        smallest(&api, &idp)
    );
    let process = Process::start(&config).await;
    let tcp = TcpStream::connect(process.address()).await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    Connection::over(tcp).await.get("/tcp").await.unwrap();
    let unix = UnixStream::connect(process.dir().join("app.sock"));
    Connection::over(unix.await.unwrap())
        .await
        .get("/unix")
        .await
        .unwrap();
    let mut refused = TcpStream::connect(process.address()).await.unwrap();
    let refused_address = refused.local_addr().unwrap().to_string();
    refused.write_all(b"garbage\r\n\r\n").await.unwrap();
    refused.read_to_end(&mut Vec::new()).await.unwrap();

    let log = log_of(process).await;
    let client = |path: &str| &log.iter().find(|line| line["path"] == path).expect(path)["client"];
    assert_eq!(*client("/tcp"), address);
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(*client("/unix"), format!("uid:{user}"));
    let refused = log.iter().find(|line| line["status"] == 400).unwrap();
    assert_eq!(refused["client"], refused_address);
}

#[tokio::test]
async fn access_decides_which_requests_are_logged() {
    for (access, expected) in [
        ("off", &[][..]),
        ("errors", &[500, 404, 400]),
        ("all", &[200, 401, 500, 404, 400]),
    ] {
        let idp = Idp::start();
        let api = Api::start(|seen| response(seen.target[1..].parse().unwrap(), ""));
        let config = smallest(&api, &idp)
            .replace("[upstreams.api]", "[upstreams.api]\nretry_on_401 = false");
        let process = Process::start(&format!("[log]\naccess = \"{access}\"\n{config}")).await;
        for status in ["/200", "/401", "/500"] {
            get(process.address(), status).await;
        }
        let mut foreign = request(Method::GET, "/", "");
        foreign
            .headers_mut()
            .insert("host", HeaderValue::from_static("foreign.example"));
        client::send(process.address(), foreign).await;
        raw(process.address(), "garbage\r\n\r\n").await;
        let log = log_of(process).await;
        let statuses: Vec<_> = log
            .iter()
            .map(|line| line["status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses, expected, "{access}");
    }
}

#[tokio::test]
async fn access_lines_do_not_depend_on_the_level_of_the_log() {
    for level in ["error", "trace"] {
        let (api, idp) = (Api::open(), Idp::start());
        let config = smallest(&api, &idp);
        let process = Process::start(&format!("[log]\naccess = \"all\"\n{config}")).await;
        let quiet = format!(
            "[log]\naccess = \"all\"\nlevel = \"{level}\"\n{}",
            with_admin(&config)
        );
        std::fs::write(process.dir().join("sidebearer.toml"), quiet).unwrap();
        let reload = request(Method::POST, "/reload", "");
        assert_eq!(client::send(process.admin(), reload).await.status, 200);
        get(process.address(), "/").await;
        assert_eq!(log_of(process).await.len(), 1, "{level}");
    }
}

#[tokio::test]
async fn a_line_has_the_id_that_the_client_sent_or_one_of_its_own() {
    for sent in ["", "request_id = true"] {
        let (api, idp) = (Api::open(), Idp::start());
        let config = smallest(&api, &idp);
        let config = format!("[server]\n{sent}\n[log]\naccess = \"all\"\n{config}");
        let process = Process::start(&config).await;
        for id in ["", "4bf92f35", "not an id"] {
            let mut asked = request(Method::GET, "/", "");
            if !id.is_empty() {
                asked
                    .headers_mut()
                    .insert("x-request-id", HeaderValue::from_static(id));
            }
            client::send(process.address(), asked).await;
        }
        let seen = api.seen();
        let upstream = |at: usize| seen[at].header("x-request-id");
        let log = log_of(process).await;
        let logged: Vec<_> = log
            .iter()
            .map(|line| line["request_id"].as_str().unwrap())
            .collect();
        assert_eq!(logged[1], "4bf92f35");
        assert_eq!(upstream(1), "4bf92f35");
        for at in [0, 2] {
            assert_eq!(logged[at].len(), 32, "{logged:?}");
        }
        assert_ne!(logged[0], logged[2]);
        if sent.is_empty() {
            assert_eq!((upstream(0), upstream(2)), ("", "not an id"));
        } else {
            assert_eq!((upstream(0), upstream(2)), (logged[0], logged[2]));
        }
    }
}

#[tokio::test]
async fn a_line_counts_how_often_its_request_was_sent() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    let config = format!("[log]\naccess = \"all\"\n{}", smallest(&api, &idp));
    let process = Process::start(&config).await;
    assert_eq!(get(process.address(), "/").await.status, 200);
    idp.revoke_all();
    eventually("the rejected token is replaced", async || {
        client::post(process.address(), "/", "body").await.status == 200
    })
    .await;
    let log = log_of(process).await;
    let of = |line: Option<&Value>, key: &str| line.unwrap()[key].as_u64().unwrap();
    assert_eq!(of(log.first(), "attempts"), 1, "{log:?}");
    assert_eq!(of(log.last(), "attempts"), 2, "{log:?}");
    assert_eq!(of(log.last(), "request_bytes"), 4, "{log:?}");
}

#[tokio::test]
async fn a_client_that_leaves_is_logged_with_what_it_had_sent() {
    let idp = Idp::start();
    let mute = server::bytes(|_, mut stream| async move {
        while stream
            .read(&mut [0; 1024])
            .await
            .is_ok_and(|length| length > 0)
        {}
    });
    let config = smallest(&Api::open(), &idp);
    let config = with_upstream(&config, mute);
    let process = Process::start(&format!("[log]\naccess = \"all\"\n{config}")).await;
    let mut leaving = TcpStream::connect(process.address()).await.unwrap();
    let begun = b"POST /begun HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nfive!";
    leaving.write_all(begun).await.unwrap();
    let series = "sidebearer_upstream_connections{state=\"active\",upstream=\"api\"} 1\n";
    eventually("it is forwarded", async || {
        get(process.admin(), "/metrics")
            .await
            .text()
            .contains(series)
    })
    .await;
    drop(leaving);
    eventually("it is logged", async || !access_so_far(&process).is_empty()).await;
    let log = log_of(process).await;
    assert_eq!(log[0]["path"], "/begun");
    assert_eq!(log[0]["request_bytes"], 5, "{log:?}");
    assert_eq!(log[0]["attempts"], 1, "{log:?}");
}

#[tokio::test]
async fn failures_en_masse_are_told_by_the_first_lines_and_a_count() {
    for (access, whole) in [("errors", 10), ("all", 50)] {
        let (api, idp) = (Api::start(|_| response(500, "broken")), Idp::start());
        let config = format!("[log]\naccess = \"{access}\"\n{}", smallest(&api, &idp));
        let process = Process::start(&config).await;
        let mut connection = Connection::open(process.address()).await;
        for _ in 0..50 {
            connection.get("/").await.unwrap();
        }
        for _ in 0..30 {
            raw(process.address(), "garbage\r\n\r\n").await;
        }
        let log = log_of(process).await;
        let with = |status: u64| log.iter().filter(move |line| line["status"] == status);
        let lines = with(500).filter(|line| line["requests"].is_null());
        assert_eq!(lines.count(), whole, "{log:?}");
        let counted = |status: u64| -> u64 {
            with(status)
                .filter_map(|line| line["requests"].as_u64())
                .sum()
        };
        assert_eq!(counted(500), 50 - whole as u64, "{log:?}");
        assert_eq!(
            counted(400),
            if access == "all" { 0 } else { 20 },
            "{log:?}"
        );
    }
}

/// The same with this upstream.
fn with_upstream(config: &str, address: SocketAddr) -> String {
    let line = config
        .lines()
        .find(|line| line.starts_with("url ="))
        .unwrap();
    config.replace(line, &format!("url = \"http://{address}\""))
}

#[tokio::test]
async fn an_error_of_ours_is_logged_with_its_cause() {
    let refusing = format!("http://{}", loopback());
    let ca = Ca::new();
    let expired = ca.certificate_until(&["localhost"], 2000).server(&[]);
    let expired = Api::with_tls(Some(expired), |_| response(200, "ok")).address;
    let trusting = format!(
        "tls = {{ ca_file = \"{}\", server_name = \"localhost\" }}",
        ca.file().display()
    );
    let garbage = Server::always("SSH-2.0-OpenSSH_9.2\r\n").await.address;
    let cut = Server::always("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .address;
    let idp = Idp::start();
    idp.behave(Behaviour::Answers(
        401,
        r#"{"error":"invalid_client"}"#.to_owned(),
    ));
    let api = Api::open();

    let mut config = with_patience(&smallest(&api, &idp), "1s");
    for (name, url, lines) in [
        ("refusing", refusing, ""),
        ("expired", format!("https://{expired}"), trusting.as_str()),
        ("garbage", format!("http://{garbage}"), ""),
        ("cut", format!("http://{cut}"), ""),
    ] {
        config += &format!(
            "[[routes]]\npath = \"/{name}\"\nupstream = \"{name}\"\n[upstreams.{name}]\nurl = \"{url}\"\n{lines}\n"
        );
    }
    let process = Process::start(&config).await;
    for (path, status) in [
        ("/refusing", 502),
        ("/expired", 502),
        ("/garbage", 502),
        ("/api", 503),
        ("/a/../b", 400),
    ] {
        assert_eq!(get(process.address(), path).await.status, status, "{path}");
    }
    let broken = raw(
        process.address(),
        "GET /cut HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    assert!(broken.starts_with("HTTP/1.1 200"), "{broken}");

    let log = log_of(process).await;
    for (path, error, cause) in [
        ("/refusing", "upstream_connect", "Connection refused"),
        ("/expired", "upstream_tls", "expired"),
        ("/garbage", "upstream_protocol", "invalid HTTP"),
        ("/api", "token_unavailable", "invalid_client"),
        ("/cut", "upstream_connect", "broke off"),
        ("/a/../b", "bad_request", "not allowed in a path"),
    ] {
        let line = log.iter().find(|line| line["path"] == path).expect(path);
        assert_eq!(line["error"], error, "{line}");
        assert!(
            line["cause"]
                .as_str()
                .is_some_and(|text| text.contains(cause)),
            "{line}"
        );
        assert_eq!(line["cut"], path == "/cut", "{line}");
    }
}
