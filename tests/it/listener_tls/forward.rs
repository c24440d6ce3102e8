//! A forward listener over TLS: an `https://` proxy.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Request};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{NAME, connect, speaking, write};
use crate::support::api::Api;
use crate::support::client;
use crate::support::server::{self, read_head, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::{any_port, eventually};

/// A proxy that is reached over TLS, and leads to `plain.example.com` and, by tunnels, to `far.example.com`.
pub(super) struct SecureProxy {
    pub(super) ca: Ca,
    clients: Ca,
    pub(super) plain: Api,
    pub(super) sidebearer: Sidebearer,
}

impl SecureProxy {
    pub(super) fn start(far: SocketAddr) -> Self {
        let (ca, plain, dir) = (Ca::new(), Api::open(), tempfile::tempdir().unwrap());
        write(dir.path(), "own", &ca.certificate(&[NAME]));
        let clients = Ca::new();
        std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
        std::fs::write(dir.path().join("clients.crl"), clients.crl(&[], 4000)).unwrap();
        let config = format!(
            "[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\n\
             tls = {{ certificate_file = \"own.pem\", key_file = \"own.key\", client_ca_file = \"clients.pem\", \
             client_crl_file = \"clients.crl\" }}\n\
             [upstreams.plain]\nurl = \"{}\"\nhosts = [\"plain.example.com:80\"]\n\
             [upstreams.far]\nurl = \"https://{far}\"\nhosts = [\"far.example.com:443\"]\n",
            any_port(),
            plain.url(),
        );
        Self {
            ca,
            clients,
            plain,
            sidebearer: Sidebearer::start_in(dir, &config),
        }
    }

    async fn connect(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        let config = speaking(self.ca.client(), alpn);
        connect(self.sidebearer.address(), config, NAME)
            .await
            .unwrap()
    }
}

/// Echoes, and says `bye` at the end of what comes.
fn far() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.write_all(b"bye").await;
    })
}

#[tokio::test]
async fn absolute_urls_lead_to_upstreams_in_both_versions() {
    let proxy = SecureProxy::start(far());
    let mut first = proxy.connect(&["http/1.1"]).await;
    let request = "GET http://plain.example.com/a HTTP/1.1\r\nHost: plain.example.com\r\nConnection: close\r\n\r\n";
    first.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");

    let io = TokioIo::new(proxy.connect(&["h2"]).await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::GET)
        .uri("http://plain.example.com/b")
        .body(whole(""))
        .unwrap();
    let answer = client::read(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer.unwrap().text(), "ok");
    let targets: Vec<_> = proxy
        .plain
        .seen()
        .iter()
        .map(|seen| seen.target.clone())
        .collect();
    assert_eq!(targets, ["/a", "/b"]);
}

#[tokio::test]
async fn a_tunnel_over_tls_passes_bytes_and_the_end_of_each_direction() {
    let proxy = SecureProxy::start(far());
    let mut stream = proxy.connect(&["http/1.1"]).await;
    let connect = "CONNECT far.example.com:443 HTTP/1.1\r\nHost: far.example.com:443\r\n\r\n";
    stream.write_all(connect.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    for size in [1, 1000, 300_000] {
        let sent = vec![size as u8; size];
        let mut back = vec![0; size];
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let writing = async {
            write.write_all(&sent).await.unwrap();
            write.flush().await.unwrap();
        };
        let (_, read) = tokio::join!(writing, read.read_exact(&mut back));
        read.unwrap();
        assert!(back == sent, "{size}");
    }
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");
}

#[tokio::test]
async fn plain_http_inside_of_a_connect_is_served() {
    let proxy = SecureProxy::start(far());
    let mut stream = proxy.connect(&["http/1.1"]).await;
    let connect = "CONNECT plain.example.com:80 HTTP/1.1\r\nHost: plain.example.com:80\r\n\r\n";
    stream.write_all(connect.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let request = "GET /inside HTTP/1.1\r\nHost: plain.example.com\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(proxy.plain.seen()[0].target, "/inside");
}

#[tokio::test]
async fn what_a_certificate_has_opened_ends_with_it() {
    let proxy = SecureProxy::start(far());
    let ask = async |stream: &mut TlsStream<TcpStream>, line: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: plain.example.com\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        read_head(stream).await[9..12].to_owned()
    };
    let plain = "HEAD http://plain.example.com/";
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut good_for = 4;
    // On a busy machine opening takes its time.
    let (until, mut kept, mut tunnel) = loop {
        let until = Duration::from_secs(now().as_secs() + good_for);
        let certificate = (proxy.clients).certificate_ending(&["a.internal"], UNIX_EPOCH + until);
        let open = async || {
            let config = proxy.ca.client_with(&certificate);
            let connected = connect(proxy.sidebearer.address(), config, NAME);
            connected.await.unwrap()
        };
        let opening = async {
            let (mut kept, mut tunnel) = (open().await, open().await);
            assert_eq!(ask(&mut kept, plain).await, "200");
            assert_eq!(ask(&mut tunnel, "CONNECT far.example.com:443").await, "200");
            (kept, tunnel)
        };
        let opened = tokio::time::timeout(Duration::from_secs(good_for - 1), opening).await;
        if let Ok((kept, tunnel)) = opened {
            break (until, kept, tunnel);
        }
        good_for *= 4;
    };
    eventually("a request is refused", async || {
        let status = ask(&mut kept, plain).await;
        if status == "200" {
            return false;
        }
        assert_eq!(status, "407");
        assert!(now() > until, "refused before the end of the certificate");
        true
    })
    .await;
    let cut = tunnel.read(&mut [0]).await;
    assert!(cut.is_err(), "{cut:?}");
}

#[tokio::test]
async fn a_tunnel_outlives_its_connection_but_not_its_certificate() {
    let proxy = SecureProxy::start(far());
    let (good, bad) = (
        proxy.clients.certificate(&["a.internal"]),
        proxy.clients.certificate(&["b.internal"]),
    );
    let mut tunnels = Vec::new();
    for certificate in [&good, &bad] {
        let address = proxy.sidebearer.address();
        let config = proxy.ca.client_with(certificate);
        let mut stream = connect(address, config, NAME).await.unwrap();
        let ask = "CONNECT far.example.com:443 HTTP/1.1\r\nHost: far.example.com:443\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        tunnels.push(stream);
    }
    let crl = proxy.clients.crl(&[&bad], 4000);
    proxy.sidebearer.write("clients.crl", &crl);
    // The second time the connections are about to end already.
    for _ in 0..2 {
        proxy.sidebearer.reload().await.unwrap();
        let mut back = [0; 2];
        tunnels[0].write_all(b"on").await.unwrap();
        tunnels[0].read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"on");
    }
    let cut = tunnels[1].read(&mut [0]).await;
    assert!(
        cut.is_err(),
        "a cut tunnel does not end as a whole one does"
    );
}
