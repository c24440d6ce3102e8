//! What passes on the way to an upstream and back.

use std::net::SocketAddr;

use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::World;
use crate::support::any_port;
use crate::support::api::Seen;
use crate::support::client::{self, Connection, request};
use crate::support::server::{self, Body, read_head, response, whole};
use crate::support::sidebearer::Sidebearer;

#[tokio::test]
async fn one_connection_carries_requests_with_bodies_to_different_upstreams() {
    let world = World::start();
    let mut connection = Connection::open(world.address()).await;
    let body = vec![b'x'; 200_000];
    for round in 0..3 {
        let post = request(Method::POST, "http://crm.example.com/v2/x", body.clone());
        let answer = connection.send(post).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "crm"));
        let get = connection.get("http://plain.old.internal/x").await.unwrap();
        assert_eq!((get.status, get.text().as_str()), (200, "plain"));
        let denied = connection.get("http://evil.example/x").await.unwrap();
        assert_eq!(
            (denied.status, denied.code().as_str()),
            (403, "destination_denied")
        );
        assert_eq!(world.crm.seen()[round].body.len(), body.len());
    }
    let (listener, error) = ("listener=\"proxy\"", "error=\"destination_denied\"");
    let series = format!("sidebearer_errors_total{{{error},{listener},upstream=\"\"}}");
    assert_eq!(world.sidebearer.metric(&series).await, 3.0);
}

#[tokio::test]
async fn http2_takes_the_same_way() {
    let world = World::start();
    let mut client = client::http2(world.address()).await;
    for (uri, status) in [
        ("http://crm.example.com/v2/x", 200),
        ("http://plain.old.internal/x", 200),
        ("http://evil.example/x", 403),
        ("https://plain.old.internal/x", 403),
    ] {
        let get = http::Request::builder().uri(uri).body(whole("")).unwrap();
        let answer = client.send_request(get).await.unwrap();
        assert_eq!(answer.status(), status, "{uri}");
        let _ = answer.into_body().collect().await.unwrap();
    }
    assert_eq!(world.crm.seen()[0].authorization(), "Bearer token-1");
    assert_eq!(world.plain.seen()[0].authorization(), "");
}

#[tokio::test]
async fn what_is_between_client_and_proxy_never_passes() {
    let world = World::with("", |_| {
        let mut answer = response(200, "crm");
        for (name, value) in [
            ("alt-svc", "h3=\":443\""),
            ("proxy-authenticate", "Basic"),
            ("proxy-connection", "keep-alive"),
            ("x-kept", "1"),
        ] {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer
    });
    let lines = "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nProxy-Authenticate: x\r\n\
                 Authorization: Bearer own\r\nX-Kept: 1\r\n";
    let answer = world.answer("http://crm.example.com/v2/x", "crm.example.com", lines);
    let answer = answer.await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains("x-kept: 1"), "{answer}");
    assert!(answer.contains("\r\nvia: 1.1 sidebearer-"), "{answer}");
    assert!(
        !answer.contains("alt-svc") && !answer.contains("proxy-"),
        "{answer}"
    );
    let seen = &world.crm.seen()[0];
    assert_eq!(seen.authorization(), "Bearer token-1");
    assert_eq!(seen.header("x-kept"), "1");
    let is_for_proxy = |name: &http::HeaderName| name.as_str().starts_with("proxy");
    assert!(!seen.headers.keys().any(is_for_proxy), "{:?}", seen.headers);
}

#[tokio::test]
async fn another_way_to_the_api_is_named_in_no_trailer() {
    let plain = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: alt-svc, x-kept\r\n\r\n\
                      2\r\nok\r\n0\r\nAlt-Svc: h3=\":443\"\r\nX-Kept: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let config = format!(
        "[[listeners]]\naddress = \"{}\"\nkind = \"forward\"\n\n[upstreams.plain]\nurl = \"http://{plain}\"\n",
        any_port()
    );
    let sidebearer = Sidebearer::start(&config);
    let get = format!(
        "GET http://{plain}/ HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n"
    );
    let answer = client::raw(sidebearer.address(), get)
        .await
        .to_ascii_lowercase();
    assert!(answer.contains("\r\nx-kept: 1\r\n"), "{answer}");
    assert!(!answer.contains("alt-svc: "), "{answer}");
}

/// Redirects to where a request says.
fn redirect(seen: &Seen) -> Response<Body> {
    let mut answer = response(302, "");
    for name in ["location", "content-location"] {
        let location = seen.header("x-location").parse().unwrap();
        answer.headers_mut().insert(name, location);
    }
    answer
}

#[tokio::test]
async fn redirects_of_an_upgraded_host_stay_on_the_way() {
    let world = World::with("", redirect);
    let own = format!("https://{}/v2/next?a", world.authority);
    let named = "http://crm.example.com/v2/next?a".to_owned();
    for (target, location, expected) in [
        ("http://crm.example.com/v2/x", &own, &named),
        (
            "http://crm.example.com/v2/x",
            &"/v2/next".to_owned(),
            &"/v2/next".to_owned(),
        ),
        (
            "http://crm.example.com/v2/x",
            &"https://login.example.com/".to_owned(),
            &"https://login.example.com/".to_owned(),
        ),
        // The client names https, and goes on to.
        ("https://crm.old.internal:8443/v2/x", &own, &own),
    ] {
        let lines = format!("X-Location: {location}\r\n");
        let answer = world.answer(target, "crm.example.com", &lines).await;
        for name in ["location", "content-location"] {
            let line = format!("\r\n{name}: {expected}\r\n");
            let found = answer.to_ascii_lowercase().contains(&line);
            assert!(found, "{target}: {line:?} in {answer}");
        }
    }
}

#[tokio::test]
async fn redirects_to_any_name_of_an_upgraded_host_lead_back_to_it() {
    let routes = "[[routes]]\nhost = \"*.tenants.example\"\nupstream = \"crm\"\n";
    let world = World::with(routes, redirect);
    let port = world.crm.address.port();
    let own_port = |host: &str| format!("{host}:{port}");
    for (asked, location) in [
        ("crm.example.com", "crm.example.com".to_owned()),
        ("crm.example.com", "CRM.example.com:443".to_owned()),
        ("crm.example.com", own_port("crm.example.com")),
        (&*own_port("crm.example.com"), own_port("crm.example.com")),
        ("crm.example.com", "crm.old.internal:8443".to_owned()),
        ("crm.old.internal:8443", "crm.old.internal:8443".to_owned()),
        ("crm.old.internal:8443", own_port("[2001:db8::1]")),
        ("a.tenants.example", "a.tenants.example".to_owned()),
        ("a.tenants.example", own_port("a.tenants.example")),
    ] {
        // A route adds the path of `url`.
        let base = if asked.ends_with("tenants.example") {
            ""
        } else {
            "/v2"
        };
        let target = format!("http://{asked}{base}/x");
        let lines = format!("X-Location: https://{location}{base}/next\r\n");
        let answer = world.answer(&target, "x", &lines).await;
        let expected = format!("http://{asked}{base}/next");
        for name in ["location", "content-location"] {
            let line = format!("\r\n{name}: {expected}\r\n");
            let found = answer.to_ascii_lowercase().contains(&line);
            assert!(found, "{location}: {line:?} in {answer}");
        }
        assert_eq!(world.becomes(&expected, "x").await, "crm /v2/next");
    }
    // At these there may be another server.
    for (asked, location) in [
        ("crm.example.com", "crm.example.com:9"),
        ("crm.example.com", "crm.old.internal"),
        ("crm.old.internal:8443", "crm.old.internal"),
        ("a.tenants.example", "b.tenants.example"),
    ] {
        let target = format!("http://{asked}/v2/x");
        let lines = format!("X-Location: https://{location}/v2/next\r\n");
        let answer = world.answer(&target, "x", &lines).await;
        let line = format!("\r\nlocation: https://{location}/v2/next\r\n");
        let found = answer.to_ascii_lowercase().contains(&line);
        assert!(found, "{asked}: {line:?} in {answer}");
    }
}

/// Switches protocols for every client that asks for it, and sends back what comes.
fn echo() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nAlt-Svc: h3\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            stream.write_all(&piece[..length]).await.unwrap();
        }
    })
}

#[tokio::test]
async fn websockets_upgrade_through_it_by_either_scheme() {
    let config = format!(
        "[[listeners]]\naddress = \"{}\"\nkind = \"forward\"\n\n[upstreams.chat]\nurl = \"http://{}\"\nhosts = [\"chat.example.com:80\"]\n",
        any_port(),
        echo()
    );
    let sidebearer = Sidebearer::start(&config);
    for scheme in ["http", "ws"] {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let head = format!(
            "GET {scheme}://chat.example.com/chat HTTP/1.1\r\nHost: chat.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(!head.to_ascii_lowercase().contains("alt-svc"), "{head}");
        stream.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"ping");
    }
}

#[tokio::test]
async fn a_web_page_gets_no_token_and_passes_where_there_is_none() {
    let world = World::start();
    let page = "Origin: https://attacker.example\r\nUser-Agent: Mozilla/5.0\r\n";
    let answer = world.answer("http://crm.example.com/v2/x", "crm.example.com", page);
    assert!(answer.await.contains("browser_request"));
    assert!(world.crm.seen().is_empty());
    let answer = world.answer("http://plain.old.internal/x", "plain.old.internal", page);
    assert!(answer.await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_route_that_leads_back_here_is_a_loop() {
    let address = crate::support::loopback();
    let config = format!(
        "[[listeners]]\naddress = \"{address}\"\nkind = \"forward\"\n\n[upstreams.back]\nurl = \"http://{address}\"\n"
    );
    let sidebearer = Sidebearer::start(&config);
    let target = format!("http://{address}/x");
    let get = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = client::raw(sidebearer.address(), get).await;
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
}
