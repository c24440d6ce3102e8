use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::Method;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::io::AsyncWriteExt;

use super::{SPAN, TRACE, get_with, traceparent};
use crate::support::api::Api;
use crate::support::client::{self, request};
use crate::support::collector::{CLIENT, Collector, INTERNAL, SERVER, attribute, failed, hex};
use crate::support::idp::Idp;
use crate::support::server::{self, read_head, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tunnel::{comes_back, tunnel};
use crate::support::{any_port, loopback, protected, unprotected};

fn recorded(config: &str, collector: &Collector) -> Sidebearer {
    Sidebearer::start(&format!("{config}{}", collector.config("sample = 1")))
}

/// What the span says by these names.
fn said<const N: usize>(span: &Span, names: [&str; N]) -> [String; N] {
    names.map(|name| attribute(span, name))
}

#[tokio::test]
async fn a_request_is_a_server_span_with_a_client_span_in_it_by_the_semantic_conventions() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = recorded(&unprotected(&api.url(), ""), &collector);
    let parent = traceparent(true);
    let headers = [("traceparent", &*parent), ("user-agent", "hunter2")];
    let mut asked = get_with("/orders/7?token=hunter2", &headers);
    *asked.method_mut() = Method::POST;
    client::send(sidebearer.address(), asked).await;

    let server = &collector.of_kind(SERVER, 1).await[0];
    assert_eq!(
        (hex(&server.trace_id), hex(&server.parent_span_id)),
        (TRACE.into(), SPAN.into())
    );
    assert_eq!(server.name, "POST */");
    let expected = [
        ("http.request.method", "POST"),
        ("url.path", "/orders/7"),
        ("url.scheme", "http"),
        ("server.address", "localhost"),
        ("server.port", "80"),
        ("http.route", "*/"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("sidebearer.listener", "app"),
        ("sidebearer.upstream", "api"),
        ("error.type", ""),
    ];
    for (name, value) in expected {
        assert_eq!(attribute(server, name), value, "{name}");
    }
    let client = &collector.of_kind(CLIENT, 1).await[0];
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(client.name, "POST");
    let api_port = api.address.port().to_string();
    let expected = [
        ("http.request.method", "POST"),
        ("url.full", &format!("{}/orders/7", api.url())),
        ("server.address", &api.address.ip().to_string()),
        ("server.port", &api_port),
        ("http.response.status_code", "200"),
        ("http.request.resend_count", ""),
        ("error.type", ""),
    ];
    for (name, value) in expected {
        assert_eq!(attribute(client, name), value, "{name}");
    }
    for span in [server, client] {
        assert!(!failed(span));
        assert!(!format!("{span:?}").contains("hunter2"), "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(server.end_time_unix_nano >= client.end_time_unix_nano);
}

#[tokio::test]
async fn an_error_of_ours_is_the_type_of_the_error_and_what_the_api_answers_is_its_status() {
    let collector = Collector::start();
    let api = Api::start(|seen| match &*seen.target {
        "/busy" => response(503, ""),
        _ => response(404, ""),
    });
    let sidebearer = recorded(&unprotected(&api.url(), ""), &collector);
    client::get(sidebearer.address(), "/busy").await;
    client::get(sidebearer.address(), "/nothing").await;
    client::get(sidebearer.address(), "/a/../b").await;
    let spans = collector.of_kind(SERVER, 3).await;
    let [busy, nothing, malformed] = &spans[..] else {
        panic!("{spans:?}");
    };
    let names = ["http.response.status_code", "error.type"];
    assert_eq!(
        (said(busy, names), failed(busy)),
        (["503".into(), "503".into()], true)
    );
    assert_eq!(
        (said(nothing, names), failed(nothing)),
        (["404".into(), String::new()], false)
    );
    let bad = ["400".to_owned(), "bad_request".to_owned()];
    assert_eq!((said(malformed, names), failed(malformed)), (bad, false));
    let clients = collector.of_kind(CLIENT, 2).await;
    assert!(clients.iter().all(failed));
    assert_eq!(said(&clients[1], names), ["404", "404"]);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_client_span_that_failed() {
    let collector = Collector::start();
    let url = format!("http://{}", loopback());
    let sidebearer = recorded(&unprotected(&url, ""), &collector);
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 502);
    for kind in [SERVER, CLIENT] {
        let span = &collector.of_kind(kind, 1).await[0];
        assert!(failed(span));
        assert_eq!(attribute(span, "error.type"), "upstream_connect");
    }
}

/// Closes a connection on which it has answered once without a word, when it is asked again.
fn closes_when_asked_again() -> SocketAddr {
    let connections = AtomicUsize::new(0);
    server::bytes(move |_, mut stream| {
        let first = connections.fetch_add(1, SeqCst) == 0;
        async move {
            let mut answered = 0;
            while !read_head(&mut stream).await.is_empty() {
                if first && answered == 1 {
                    return;
                }
                let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(ok).await.unwrap();
                answered += 1;
            }
        }
    })
}

#[tokio::test]
async fn each_attempt_is_a_span_and_says_how_often_the_request_was_sent_before() {
    let collector = Collector::start();
    let url = format!("http://{}", closes_when_asked_again());
    let config =
        unprotected(&url, "").replace("[[listeners]]", "[server]\nworkers = 1\n\n[[listeners]]");
    let sidebearer = recorded(&config, &collector);
    for _ in 0..2 {
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
    }
    let spans = collector.of_kind(CLIENT, 3).await;
    let names = [
        "http.request.resend_count",
        "error.type",
        "http.response.status_code",
    ];
    assert_eq!(said(&spans[1], names), ["", "upstream_connect", ""]);
    assert_eq!(said(&spans[2], names), ["1", "", "200"]);
    assert_eq!(spans[1].parent_span_id, spans[2].parent_span_id);
    assert!(spans[1].end_time_unix_nano <= spans[2].start_time_unix_nano);
}

#[tokio::test]
async fn a_replay_after_401_shows_both_attempts_and_the_wait_between_them() {
    let (idp, collector) = (Idp::start(), Collector::start());
    let api = Api::protected_by(&idp);
    let config = protected(&api.url(), &idp.endpoint(), "", "");
    let sidebearer = recorded(&config, &collector);
    sidebearer.ready().await;
    idp.revoke_all();
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);

    let server = &collector.of_kind(SERVER, 1).await[0];
    let wait = &collector.of_kind(INTERNAL, 1).await[0];
    // Two token requests, and two attempts.
    let clients = collector.of_kind(CLIENT, 4).await;
    let is_attempt = |span: &&Span| span.parent_span_id == server.span_id;
    let attempts: Vec<_> = clients.iter().filter(is_attempt).collect();
    let names = ["http.response.status_code", "http.request.resend_count"];
    assert_eq!(said(attempts[0], names), ["401", ""]);
    assert_eq!(said(attempts[1], names), ["200", "1"]);
    assert_eq!(wait.parent_span_id, server.span_id);
    assert!(attempts[0].end_time_unix_nano <= wait.start_time_unix_nano);
    assert!(wait.end_time_unix_nano <= attempts[1].start_time_unix_nano);
    let second = &api.seen()[1];
    let parent = format!(
        "00-{}-{}-01",
        hex(&server.trace_id),
        hex(&attempts[1].span_id)
    );
    assert_eq!(second.header("traceparent"), parent);
    for secret in ["token-1", "token-2", "s3cret"] {
        assert!(
            !format!("{:?}", collector.spans()).contains(secret),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn http2_to_the_api_carries_the_trace_too() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = recorded(&unprotected(&api.url(), "http = \"2\""), &collector);
    let answer = client::send(sidebearer.address(), request(Method::GET, "/", "")).await;
    assert_eq!(answer.status, 200);
    let span = &collector.of_kind(CLIENT, 1).await[0];
    let parent = api.seen()[0].header("traceparent").to_owned();
    assert_eq!(parent[36..52], hex(&span.span_id));
}

#[tokio::test]
async fn a_tunnel_is_a_server_span_with_the_way_to_where_it_leads_in_it() {
    let collector = Collector::start();
    let echo = server::bytes(|_, stream| async move {
        let (mut from, mut to) = stream.into_split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let config = format!(
        "[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\nunmatched = \"pass\"\n\n\
         [egress]\naddresses = \"any\"\nports = [{}]\n",
        any_port(),
        echo.port()
    );
    let sidebearer = recorded(&config, &collector);
    let mut stream = tunnel(sidebearer.address(), &echo.to_string()).await;
    comes_back(&mut stream, "hello").await;
    let server = &collector.of_kind(SERVER, 1).await[0];
    let client = &collector.of_kind(CLIENT, 1).await[0];
    assert_eq!(
        said(server, ["http.request.method", "http.response.status_code"]),
        ["CONNECT", "200"]
    );
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(attribute(client, "server.port"), echo.port().to_string());
    assert_eq!(attribute(client, "http.request.method"), "CONNECT");
    assert!(server.attributes.iter().all(|it| it.key != "url.path"));
    assert!(!failed(client));
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_failed_in_both_spans() {
    let collector = Collector::start();
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
        stream.write_all(cut).await.unwrap();
    });
    let sidebearer = recorded(&unprotected(&format!("http://{api}"), ""), &collector);
    let ask = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client::raw(sidebearer.address(), ask).await;
    for kind in [SERVER, CLIENT] {
        let span = &collector.of_kind(kind, 1).await[0];
        let names = ["http.response.status_code", "error.type"];
        assert_eq!(said(span, names), ["200", "upstream_connect"]);
        assert!(failed(span), "{span:?}");
    }
}

#[tokio::test]
async fn the_state_of_a_trace_is_told_and_what_is_no_part_of_a_url_is_left_out() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = recorded(&unprotected(&api.url(), ""), &collector);
    let parent = traceparent(true);
    let ask = format!(
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\ntraceparent: {parent}\r\n\
         tracestate: vendor=1\r\n\r\n"
    );
    client::raw(sidebearer.address(), &ask).await;
    let client = &collector.of_kind(CLIENT, 1).await[0];
    assert_eq!(attribute(client, "url.full"), api.url());
    let server = &collector.of_kind(SERVER, 1).await[0];
    for span in [client, server] {
        assert_eq!(span.trace_state, "vendor=1");
    }
}
