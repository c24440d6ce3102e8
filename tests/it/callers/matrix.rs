//! Every combination of what a client shows, of a listener, of a list of callers on the route, and of the credentials of
//! the upstream: what the product does is compared with a model that knows nothing of it.

mod configured;
mod model;

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::key;
use crate::support::api::Api;
use crate::support::client::{Answer, Connection, request};
use crate::support::jwt::{Signer, set};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey};
use configured::config;
use model::{
    DNS_NAME, ENDED, Expected, LISTENERS, Listener, SHOWN, SPIFFE_ID, Shown, UPSTREAMS,
    WITH_TOKENS, expected, paths,
};

/// A key or JWT by its scheme.
fn written((scheme, owner): (&str, &str), key: &dyn Fn(&str) -> String) -> String {
    match scheme {
        "Basic" => format!(
            "Basic {}",
            STANDARD.encode(format!("anyone:{}", key(owner)))
        ),
        _ => format!("{scheme} {}", key(owner)),
    }
}

/// Sends one request by a connection of its own.
async fn ask(
    sidebearer: &Sidebearer,
    tls: Option<ClientConfig>,
    (shown, key): (Shown, &dyn Fn(&str) -> String),
    listener: &Listener,
    (list, upstream): (&str, &str),
) -> Answer {
    let target = if listener.forward {
        format!("http://{upstream}.test/{list}")
    } else {
        format!("/{upstream}/{list}")
    };
    let mut request = request(Method::GET, &target, "");
    if listener.forward {
        let host = format!("{upstream}.test").parse().unwrap();
        request.headers_mut().insert("host", host);
    }
    for name in ["x-caller", "x_caller"] {
        request
            .headers_mut()
            .insert(name, "forged".parse().unwrap());
    }
    let beside = shown
        .authorization
        .filter(|_| listener.header != "authorization");
    for (name, shown) in [(listener.header, shown.key), ("authorization", beside)] {
        if let Some(shown) = shown {
            let value = written(shown, key).parse().unwrap();
            request.headers_mut().insert(name, value);
        }
    }
    let mut connection = if listener.unix {
        let socket = UnixStream::connect(sidebearer.dir().join(listener.name)).await;
        Connection::over(socket.unwrap()).await
    } else {
        let address = sidebearer.address_of(listener.name);
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        match tls.filter(|_| listener.tls) {
            Some(config) => {
                let name = ServerName::try_from("gateway.example").unwrap();
                let connector = TlsConnector::from(Arc::new(config));
                Connection::over(connector.connect(name, socket).await.unwrap()).await
            }
            None => Connection::over(socket).await,
        }
    };
    connection.send(request).await.unwrap()
}

#[tokio::test]
async fn every_combination_is_decided_as_the_model_decides_it() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let apis = UPSTREAMS.map(|_| Api::open());
    let dir = tempfile::tempdir().unwrap();
    let own = ca.certificate(&["gateway.example"]);
    for (name, text) in [
        ("own.pem", &own.certificate_pem),
        ("own.key", &own.key_pem),
        ("clients.pem", &clients.pem),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let certificates: Vec<(&str, CertificateAndKey)> = [SPIFFE_ID, DNS_NAME, "stranger.internal"]
        .map(|name| (name, clients.certificate(&[name])))
        .into();
    let signer = Signer::new("k");
    std::fs::write(dir.path().join("jwks"), set([&signer]).to_string()).unwrap();
    let claims = json!({ "iss": "https://i", "aud": "a", "exp": 4_000_000_000_u64 });
    let token = signer.sign(&claims);
    let ended = signer.sign(&json!({ "iss": "https://i", "aud": "a", "exp": 1 }));
    let key = |owner: &str| match owner {
        WITH_TOKENS => token.clone(),
        ENDED => ended.clone(),
        _ => key(owner),
    };
    let text = config(&apis, dir.path());
    let sidebearer = Sidebearer::start_in(dir, &text);
    sidebearer.ready().await;

    let (mut cells, mut wrong) = (0, String::new());
    for (listener, shown) in LISTENERS
        .iter()
        .flat_map(|it| SHOWN.map(|shown| (it, shown)))
    {
        if shown.certificate.is_some() && !listener.tls {
            continue;
        }
        let certificate = shown.certificate.and_then(|name| {
            let mut known = certificates.iter();
            known.find(|(known, _)| *known == name)
        });
        let tls = match certificate {
            Some((_, certificate)) => ca.client_with(certificate),
            None => ca.client(),
        };
        for (list, upstream) in paths(listener) {
            let mut named = UPSTREAMS.iter().zip(&apis);
            let (_, api) = named.find(|((name, _), _)| *name == upstream).unwrap();
            let before = api.seen().len();
            let answer = ask(
                &sidebearer,
                Some(tls.clone()),
                (shown, &key),
                listener,
                (list, upstream),
            )
            .await;
            let seen = api.seen().split_off(before);
            let outcome = match seen.first() {
                None => (answer.status, answer.code(), String::new(), String::new()),
                Some(seen) => (
                    answer.status,
                    String::new(),
                    seen.authorization().to_owned(),
                    seen.header("x-caller").to_owned(),
                ),
            };
            let model = expected(shown, listener, list, upstream);
            // The API gets what the client sent in `Authorization` unless that shows a caller, or should.
            let of_client = match shown.in_authorization(listener) {
                Some(sent) => {
                    let by_connection = shown
                        .certificate
                        .is_some_and(|name| name != "stranger.internal");
                    let is_of_api = listener.header != "authorization" || by_connection;
                    let passes = is_of_api && sent.1 == "x";
                    if listener.callers.is_none() || passes {
                        written(sent, &key)
                    } else {
                        String::new()
                    }
                }
                None => String::new(),
            };
            let is_right = match &model {
                Expected::Refused(status, code) => {
                    (outcome.0, outcome.1.as_str()) == (*status, *code) && seen.is_empty()
                }
                Expected::Served(credential, caller) => {
                    let token = outcome.2.strip_prefix("Bearer ").unwrap_or_default();
                    let token_is_right = match credential {
                        Some(credential) => token.starts_with(&format!("{credential}-")),
                        None => outcome.2 == of_client,
                    };
                    outcome.0 == 200 && token_is_right && outcome.3 == caller.unwrap_or_default()
                }
            };
            let leaked = seen.iter().any(|seen| {
                let mut headers = seen.headers.iter();
                headers.any(|(name, _)| {
                    [listener.header, "x_caller"].contains(&name.as_str())
                        && name != "authorization"
                })
            });
            if !is_right || leaked {
                let _ = writeln!(
                    wrong,
                    "{} {shown:?} /{upstream}/{list}: {outcome:?}, expected {model:?}, leaked: {leaked}",
                    listener.name
                );
            }
            cells += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cells >= 2_000, "{cells}");
    for (caller, listener) in [
        ("beta", "report"),
        ("delta", "report-tls"),
        ("zeta", "report-proxy"),
    ] {
        let reported =
            format!("sidebearer_reported_total{{caller=\"{caller}\",listener=\"{listener}\"}}");
        assert!(sidebearer.metric(&reported).await > 0.0, "{reported}");
    }
}
