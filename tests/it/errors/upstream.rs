//! Errors on the way to the upstream.

use std::net::SocketAddr;
use std::process::Command;

use http::Method;
use tokio::net::TcpStream;

use super::{assert_error, only_listener, towards};
use crate::support::api::Api;
use crate::support::client::{self, Connection, request};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scripted::Server;
use crate::support::server::response;
use crate::support::sidebearer::with_admin;
use crate::support::tls::Ca;

#[tokio::test]
async fn an_upstream_that_fails_is_told_apart_by_how() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (format!("http://{}", silent.local_addr().unwrap()), silent);
    let (full, _queued) = full_backlog();
    let full = format!("http://{full}");
    let gone = Server::always("").await;
    let garbage = Server::always("SSH-2.0-OpenSSH_9.2\r\n").await;
    let half = Server::always("HTTP/1.1 200 OK\r\ncontent-le").await;
    let (gone, garbage, half) = (gone.address, garbage.address, half.address);
    let (ca, other) = (Ca::new(), Ca::new());
    let secure = |server| Api::with_tls(Some(server), |_| response(200, "ok")).address;
    let unknown = secure(other.identity(&["localhost"]).server(&[]));
    let expired = secure(ca.identity_until(&["localhost"], 2000).server(&[]));
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
            silent.0.clone(),
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
    listener
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
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
async fn without_a_socket_for_the_upstream_we_say_that_it_is_us() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, with_admin(&only_listener(&api.url(), ""))).unwrap();
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
    let answer = first.get("/").await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), "1");
    // When some are free again, it goes on.
    drop(clients);
    eventually("served again", async || {
        first.get("/").await.unwrap().status == 200
    })
    .await;
}
