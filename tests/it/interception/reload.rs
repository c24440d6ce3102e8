//! What a reload changes for connections that are open.

use http::Request;
use tokio::io::AsyncReadExt;

use super::{CRM, config, get, over_http2, secure, trusted, trusting};
use crate::support::api::Api;
use crate::support::client::{self, Connection};
use crate::support::eventually;
use crate::support::idp::Idp;
use crate::support::server::{response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;

/// A rule that lets the API pass as it is, before the table of interception.
const PASS: &str =
    "[[egress.rules]]\nhosts = [\"crm.example.com\"]\naction = \"pass\"\n\n[interception]";

/// What a reload is made of.
struct Running {
    api: Api,
    config: String,
    sidebearer: Sidebearer,
    _idp: Idp,
}

fn running() -> Running {
    running_with(Idp::start())
}

fn running_with(idp: Idp) -> Running {
    let ca = Ca::new();
    let tls = ca.own_certificate().server(&["h2", "http/1.1"]);
    let api = Api::with_tls(Some(tls), |_| response(200, "crm"));
    let config = config(api.address, "", &ca, &idp);
    // The file of the CA is read at each reload.
    std::mem::forget(ca);
    Running {
        sidebearer: Sidebearer::start(&config),
        api,
        config,
        _idp: idp,
    }
}

impl Running {
    async fn connect(
        &self,
        alpn: &[&str],
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let stream = tunnel(self.sidebearer.address_of("proxy"), CRM).await;
        let client = trusting(&trusted(&self.sidebearer), alpn);
        secure(stream, "crm.example.com", client).await.unwrap()
    }

    async fn reconfigure(&self, old: &str, new: &str) {
        assert!(self.config.contains(old), "{old}");
        let config = self.config.replace(old, new);
        self.sidebearer.reconfigure(&config).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_is_intercepted_no_more_ends_when_nothing_is_under_way() {
    for (old, new) in [
        ("intercept = true", "intercept = false"),
        ("\"crm.example.com:443\", ", ""),
        ("kind = \"forward\"", "kind = \"forward\"\nupstreams = []"),
        ("[interception]", PASS),
    ] {
        let running = running();
        let mut idle = running.connect(&["http/1.1"]).await;
        let mut sender = over_http2(running.connect(&["h2"]).await).await;
        let request = Request::get("https://crm.example.com/x")
            .body(whole(""))
            .unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        running.reconfigure(old, new).await;
        // The first request of a connection may be on its way: a new connection is given its time.
        let closed = tokio::time::timeout(crate::support::PATIENCE, idle.read(&mut [0])).await;
        let _ = closed.expect("the idle connection ends");
        let ended = async {
            let mut looks = crate::support::Looks::default();
            while sender.ready().await.is_ok() {
                looks.next().await;
            }
        };
        let ended = tokio::time::timeout(crate::support::PATIENCE, ended).await;
        ended.expect("the connection ends");
    }
}

#[tokio::test]
async fn requests_inside_are_judged_by_the_newest_configuration() {
    let running = running();
    let mut connection = Connection::over(running.connect(&["http/1.1"]).await).await;
    let ask = async |connection: &mut Connection| {
        let answer = connection.send(get("/x", "crm.example.com")).await;
        answer.unwrap()
    };
    assert_eq!(ask(&mut connection).await.status, 200);
    // A route of the same host leads elsewhere, by its path.
    let other = Api::open();
    let route = format!(
        "[[routes]]\nlistener = \"proxy\"\nhost = \"crm.example.com\"\npath = \"/x\"\nupstream = \"other\"\n\
         [upstreams.other]\nurl = \"{}\"\n",
        other.url()
    );
    let credentials = "\n[credentials.crm]";
    running
        .reconfigure(credentials, &format!("\n{route}{credentials}"))
        .await;
    let answer = ask(&mut connection).await;
    assert_eq!(
        answer.text(),
        "crm",
        "an https destination never leads to an http:// upstream"
    );
    running
        .reconfigure(
            "credential = \"crm\"",
            "header = \"x-token\"\ncredential = \"crm\"",
        )
        .await;
    assert_eq!(ask(&mut connection).await.status, 200);
    let seen = running.api.seen();
    let last = seen.last().unwrap();
    assert_eq!(
        (last.header("x-token"), last.authorization()),
        ("Bearer token-1", "")
    );
}

#[tokio::test]
async fn a_new_ca_is_shown_to_new_connections_and_open_ones_go_on() {
    let running = running();
    let before = trusted(&running.sidebearer);
    let mut open = Connection::over(running.connect(&["http/1.1"]).await).await;
    running
        .reconfigure("key_directory = \"ca\"", "key_directory = \"new\"")
        .await;
    assert_ne!(trusted(&running.sidebearer), before);
    let answer = open.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().status, 200);
    let mut new = Connection::over(running.connect(&["http/1.1"]).await).await;
    let answer = new.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().status, 200);
    let stream = tunnel(running.sidebearer.address_of("proxy"), CRM).await;
    let distrusts = secure(stream, "crm.example.com", trusting(&before, &[])).await;
    assert!(distrusts.is_err());
}

#[tokio::test]
async fn a_listener_that_begins_to_intercept_cuts_its_tunnels() {
    let running = running();
    let off = running.config.replace("intercept = true", "");
    let off = off.replace("credential = \"crm\"", "");
    let off = off.split("[credentials.crm]").next().unwrap();
    running.sidebearer.reconfigure(off).await.unwrap();
    let mut open = tunnel(running.sidebearer.address_of("proxy"), CRM).await;
    running
        .sidebearer
        .reconfigure(&running.config)
        .await
        .unwrap();
    assert!(open.read(&mut [0]).await.is_err(), "it is reset");
}

#[tokio::test]
async fn an_exact_rule_makes_a_tunnel_of_a_pinned_host() {
    let running = running();
    let address = running.api.address.to_string();
    let (ip, port) = (running.api.address.ip(), running.api.address.port());
    let egress = format!(
        "\n[egress]\naddresses = \"any\"\nports = [{port}]\n[[egress.rules]]\nhosts = [\"{ip}\"]\naction = \"pass\"\n"
    );
    let credentials = "\n[credentials.crm]";
    running
        .reconfigure(credentials, &format!("{egress}{credentials}"))
        .await;
    let stream = tunnel(running.sidebearer.address_of("proxy"), &address).await;
    let ours = trusting(&trusted(&running.sidebearer), &[]);
    let refused = secure(stream, &ip.to_string(), ours).await;
    assert!(refused.is_err(), "the certificate is the API's own");
    assert_eq!(super::handshakes(&running.sidebearer, "success").await, 0.0);
    let refused = client::raw(
        running.sidebearer.address_of("proxy"),
        "CONNECT 192.0.2.9:8443 HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert!(refused.await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn a_ca_that_a_reload_makes_is_no_change_of_its_own() {
    let idp = Idp::start();
    idp.rotate_secret("rotated");
    let running = running_with(idp);
    let failures = async || {
        let status = running.sidebearer.status().await;
        status["credentials"]["crm"]["consecutive_failures"].clone()
    };
    eventually("the secret is refused", async || failures().await != 0).await;
    running.reconfigure("\"ca\"", "\"another\"").await;
    assert!(running.sidebearer.dir().join("another/issuer.pem").exists());
    // Changes are taken notice of in their order, and all of one moment together.
    running.sidebearer.write("secret", "rotated\n");
    eventually("the new secret is tried", async || failures().await == 0).await;
    let status = running.sidebearer.status().await;
    assert_eq!(status["snapshot"]["generation"], 2);
}
