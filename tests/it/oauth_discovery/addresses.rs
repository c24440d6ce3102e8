//! Where a discovery document may lead: never to a nearer place than the issuer's own, and never to
//! a socket of this process.

use std::net::SocketAddr;

use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::idp::Idp;
use crate::support::loopback;
use crate::support::network::Network;
use crate::support::scripted::{Server, http, ok};
use crate::support::server::{self, response};
use crate::support::sidebearer::Sidebearer;

/// A credential whose issuer is at `issuer`.
fn discovering(name: &str, issuer: &str, lines: &str) -> String {
    format!(
        "[upstreams.{name}]\nurl = \"https://unused.example\"\ncredential = \"{name}\"\n\
         [credentials.{name}]\nissuer = \"{issuer}\"\nallow_plaintext = true\nrequired = false\n\
         client_id = \"billing\"\nclient_secret = \"s3cret-of-billing\"\n{lines}\n"
    )
}

#[tokio::test]
async fn a_discovery_document_cannot_spend_the_token_of_another_api() {
    let (api, idp, listener) = (Api::open(), Idp::start(), loopback());
    let issuer = Server::start(move |request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.unwrap();
        if request.starts_with("GET /.well-known/oauth-authorization-server") {
            return ok(&format!(
                r#"{{"issuer":"http://{host}","token_endpoint":"http://{listener}/payments?to=me"}}"#
            ));
        }
        http("404 Not Found", "", "{}")
    })
    .await;
    let evil = discovering("evil", &issuer.url(""), "");
    let sidebearer = Sidebearer::start(&format!(
        r#"
[[listeners]]
name = "app"
address = "{listener}"
upstream = "api"
[upstreams.api]
url = "{}"
credential = "api"
[credentials.api]
token_endpoint = "{}"
client_id = "billing"
client_secret = {{ file = "secret" }}
[[routes]]
host = "evil.example"
upstream = "evil"
{evil}"#,
        api.url(),
        idp.endpoint(),
    ));
    sidebearer.ready().await;
    let admin = sidebearer.admin();
    let mut status = String::new();
    eventually("the credential tells why", async || {
        status = crate::support::client::get(admin, "/status").await.text();
        status.contains("is a socket of this process")
    })
    .await;
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

/// Every spelling of a place on this machine, and one at the issuer's own kind of address.
const SPELLINGS: [&str; 6] = [
    "http://127.0.0.1:7099",
    "http://localhost:7099",
    "http://0.0.0.0:7099",
    "http://[::ffff:127.0.0.1]:7099",
    "http://[::ffff:7f00:1]:7099",
    "http://2130706433:7099",
];

#[tokio::test]
async fn a_remote_issuer_leads_to_this_machine_only_where_the_operator_says_so() {
    let Some(network) = Network::lay() else {
        return;
    };
    let issuer = network.there.address(8080);
    let document = move |endpoint: &str, at: usize| {
        format!(r#"{{"issuer":"http://{issuer}/{at}","token_endpoint":"{endpoint}/token"}}"#)
    };
    let own_kind = format!("http://{}", network.there.address(8081));
    let mut endpoints: Vec<String> = SPELLINGS.map(str::to_owned).to_vec();
    endpoints.extend([own_kind, SPELLINGS[0].to_owned()]);
    let last = endpoints.len() - 1;
    let names = endpoints.clone();
    server::serve_on(network.there.listen(8080), None, move |request| {
        let path = request.uri().path().to_owned();
        let at: Option<usize> = path
            .strip_prefix("/.well-known/oauth-authorization-server/")
            .and_then(|at| at.parse().ok());
        let answer = match at {
            Some(at) => response(200, document(&names[at], at)),
            None => response(404, "{}"),
        };
        async move { answer }
    });
    let token = |name: &'static str| {
        move |_| async move {
            let token = format!(r#"{{"access_token":"{name}","token_type":"Bearer"}}"#);
            response(200, token)
        }
    };
    let victim: SocketAddr = ([127, 0, 0, 1], 7099).into();
    let near = network
        .here
        .within(|| std::net::TcpListener::bind(victim).unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    server::serve_on(near, None, move |request| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        token("near")(request)
    });
    server::serve_on(network.there.listen(8081), None, token("far"));

    let mut config = "[[listeners]]\naddress = \"unix:app.sock\"\nupstream = \"c0\"\n".to_owned();
    for at in 0..=last {
        let lines = if at == last {
            "discovery_hosts = [\"127.0.0.1\"]"
        } else {
            ""
        };
        config += &discovering(&format!("c{at}"), &format!("http://{issuer}/{at}"), lines);
        config += &format!("[[routes]]\npath = \"/{at}\"\nupstream = \"c{at}\"\n");
    }
    let process = network.here.run(&config).await;
    let mut admin = Connection::over(network.here.connect(process.admin())).await;
    let mut states = Vec::new();
    eventually("each has its token, or says why not", async || {
        let status = admin.get("/status").await.unwrap().json();
        states = (0..=last).map(|at| state(&status, at)).collect();
        states.iter().all(|state| !state.is_empty())
    })
    .await;
    for (at, state) in states.iter().enumerate() {
        let led = at >= last - 1;
        assert_eq!(state == "token", led, "{}: {state}", endpoints[at]);
        assert!(led || state.contains("is a loopback address"), "{state}");
    }
    let asked = asked.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(asked, 1, "only where discovery_hosts says so");
}

/// `token`, why there is none, or nothing yet.
fn state(status: &serde_json::Value, at: usize) -> String {
    let credential = &status["credentials"][format!("c{at}")];
    match credential["last_error"]["message"].as_str() {
        Some(error) => error.to_owned(),
        None if credential["state"] == "valid" => "token".to_owned(),
        None => String::new(),
    }
}
