//! Errors on the way to the upstream.

use std::net::SocketAddr;
use std::process::Command;

use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{assert_error, towards};
use crate::support::api::Api;
use crate::support::client::{self, Connection, request};
use crate::support::process::Process;
use crate::support::scripted::Server;
use crate::support::server::{Silent, read_head, response};
use crate::support::sidebearer::with_admin;
use crate::support::tls::Ca;
use crate::support::{eventually, loopback, unprotected};

#[tokio::test]
async fn an_upstream_that_fails_is_told_apart_by_how() {
    let refusing = format!("http://{}", loopback());
    let silent = Silent::start();
    let (full, _queued) = full_backlog();
    let full = format!("http://{full}");
    let gone = Server::always("").await;
    let garbage = Server::always("SSH-2.0-OpenSSH_9.2\r\n").await;
    let half = Server::always("HTTP/1.1 200 OK\r\ncontent-le").await;
    let (gone, garbage, half) = (gone.address, garbage.address, half.address);
    let (ca, other) = (Ca::new(), Ca::new());
    let secure = |server| Api::with_tls(Some(server), |_| response(200, "ok")).address;
    let unknown = secure(other.certificate(&["localhost"]).server(&[]));
    let expired = secure(ca.certificate_until(&["localhost"], 2000).server(&[]));
    let plain = Api::open().address;
    let trusting = format!(
        "tls = {{ ca_file = \"{}\", server_name = \"localhost\" }}",
        ca.file().display()
    );

    for (url, lines, status, code, in_detail) in [
        (
            refusing,
            "",
            502,
            "upstream_connect",
            "does not take connections",
        ),
        (
            "http://nothing.invalid".to_owned(),
            "",
            502,
            "upstream_connect",
            "cannot be resolved",
        ),
        (
            format!("http://{gone}"),
            "",
            502,
            "upstream_connect",
            "closed the connection",
        ),
        (
            format!("http://{half}"),
            "",
            502,
            "upstream_connect",
            "closed the connection",
        ),
        (
            format!("http://{garbage}"),
            "",
            502,
            "upstream_protocol",
            "not an HTTP response",
        ),
        (
            format!("https://{unknown}"),
            &trusting,
            502,
            "upstream_tls",
            "certificate",
        ),
        (
            format!("https://{expired}"),
            &trusting,
            502,
            "upstream_tls",
            "certificate",
        ),
        (
            format!("https://{plain}"),
            &trusting,
            502,
            "upstream_tls",
            "TLS",
        ),
        (
            format!("http://{}", silent.address()),
            "response_timeout = \"300ms\"",
            504,
            "upstream_timeout",
            "response_timeout",
        ),
        (
            full,
            "connect_timeout = \"300ms\"",
            504,
            "upstream_timeout",
            "connect_timeout",
        ),
    ] {
        let sidebearer = towards(&url, lines);
        let answer = client::get(sidebearer.address(), "/").await;
        assert_error(&sidebearer, &answer, (status, code, "api"), in_detail).await;
    }
}

/// A listener that takes no more connections, nor refuses them, while what is returned lives.
fn full_backlog() -> (SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&loopback().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        // In progress, or queued for ever.
        let _ = client.connect(&address);
        held.push(client);
    }
    (address.as_socket().unwrap(), held)
}

#[tokio::test]
async fn a_client_certificate_that_the_upstream_refuses_is_a_matter_of_tls() {
    let (ca, other) = (Ca::new(), Ca::new());
    let client = other.certificate(&["client"]);
    let (certificate, key) = (
        other.dir().join("client.pem"),
        other.dir().join("client.key"),
    );
    std::fs::write(&certificate, &client.certificate_pem).unwrap();
    std::fs::write(&key, &client.key_pem).unwrap();
    let trust = format!("ca_file = \"{}\"", ca.file().display());
    let stranger = format!(
        "{trust}, certificate_file = \"{}\", key_file = \"{}\"",
        certificate.display(),
        key.display()
    );
    // TLS 1.3: our side of the handshake has ended when the refusal comes.
    for alpn in ["http/1.1", "h2"] {
        let server = ca.own_certificate().demanding(&ca, &[alpn]);
        let api = Api::with_tls(Some(server), |_| response(200, "ok"));
        for tls in [&trust, &stranger] {
            let lines = format!("tls = {{ {tls} }}");
            let sidebearer = towards(&format!("https://{}", api.address), &lines);
            for method in [Method::GET, Method::POST] {
                let asked = client::request(method, "/", "");
                let answer = client::send(sidebearer.address(), asked).await;
                let told = (answer.status, answer.code());
                assert_eq!(told, (502, "upstream_tls".to_owned()), "{alpn}: {tls}");
            }
            let mut upgrade = client::request(Method::GET, "/", "");
            let headers = upgrade.headers_mut();
            headers.insert("connection", "upgrade".parse().unwrap());
            headers.insert("upgrade", "echo".parse().unwrap());
            let answer = client::send(sidebearer.address(), upgrade).await;
            // Such a server does not speak HTTP/1.1 at all.
            assert_eq!(answer.code(), "upstream_tls", "{alpn}: {tls}");
        }
        assert!(api.seen().is_empty());
    }
}

#[tokio::test]
async fn without_a_socket_we_say_that_it_is_us_and_health_goes_on() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, with_admin(&unprotected(&api.url(), ""))).unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64 && exec \"$0\" run --config \"$1\""]);
    limited.args([env!("CARGO_BIN_EXE_sidebearer").as_ref(), path.as_os_str()]);
    let process = Process::spawn(limited, dir);
    eventually("listening", async || process.told("admin").is_some()).await;

    let mut first = Connection::open(process.address()).await;
    first.send(request(Method::TRACE, "/", "")).await.unwrap();
    let mut clients = Vec::new();
    eventually("no descriptor is left", async || {
        clients.push(TcpStream::connect(process.address()).await.unwrap());
        process.log().contains("cannot accept")
    })
    .await;
    for page in ["/livez", "/readyz", "/metrics", "/status"] {
        // Each on a connection of its own.
        let answer = client::get(process.admin(), page).await;
        assert_eq!(answer.status, 200, "{page}");
    }
    let answer = first.get("/").await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), "1");
    // Those that wait are served when some are free again, with the others.
    let mut waiting = clients.pop().unwrap();
    drop(clients);
    eventually("served again", async || {
        first.get("/").await.unwrap().status == 200
    })
    .await;
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    waiting.write_all(get).await.unwrap();
    let head = read_head(&mut waiting).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}
