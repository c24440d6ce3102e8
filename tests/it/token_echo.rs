//! The token that a request carried does not come back in the head or the trailers of its response.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use crate::support::client::{http2, raw, streaming};
use crate::support::idp::Idp;
use crate::support::protected;
use crate::support::server::{self, read_head, whole};
use crate::support::sidebearer::Sidebearer;

/// What it is called in the metrics.
const COUNTED: &str = "sidebearer_token_echoes_total{upstream=\"api\"}";
const PREFIX: &str = "a-token-that-is-long-enough";

/// The name of a header that has the token.
fn named(authorization: &str) -> String {
    let token = authorization.trim_start_matches("Bearer ");
    format!("X-Name-{token}")
}

/// The token in every form that is to be masked, for header values.
fn forms(authorization: &str) -> [(&'static str, String); 4] {
    let token = authorization.trim_start_matches("Bearer ");
    let challenge = format!("Bearer error=\"insufficient_scope\", error_description=\"{token}\"");
    [
        ("x-echo", authorization.to_owned()),
        ("www-authenticate", challenge),
        (
            "x-encoded",
            STANDARD.encode(format!("{{\"t\":\"{token}\"}}")),
        ),
        (
            "set-cookie",
            format!("t={}; Path=/", token.replace('-', "%2D")),
        ),
    ]
}

/// An API that says the token wherever a response has room for text: in hints, a refusal and trailers.
fn parrot(version: &str) -> SocketAddr {
    if version == "2" {
        return server::http2(parrot_http2);
    }
    server::bytes(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        let sent = head
            .lines()
            .find_map(|line| line.split_once("uthorization: "));
        let (_, authorization) = sent.unwrap();
        let lines = |forms: &[(&str, String)]| -> String {
            let lines = forms
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"));
            lines.collect()
        };
        let forms = forms(authorization);
        let named = format!("{}: 1\r\n", named(authorization));
        let hint = format!("HTTP/1.1 103 Early Hints\r\n{named}{}\r\n", lines(&forms));
        let refusal = format!(
            "HTTP/1.1 403 No {authorization}\r\n{}{named}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{named}{}\r\n",
            lines(&forms),
            lines(&forms[..1]),
        );
        stream.write_all(hint.as_bytes()).await.unwrap();
        stream.write_all(refusal.as_bytes()).await.unwrap();
    })
}

async fn parrot_http2(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let forms = forms(authorization);
    let named: HeaderName = named(authorization).parse().unwrap();
    let say = |status: u16| {
        let mut response = Response::builder().status(status).body(()).unwrap();
        for (name, value) in &forms {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
            .headers_mut()
            .append(&named, HeaderValue::from_static("1"));
        response
    };
    respond.send_informational(say(103)).unwrap();
    let mut sending = respond.send_response(say(403), false).unwrap();
    sending.send_data(Bytes::from("body"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-echo", forms[0].1.parse().unwrap());
    trailers.insert(&named, HeaderValue::from_static("1"));
    sending.send_trailers(trailers).unwrap();
}

async fn start(version: &str, more: &str) -> Sidebearer {
    let idp = Idp::start();
    idp.set_prefix(PREFIX);
    let url = format!("http://{}", parrot(version));
    let lines = format!("http = \"{version}\"\n{more}");
    let sidebearer = Sidebearer::start(&protected(&url, &idp.endpoint(), &lines, ""));
    sidebearer.ready().await;
    sidebearer
}

fn assert_masked(text: &str) {
    assert!(!text.to_lowercase().contains("x-name-"), "{text}");
    let encoded = STANDARD.encode(&PREFIX[..12]);
    for piece in [
        "a-token",
        "a%2Dtoken",
        "-1",
        "%2D1",
        encoded.trim_end_matches('='),
    ] {
        assert!(!text.contains(piece), "{piece} in {text}");
    }
    assert!(
        text.contains("t=***") && text.contains("Bearer ***"),
        "{text}"
    );
}

#[tokio::test]
async fn the_token_of_a_request_comes_back_in_no_part_of_a_head_and_no_trailer() {
    for version in ["1.1", "2"] {
        let sidebearer = start(version, "").await;
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close\r\n\r\n";
        let answer = raw(sidebearer.address(), get).await;
        assert_masked(&answer);
        assert!(answer.starts_with("HTTP/1.1 103 "), "{answer}");
        assert!(answer.contains("HTTP/1.1 403 "), "{answer}");
        let stars = "*".repeat(PREFIX.len() + "-1".len());
        assert!(answer.contains(&format!("Bearer {stars}\r\n")), "{answer}");
        assert_eq!(
            answer.matches(&stars).count(),
            if version == "2" { 9 } else { 10 },
            "{answer}"
        );
        // Three names beside them.
        let places = if version == "2" { 12.0 } else { 13.0 };
        assert_eq!(sidebearer.metric(COUNTED).await, places, "{version}");

        let mut client = http2(sidebearer.address()).await;
        let asked = client.send_request(streaming(Method::GET, "/", whole("")));
        let answer = asked.await.unwrap();
        assert_masked(&format!("{:?}", answer.headers()));
        let body = answer.into_body().collect().await.unwrap();
        let trailers = body.trailers().unwrap();
        assert_eq!(trailers["x-echo"], format!("Bearer {stars}").as_str());
    }
}

#[tokio::test]
async fn an_upstream_may_send_the_token_back_where_that_is_said() {
    let sidebearer = start("1.1", "redact = \"off\"").await;
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close\r\n\r\n";
    let answer = raw(sidebearer.address(), get).await;
    assert!(
        answer.contains(PREFIX) && !answer.contains("***"),
        "{answer}"
    );
}
