//! TLS on redirected connections.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::{World, request};
use crate::audit::wait_for;
use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::server::response;

/// A request to `name` over TLS that trusts the CA of the API.
async fn get(world: &World, address: std::net::SocketAddr, name: &str) -> std::io::Result<String> {
    let connector = TlsConnector::from(Arc::new(world.ca.client()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = connector.connect(name, world.connect(address)).await?;
    let mut connection = Connection::over(stream).await;
    let answer = connection.send(request("other.example.com", "/")).await;
    Ok(answer.unwrap().text())
}

/// An API at port 443 there, with a certificate of the CA for these names.
fn serve(world: &World, address: std::net::SocketAddr, names: &[&str]) -> Api {
    let certificate = world.ca.certificate(names).server(&["http/1.1"]);
    Api::on(
        world.network.there.listen_at(address),
        Some(certificate),
        |_| response(200, "end to end"),
    )
}

#[tokio::test]
async fn tls_that_nothing_matches_stays_end_to_end() {
    let Some(world) = World::start().await else {
        return;
    };
    let there = &world.network.there;
    for address in [there.address(443), there.address_v6(443)] {
        let _api = serve(
            &world,
            address,
            &["other.example.com", &address.ip().to_string()],
        );
        // By its name, and without one.
        for name in ["other.example.com", &address.ip().to_string()] {
            assert_eq!(get(&world, address, name).await.unwrap(), "end to end");
        }
    }
    // A client knows of the end of its request before that is told.
    eventually("lines", async || {
        let by_name = world.lines_of("other.example.com:443");
        let by_address = world.lines_of("[fd53::2]:443");
        let first = by_name.first().map(|line| &line["original"]);
        assert!(first.is_none_or(|original| original == "10.0.0.2:443"));
        first.is_some() && !by_address.is_empty()
    })
    .await;
}

#[tokio::test]
async fn tls_is_refused_where_it_would_pass_by_its_token() {
    let Some(world) = World::start().await else {
        return;
    };
    let address = world.network.there.address(443);
    let api = serve(&world, address, &["secure.example.com"]);
    let refused = get(&world, address, "secure.example.com")
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("AccessDenied"), "{refused}");
    assert!(api.seen().is_empty() && world.secure.seen().is_empty());
    eventually("a line", async || {
        let lines = world.lines_of("secure.example.com:443");
        lines.iter().any(|line| line["error"] == "interception_off")
    })
    .await;
    let series = r#"sidebearer_errors_total{error="interception_off",listener="apps",upstream=""}"#;
    assert_eq!(world.metric(series).await, 1.0);
}

#[tokio::test]
async fn what_is_led_on_unread_and_what_is_refused_are_in_the_audit() {
    let Some(world) = World::with("", "[audit]\nfile = \"audit.jsonl\"\n").await else {
        return;
    };
    let address = world.network.there.address(443);
    let _api = serve(&world, address, &["other.example.com"]);
    let answer = get(&world, address, "other.example.com").await.unwrap();
    assert_eq!(answer, "end to end");
    get(&world, address, "secure.example.com")
        .await
        .unwrap_err();
    let file = world.sidebearer.dir().join("audit.jsonl");
    let begun = &wait_for(&file, "tunnel_begin", 1).await[0];
    let ended = &wait_for(&file, "tunnel_end", 1).await[0];
    for record in [begun, ended] {
        assert_eq!(record["method"], "CONNECT", "{record}");
        assert_eq!(record["host"], "other.example.com:443", "{record}");
        assert_eq!(record["listener"], "apps", "{record}");
        assert_eq!(record["decision"], "allowed", "{record}");
        assert!(record.get("credential").is_none(), "{record}");
    }
    assert!(ended["bytes_in"].as_u64().unwrap() > 0, "{ended}");
    let refused = &wait_for(&file, "request", 1).await[0];
    assert_eq!(refused["host"], "secure.example.com:443", "{refused}");
    assert_eq!(refused["decision"], "denied", "{refused}");
    assert_eq!(refused["error"], "interception_off", "{refused}");
}

#[tokio::test]
async fn a_rule_for_the_very_host_lets_its_tls_pass() {
    let rest = "[[egress.rules]]\nhosts = [\"secure.example.com\"]\naction = \"pass\"\n\
                [[egress.rules]]\nhosts = [\"bad.example.com\"]\naction = \"deny\"\n";
    let Some(world) = World::with("", rest).await else {
        return;
    };
    let address = world.network.there.address(443);
    let _api = serve(&world, address, &["secure.example.com", "bad.example.com"]);
    assert_eq!(
        get(&world, address, "secure.example.com").await.unwrap(),
        "end to end"
    );
    let refused = get(&world, address, "bad.example.com").await.unwrap_err();
    assert!(refused.to_string().contains("AccessDenied"), "{refused}");
}

#[tokio::test]
async fn a_matched_upstream_without_a_credential_is_led_to_by_its_own_address() {
    let rest =
        "[upstreams.open]\nurl = \"https://[fd53::2]:8444\"\nhosts = [\"open.example.com:443\"]\n";
    let Some(world) = World::with("", rest).await else {
        return;
    };
    let _api = serve(
        &world,
        world.network.there.address_v6(8444),
        &["open.example.com"],
    );
    let nobody = world.nobody(443)[0];
    assert_eq!(
        get(&world, nobody, "open.example.com").await.unwrap(),
        "end to end"
    );
}

#[tokio::test]
async fn a_handshake_in_pieces_and_one_that_nobody_can_read_are_led_on() {
    let Some(world) = World::start().await else {
        return;
    };
    let address = world.network.there.address(443);
    let _api = serve(&world, address, &["other.example.com"]);
    // In pieces of a byte.
    let name = ServerName::try_from("other.example.com").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(world.ca.client()), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = world.connect(address);
    for byte in hello {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [22, 3, 3], "the server has answered");
    // A record of a handshake with nonsense in it: the server says so itself.
    let mut stream = world.connect(address);
    stream
        .write_all(&[22, 3, 1, 0, 4, 1, 0, 0, 0])
        .await
        .unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[0], 21, "an alert");
    eventually("a line", async || {
        !world.lines_of("10.0.0.2:443").is_empty()
    })
    .await;
}

#[tokio::test]
async fn tls_is_ended_where_the_listener_intercepts_and_only_there() {
    let rest = "[interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\n\
                domains = [\"example.com\", \"10.0.0.2\"]\n";
    let Some(world) = World::with("intercept = true", rest).await else {
        return;
    };
    let pem = std::fs::read(world.sidebearer.dir().join("trust/ca.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let trusting = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(trusting));
    for address in world.nobody(443) {
        let name = ServerName::try_from("secure.example.com").unwrap();
        let stream = connector
            .connect(name, world.connect(address))
            .await
            .unwrap();
        let mut connection = Connection::over(stream).await;
        let answer = connection
            .send(request("secure.example.com", "/v1"))
            .await
            .unwrap();
        assert_eq!(answer.text(), "secure crm");
        // One name for all of a connection.
        let answer = connection
            .send(request("other.example.com", "/v1"))
            .await
            .unwrap();
        assert_eq!((answer.status, &*answer.code()), (421, "misdirected"));
    }
    assert_eq!(world.secure.seen()[0].authorization(), "Bearer token-1");
    let address = world.network.there.address(443);
    let _api = serve(&world, address, &["other.example.com"]);
    assert_eq!(
        get(&world, address, "other.example.com").await.unwrap(),
        "end to end"
    );
}
