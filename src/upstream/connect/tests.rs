use std::io;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::dial::dial;
use super::*;
use crate::config::KeepAlive;
use crate::upstream::ForbiddenAddress;

/// An address that refuses: it is taken, and nobody listens. It stays so while the socket is kept.
fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// An address that never answers: its backlog is full. It stays so while the rest is kept.
async fn silent() -> (SocketAddr, Socket, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    let patience = Duration::from_millis(500);
    while let Ok(tcp) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        queued.push(tcp.unwrap());
        assert!(queued.len() < 16, "a backlog of nothing holds only a few");
    }
    (address, socket, queued)
}

/// Allows these addresses.
#[derive(Debug)]
struct Only(Vec<SocketAddr>);

impl AddressCheck for Only {
    fn judge(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        let is_allowed = self.0.contains(&address);
        is_allowed.then_some(()).ok_or_else(|| ForbiddenAddress {
            reason: "is no place".to_owned(),
            rule: "here",
        })
    }

    fn rule_for_none(&self) -> Option<&'static str> {
        Some("here")
    }
}

#[tokio::test]
async fn a_silent_address_delays_the_next_by_address_delay_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = listener.local_addr().unwrap();
    let (silent, _socket, _queued) = silent().await;
    for millis in [20, 700] {
        let dialing = Dialing {
            address_delay: Duration::from_millis(millis),
            ..Dialing::default()
        };
        let start = tokio::time::Instant::now();
        let (tcp, failed) = dial(vec![silent, good], &dialing).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
        assert!(failed.is_empty(), "silence is no answer");
        assert!(start.elapsed() >= dialing.address_delay);
    }
}

#[tokio::test]
async fn a_refusing_address_delays_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = listener.local_addr().unwrap();
    let [(one, _taken), (two, _too)] = [refusing(), refusing()];
    let tcp = dial(vec![one, two, good], &Dialing::default()).await;
    let (tcp, failed) = tcp.unwrap();
    assert_eq!(tcp.peer_addr().unwrap(), good);
    assert_eq!(failed, [one.ip(), two.ip()]);
}

#[tokio::test]
async fn when_no_address_answers_the_reason_is_given() {
    let [(one, _taken), (two, _too)] = [refusing(), refusing()];
    let dialing = Dialing::default();
    let error = dial(vec![one, two], &dialing).await;
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert!(dial(Vec::new(), &dialing).await.is_err());
}

#[tokio::test]
async fn the_system_is_told_how_to_notice_a_peer_that_vanished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialing = Dialing {
        keepalive: KeepAlive {
            time: Duration::from_secs(7),
            interval: Duration::from_secs(3),
            retries: 2,
        },
        ..Dialing::default()
    };
    let address = listener.local_addr().unwrap();
    let (tcp, _) = dial(vec![address], &dialing).await.unwrap();
    let socket = SockRef::from(tcp.tcp().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), dialing.keepalive.time);
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        dialing.keepalive.interval
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
}

#[tokio::test]
async fn the_timeout_names_the_step_that_was_slow() {
    let (address, _socket, _queued) = silent().await;
    let url = Url::parse(&format!("http://{address}")).unwrap();
    let connector = Connector::new(&url, &config::Tls::default(), HttpVersion::Auto).unwrap();
    let within = Duration::from_millis(50);
    let error = connector.connect(Protocols::Any, within).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no connection to {address} within 50ms: the TCP connection did not finish")
    );
}

#[tokio::test]
async fn a_tunnel_is_bare_tcp_whatever_the_scheme() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "https"] {
        let url = Url::parse(&format!("{scheme}://{address}")).unwrap();
        let connector = Connector::new(&url, &config::Tls::default(), HttpVersion::Auto).unwrap();
        let opened = connector.open_tunnel(Duration::from_secs(10)).await;
        let (mut io, peer) = opened.unwrap();
        assert_eq!(peer, address);
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"first").await.unwrap();
        let mut first = [0; 5];
        io.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first");
    }
}

#[tokio::test]
async fn a_tunnel_leads_to_no_address_that_is_forbidden() {
    let url = Url::parse("https://127.0.0.1:9").unwrap();
    let connector = Connector::new(&url, &config::Tls::default(), HttpVersion::Auto).unwrap();
    let connector = connector.with_address_check(Arc::new(Only(Vec::new())));
    let opened = connector.open_tunnel(Duration::from_secs(10)).await;
    let error = opened.unwrap_err().to_string();
    assert_eq!(error, "no connection to 127.0.0.1:9: 127.0.0.1 is no place");
}

#[tokio::test]
async fn only_allowed_addresses_of_a_name_are_dialled_whatever_it_resolves_to_the_next_time() {
    let [allowed, forbidden] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let [good, bad] = [&allowed, &forbidden].map(|listener| listener.local_addr().unwrap());
    let url = Url::parse("http://api.example.com").unwrap();
    let connector = Connector::new(&url, &config::Tls::default(), HttpVersion::Auto).unwrap();
    let connector = connector
        .with_address_check(Arc::new(Only(vec![good])))
        .with_answers([vec![bad, good, bad], vec![bad], vec![good], Vec::new()]);
    let within = Duration::from_secs(10);
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let connected = connector.connect(Protocols::Any, within).await;
        outcomes.push(connected.map(|connected| connected.peer));
    }
    assert_eq!(outcomes[0], Ok(good));
    assert_eq!(outcomes[2], Ok(good));
    for refused in [&outcomes[1], &outcomes[3]] {
        let Err(ConnectError::Forbidden { rule: "here", .. }) = refused else {
            panic!("{refused:?}");
        };
    }
    drop(connector);
    let dialled = tokio::time::timeout(Duration::from_millis(50), forbidden.accept()).await;
    assert!(
        dialled.is_err(),
        "nothing has come to the forbidden address"
    );
}

#[tokio::test]
async fn a_name_that_leads_to_a_socket_of_this_process_is_not_dialled() {
    let own = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [here, there] = [&own, &other].map(|listener| listener.local_addr().unwrap());
    let own_sockets = Arc::new(OwnSockets::default());
    own_sockets.set([here]);
    let url = Url::parse("http://api.example.com").unwrap();
    let connector = Connector::new(&url, &config::Tls::default(), HttpVersion::Auto).unwrap();
    let connector = connector
        .with_own_sockets(Arc::clone(&own_sockets))
        .with_answers([vec![here], vec![here, there], vec![there]]);
    let within = Duration::from_secs(10);
    let refused = connector.open_tunnel(within).await.unwrap_err();
    assert!(matches!(refused, ConnectError::OwnSocket { address, .. } if address == here));
    let (_, peer) = connector.open_tunnel(within).await.unwrap();
    assert_eq!(peer, there);
    // As after a reload.
    own_sockets.set([here, there]);
    connector.open_tunnel(within).await.unwrap_err();
    let dialled = tokio::time::timeout(Duration::from_millis(50), own.accept()).await;
    assert!(dialled.is_err());
}

#[test]
fn connecting_can_move_between_threads() {
    fn send<T: Send>(_: T) {}
    let url = Url::parse("http://127.0.0.1:1").unwrap();
    let connector = Connector::new(&url, &config::Tls::default(), HttpVersion::Auto).unwrap();
    send(connector.connect(Protocols::Any, Duration::ZERO));
    send(connector.open_tunnel(Duration::ZERO));
    send(connector);
}
