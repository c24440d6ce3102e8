//! Forward listeners: clients that name where they go by an absolute URL, as to a proxy.

mod connect;
mod destinations;
mod egress;
mod http2;
mod passing;
mod reload;
mod requests;
mod tunnel_bounds;
mod tunnels;

use std::net::SocketAddr;

use http::Response;

use crate::support::any_port;
use crate::support::api::{Api, Seen};
use crate::support::client;
use crate::support::idp::Idp;
use crate::support::server::{Body, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;

/// A forward listener `proxy` that leads to `crm`, an https API with a credential, and to `plain`, an http API
/// without one.
struct World {
    crm: Api,
    plain: Api,
    /// `crm`'s host and port.
    authority: String,
    sidebearer: Sidebearer,
    _idp: Idp,
    _ca: Ca,
}

impl World {
    fn start() -> Self {
        Self::with("", |_| response(200, "crm"))
    }

    /// `lines` are more of the configuration.
    fn with(lines: &str, answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        let (ca, idp) = (Ca::new(), Idp::start());
        let crm = Api::with_tls(Some(ca.own_certificate().server(&["http/1.1"])), answer);
        let plain = Api::start(|_| response(200, "plain"));
        let config = format!(
            r#"
[[listeners]]
name = "proxy"
address = "{any}"
kind = "forward"

[upstreams.crm]
url = "https://{crm}/v2"
hosts = [
    "crm.example.com", "crm.old.internal:8443", "[2001:db8::1]",
    "crm.legacy.internal:80", "crm.both.internal", "crm.both.internal:80",
]
credential = "crm"
tls = {{ ca_file = "{ca_file}" }}

[upstreams.plain]
url = "http://{plain}"
hosts = ["plain.example.com", "plain.old.internal:80"]

[credentials.crm]
token_endpoint = "{endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}

{lines}
"#,
            any = any_port(),
            crm = crm.address,
            plain = plain.address,
            ca_file = ca.file().display(),
            endpoint = idp.endpoint(),
        );
        Self {
            authority: crm.address.to_string(),
            sidebearer: Sidebearer::start(&config),
            crm,
            plain,
            _idp: idp,
            _ca: ca,
        }
    }

    fn address(&self) -> SocketAddr {
        self.sidebearer.address_of("proxy")
    }

    /// What a GET of `target` with this `Host` becomes: the API and the target that arrived there, or the code of
    /// the error.
    async fn becomes(&self, target: &str, host: &str) -> String {
        let before = (self.crm.seen().len(), self.plain.seen().len());
        let answer = self.answer(target, host, "").await;
        let crm = self.crm.seen().split_off(before.0);
        let plain = self.plain.seen().split_off(before.1);
        match (&crm[..], &plain[..]) {
            ([seen], []) => {
                assert_eq!(seen.authorization(), "Bearer token-1", "{target}");
                format!("crm {}", seen.target)
            }
            ([], [seen]) => {
                assert_eq!(seen.authorization(), "", "{target}");
                format!("plain {}", seen.target)
            }
            ([], []) => {
                let code = answer.split("urn:sidebearer:error:").nth(1);
                let code = code.and_then(|rest| rest.split('"').next());
                code.unwrap_or(&answer).to_owned()
            }
            _ => panic!("{target} arrived more than once"),
        }
    }

    /// The whole answer to a GET; `lines` are more of its head.
    async fn answer(&self, target: &str, host: &str, lines: &str) -> String {
        let get =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n");
        client::raw(self.address(), get).await
    }
}
