//! What the log says about requests, and what it does not.

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
use crate::support::server::response;
use crate::support::tls::Ca;
use crate::support::{loopback, smallest};

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

async fn log_of(process: Process) -> Vec<Value> {
    process.signal(Signal::TERM);
    access(&process.ended().await.stderr)
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
    assert_eq!(line["status"], 200);
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
async fn an_error_of_ours_is_logged_with_its_cause() {
    let refusing = format!("http://{}", loopback());
    let ca = Ca::new();
    let expired = ca.identity_until(&["localhost"], 2000).server(&[]);
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

    let mut config = smallest(&api, &idp);
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
