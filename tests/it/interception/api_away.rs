//! An API that cannot be reached: the client is told before its CONNECT is answered, or by each request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CRM, config, get, secure, trusted, trusting};
use crate::support::client::{self, Connection};
use crate::support::idp::Idp;
use crate::support::server::{self, Silent, read_head};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::{eventually, loopback};

fn connect() -> String {
    format!("CONNECT {CRM} HTTP/1.1\r\nHost: {CRM}\r\n\r\n")
}

#[tokio::test]
async fn a_connect_is_refused_while_nobody_knows_what_an_api_speaks_that_is_away() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let nobody = loopback();
    let foreign = Ca::new();
    let distrusted = server::serve(
        Some(foreign.own_certificate().server(&["h2"])),
        async |_| server::response(200, ""),
    );
    let silent = Silent::start();
    let timeout = "connect_timeout = \"300ms\"\n";
    for (api, more, status, code) in [
        (nobody, "", 502, "upstream_connect"),
        (distrusted, "", 502, "upstream_tls"),
        (silent.address(), timeout, 504, "upstream_timeout"),
    ] {
        let config = config(api, "", &ca, &idp)
            .replace("\n[credentials.crm]", &format!("{more}\n[credentials.crm]"));
        let sidebearer = Sidebearer::start(&config);
        let refused = client::raw(sidebearer.address_of("proxy"), connect()).await;
        let expected = format!("HTTP/1.1 {status} sidebearer {code}\r\n");
        assert!(refused.starts_with(&expected), "{refused}");
        assert!(refused.contains(code), "{refused}");
        let labels = format!("error=\"{code}\",listener=\"proxy\",upstream=\"crm\"");
        let series = format!("sidebearer_errors_total{{{labels}}}");
        assert_eq!(sidebearer.metric(&series).await, 1.0);
    }
}

#[tokio::test]
async fn while_an_api_is_known_each_request_is_told_that_it_is_away() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let listener = Silent::start();
    let address = listener.address();
    let tls = ca.own_certificate().server(&["http/1.1"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    // One connection, on which one request is answered.
    let served = tokio::spawn(async move {
        let stream = listener.connection().await;
        drop(listener);
        let mut stream = acceptor.accept(stream).await.unwrap();
        let _ = read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.shutdown().await;
    });
    let sidebearer = Sidebearer::start(&config(address, "", &ca, &idp));
    let proxy = sidebearer.address_of("proxy");
    let client = trusting(&trusted(&sidebearer), &["http/1.1"]);
    let open = async || {
        let stream = crate::support::tunnel::tunnel(proxy, CRM).await;
        let stream = secure(stream, "crm.example.com", client.clone()).await;
        Connection::over(stream.unwrap()).await
    };
    let mut connection = open().await;
    let answer = connection.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().status, 200);
    served.await.unwrap();
    for connection in [&mut connection, &mut open().await] {
        let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
        assert_eq!((answer.status, &*answer.code()), (502, "upstream_connect"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_api_is_dialled_leaves_nothing_behind() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let silent = Silent::start();
    let config = config(silent.address(), "max_handshakes = 1", &ca, &idp);
    let sidebearer = Sidebearer::start(&config);
    let proxy = sidebearer.address_of("proxy");
    let mut waiting = TcpStream::connect(proxy).await.unwrap();
    waiting.write_all(connect().as_bytes()).await.unwrap();
    let mut dialled = silent.connection().await;
    let mut begun = [0; 1];
    dialled.read_exact(&mut begun).await.unwrap();
    let shed = client::raw(proxy, connect()).await;
    assert!(shed.starts_with("HTTP/1.1 503 "), "{shed}");
    drop(waiting);
    eventually("its place is free", async || {
        let mut next = TcpStream::connect(proxy).await.unwrap();
        next.write_all(connect().as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_millis(200), next.read_u8());
        // It is not refused, but waits for the API.
        answer.await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_connect_to_an_address_learns_inside_that_the_api_is_away() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let sidebearer = Sidebearer::start(&config(loopback(), "", &ca, &idp));
    let client = trusting(&trusted(&sidebearer), &["http/1.1"]);
    let stream = crate::support::tunnel::tunnel(sidebearer.address_of("proxy"), "192.0.2.7:443");
    let stream = secure(stream.await, "crm.example.com", client).await;
    let mut connection = Connection::over(stream.unwrap()).await;
    let answer = connection.send(get("/x", "crm.example.com")).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_connect"));
}
