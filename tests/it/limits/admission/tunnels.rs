//! Tunnels at once, by an upgrade and by CONNECT.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::config;
use crate::support::client;
use crate::support::server::{self, read_head};
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually};

const UPGRADE: &str =
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";

/// Asks for an upgrade; the connection, and the status of the answer.
async fn upgrade(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head[9..12].to_owned())
}

#[tokio::test]
async fn a_tunnel_has_its_place_while_it_lives_and_none_among_the_requests() {
    let api = server::bytes(|_, mut stream| async move {
        if !read_head(&mut stream).await.contains("chat") {
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return stream.write_all(ok).await.unwrap();
        }
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let limits = "concurrent = 1, tunnels = 2";
    let sidebearer = Sidebearer::start(&config(&format!("http://{api}"), limits));
    let address = sidebearer.address();
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut opened = None;
        eventually("the last request has ended", async || {
            let (stream, status) = upgrade(address).await;
            opened = (status == "101").then_some(stream);
            opened.is_some()
        })
        .await;
        tunnels.extend(opened);
    }
    eventually("requests go on beside them", async || {
        client::get(address, "/").await.status == 200
    })
    .await;
    eventually("there is no place for a third one", async || {
        upgrade(address).await.1 == "429"
    })
    .await;
    tunnels.pop();
    eventually("its place is free", async || {
        upgrade(address).await.1 == "101"
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_that_passes_has_its_place_among_those_of_its_caller() {
    let far = server::bytes(|_, mut stream| async move {
        if read_head(&mut stream).await.contains("chat") {
            let switch =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
            stream.write_all(switch).await.unwrap();
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let key = "billing-0123456789abcdef0123456789abcdef";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), key).unwrap();
    let text = format!(
        "[callers.billing]\nkey = {{ file = \"key\" }}\nlimits = {{ tunnels = 1 }}\n\
         [[listeners]]\nname = \"app\"\naddress = \"{}\"\nkind = \"forward\"\nunmatched = \"pass\"\n\
         callers = [\"*\"]\n[egress]\naddresses = \"any\"\nports = [{}]\n",
        any_port(),
        far.port()
    );
    let sidebearer = Sidebearer::start_in(dir, &text);
    let ask = async |line: &str, more: &str| {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let shown = format!("Host: {far}\r\nProxy-Authorization: Bearer {key}\r\n");
        let head = format!("{line} HTTP/1.1\r\n{shown}{more}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        (stream, head[9..12].to_owned())
    };
    let upgrade = "Connection: upgrade\r\nUpgrade: chat\r\n";
    let chat = &format!("GET http://{far}/");
    let connect = &format!("CONNECT {far}");
    for (line, more, status) in [(chat, upgrade, "101"), (connect, "", "200")] {
        let mut open = None;
        eventually("the place is free", async || {
            let (stream, answered) = ask(line, more).await;
            open = (answered == status).then_some(stream);
            open.is_some()
        })
        .await;
        assert_eq!(ask(chat, upgrade).await.1, "429");
        assert_eq!(ask(connect, "").await.1, "429");
    }
}

/// Asks for a tunnel by CONNECT; the connection, and the status of the answer.
async fn connect(address: SocketAddr, target: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head[9..12].to_owned())
}

#[tokio::test]
async fn a_tunnel_of_connect_has_its_place_and_its_lines_in_the_audit() {
    let far = server::bytes(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let any = any_port();
    let text = format!(
        r#"
[audit]
file = "audit.jsonl"
overflow = "refuse"

[[listeners]]
name = "proxy"
address = "{any}"
kind = "forward"

[[routes]]
host = "far.internal"
upstream = "far"
limits = {{ tunnels = 1 }}

[upstreams.far]
url = "https://{far}"
"#
    );
    let sidebearer = Sidebearer::start(&text);
    let address = sidebearer.address();
    let target = "far.internal:443";
    let (tunnel, status) = connect(address, target).await;
    assert_eq!(status, "200");
    assert_eq!(connect(address, target).await.1, "429");
    drop(tunnel);
    let mut last = None;
    eventually("its place is free", async || {
        let (tunnel, status) = connect(address, target).await;
        last = Some(tunnel);
        status == "200"
    })
    .await;
    drop(last);
    eventually(
        "both tunnels have a beginning and an end in the audit",
        async || {
            let text = std::fs::read_to_string(sidebearer.dir().join("audit.jsonl")).unwrap();
            let count = |event: &str| {
                let lines = text.lines().filter(|line| line.contains(event));
                lines
                    .filter(|line| line.contains("\"host\":\"far.internal:443\""))
                    .count()
            };
            count("\"tunnel_begin\"") == 2 && count("\"tunnel_end\"") == 2
        },
    )
    .await;
}
