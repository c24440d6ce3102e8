//! Every combination of what a client shows, of a listener, of a list of callers on the route, and of the credentials of
//! the upstream: what the product does is compared with a model that knows nothing of it.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{credential, key, with_keys};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client::{Answer, Connection, request};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey};

/// The callers: two with keys, one with a SPIFFE ID and a key, one with a name in its certificate.
const WITH_KEYS: [&str; 3] = ["alpha", "beta", "gamma"];
const SPIFFE_ID: &str = "spiffe://corp.example/ns/x/sa/gamma";
const DNS_NAME: &str = "delta.internal";

struct Listener {
    name: &'static str,
    forward: bool,
    tls: bool,
    /// `None`: it identifies nobody.
    callers: Option<&'static [&'static str]>,
    header: &'static str,
    report: bool,
}

const LISTENERS: [Listener; 7] = [
    Listener {
        name: "two",
        forward: false,
        tls: false,
        callers: Some(&["alpha", "beta"]),
        header: "authorization",
        report: false,
    },
    Listener {
        name: "any",
        forward: false,
        tls: false,
        callers: Some(&["*"]),
        header: "x-caller-key",
        report: false,
    },
    Listener {
        name: "report",
        forward: false,
        tls: false,
        callers: Some(&["alpha"]),
        header: "authorization",
        report: true,
    },
    Listener {
        name: "open",
        forward: false,
        tls: false,
        callers: None,
        header: "authorization",
        report: false,
    },
    Listener {
        name: "tls",
        forward: false,
        tls: true,
        callers: Some(&["*"]),
        header: "authorization",
        report: false,
    },
    Listener {
        name: "tls-header",
        forward: false,
        tls: true,
        callers: Some(&["alpha", "gamma", "delta"]),
        header: "x-caller-key",
        report: false,
    },
    Listener {
        name: "proxy",
        forward: true,
        tls: false,
        callers: Some(&["alpha", "gamma"]),
        header: "proxy-authorization",
        report: false,
    },
];

/// `callers` of the route, by its name; no route for the last one.
const LISTS: [(&str, Option<&[&str]>); 4] = [
    ("all", None),
    ("any", Some(&["*"])),
    ("alpha", Some(&["alpha"])),
    ("others", Some(&["beta", "gamma"])),
];
const NO_ROUTE: &str = "nowhere";

/// The credentials of upstreams, by their names: which one for whom.
const UPSTREAMS: [(&str, &[(&str, &str)]); 4] = [
    ("plain", &[]),
    ("single", &[("", "one")]),
    ("named", &[("alpha", "ca"), ("gamma", "cg")]),
    ("rest", &[("alpha", "ca"), ("*", "cr")]),
];

/// What a client shows.
#[derive(Debug, Clone, Copy)]
struct Shown {
    certificate: Option<&'static str>,
    /// By what scheme, and whose key; `x` is nobody's.
    key: Option<(&'static str, &'static str)>,
}

const SHOWN: [Shown; 11] = [
    shown(None, None),
    shown(None, Some(("Bearer", "alpha"))),
    shown(None, Some(("Basic", "beta"))),
    shown(None, Some(("Bearer", "x"))),
    shown(None, Some(("Digest", "alpha"))),
    shown(Some(SPIFFE_ID), None),
    shown(Some(DNS_NAME), None),
    shown(Some("stranger.internal"), None),
    shown(Some("stranger.internal"), Some(("Basic", "alpha"))),
    shown(Some(SPIFFE_ID), Some(("Bearer", "gamma"))),
    shown(Some(SPIFFE_ID), Some(("Bearer", "alpha"))),
];

const fn shown(
    certificate: Option<&'static str>,
    key: Option<(&'static str, &'static str)>,
) -> Shown {
    Shown { certificate, key }
}

/// What has to become of a request.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// Status and code.
    Refused(u16, &'static str),
    /// The credential whose token the API sees, and the caller whose name.
    Served(Option<&'static str>, Option<&'static str>),
}

/// The model.
fn expected(shown: Shown, listener: &Listener, list: &str, upstream: &str) -> Expected {
    let unknown = Expected::Refused(if listener.forward { 407 } else { 401 }, "caller_unknown");
    let not_permitted = Expected::Refused(403, "not_permitted");
    let mut caller = None;
    if let Some(permitted) = listener.callers {
        let by_certificate = match shown.certificate.filter(|_| listener.tls) {
            Some(SPIFFE_ID) => Some("gamma"),
            Some(DNS_NAME) => Some("delta"),
            _ => None,
        };
        let by_key = match shown.key {
            None => Ok(None),
            Some(("Digest", _)) if listener.header != "x-caller-key" => Err(()),
            Some(("Digest", _) | (_, "x")) => Err(()),
            Some((_, owner)) => Ok(Some(owner)),
        };
        caller = match (by_certificate, by_key) {
            (Some(known), _) if listener.header == "authorization" => Some(known),
            (_, Err(())) | (None, Ok(None)) => return unknown,
            (Some(one), Ok(Some(other))) if one != other => return unknown,
            (known, Ok(by_key)) => known.or(by_key),
        };
        if !listener.report && !is_in(permitted, caller) {
            return not_permitted;
        }
    }
    if list == NO_ROUTE {
        return if listener.forward {
            // An upstream has its own name on a forward listener, which no list narrows.
            served(caller, upstream).unwrap_or(not_permitted)
        } else {
            Expected::Refused(404, "no_route")
        };
    }
    let (_, permitted) = LISTS.iter().find(|(name, _)| *name == list).unwrap();
    if !listener.report && !permitted.is_none_or(|permitted| is_in(permitted, caller)) {
        return not_permitted;
    }
    served(caller, upstream).unwrap_or(not_permitted)
}

fn is_in(list: &[&str], caller: Option<&str>) -> bool {
    caller.is_some_and(|caller| list.contains(&"*") || list.contains(&caller))
}

fn served(caller: Option<&'static str>, upstream: &str) -> Option<Expected> {
    let (_, credentials) = UPSTREAMS
        .iter()
        .find(|(name, _)| *name == upstream)
        .unwrap();
    let of = |who: &str| credentials.iter().find(|(caller, _)| *caller == who);
    let credential = match credentials {
        [] => None,
        [("", only)] => Some(*only),
        _ => {
            let of_caller = caller.and_then(|caller| of(caller).or(of("*")));
            Some(of_caller?.1)
        }
    };
    Some(Expected::Served(credential, caller))
}

/// Routes of a listener: each list with each upstream. A listener that identifies nobody can have no lists, and no
/// credentials for callers.
fn paths(listener: &Listener) -> impl Iterator<Item = (&'static str, &'static str)> {
    let identifies = listener.callers.is_some();
    let lists = LISTS
        .iter()
        .filter(move |(_, list)| identifies || list.is_none());
    let names = lists.map(|(name, _)| *name).chain([NO_ROUTE]);
    names.flat_map(move |list| {
        let upstreams = UPSTREAMS.iter();
        let upstreams =
            upstreams.filter(move |(name, _)| identifies || ["plain", "single"].contains(name));
        upstreams.map(move |(upstream, _)| (list, *upstream))
    })
}

fn config(apis: &[Api], dir: &std::path::Path) -> String {
    let mut text = with_keys(dir, &WITH_KEYS);
    let _ = writeln!(text, "spiffe_id = \"spiffe://corp.example/ns/*/sa/gamma\"");
    let _ = writeln!(text, "[callers.delta]\ncertificate_name = \"{DNS_NAME}\"");
    for listener in &LISTENERS {
        let name = listener.name;
        let _ = writeln!(
            text,
            "[[listeners]]\nname = \"{name}\"\naddress = \"{}\"",
            any_port()
        );
        if let Some(callers) = listener.callers {
            let _ = writeln!(text, "callers = {callers:?}");
        }
        if listener.forward {
            let _ = writeln!(text, "kind = \"forward\"");
        } else {
            let _ = writeln!(text, "hosts = [\"*\"]");
            if listener.callers.is_some() {
                let _ = writeln!(text, "caller_header = \"{}\"", listener.header);
            }
        }
        if listener.report {
            let _ = writeln!(text, "enforcement = \"report\"");
        }
        if listener.tls {
            let files = "certificate_file = \"own.pem\", key_file = \"own.key\", client_ca_file = \"clients.pem\"";
            let _ = writeln!(text, "tls = {{ {files} }}");
        }
        for (list, upstream) in paths(listener).filter(|(list, _)| *list != NO_ROUTE) {
            let _ = writeln!(
                text,
                "[[routes]]\nlistener = \"{name}\"\nupstream = \"{upstream}\""
            );
            let _ = if listener.forward {
                writeln!(text, "host = \"{upstream}.test\"\npath = \"/{list}\"")
            } else {
                writeln!(text, "path = \"/{upstream}/{list}\"")
            };
            let (_, callers) = LISTS.iter().find(|(name, _)| *name == list).unwrap();
            if let Some(callers) = callers {
                let _ = writeln!(text, "callers = {callers:?}");
            }
        }
    }
    for ((name, credentials), api) in UPSTREAMS.into_iter().zip(apis) {
        let url = api.url();
        let _ = writeln!(
            text,
            "[upstreams.{name}]\nurl = \"{url}\"\nhosts = [\"{name}.test:80\"]"
        );
        let _ = writeln!(text, "forward_caller = \"x-caller\"");
        match credentials {
            [] => {}
            [("", only)] => drop(writeln!(text, "credential = \"{only}\"")),
            _ => {
                let _ = writeln!(text, "[upstreams.{name}.credentials]");
                for (caller, credential) in credentials {
                    let _ = writeln!(text, "\"{caller}\" = \"{credential}\"");
                }
            }
        }
    }
    for name in ["one", "ca", "cg", "cr"] {
        text += &credential(name, dir);
    }
    text
}

/// Sends one request by a connection of its own.
async fn ask(
    sidebearer: &Sidebearer,
    tls: Option<ClientConfig>,
    shown: Shown,
    listener: &Listener,
    (list, upstream): (&str, &str),
) -> Answer {
    let address = sidebearer.address_of(listener.name);
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
    if let Some((scheme, owner)) = shown.key {
        let key = key(owner);
        let value = match scheme {
            "Basic" => STANDARD.encode(format!("anyone:{key}")),
            _ => key,
        };
        let value = format!("{scheme} {value}").parse().unwrap();
        request.headers_mut().insert(listener.header, value);
    }
    let socket = TcpStream::connect(address).await.unwrap();
    let mut connection = match tls.filter(|_| listener.tls) {
        Some(config) => {
            let name = ServerName::try_from("gateway.example").unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            Connection::over(connector.connect(name, socket).await.unwrap()).await
        }
        None => Connection::over(socket).await,
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
                shown,
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
            // The API gets what the client sent in `Authorization` unless that is for callers or for a token.
            let of_client = match shown.key {
                Some((scheme, owner)) if listener.header == "authorization" => {
                    let by_connection = shown
                        .certificate
                        .is_some_and(|name| name != "stranger.internal");
                    let is_judged = listener.callers.is_some() && !(listener.tls && by_connection);
                    match scheme {
                        _ if is_judged => String::new(),
                        "Basic" => format!(
                            "Basic {}",
                            STANDARD.encode(format!("anyone:{}", key(owner)))
                        ),
                        _ => format!("{scheme} {}", key(owner)),
                    }
                }
                _ => String::new(),
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
    assert!(cells >= 200, "{cells}");
    let reported = r#"sidebearer_reported_total{caller="beta",listener="report"}"#;
    assert!(sidebearer.metric(reported).await > 0.0);
}
