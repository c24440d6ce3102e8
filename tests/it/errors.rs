//! What clients see when something goes wrong: every code of ours, provoked.

mod connection;
mod responses;
mod upstream;

use std::net::SocketAddr;

use crate::support::api::Api;
use crate::support::client::{self, Answer, raw, request};
use crate::support::idp::{Behaviour, Idp};
use crate::support::sidebearer::Sidebearer;
use crate::support::{PATIENCE, any_port, smallest, unprotected, with_patience};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The smallest configuration with short patience.
fn impatient(api: &Api, idp: &Idp) -> String {
    format!(
        "[server]\nheader_timeout = \"1s\"\nmax_header_bytes = \"100KiB\"\n{}",
        smallest(api, idp).replace(
            "[upstreams.api]",
            "[upstreams.api]\nstream_idle_timeout = \"1s\"",
        )
    )
}

/// One listener whose only upstream has this URL and these other lines.
fn towards(url: &str, lines: &str) -> Sidebearer {
    Sidebearer::start(&unprotected(url, lines))
}

/// Messages with a length, one behind the other.
fn answers(raw: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let (head, body) = rest.split_once("\r\n\r\n").expect("a whole head");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: HeaderMap = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a header");
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
        assert!(length <= body.len(), "cut short: {raw}");
        answers.push(Answer {
            status: status.parse().unwrap(),
            body: body.as_bytes()[..length].to_vec().into(),
            headers,
        });
        rest = &body[length..];
    }
    answers
}

fn only(raw: &str) -> Answer {
    let mut answers = answers(raw);
    assert_eq!(answers.len(), 1, "{raw}");
    answers.remove(0)
}

/// Sends bytes and reads until the other side closes, which it does in time.
async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let answer = tokio::time::timeout(PATIENCE, raw(address, bytes)).await;
    answer.expect("the connection is closed")
}

/// Checks everything that each error has, and that it was counted once for `upstream`.
async fn assert_error(
    sidebearer: &Sidebearer,
    answer: &Answer,
    (status, code, upstream): (u16, &str, &str),
    in_detail: &str,
) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let proxy_status = answer.header("proxy-status");
    assert!(
        proxy_status.starts_with("sidebearer; error="),
        "{proxy_status}"
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(!problem["title"].as_str().unwrap().is_empty());
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(in_detail), "{detail}");
    let due = code == "token_unavailable";
    assert_eq!(
        answer.headers.contains_key("retry-after"),
        due,
        "{answer:?}"
    );
    let labels = format!(r#"{{error="{code}",listener="app",upstream="{upstream}"}}"#);
    let series = format!("sidebearer_errors_total{labels}");
    assert_eq!(sidebearer.metric(&series).await, 1.0, "{series}");
    let labels = format!(r#"{{code="{status}",listener="app",upstream="{upstream}"}}"#);
    let series = format!("sidebearer_requests_total{labels}");
    assert_eq!(sidebearer.metric(&series).await, 1.0, "{series}");
}

#[tokio::test]
async fn what_we_refuse_ourselves_names_its_code() {
    let host = "host: localhost\r\n";
    for (bytes, status, code) in [
        (
            "GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}{host}\r\n"),
            400,
            "bad_request",
        ),
        (
            format!("GET /a/../b HTTP/1.1\r\n{host}\r\n"),
            400,
            "bad_request",
        ),
        (
            format!("TRACE / HTTP/1.1\r\n{host}\r\n"),
            405,
            "method_not_allowed",
        ),
        (
            format!("CONNECT localhost:80 HTTP/1.1\r\n{host}\r\n"),
            405,
            "method_not_allowed",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}sec-fetch-site: cross-site\r\n\r\n"),
            403,
            "browser_request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: attacker.example\r\n\r\n".to_owned(),
            404,
            "no_route",
        ),
    ] {
        let (api, idp) = (Api::open(), Idp::start());
        let sidebearer = Sidebearer::start(&smallest(&api, &idp));
        // What ends the connection is a second request that asks for it.
        let bytes = format!("{bytes}GET /ok HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        let answer = answers(&exchange(sidebearer.address(), bytes).await).remove(0);
        assert_error(&sidebearer, &answer, (status, code, ""), "").await;
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
        assert!(api.seen().iter().all(|seen| seen.target == "/ok"));
    }
}

#[tokio::test]
async fn an_unmatched_request_is_not_forwarded() {
    let api = Api::open();
    let sidebearer = Sidebearer::start(&format!(
        "[[listeners]]\nname = \"app\"\naddress = \"{}\"\n\
         [upstreams.api]\nurl = \"{}\"\n[[routes]]\npath = \"/crm\"\nupstream = \"api\"\n",
        any_port(),
        api.url()
    ));
    let answer = client::get(sidebearer.address(), "/crmx").await;
    assert_error(&sidebearer, &answer, (404, "no_route", ""), "[[routes]]").await;
    assert!(api.seen().is_empty());
    assert_eq!(
        client::get(sidebearer.address(), "/crm/x").await.status,
        200
    );
}

#[tokio::test]
async fn a_body_that_stops_arriving_times_out() {
    let (api, idp) = (Api::open(), Idp::start());
    for framing in [
        "content-length: 10\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let sidebearer = Sidebearer::start(&impatient(&api, &idp));
        let post = format!("POST / HTTP/1.1\r\nhost: localhost\r\n{framing}");
        let answer = only(&exchange(sidebearer.address(), post).await);
        let expected = (408, "request_timeout", "api");
        assert_error(&sidebearer, &answer, expected, "stream_idle_timeout").await;
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn a_length_beside_chunked_is_dropped_and_nothing_follows_on_the_connection() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let both = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 30\r\n\
                transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = only(&exchange(sidebearer.address(), format!("{both}{GET}")).await);
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    let seen = api.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].body.as_ref(), seen[0].header("content-length")),
        (&b"abc"[..], "")
    );
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let post = "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n";
    let answer = only(&exchange(sidebearer.address(), post).await);
    assert_error(&sidebearer, &answer, (400, "bad_request", "api"), "body").await;
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_client_learns_when_to_come_back() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Answers(503, "{}".to_owned()));
    let sidebearer = Sidebearer::start(&with_patience(&smallest(&api, &idp), "100ms"));
    let answer = client::get(sidebearer.address(), "/").await;
    let expected = (503, "token_unavailable", "api");
    assert_error(&sidebearer, &answer, expected, "authorization server").await;
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=330).contains(&seconds), "{seconds}");
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn a_request_that_comes_back_to_us_is_a_loop() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    client::get(sidebearer.address(), "/").await;
    let mut again = request(Method::GET, "/", "");
    let via = api.seen()[0].headers["via"].clone();
    again.headers_mut().insert("via", via);
    let answer = client::send(sidebearer.address(), again).await;
    assert_error(&sidebearer, &answer, (508, "loop", ""), "leads back here").await;
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn grpc_is_told_in_trailers_only() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Answers(503, "{}".to_owned()));
    let sidebearer = Sidebearer::start(&with_patience(&smallest(&api, &idp), "100ms"));
    for (path, host, status, code) in [
        ("/pkg.Service/Call", "localhost", "14", "token_unavailable"),
        ("/pkg.Service/Call", "attacker.example", "12", "no_route"),
        ("/a/../b", "localhost", "13", "bad_request"),
    ] {
        let mut call = request(Method::POST, path, "\0\0\0\0\0");
        let headers = call.headers_mut();
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/grpc+proto"),
        );
        headers.insert("host", HeaderValue::from_static(host));
        let answer = client::send(sidebearer.address(), call).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/grpc");
        assert_eq!(answer.header("grpc-status"), status, "{code}");
        assert!(!answer.header("grpc-message").is_empty());
        assert!(
            answer
                .header("proxy-status")
                .starts_with("sidebearer; error=")
        );
        assert!(answer.body.is_empty());
        let page = sidebearer.page("/metrics").await;
        assert!(page.contains(&format!("error=\"{code}\"")), "{page}");
    }
}
