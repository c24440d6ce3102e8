//! What passes by a forward listener, through the proxy of `[egress]`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::api::Api;
use crate::support::egress_proxy::{HttpProxy, Proxy};
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, client, server};

/// A forward listener by which everything passes, through this proxy.
fn config(proxy: &Proxy) -> String {
    format!(
        r#"
[egress]
addresses = "any"
proxy = "{}"
proxy_authorization = "Bearer abc"

[[listeners]]
name = "app"
address = "{}"
kind = "forward"
unmatched = "pass"
"#,
        proxy.url("http"),
        any_port()
    )
}

#[tokio::test]
async fn requests_and_tunnels_pass_through_the_proxy() {
    let api = Api::open();
    let proxy = HttpProxy::to(api.address).wanting("Bearer abc").start();
    let sidebearer = Sidebearer::start(&config(&proxy));
    let ask =
        "GET http://far.internal/x HTTP/1.1\r\nHost: far.internal\r\nConnection: close\r\n\r\n";
    let answer = client::raw(sidebearer.address(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(proxy.asked()[0].starts_with("GET http://far.internal/x HTTP/1.1\r\n"));

    let echo = server::bytes(|_, mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let proxy = HttpProxy::to(echo).wanting("Bearer abc").start();
    let sidebearer = Sidebearer::start(&config(&proxy));
    let mut tcp = TcpStream::connect(sidebearer.address()).await.unwrap();
    let ask = "CONNECT far.internal:443 HTTP/1.1\r\nHost: far.internal:443\r\n\r\n";
    tcp.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());
    tcp.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    tcp.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    assert!(proxy.asked()[0].starts_with("CONNECT far.internal:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_refusal_by_the_proxy_is_told_to_who_asked() {
    let proxy = HttpProxy::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").start();
    let sidebearer = Sidebearer::start(&config(&proxy));
    let ask = "CONNECT far.internal:443 HTTP/1.1\r\nHost: far.internal:443\r\n\r\n";
    let answer = client::raw(sidebearer.address(), ask).await;
    assert!(
        answer.starts_with("HTTP/1.1 502 sidebearer egress_proxy\r\n"),
        "{answer}"
    );
    assert!(answer.contains("answered 403"), "{answer}");
}
