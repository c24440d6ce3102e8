//! What stands in the lines.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{config, records, wait_for};
use crate::support::api::Api;
use crate::support::client;
use crate::support::eventually;
use crate::support::idp::{Behaviour, Idp};
use crate::support::server::{self, read_head};
use crate::support::sidebearer::Sidebearer;

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    dir
}

fn fields(record: &Value) -> BTreeSet<&str> {
    record
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn every_decision_is_one_line_that_says_who_asked_for_what() {
    let (api, idp) = (Api::open(), Idp::start());
    let claims = URL_SAFE_NO_PAD.encode(r#"{"jti":"4711"}"#);
    let token = format!("head.{claims}.signature");
    let answer = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":60}}"#);
    idp.behave(Behaviour::Answers(200, answer));
    let text = config(&api.url(), &idp.endpoint(), "audit.jsonl", "drop");
    let sidebearer = Sidebearer::start_in(directory(), &text);
    sidebearer.ready().await;
    let file = sidebearer.dir().join("audit.jsonl");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = Request::post("/crm/orders?secret=query")
        .header("host", "localhost")
        .header("x-value", "of-a-header")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let answer = client::send(sidebearer.address(), request.body("12345".into()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        client::get(sidebearer.address(), "/elsewhere?secret=query")
            .await
            .status,
        404
    );
    sidebearer.reload().await.unwrap();
    assert!(sidebearer.reconfigure("nonsense").await.is_err());

    let requests = wait_for(&file, "request", 2).await;
    let [served, refused] = &requests[..] else {
        panic!("{requests:?}");
    };
    let all = [
        "bytes_in",
        "bytes_out",
        "credential",
        "decision",
        "duration_ms",
        "event",
        "host",
        "listener",
        "method",
        "path",
        "peer",
        "route",
        "status",
        "time",
        "token_id",
        "trace_id",
        "upstream",
    ];
    assert_eq!(fields(served), BTreeSet::from(all));
    for (field, value) in [
        ("credential", "crm"),
        ("decision", "allowed"),
        ("host", "localhost"),
        ("listener", "app"),
        ("method", "POST"),
        ("path", "/crm/orders"),
        ("route", "*/crm"),
        ("trace_id", trace),
        ("upstream", "api"),
    ] {
        assert_eq!(served[field], value, "{field}");
    }
    assert_eq!(
        (&served["status"], &served["bytes_in"], &served["bytes_out"]),
        (&200.into(), &5.into(), &2.into())
    );
    assert!(served["peer"].as_str().unwrap().starts_with("127."));
    let time = served["time"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert_eq!(
        (&refused["decision"], &refused["error"]),
        (&"denied".into(), &"no_route".into())
    );

    let tokens = wait_for(&file, "token", 1).await;
    let expected = BTreeSet::from(["credential", "duration_ms", "event", "time", "token_id"]);
    assert_eq!(fields(&tokens[0]), expected);
    // SHA-256 of 4711, half of it.
    assert_eq!(tokens[0]["token_id"], "de650d61f5bd166a91f8ccec3158297d");
    assert_eq!(served["token_id"], tokens[0]["token_id"]);

    let reloads = wait_for(&file, "reload", 2).await;
    let decisions: Vec<_> = reloads.iter().map(|reload| &reload["decision"]).collect();
    assert_eq!(decisions, ["allowed", "denied"]);

    let text = std::fs::read_to_string(&file).unwrap();
    for value in [
        "query",
        "of-a-header",
        "s3cret",
        "4711",
        &token,
        "signature",
    ] {
        assert!(!text.contains(value), "{value} in {text}");
    }
    let counted = "sidebearer_audit_records_total{outcome=\"written\"}";
    eventually("all are counted", async || {
        sidebearer.metric(counted).await == 5.0
    })
    .await;
    assert_eq!(sidebearer.status().await["audit"]["writing"], true);
}

#[tokio::test]
async fn of_a_request_that_is_refused_to_a_stranger_only_the_beginning_of_each_text_is_kept() {
    let (api, idp) = (Api::open(), Idp::start());
    let text = config(&api.url(), &idp.endpoint(), "audit.jsonl", "drop");
    let sidebearer = Sidebearer::start_in(directory(), &text);
    sidebearer.ready().await;
    let ask = async |method: &str, host: &str, path: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = client::raw(sidebearer.address(), head).await;
        client::status_of(&answer).unwrap().as_u16()
    };
    let long = "x".repeat(20_000);
    let (method, host) = (format!("GET{long}"), format!("host.{long}"));
    let (elsewhere, crm) = (format!("/elsewhere/{long}"), format!("/crm/{long}"));
    for (method, host, path) in [
        (&*method, "localhost", "/elsewhere/"),
        ("GET", &*host, "/elsewhere/"),
        ("GET", "localhost", &*elsewhere),
    ] {
        assert_eq!(ask(method, host, path).await, 404);
    }
    assert_eq!(ask("GET", "localhost", &crm).await, 200);
    let requests = wait_for(&sidebearer.dir().join("audit.jsonl"), "request", 4).await;
    let text = |at: usize, field: &str| requests[at][field].as_str().unwrap();
    assert_eq!(text(0, "method"), &method[..32]);
    assert_eq!(text(1, "host"), &host[..255]);
    assert_eq!(text(2, "path"), &elsewhere[..256]);
    assert_eq!(text(3, "path"), crm);
    for refused in &requests[..3] {
        let line = refused.to_string();
        assert!(line.len() < 1000, "{line}");
    }
}

#[tokio::test]
async fn a_tunnel_has_a_line_for_its_beginning_and_one_for_its_end() {
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhello";
        stream.write_all(switch).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let idp = Idp::start();
    for overflow in ["drop", "refuse"] {
        let text = config(
            &format!("http://{api}"),
            &idp.endpoint(),
            "audit.jsonl",
            overflow,
        );
        let sidebearer = Sidebearer::start_in(directory(), &text);
        sidebearer.ready().await;
        let file = sidebearer.dir().join("audit.jsonl");
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let head = "GET /crm/chat HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let begun = wait_for(&file, "tunnel_begin", 1).await;
        assert_eq!(begun[0]["status"], 101);
        assert!(
            !records(&file)
                .iter()
                .any(|record| record["event"] == "tunnel_end")
        );
        let mut third = TcpStream::connect(sidebearer.address()).await.unwrap();
        third.write_all(head.as_bytes()).await.unwrap();
        let refused = read_head(&mut third).await;
        assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
        stream.write_all(b"bytes").await.unwrap();
        drop(stream);
        let ended = wait_for(&file, "tunnel_end", 1).await;
        assert_eq!(
            (&ended[0]["bytes_in"], &ended[0]["bytes_out"]),
            (&5.into(), &5.into())
        );
        for field in [
            "peer",
            "listener",
            "method",
            "host",
            "path",
            "route",
            "upstream",
            "credential",
        ] {
            assert_eq!(ended[0][field], begun[0][field], "{field}");
            assert!(ended[0][field].is_string(), "{field}");
        }
        // Beside the one that was refused there is no line for the request.
        let requests = wait_for(&file, "request", 1).await;
        assert_eq!(
            (&requests[0]["error"], &requests[0]["rule"]),
            (&"rate_limited".into(), &"routes.limits.tunnels".into())
        );
    }
}

#[tokio::test]
async fn an_upgrade_that_a_reload_turns_away_while_it_opens_was_no_tunnel() {
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arrives, opens) = (Arc::clone(&arrived), Arc::clone(&gate));
    let api = server::bytes(move |_, mut stream| {
        let (arrives, opens) = (Arc::clone(&arrives), Arc::clone(&opens));
        async move {
            read_head(&mut stream).await;
            arrives.add_permits(1);
            opens.acquire().await.unwrap().forget();
            let switch =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
            let _ = stream.write_all(switch).await;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let key = |caller: &str| format!("{caller}-0123456789abcdef0123456789abcdef");
    for caller in ["alpha", "beta"] {
        std::fs::write(dir.path().join(caller), key(caller)).unwrap();
    }
    let any = crate::support::any_port();
    let config = |callers: &str| {
        format!(
            "[server]\nworkers = 1\n[audit]\nfile = \"audit.jsonl\"\n\
             [callers.alpha]\nkey = {{ file = \"alpha\" }}\n[callers.beta]\nkey = {{ file = \"beta\" }}\n\
             [[listeners]]\nname = \"app\"\naddress = \"{any}\"\nupstream = \"api\"\ncallers = {callers}\n\
             [upstreams.api]\nurl = \"http://{api}\"\n"
        )
    };
    let sidebearer = Sidebearer::start_in(dir, &config("[\"alpha\", \"beta\"]"));
    let ask = async |more: &str| {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let shown = format!("Authorization: Bearer {}\r\n", key("alpha"));
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{shown}{more}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut upgrade = ask("Connection: upgrade\r\nUpgrade: chat\r\n").await;
    arrived.acquire().await.unwrap().forget();
    sidebearer.reconfigure(&config("[\"beta\"]")).await.unwrap();
    // The only shard has the new snapshot when it has answered this.
    let refused = read_head(&mut ask("").await).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    gate.add_permits(1);
    let turned_away = read_head(&mut upgrade).await;
    assert!(turned_away.starts_with("HTTP/1.1 403 "), "{turned_away}");
    let file = sidebearer.dir().join("audit.jsonl");
    for request in wait_for(&file, "request", 2).await {
        let expected = (&"denied".into(), &"not_permitted".into(), &403.into());
        let found = (&request["decision"], &request["error"], &request["status"]);
        assert_eq!(found, expected);
    }
    let is_of_tunnel = |record: &Value| record["event"].as_str().unwrap().starts_with("tunnel");
    assert!(!records(&file).iter().any(is_of_tunnel));
}

#[tokio::test]
async fn what_may_not_leave_is_denied_by_the_rule_that_decided() {
    let dir = tempfile::tempdir().unwrap();
    let any = crate::support::any_port();
    let text = format!(
        "[audit]\nfile = \"audit.jsonl\"\n\
         [[listeners]]\nname = \"app\"\naddress = \"{any}\"\nkind = \"forward\"\nunmatched = \"pass\"\n\
         [[egress.rules]]\nhosts = [\"*.denied.example\"]\naction = \"deny\"\n\
         [upstreams.api]\nurl = \"https://crm.example.com\"\n"
    );
    let sidebearer = Sidebearer::start_in(dir, &text);
    // By its host, by its port, and by its address, which shows when it is dialled.
    for target in [
        "http://a.denied.example/",
        "http://other.example:22/",
        "http://10.0.0.1/",
    ] {
        let request = Request::get(target).body("".into()).unwrap();
        let answer = client::send(sidebearer.address(), request).await;
        assert_eq!(answer.code(), "destination_denied", "{target}");
    }
    let file = sidebearer.dir().join("audit.jsonl");
    let requests = wait_for(&file, "request", 3).await;
    let decided: Vec<_> = requests
        .iter()
        .map(|line| (line["decision"].as_str().unwrap(), line["rule"].as_str()))
        .collect();
    assert_eq!(
        decided,
        [
            ("denied", Some("*.denied.example")),
            ("denied", Some("unmatched")),
            ("denied", Some("unmatched"))
        ]
    );
}
