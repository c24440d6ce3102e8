//! CONNECT: what is plain HTTP inside of it is served, and no tunnel leads past a token.

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::World;
use crate::support::client;
use crate::support::server::{Body, read_head, whole};

/// The whole answer to bytes, after which the connection ends.
async fn answer(world: &World, bytes: &str) -> String {
    client::raw(world.address(), bytes).await
}

fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// A connection that a CONNECT has opened.
async fn opened(world: &World, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(connect(target).as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
    stream
}

#[tokio::test]
async fn a_tunnel_past_a_token_or_to_what_nothing_names_is_refused_and_says_so() {
    let world = World::start();
    let (crm, own) = (world.crm.address, world.address());
    for (target, status, code) in [
        (crm.to_string(), 403, "interception_off"),
        (
            format!("CRM.example.com.:{}", crm.port()),
            403,
            "interception_off",
        ),
        ("crm.old.internal:8443".to_owned(), 403, "interception_off"),
        (
            format!("[::ffff:{}]:{}", crm.ip(), crm.port()),
            403,
            "interception_off",
        ),
        ("crm.example.com:443".to_owned(), 403, "destination_denied"),
        ("crm.example.com:81".to_owned(), 403, "destination_denied"),
        ("evil.example:443".to_owned(), 403, "destination_denied"),
        ("evil.example:80".to_owned(), 403, "destination_denied"),
        ("169.254.169.254:80".to_owned(), 403, "destination_denied"),
        (own.to_string(), 508, "loop"),
        (world.sidebearer.admin().to_string(), 508, "loop"),
        ("crm.old.internal".to_owned(), 400, "bad_request"),
        ("crm.old.internal:".to_owned(), 400, "bad_request"),
        ("crm.old.internal:0".to_owned(), 400, "bad_request"),
        ("crm.old.internal:65536".to_owned(), 400, "bad_request"),
        ("evil@crm.old.internal:8443".to_owned(), 400, "bad_request"),
        (
            "http://crm.old.internal:8443/".to_owned(),
            400,
            "bad_request",
        ),
        ("/v2/x".to_owned(), 400, "bad_request"),
    ] {
        let refused = answer(&world, &connect(&target)).await;
        // A target that is not a URI at all is refused before it is a request.
        let (parsed, reason) = (
            refused.contains(code),
            format!(" {status} sidebearer {code}\r\n"),
        );
        assert!(parsed, "{target}: {refused}");
        assert!(
            refused.contains(&reason) || status == 400,
            "{target}: {refused}"
        );
        assert!(
            refused.to_ascii_lowercase().contains("connection: close"),
            "{refused}"
        );
    }
    for line in [
        "Content-Length: 0",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
    ] {
        let target = "crm.example.com:80";
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{line}\r\n\r\n");
        let refused = answer(&world, &head).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{line}: {refused}");
    }
    assert!(world.crm.seen().is_empty() && world.plain.seen().is_empty());
    let (listener, error) = ("listener=\"proxy\"", "error=\"interception_off\"");
    let series = format!("sidebearer_errors_total{{{error},{listener},upstream=\"\"}}");
    assert_eq!(world.sidebearer.metric(&series).await, 4.0);
}

#[tokio::test]
async fn plain_http_inside_takes_the_way_of_every_request() {
    let world = World::start();
    let mut stream = opened(&world, "crm.example.com:80").await;
    for (line, host, expected) in [
        ("GET /v2/a HTTP/1.1", "crm.example.com", "HTTP/1.1 200 "),
        ("GET /v2/b HTTP/1.1", "CRM.example.com:80", "HTTP/1.1 200 "),
        (
            "GET http://crm.example.com/v2/c HTTP/1.1",
            "x",
            "HTTP/1.1 200 ",
        ),
        ("GET /other HTTP/1.1", "crm.example.com", "HTTP/1.1 403 "),
        ("GET /v2/a HTTP/1.1", "plain.old.internal", "HTTP/1.1 421 "),
        ("GET /v2/a HTTP/1.1", "crm.example.com:81", "HTTP/1.1 421 "),
        (
            "GET https://crm.example.com:80/v2/a HTTP/1.1",
            "x",
            "HTTP/1.1 421 ",
        ),
        (
            "GET http://plain.old.internal/x HTTP/1.1",
            "crm.example.com",
            "HTTP/1.1 421 ",
        ),
    ] {
        let head = format!("{line}\r\nHost: {host}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(expected), "{line} {host}: {head}");
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        stream.read_exact(&mut vec![0; length]).await.unwrap();
    }
    // Once for each connection.
    stream
        .write_all(connect("plain.old.internal:80").as_bytes())
        .await
        .unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 400 "));
    let targets: Vec<_> = world
        .crm
        .seen()
        .iter()
        .map(|seen| seen.target.clone())
        .collect();
    assert_eq!(targets, ["/v2/a", "/v2/b", "/v2/c"]);
    assert!(
        world
            .crm
            .seen()
            .iter()
            .all(|seen| seen.authorization() == "Bearer token-1")
    );
    assert!(world.plain.seen().is_empty());
}

#[tokio::test]
async fn what_is_inside_of_a_connect_to_port_80_is_plain_http_though_the_api_is_https() {
    let world = World::start();
    for host in [
        "crm.example.com",
        "crm.legacy.internal",
        "crm.both.internal",
    ] {
        let get = format!("GET /v2/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let both = connect(&format!("{host}:80")) + &get;
        let answer = answer(&world, &both).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("crm"), "{host}: {answer}");
    }
    let seen = world.crm.seen();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|seen| seen.authorization() == "Bearer token-1")
    );
    let other = format!("crm.both.internal:{}", world.crm.address.port());
    let refused = answer(&world, &connect(&other)).await;
    assert!(refused.contains("interception_off"), "{refused}");
}

#[tokio::test]
async fn bytes_that_came_behind_connect_belong_to_it() {
    let world = World::start();
    let target = world.plain.address.to_string();
    let get = format!("GET /x HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    let both = answer(&world, &(connect(&target) + &get)).await;
    assert_eq!(both.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{both}");
    assert_eq!(world.plain.seen()[0].target, "/x");
}

#[tokio::test]
async fn tls_where_plain_http_is_served_inside_is_told_what_to_do() {
    let world = World::start();
    let mut stream = opened(&world, "crm.example.com:80").await;
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("only plain HTTP is served inside of this CONNECT")
            && !answer.contains("certificate"),
        "{answer}"
    );
}

#[tokio::test]
async fn http2_inside_is_known_by_its_first_bytes() {
    let world = World::start();
    let stream = opened(&world, "crm.example.com:80").await;
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut client, connection): (hyper::client::conn::http2::SendRequest<Body>, _) =
        handshake.await.unwrap();
    tokio::spawn(connection);
    for (uri, status) in [
        ("http://crm.example.com/v2/x", 200),
        ("http://plain.old.internal/x", 421),
    ] {
        let get = http::Request::builder().uri(uri).body(whole("")).unwrap();
        let answer = client.send_request(get).await.unwrap();
        assert_eq!(answer.status(), status, "{uri}");
        let _ = answer.into_body().collect().await.unwrap();
    }
    assert_eq!(world.crm.seen()[0].authorization(), "Bearer token-1");
}
