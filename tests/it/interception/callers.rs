//! Who is calling, inside: the caller of the CONNECT, and what limits say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{CRM, config, get, secure, trusted, trusting};
use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::idp::Idp;
use crate::support::server::{read_head, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;

const KEY: &str = "billing-key-0123456789abcdef0123456789abcdef";

struct Setup {
    api: Api,
    sidebearer: Sidebearer,
    _idp: Idp,
    _ca: Ca,
}

/// A listener that only `billing` may use, with more lines of its table.
fn known(caller: &str, more: &str) -> Setup {
    known_with("credential = \"crm\"", caller, more)
}

/// The same, and what says whose token goes with its requests.
fn known_with(credential: &str, caller: &str, more: &str) -> Setup {
    let change = |config: String| config.replace("credential = \"crm\"", credential);
    changed(change, caller, more)
}

/// The same, with a change of all that is not about callers.
fn changed(change: impl Fn(String) -> String, caller: &str, more: &str) -> Setup {
    let (ca, idp) = (Ca::new(), Idp::start());
    let tls = ca.own_certificate().server(&["http/1.1"]);
    let api = Api::with_tls(Some(tls), |_| response(200, "crm"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    for (name, key) in [
        ("billing", KEY),
        ("search", &KEY.replace("billing", "search")),
    ] {
        std::fs::write(dir.path().join(format!("{name}.key")), key).unwrap();
    }
    let config = config(
        api.address,
        "callers = [\"billing\", \"search\"]",
        &ca,
        &idp,
    );
    let config = change(config);
    let callers = format!(
        "[callers.billing]\nkey = {{ file = \"billing.key\" }}\n{caller}\n[callers.search]\nkey = {{ file = \"search.key\" }}\n"
    );
    Setup {
        sidebearer: Sidebearer::start_in(dir, &format!("{config}{more}\n{callers}")),
        api,
        _idp: idp,
        _ca: ca,
    }
}

fn connect_as(key: &str) -> String {
    let basic = STANDARD.encode(format!("billing:{key}"));
    format!("CONNECT {CRM} HTTP/1.1\r\nHost: {CRM}\r\nProxy-Authorization: Basic {basic}\r\n\r\n")
}

impl Setup {
    async fn open(&self) -> Connection {
        let proxy = self.sidebearer.address_of("proxy");
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(connect_as(KEY).as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let client = trusting(&trusted(&self.sidebearer), &["http/1.1"]);
        let stream = secure(stream, "crm.example.com", client).await;
        Connection::over(stream.unwrap()).await
    }

    async fn refusal(&self, connect: &str) -> String {
        let proxy = self.sidebearer.address_of("proxy");
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(connect.as_bytes()).await.unwrap();
        read_head(&mut stream).await
    }
}

#[tokio::test]
async fn the_caller_of_connect_is_that_of_all_requests_inside() {
    let known = known("", "");
    let mut connection = known.open().await;
    for _ in 0..2 {
        let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for seen in known.api.seen() {
        assert_eq!(seen.authorization(), "Bearer token-1");
        assert_eq!(seen.header("proxy-authorization"), "");
    }
    // What is shown inside has to be of the same caller.
    let mut request = get("/x", "crm.example.com");
    let other = STANDARD.encode(format!("x:{}", KEY.replace("billing", "search")));
    let headers = request.headers_mut();
    headers.insert(
        "proxy-authorization",
        format!("Basic {other}").parse().unwrap(),
    );
    assert_eq!(connection.send(request).await.unwrap().status, 407);
    let nobody = connect_as("wrong-key-0123456789abcdef0123456789abcdef");
    let refused = known.refusal(&nobody).await;
    assert!(refused.starts_with("HTTP/1.1 407 "), "{refused}");
}

#[tokio::test]
async fn a_caller_that_has_no_credential_there_is_refused_before_anything_leaves() {
    let audit = "[audit]\nfile = \"audit.jsonl\"";
    let known = known_with("credentials = { search = \"crm\" }", "", audit);
    let refused = known.refusal(&connect_as(KEY)).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(known.api.seen().is_empty());
    let file = known.sidebearer.dir().join("audit.jsonl");
    eventually("the audit says why", async || {
        let records = std::fs::read_to_string(&file).unwrap_or_default();
        records.contains("\"rule\":\"`credentials` of the upstream\"")
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_may_take_no_route_there_is_refused_before_anything_leaves() {
    let route = "[[routes]]\nhost = \"crm.example.com\"\npath = \"/\"\nlistener = \"proxy\"\nupstream = \"crm\"\ncallers = [\"search\"]\n";
    let known = known("", route);
    let refused = known.refusal(&connect_as(KEY)).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(known.api.seen().is_empty());
}

#[tokio::test]
async fn a_route_that_takes_every_path_is_found_behind_others_of_its_kind() {
    let route = |path: &str| {
        format!(
            "[[routes]]\nhost = \"crm.example.com\"\npath = \"{path}\"\nlistener = \"proxy\"\nupstream = \"crm\"\ncallers = [\"search\"]\n"
        )
    };
    let known = known("", &(route("/x") + &route("/")));
    let refused = known.refusal(&connect_as(KEY)).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
}

#[tokio::test]
async fn a_longer_path_of_the_url_is_open_beside_a_route_for_the_rest() {
    let route = "[[routes]]\nhost = \"crm.example.com\"\npath = \"/\"\nlistener = \"proxy\"\nupstream = \"crm\"\ncallers = [\"search\"]\n";
    let change = |config: String| {
        let (before, url) = config.split_once("url = \"").unwrap();
        let (url, behind) = url.split_once('"').unwrap();
        format!("{before}url = \"{url}/v2\"{behind}")
    };
    let known = changed(change, "", route);
    let mut connection = known.open().await;
    let answer = connection.send(get("/v2/x", "crm.example.com")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (403, "not_permitted"));
}

#[tokio::test]
async fn by_its_own_name_an_upstream_is_open_to_everyone_for_paths_that_no_route_is_for() {
    let route = "[[routes]]\nhost = \"crm.example.com\"\npath = \"/x\"\nlistener = \"proxy\"\nupstream = \"crm\"\ncallers = [\"search\"]\n";
    let known = known("", route);
    let mut connection = known.open().await;
    let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (403, "not_permitted"));
    assert!(known.api.seen().is_empty());
    let answer = connection.send(get("/y", "crm.example.com")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn limits_of_a_caller_count_requests_inside() {
    let limits = "limits = { requests_per_second = 1, burst = 3 }";
    let known = known(limits, "");
    let mut connection = known.open().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
        statuses.push(answer.status);
    }
    // The CONNECT was the first.
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_caller_that_a_reload_removes_is_unknown_inside() {
    let known = known("", "");
    let mut connection = known.open().await;
    let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
    assert_eq!(answer.status, 200);
    known
        .sidebearer
        .write("billing.key", &KEY.replace("0123", "3210"));
    known.sidebearer.reload().await.unwrap();
    let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (407, "caller_unknown"));
    assert_eq!(known.api.seen().len(), 1);
}
