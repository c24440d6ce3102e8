//! Listeners with TLS.

mod bodies;
mod certificates;
mod forward;
mod half_open;
mod log;
mod reload;
mod serving;
mod software;
mod upgrades;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client::{Answer, Connection};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey};

/// A listener with TLS before an API, and the CAs of both of its sides.
struct Site {
    /// Signs the listener's certificates.
    ca: Ca,
    /// Signs the certificates of clients.
    clients: Ca,
    api: Api,
    sidebearer: Sidebearer,
}

/// The name that clients ask for.
pub(crate) const NAME: &str = "gateway.example";

/// Writes a certificate and its key as `NAME.pem` and `NAME.key`.
pub(crate) fn write(dir: &std::path::Path, name: &str, certificate: &CertificateAndKey) {
    let pem = &certificate.certificate_pem;
    std::fs::write(dir.join(format!("{name}.pem")), pem).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), &certificate.key_pem).unwrap();
}

/// The configuration of a [`Site`]; `tls` is more of the listener's `tls`, and `listener` more of its lines.
fn config(api: &Api, tls: &str, listener: &str) -> String {
    format!(
        "[[listeners]]\nname = \"app\"\naddress = \"{}\"\nupstream = \"api\"\nhosts = [\"*\"]\n\
         tls = {{ certificate_file = \"own.pem\", key_file = \"own.key\"{tls} }}\n{listener}\n\
         [upstreams.api]\nurl = \"{}\"\n",
        any_port(),
        api.url()
    )
}

/// More of `tls`, for a listener that asks clients for certificates.
const OPTIONAL: &str = ", client_ca_file = \"clients.pem\"";
const REQUIRED: &str = ", client_ca_file = \"clients.pem\", client_certificates = \"required\"";
const WITH_CRL: &str = ", client_ca_file = \"clients.pem\", client_crl_file = \"clients.crl\"";

impl Site {
    fn start(tls: &str, listener: &str) -> Self {
        Self::start_with(tls, listener, |_, _| ())
    }

    /// `prepare` writes more files, with the CA of clients.
    fn start_with(tls: &str, listener: &str, prepare: impl FnOnce(&TempDir, &Ca)) -> Self {
        let (ca, clients, api) = (Ca::new(), Ca::new(), Api::open());
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "own", &ca.certificate(&[NAME]));
        std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
        std::fs::write(dir.path().join("clients.crl"), clients.crl(&[], 4000)).unwrap();
        prepare(&dir, &clients);
        let sidebearer = Sidebearer::start_in(dir, &config(&api, tls, listener));
        Self {
            ca,
            clients,
            api,
            sidebearer,
        }
    }

    fn address(&self) -> SocketAddr {
        self.sidebearer.address()
    }

    /// A certificate that this site's clients may have.
    fn client(&self, names: &[&str]) -> CertificateAndKey {
        self.clients.certificate(names)
    }

    /// What is counted of handshakes with this outcome.
    async fn handshakes(&self, outcome: &str) -> f64 {
        let series =
            format!("sidebearer_tls_handshakes_total{{listener=\"app\",outcome=\"{outcome}\"}}");
        self.sidebearer.metric(&series).await
    }

    /// A connection of HTTP/1.1.
    async fn open(&self, config: ClientConfig) -> io::Result<Connection> {
        Ok(Connection::over(connect(self.address(), config, NAME).await?).await)
    }
}

/// The handshake of a client that asks for `name`.
pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// With these protocols by ALPN.
fn speaking(mut config: ClientConfig, alpn: &[&str]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// What a client of HTTP/1.1 gets, or that it gets nothing. In TLS 1.3 a client learns only behind the handshake that its
/// certificate was refused.
async fn get(site: &Site, config: ClientConfig) -> Result<Answer, String> {
    let mut connection = site.open(config).await.map_err(|error| error.to_string())?;
    connection
        .get("/")
        .await
        .map_err(|error| format!("{error:?}"))
}
