//! Proxies and their passwords that change.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{secure, secure_api};
use crate::support::client::{self, Connection};
use crate::support::egress_proxy::HttpProxy;
use crate::support::server::{self, read_head};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::{PATIENCE, any_port};

#[tokio::test]
async fn new_connections_show_the_new_password_and_go_to_the_new_proxy() {
    let ca = Ca::new();
    let api = secure_api(&ca);
    let [first, second] = [(), ()].map(|()| HttpProxy::to(api.address).start());
    let config = |proxy: &crate::support::egress_proxy::Proxy| {
        let url = proxy.url("http");
        let shown = "proxy_authorization = { file = \"proxy\" }";
        secure(&ca, &format!("proxy = \"{url}\"\n{shown}"))
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy"), "Bearer one").unwrap();
    let sidebearer = Sidebearer::start_in(dir, &config(&first));
    let mut connection = Connection::open(sidebearer.address()).await;
    assert_eq!(connection.get("/").await.unwrap().status, 200);

    // Nothing has changed: the connection stays.
    sidebearer.reload().await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    assert_eq!(first.asked().len(), 1);

    sidebearer.write("proxy", "Bearer two");
    sidebearer.reload().await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    let asked = first.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0].contains("Bearer one") && asked[1].contains("Bearer two"),
        "{asked:?}"
    );

    sidebearer.reconfigure(&config(&second)).await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));

    // What cannot be used changes nothing.
    sidebearer.write("proxy", "nobody");
    let refused = sidebearer.reload().await.unwrap_err().to_string();
    assert!(
        refused.contains("expected `user:password`") && !refused.contains("nobody"),
        "{refused}"
    );
    assert_eq!(connection.get("/").await.unwrap().status, 200);
}

/// A server that answers `GET` with `ok`, and echoes what comes behind anything else.
fn server() -> std::net::SocketAddr {
    server::bytes(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let answer: &[u8] = if head.starts_with("GET") {
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"
            };
            stream.write_all(answer).await.unwrap();
            if !head.starts_with("GET") {
                let mut rest = [0; 4];
                stream.read_exact(&mut rest).await.unwrap();
                stream.write_all(&rest).await.unwrap();
            }
        }
    })
}

#[tokio::test]
async fn a_new_password_of_the_proxy_of_all_is_shown_next_and_breaks_nothing_that_is_open() {
    let proxy = HttpProxy::to(server()).start();
    let config = format!(
        r#"
[egress]
addresses = "any"
proxy = "{}"
proxy_authorization = {{ file = "proxy" }}

[[listeners]]
name = "app"
address = "{}"
kind = "forward"
unmatched = "pass"

[upstreams.api]
url = "http://api.internal"
"#,
        proxy.url("http"),
        any_port()
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy"), "Bearer one").unwrap();
    let sidebearer = Sidebearer::start_in(dir, &config);
    let address = sidebearer.address();

    // A request to an upstream, one that passes, and a tunnel, all of which are open.
    let mut open = Vec::new();
    for host in ["api.internal", "far.internal"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let ask =
            format!("POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let mut tunnel = TcpStream::connect(address).await.unwrap();
    let ask = b"CONNECT far.internal:443 HTTP/1.1\r\nHost: far.internal:443\r\n\r\n";
    tunnel.write_all(ask).await.unwrap();
    read_head(&mut tunnel).await;
    tunnel.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    open.push(tunnel);
    for stream in &mut open {
        let head = read_head(stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream.read_exact(&mut [0; 4]).await.unwrap();
    }

    sidebearer.write("proxy", "Bearer two");
    sidebearer.reload().await.unwrap();
    for path in ["http://api.internal/", "http://far.internal/"] {
        let answer = client::raw(
            address,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.ends_with("ok"), "{answer}");
    }
    for mut stream in open {
        stream.write_all(b"rest").await.unwrap();
        let mut rest = [0; 4];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut rest)).await;
        read.expect("it goes on").unwrap();
        assert_eq!(&rest, b"rest");
    }
    let shown: Vec<_> = proxy
        .asked()
        .iter()
        .map(|head| (head.contains("Bearer one"), head.contains("Bearer two")))
        .collect();
    let (old, new) = ((true, false), (false, true));
    assert_eq!(shown, [old, old, old, new, new]);
}
