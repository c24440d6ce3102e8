//! A client is offered what the API speaks.

use http::Request;
use tokio::io::AsyncWriteExt;

use super::{CRM, Site, config, get, secure, trusted, trusting};
use crate::support::client::Connection;
use crate::support::idp::Idp;
use crate::support::server;
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;

const BOTH: &[&str] = &["h2", "http/1.1"];

#[tokio::test]
async fn alpn_mirrors_what_the_api_chooses() {
    for (of_api, of_client, expected) in [
        (BOTH, BOTH, Some("h2")),
        (&["h2"], BOTH, Some("h2")),
        (BOTH, &["http/1.1"], Some("http/1.1")),
        (&["http/1.1"], BOTH, Some("http/1.1")),
        (&[], BOTH, Some("http/1.1")),
        (BOTH, &[], None),
    ] {
        let site = Site::speaking(of_api);
        // The second time it is known what the API speaks.
        for _ in 0..2 {
            let stream = site.connect(CRM, "crm.example.com", of_client).await;
            let stream = stream.unwrap();
            let chosen = stream.get_ref().1.alpn_protocol();
            let chosen = chosen.map(|name| str::from_utf8(name).unwrap());
            assert_eq!(chosen, expected, "{of_api:?} {of_client:?}");
            if chosen != Some("h2") {
                let mut connection = Connection::over(stream).await;
                let answer = connection.send(get("/x", "crm.example.com")).await;
                assert_eq!(answer.unwrap().status, 200, "{of_api:?} {of_client:?}");
            }
        }
        site.counted("success", 2.0).await;
    }
}

#[tokio::test]
async fn a_client_of_http2_alone_is_told_when_the_api_does_not_speak_it() {
    let site = Site::speaking(&["http/1.1"]);
    let refused = site.connect(CRM, "crm.example.com", &["h2"]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    site.counted("incompatible", 1.0).await;
}

#[tokio::test]
async fn the_connection_that_found_out_carries_the_first_request() {
    for alpn in [&["http/1.1"][..], BOTH] {
        let site = Site::speaking(alpn);
        let mut connection = site.http1().await;
        let answer = connection.send(get("/x", "crm.example.com")).await;
        assert_eq!(answer.unwrap().status, 200);
        let labels = "outcome=\"success\",upstream=\"crm\"";
        let series = format!("sidebearer_upstream_connects_total{{{labels}}}");
        assert_eq!(site.sidebearer.metric(&series).await, 1.0, "{alpn:?}");
    }
}

/// An API of HTTP/2 that takes extended CONNECT, or does not; each request is answered 200.
fn api(ca: &Ca, takes_connect: bool) -> std::net::SocketAddr {
    let tls = ca.own_certificate().server(&["h2"]);
    let mut settings = h2::server::Builder::new();
    if takes_connect {
        settings.enable_connect_protocol();
    }
    server::http2_with(Some(tls), settings, |request, mut respond| async move {
        assert_eq!(request.headers()["authorization"], "Bearer token-1");
        let is_tunnel = request.method() == http::Method::CONNECT;
        let answer = http::Response::new(());
        let mut sending = respond.send_response(answer, !is_tunnel).unwrap();
        if is_tunnel {
            sending.send_data("hello".into(), true).unwrap();
        }
    })
}

#[tokio::test]
async fn extended_connect_is_announced_where_the_api_takes_it() {
    for takes_connect in [true, false] {
        let (ca, idp) = (Ca::new(), Idp::start());
        let sidebearer = Sidebearer::start(&config(api(&ca, takes_connect), "", &ca, &idp));
        for _ in 0..2 {
            let stream = tunnel(sidebearer.address_of("proxy"), CRM).await;
            let client = trusting(&trusted(&sidebearer), &["h2"]);
            let stream = secure(stream, "crm.example.com", client).await.unwrap();
            let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let plain = Request::get("https://crm.example.com/x").body(()).unwrap();
            let (answer, _) = sender.send_request(plain, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
            // The settings of the server have come before its answer.
            let announced = sender.is_extended_connect_protocol_enabled();
            assert_eq!(announced, takes_connect);
            if takes_connect {
                let mut open = Request::connect("https://crm.example.com/socket")
                    .body(())
                    .unwrap();
                let protocol = h2::ext::Protocol::from_static("websocket");
                open.extensions_mut().insert(protocol);
                let (answer, _sending) = sender.send_request(open, false).unwrap();
                let mut body = answer.await.unwrap().into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), "hello");
            }
        }
    }
}

#[tokio::test]
async fn a_client_without_alpn_may_begin_http2_by_its_preface() {
    let site = Site::speaking(BOTH);
    let stream = site.connect(CRM, "crm.example.com", &[]).await.unwrap();
    let mut sender = super::over_http2(stream).await;
    let request = Request::get("https://crm.example.com/x").body(server::whole(""));
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn tls_inside_of_tls_is_refused() {
    let site = Site::speaking(&["http/1.1"]);
    let stream = site.connect(CRM, "crm.example.com", &["http/1.1"]).await;
    let mut stream = stream.unwrap();
    stream.write_all(&[22, 3, 1, 0, 1, 0]).await.unwrap();
    let head = server::read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}
