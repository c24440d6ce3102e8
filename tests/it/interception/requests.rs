//! Requests inside: each takes the way of every request, with a token.

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::Full;
use hyper::upgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};

use super::{CRM, Site, config, get, over_http2, secure, trusted, trusting};
use crate::support::client;
use crate::support::idp::Idp;
use crate::support::server::{self, Body, fed, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;

#[tokio::test]
async fn plain_http_inside_of_a_connect_to_port_80_gets_a_token_where_tls_is_ended() {
    let site = Site::speaking(&["http/1.1"]);
    let host = "legacy.example.com";
    let both = format!(
        "CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\nGET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    let answer = client::raw(site.proxy(), both).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("crm"),
        "{answer}"
    );
    assert_eq!(site.crm.seen()[0].authorization(), "Bearer token-1");
}

#[tokio::test]
async fn a_token_is_put_into_requests_of_both_versions() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let mut http1 = site.http1().await;
    for path in ["/a", "/b?c=d"] {
        let mut request = get(path, "crm.example.com");
        let headers = request.headers_mut();
        headers.insert("authorization", "Bearer own".parse().unwrap());
        let answer = http1.send(request).await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "crm".to_owned()));
    }
    let mut http2 = site.http2().await;
    let request = Request::get("https://crm.example.com/c").body(whole(""));
    let answer = client::read(http2.send_request(request.unwrap()).await.unwrap()).await;
    assert_eq!(answer.unwrap().text(), "crm");
    let seen = site.crm.seen();
    let seen: Vec<_> = seen
        .iter()
        .map(|seen| (&*seen.target, &*seen.host, seen.authorization()))
        .collect();
    let token = "Bearer token-1";
    let host = "api.example.com";
    assert_eq!(
        seen,
        [
            ("/a", host, token),
            ("/b?c=d", host, token),
            ("/c", host, token)
        ]
    );
    site.counted("success", 2.0).await;
}

#[tokio::test]
async fn an_upstream_without_a_credential_is_intercepted_too_and_gets_no_token() {
    let site = Site::speaking(&["http/1.1"]);
    let stream = site
        .connect("open.example.com:443", "open.example.com", &[])
        .await;
    let mut connection = client::Connection::over(stream.unwrap()).await;
    let mut request = get("/open/x", "open.example.com");
    let own = request.headers_mut();
    own.insert("authorization", "Bearer own".parse().unwrap());
    assert_eq!(connection.send(request).await.unwrap().text(), "open");
    assert_eq!(site.open.seen()[0].authorization(), "Bearer own");
}

#[tokio::test]
async fn a_large_post_arrives_whole_in_both_versions() {
    let site = Site::with(&["h2", "http/1.1"], "", |seen| {
        response(200, seen.body.clone())
    });
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut http1 = site.http1().await;
    let post = Request::post("/large")
        .header("host", "crm.example.com")
        .body(Full::new(Bytes::from(large.clone())))
        .unwrap();
    let answer = http1.send(post).await.unwrap();
    assert!(answer.body == large, "{} bytes", answer.body.len());
    let mut http2 = site.http2().await;
    let post = Request::post("https://crm.example.com/large").body(whole(large.clone()));
    let answer = client::read(http2.send_request(post.unwrap()).await.unwrap()).await;
    assert!(answer.unwrap().body == large);
    assert_eq!(site.crm.seen().len(), 2);
}

#[tokio::test]
async fn a_connect_over_http2_is_intercepted_in_its_stream() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let stream = tokio::net::TcpStream::connect(site.proxy()).await.unwrap();
    let mut proxy = over_http2(stream).await;
    for (number, alpn) in ["http/1.1", "h2"].into_iter().enumerate() {
        let connect = Request::connect(CRM).body(whole("")).unwrap();
        let answer = proxy.send_request(connect).await.unwrap();
        assert_eq!(answer.status(), 200);
        let stream = TokioIo::new(upgrade::on(answer).await.unwrap());
        let inside = secure(stream, "crm.example.com", site.client(&[alpn])).await;
        let inside = inside.unwrap();
        let status = if alpn == "h2" {
            let request = Request::get("https://crm.example.com/x").body(whole(""));
            let answer = over_http2(inside)
                .await
                .send_request(request.unwrap())
                .await;
            answer.unwrap().status().as_u16()
        } else {
            let mut connection = client::Connection::over(inside).await;
            let answer = connection.send(get("/x", "crm.example.com")).await;
            answer.unwrap().status
        };
        assert_eq!(status, 200, "{alpn}");
        assert_eq!(site.crm.seen()[number].authorization(), "Bearer token-1");
    }
}

#[tokio::test]
async fn trailers_pass_as_grpc_needs_them() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let tls = ca.own_certificate().server(&["h2"]);
    let api = server::serve(
        Some(tls),
        |request: Request<hyper::body::Incoming>| async move {
            let token = request.headers()["authorization"].clone();
            let (feed, body) = fed();
            tokio::spawn(async move {
                let message = Frame::data(Bytes::from_static(b"\0\0\0\0\x01x"));
                feed.send(Ok(message)).await.unwrap();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                feed.send(Ok(Frame::trailers(trailers))).await.unwrap();
            });
            assert_eq!(token, "Bearer token-1");
            let response = http::Response::builder().header("content-type", "application/grpc");
            response.body(body).unwrap()
        },
    );
    let sidebearer = Sidebearer::start(&config(api, "", &ca, &idp));
    let stream = tunnel(sidebearer.address_of("proxy"), CRM).await;
    let client = trusting(&trusted(&sidebearer), &["h2"]);
    let stream = secure(stream, "crm.example.com", client).await.unwrap();
    let mut sender = over_http2(stream).await;
    let call = Request::post("https://crm.example.com/billing.Invoices/Get")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(whole(vec![0; 5]))
        .unwrap();
    let answer = sender.send_request(call).await.unwrap();
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
}

/// Agrees to every upgrade, and echoes.
async fn echo(mut request: Request<hyper::body::Incoming>) -> http::Response<Body> {
    let token = request.headers()["authorization"].clone();
    let upgraded = upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = split(TokioIo::new(upgraded.await.unwrap()));
        copy(&mut read, &mut write).await
    });
    http::Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("x-token", token)
        .body(whole(""))
        .unwrap()
}

#[tokio::test]
async fn a_websocket_over_tls_is_opened_with_a_token() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let tls = ca.own_certificate().server(&["h2", "http/1.1"]);
    let sidebearer = Sidebearer::start(&config(server::serve(Some(tls), echo), "", &ca, &idp));
    let stream = tunnel(sidebearer.address_of("proxy"), CRM).await;
    let client = trusting(&trusted(&sidebearer), &["http/1.1"]);
    let mut stream = secure(stream, "crm.example.com", client).await.unwrap();
    let open = "GET /socket HTTP/1.1\r\nHost: crm.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Origin: https://crm.example.com\r\nUser-Agent: Mozilla/5.0\r\n\r\n";
    stream.write_all(open.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("x-token: Bearer token-1\r\n"), "{head}");
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
    let open = "sidebearer_tunnels{listener=\"proxy\",upstream=\"crm\"}";
    assert_eq!(sidebearer.metric(open).await, 1.0);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_where_a_token_would_be_put_in() {
    let site = Site::speaking(&["http/1.1"]);
    let mut connection = site.http1().await;
    for (origin, status) in [
        ("https://crm.example.com", 200),
        ("http://crm.example.com", 403),
        ("https://evil.example", 403),
    ] {
        let mut request = get("/x", "crm.example.com");
        let headers = request.headers_mut();
        headers.insert("origin", origin.parse().unwrap());
        let answer = connection.send(request).await.unwrap();
        assert_eq!(answer.status, status, "{origin}");
    }
    assert_eq!(site.crm.seen().len(), 1);
}
