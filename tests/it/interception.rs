//! Interception: the TLS of clients is ended inside of a CONNECT, so that tokens can be put into what they send.

mod api_away;
mod callers;
mod destinations;
mod handshakes;
mod log;
mod protocols;
mod reload;
mod requests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::api::{Api, Seen};
use crate::support::client::Connection;
use crate::support::idp::Idp;
use crate::support::server::{Body, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;
use crate::support::{any_port, eventually, ip};

/// What clients call the API with a credential.
const CRM: &str = "crm.example.com:443";

/// A forward listener `proxy` that intercepts, and leads to `crm`, an API with a credential, and to `open`, one without,
/// below the path `/open`.
struct Site {
    crm: Api,
    open: Api,
    sidebearer: Sidebearer,
    _idp: Idp,
    _ca: Ca,
}

impl Site {
    /// The API offers these protocols by ALPN.
    fn speaking(alpn: &[&str]) -> Self {
        Self::with(alpn, "", |_| response(200, "crm"))
    }

    /// `listener` are more lines of the listener.
    fn with(
        alpn: &[&str],
        listener: &str,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let (ca, idp) = (Ca::new(), Idp::start());
        let crm = Api::with_tls(Some(ca.own_certificate().server(alpn)), answer);
        let open = Api::with_tls(
            Some(ca.own_certificate().server(&["h2", "http/1.1"])),
            |_| response(200, "open"),
        );
        let config = config(crm.address, listener, &ca, &idp) + &upstream_open(&open, &ca);
        Self {
            sidebearer: Sidebearer::start(&config),
            crm,
            open,
            _idp: idp,
            _ca: ca,
        }
    }

    fn proxy(&self) -> SocketAddr {
        self.sidebearer.address_of("proxy")
    }

    /// A client that trusts our CA alone, and offers these protocols.
    fn client(&self, alpn: &[&str]) -> ClientConfig {
        trusting(&self.trusted(), alpn)
    }

    fn trusted(&self) -> String {
        trusted(&self.sidebearer)
    }

    /// TLS inside of a CONNECT to `target`, with this server name.
    async fn connect(
        &self,
        target: &str,
        name: &str,
        alpn: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = tunnel(self.proxy(), target).await;
        secure(stream, name, self.client(alpn)).await
    }

    /// A connection to `crm` of HTTP/1.1.
    async fn http1(&self) -> Connection {
        let stream = self.connect(CRM, "crm.example.com", &["http/1.1"]).await;
        Connection::over(stream.unwrap()).await
    }

    /// A connection to `crm` of HTTP/2.
    async fn http2(&self) -> SendRequest<Body> {
        let stream = self.connect(CRM, "crm.example.com", &["h2"]).await;
        over_http2(stream.unwrap()).await
    }

    /// Waits until this many handshakes have ended in this way. A client may know of the end of one before it is counted.
    async fn counted(&self, outcome: &str, expected: f64) {
        eventually(outcome, async || {
            let counted = self.handshakes(outcome).await;
            assert!(counted <= expected, "{outcome}: {counted}");
            counted == expected
        })
        .await;
    }

    /// How many handshakes have ended in this way.
    async fn handshakes(&self, outcome: &str) -> f64 {
        handshakes(&self.sidebearer, outcome).await
    }
}

/// The configuration of such a listener, and of the upstream `crm` at `crm`.
fn config(crm: SocketAddr, listener: &str, ca: &Ca, idp: &Idp) -> String {
    format!(
        r#"
[interception]
key_directory = "ca"
trust_directory = "trust"
domains = ["example.com", "{ip}"]

[[listeners]]
name = "proxy"
address = "{any}"
kind = "forward"
intercept = true
{listener}

[upstreams.crm]
url = "https://{crm}"
hosts = ["crm.example.com:443", "crm.old.example.com:443", "legacy.example.com:80"]
host = "api.example.com"
credential = "crm"
tls = {{ ca_file = "{ca_file}", server_name = "{ip}" }}

[credentials.crm]
token_endpoint = "{endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}
"#,
        ip = ip(),
        any = any_port(),
        ca_file = ca.file().display(),
        endpoint = idp.endpoint(),
    )
}

fn upstream_open(open: &Api, ca: &Ca) -> String {
    format!(
        "\n[upstreams.open]\nurl = \"https://{}/open\"\nhosts = [\"open.example.com:443\"]\ntls = {{ ca_file = \"{}\" }}\n",
        open.address,
        ca.file().display(),
    )
}

/// The certificate that clients have to trust.
fn trusted(sidebearer: &Sidebearer) -> String {
    std::fs::read_to_string(sidebearer.dir().join("trust/ca.pem")).unwrap()
}

/// A client that trusts this certificate alone, and offers these protocols.
fn trusting(pem: &str, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn secure<S>(stream: S, name: &str, config: ClientConfig) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

async fn over_http2<S>(stream: S) -> SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// How many handshakes inside of CONNECTs to the listener `proxy` have ended in this way.
async fn handshakes(sidebearer: &Sidebearer, outcome: &str) -> f64 {
    let labels = format!("listener=\"proxy\",outcome=\"{outcome}\"");
    let series = format!("sidebearer_intercepted_handshakes_total{{{labels}}}");
    sidebearer.metric(&series).await
}

/// A GET with this `Host`.
fn get(path: &str, host: &str) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    http::Request::get(path)
        .header("host", host)
        .body(Default::default())
        .unwrap()
}
