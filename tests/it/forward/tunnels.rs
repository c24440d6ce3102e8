//! Tunnels: what a CONNECT to a TLS port becomes where no token is owed.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::World;
use crate::support::api::Api;
use crate::support::server::{self, read_head, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::{comes_back, end_of, is_reset, tunnel};
use crate::support::{PATIENCE, any_port, client, eventually};

/// What a server saw of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Bytes(String),
    End,
    Reset,
}

/// A server behind a tunnel. It echoes, says `bye` at the end of what comes, ends its own direction when it is told
/// to `finish`, and resets the connection when it is told to `break`.
pub(super) fn far() -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let (tell, seen) = mpsc::unbounded_channel();
    let address = server::bytes(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            let mut piece = vec![0; 64 << 10];
            loop {
                match stream.read(&mut piece).await {
                    Ok(0) => {
                        let _ = tell.send(Seen::End);
                        let _ = stream.write_all(b"bye").await;
                        return;
                    }
                    Ok(length) => {
                        let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                        match text.as_str() {
                            "finish" => stream.shutdown().await.unwrap(),
                            "break" => {
                                SockRef::from(&stream)
                                    .set_linger(Some(Duration::ZERO))
                                    .unwrap();
                                return;
                            }
                            // Behind its own end it only listens.
                            _ => {
                                let _ = stream.write_all(&piece[..length]).await;
                            }
                        }
                        let _ = tell.send(Seen::Bytes(text));
                    }
                    Err(_) => {
                        let _ = tell.send(Seen::Reset);
                        return;
                    }
                }
            }
        }
    });
    (address, seen)
}

/// A forward listener `proxy` that leads to `far`, an https upstream without a credential.
pub(super) fn leading_to(far: SocketAddr, lines: &str) -> String {
    format!(
        r#"
[[listeners]]
name = "proxy"
address = "{}"
kind = "forward"

[upstreams.far]
url = "https://{far}"
hosts = ["far.example.com", "far.old.internal:8443"]

{lines}
"#,
        any_port()
    )
}

pub(super) async fn next(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    let next = timeout(PATIENCE, seen.recv()).await;
    next.expect("the server sees something").unwrap()
}

#[tokio::test]
async fn a_client_speaks_tls_with_the_server_itself() {
    let (ca, api) = (Ca::new(), |_: &_| response(200, "far"));
    let api = Api::with_tls(Some(ca.own_certificate().server(&["http/1.1"])), api);
    let sidebearer = Sidebearer::start(&leading_to(api.address, ""));
    let target = format!("far.example.com:{}", api.address.port());
    let stream = tunnel(sidebearer.address(), &target).await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(ca.client()));
    let name = ServerName::IpAddress(api.address.ip().into());
    let stream = connector.connect(name, stream).await.unwrap();
    let mut inside = client::Connection::over(stream).await;
    let get = http::Request::get("/x").header("authorization", "Bearer own");
    let get = get.body(Default::default()).unwrap();
    assert_eq!(inside.send(get).await.unwrap().text(), "far");
    let seen = &api.seen()[0];
    assert_eq!(seen.authorization(), "Bearer own");
    assert!(!seen.headers.contains_key("via"), "nobody reads it");
}

#[tokio::test]
async fn each_direction_of_a_tunnel_ends_on_its_own() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut stream = tunnel(sidebearer.address(), "far.old.internal:8443").await;
    comes_back(&mut stream, "ping").await;
    assert_eq!(next(&mut seen).await, Seen::Bytes("ping".to_owned()));
    stream.shutdown().await.unwrap();
    assert_eq!(next(&mut seen).await, Seen::End);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");

    let mut stream = tunnel(sidebearer.address(), "far.old.internal:8443").await;
    stream.write_all(b"finish").await.unwrap();
    assert_eq!(next(&mut seen).await, Seen::Bytes("finish".to_owned()));
    assert_eq!(end_of(&mut stream).await.unwrap(), 0);
    stream.write_all(b"more").await.unwrap();
    assert_eq!(next(&mut seen).await, Seen::Bytes("more".to_owned()));
}

#[tokio::test]
async fn a_reset_of_one_side_is_one_of_the_other() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut stream = tunnel(sidebearer.address(), "far.old.internal:8443").await;
    stream.write_all(b"break").await.unwrap();
    assert!(is_reset(end_of(&mut stream).await));

    let mut stream = tunnel(sidebearer.address(), "far.old.internal:8443").await;
    comes_back(&mut stream, "ping").await;
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    while next(&mut seen).await != Seen::Reset {}
}

#[tokio::test]
async fn bytes_that_came_behind_connect_before_the_200_go_through_the_tunnel() {
    let (far, mut seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let connect = format!("CONNECT {far} HTTP/1.1\r\nHost: {far}\r\n\r\n");
    // More than what is read of a connection at once.
    let early = "0123456789abcdef".repeat(20_000);
    let (mut read, mut write) = stream.split();
    let sends = async {
        write
            .write_all((connect + &early).as_bytes())
            .await
            .unwrap();
        write.shutdown().await.unwrap();
    };
    let reads = async {
        assert!(
            read_head(&mut read)
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
        let mut back = String::new();
        read.read_to_string(&mut back).await.unwrap();
        assert!(back == early.clone() + "bye", "{} bytes", back.len());
    };
    tokio::join!(sends, reads);
    let mut came = String::new();
    while let Seen::Bytes(bytes) = next(&mut seen).await {
        came += &bytes;
    }
    assert!(came == early, "{} bytes", came.len());
}

#[tokio::test]
async fn the_answer_is_200_only_when_the_connection_stands() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = refusing.local_addr().unwrap();
    drop(refusing);
    let sidebearer = Sidebearer::start(&leading_to(nobody, "connect_timeout = \"10s\""));
    let connect = format!("CONNECT {nobody} HTTP/1.1\r\nHost: {nobody}\r\n\r\nearly");
    let refused = client::raw(sidebearer.address(), connect).await;
    let line = "HTTP/1.1 502 sidebearer upstream_connect\r\n";
    assert!(refused.starts_with(line), "{refused}");
    assert!(
        refused.to_lowercase().contains("connection: close"),
        "{refused}"
    );
    let series = "sidebearer_upstream_connects_total{outcome=\"unreachable\",upstream=\"far\"}";
    assert_eq!(sidebearer.metric(series).await, 1.0);
}

#[tokio::test]
async fn a_tunnel_takes_one_of_the_connections_of_its_upstream() {
    let (far, _seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, "max_connections = 1"));
    let (proxy, target) = (sidebearer.address(), "far.old.internal:8443");
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let stream = tunnel(proxy, target).await;
    let refused = client::raw(proxy, &connect).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 sidebearer overloaded\r\n"),
        "{refused}"
    );
    let series = "sidebearer_upstream_connections{state=\"active\",upstream=\"far\"}";
    assert_eq!(sidebearer.metric(series).await, 1.0);
    drop(stream);
    eventually("its place is free", async || {
        sidebearer.metric(series).await == 0.0
    })
    .await;
    tunnel(proxy, target).await;
}

#[tokio::test]
async fn a_tunnel_past_a_token_is_never_opened() {
    let world = World::with(
        "[upstreams.other]\nurl = \"https://crm.example.com\"\n",
        |_| response(200, "crm"),
    );
    // One of the two upstreams there has a credential.
    let target = format!("crm.example.com:{}", world.crm.address.port());
    for target in [target.as_str(), "crm.old.internal:8443"] {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let refused = client::raw(world.address(), &connect).await;
        let line = "HTTP/1.1 403 sidebearer interception_off\r\n";
        assert!(refused.starts_with(line), "{refused}");
    }
}

#[tokio::test]
async fn a_tunnel_leads_to_one_place_or_nowhere() {
    let lines = "[upstreams.other]\nurl = \"https://127.0.0.1:9\"\nhosts = [\"far.example.com:443\"]\n\
                 [[routes]]\nhost = \"far.example.com\"\npath = \"/x\"\nupstream = \"far\"\n";
    let (far, _seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, lines));
    let connect = "CONNECT far.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n";
    let refused = client::raw(sidebearer.address(), connect).await;
    assert!(refused.contains("upstreams at several places"), "{refused}");
}

#[tokio::test]
async fn open_tunnels_are_counted_and_shown() {
    let (far, _seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, ""));
    let mut stream = tunnel(sidebearer.address(), "far.old.internal:8443").await;
    comes_back(&mut stream, "ping").await;
    let labels = "listener=\"proxy\",upstream=\"far\"";
    let open = format!("sidebearer_tunnels{{{labels}}}");
    assert_eq!(sidebearer.metric(&open).await, 1.0);
    let shown = &sidebearer.status().await["tunnels"];
    assert_eq!(shown["proxy"]["far"], 1, "{shown}");
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    eventually("it is over", async || sidebearer.metric(&open).await == 0.0).await;
    let ended = format!("sidebearer_tunnels_ended_total{{end=\"closed\",{labels}}}");
    assert_eq!(sidebearer.metric(&ended).await, 1.0);
    for (direction, bytes) in [("from_client", 4.0), ("to_client", 7.0)] {
        let moved = format!("sidebearer_tunnel_bytes_total{{direction=\"{direction}\",{labels}}}");
        assert_eq!(sidebearer.metric(&moved).await, bytes, "{direction}");
    }
    let answered = format!("sidebearer_requests_total{{code=\"200\",{labels}}}");
    assert_eq!(sidebearer.metric(&answered).await, 1.0);
}
