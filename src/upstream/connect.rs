//! One connection to a server: DNS, TCP, TLS.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::addresses::Addresses;
use super::dial::dial;
use super::dns;
use super::error::{ConnectError, Stage};
use super::handshake;
use super::io::{Io, Socket};
use super::tls::{self, Identity, TlsError};
use crate::config::{self, Dialing, HttpVersion};
use crate::http2;
use crate::process::is_shortage;
use crate::redact::Redactor;

/// Makes connections to one origin. Files are read when it is built; TLS sessions are resumed
/// between its connections.
pub struct Connector {
    host: Host,
    port: u16,
    http: HttpVersion,
    tls: Option<ClientTls>,
    dialing: Dialing,
    judge: Option<Judge>,
    redactor: Arc<Redactor>,
    addresses: Addresses,
}

/// Whether a server may be reached at an address; if not, why, in words that follow it.
pub type Judge = Arc<dyn Fn(SocketAddr) -> Result<(), String> + Send + Sync>;

/// Which HTTP versions a connection may end up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// What the configuration allows.
    Any,
    /// HTTP/1.1 alone, as an upgrade needs it.
    Http1,
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub io: Io,
    /// HTTP/2 is spoken, by ALPN or prior knowledge; else HTTP/1.1.
    pub http2: bool,
    /// The address that answered.
    pub peer: SocketAddr,
}

impl Connector {
    /// Reads the files of `tls` and prepares for the scheme, host and port of `url`.
    ///
    /// # Errors
    /// A file that cannot be used, or a name that no certificate can carry.
    pub fn new(url: &Url, tls: &config::Tls, http: HttpVersion) -> Result<Self, TlsError> {
        Self::presenting(None, url, tls, http)
    }

    /// As [`new`](Self::new); with an identity, every connection presents that one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn presenting(
        identity: Option<&Identity>,
        url: &Url,
        tls: &config::Tls,
        http: HttpVersion,
    ) -> Result<Self, TlsError> {
        let host = url.host().ok_or(TlsError::Url)?.to_owned();
        let port = url.port_or_known_default().ok_or(TlsError::Url)?;
        let tls = match url.scheme() {
            "https" => Some(ClientTls::new(&host, identity, tls, http)?),
            _ => None,
        };
        Ok(Self {
            host,
            port,
            http,
            tls,
            dialing: Dialing::default(),
            judge: None,
            redactor: Arc::default(),
            addresses: Addresses::default(),
        })
    }

    /// Makes and keeps its connections like this.
    pub fn dialing(self, dialing: Dialing) -> Self {
        Self { dialing, ..self }
    }

    /// Dials only what `judge` admits. Every connection is judged anew, after its name is resolved
    /// and at the very address that is dialled.
    pub fn judged(self, judge: Judge) -> Self {
        let judge = Some(judge);
        Self { judge, ..self }
    }

    /// What the server says in a handshake passes `redactor` before it gets into an error; its name
    /// too, where a server gave that.
    pub fn cleaned_by(self, redactor: Arc<Redactor>) -> Self {
        Self { redactor, ..self }
    }

    /// DNS, TCP and TLS, together within `timeout`. Dropping the future closes everything.
    ///
    /// # Errors
    /// Which step failed and why.
    pub async fn connect(
        &self,
        protocols: Protocols,
        timeout: Duration,
    ) -> Result<Connected, ConnectError> {
        let mut stage = Stage::Resolve;
        let attempt = self.attempt(protocols, &mut stage);
        match tokio::time::timeout(timeout, attempt).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::Timeout {
                authority: self.authority(),
                within: timeout,
                stage,
            }),
        }
    }

    /// Whether no connection of it can speak HTTP/2.
    pub fn only_http1(&self) -> bool {
        match self.http {
            HttpVersion::Auto => self.tls.is_none(),
            HttpVersion::Http1 => true,
            HttpVersion::Http2 => false,
        }
    }

    /// If a connection of ours broke because the server refused our client certificate, or because
    /// there is none: what it says about it. With TLS 1.3 the server looks at the certificate when
    /// our side of the handshake is done (RFC 8446 section 4.4.2.4), so that [`connect`](Self::connect)
    /// succeeds and the first read fails.
    pub fn certificate_refused(&self, error: &(dyn Error + 'static)) -> Option<ConnectError> {
        let tls = self.tls.as_ref()?;
        let reason = handshake::certificate_refusal(error, tls.certified)?;
        Some(ConnectError::Tls {
            authority: self.authority(),
            reason,
            certificate_refused: true,
        })
    }

    /// What is known of the addresses of its host.
    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether its host has a name, of which a resolver tells the addresses.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.host, Host::Domain(_))
    }

    /// Asks the resolver for the addresses, which [`addresses`](Self::addresses) learns.
    pub(super) async fn look_up(&self) {
        // No answer tells nothing.
        if let Ok(answer) = dns::resolve(&self.host, self.port).await {
            self.addresses.answered(&answer, Instant::now());
        }
    }

    /// There are as many as `max` allows.
    pub(super) fn too_many(&self, max: usize) -> ConnectError {
        ConnectError::Full {
            authority: self.authority(),
            max,
        }
    }

    /// Others were being opened, and none of them became free `within` that time.
    pub(super) fn no_turn(&self, within: Duration) -> ConnectError {
        ConnectError::Timeout {
            authority: self.authority(),
            within,
            stage: Stage::Turn,
        }
    }

    /// The connection is there, but HTTP cannot begin on it.
    pub(super) fn handshake_failed(&self, error: &http2::Error) -> ConnectError {
        ConnectError::Connect {
            authority: self.authority(),
            reason: match error {
                http2::Error::Io(error) => {
                    format!("HTTP cannot begin: {}", handshake::reason(error))
                }
                error => format!("HTTP cannot begin: {error}"),
            },
        }
    }

    async fn attempt(
        &self,
        protocols: Protocols,
        stage: &mut Stage,
    ) -> Result<Connected, ConnectError> {
        let resolved = dns::resolve(&self.host, self.port).await;
        let addresses = resolved.map_err(|e| ConnectError::Resolve {
            authority: self.authority(),
            reason: handshake::reason(&e),
        })?;
        self.addresses.answered(&addresses, Instant::now());

        let addresses = self.admitted(addresses)?;

        *stage = Stage::Connect;
        let connected = dial(addresses, &self.dialing)
            .await
            .and_then(|(tcp, failed)| {
                let peer = tcp.peer_addr()?;
                self.addresses.connected(peer.ip(), &failed, Instant::now());
                Ok((tcp, peer))
            });
        let (tcp, peer) = connected.map_err(|e| {
            let (authority, reason) = (self.authority(), handshake::reason(&e));
            match is_shortage(&e) {
                true => ConnectError::Shortage { authority, reason },
                false => ConnectError::Connect { authority, reason },
            }
        })?;
        let Some(tls) = &self.tls else {
            return Ok(Connected {
                io: Io::Tcp(tcp.into()),
                http2: self.http == HttpVersion::Http2 && protocols == Protocols::Any,
                peer,
            });
        };

        *stage = Stage::Tls;
        let handshake = tls
            .handshake(protocols, self.http, tcp, &self.redactor)
            .await;
        let (stream, http2) = handshake.map_err(|failure| ConnectError::Tls {
            authority: self.authority(),
            reason: failure.reason,
            certificate_refused: failure.certificate_refused,
        })?;
        Ok(Connected {
            io: Io::Tls(Box::new(stream)),
            http2,
            peer,
        })
    }

    /// Those that may be dialled.
    fn admitted(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let Some(judge) = &self.judge else {
            return Ok(addresses);
        };
        let mut refused = None;
        addresses.retain(|address| match judge(*address) {
            Ok(()) => true,
            Err(why) => {
                refused.get_or_insert_with(|| format!("{} {why}", address.ip()));
                false
            }
        });
        match refused {
            Some(reason) if addresses.is_empty() => Err(ConnectError::Forbidden {
                authority: self.authority(),
                reason,
            }),
            _ => Ok(addresses),
        }
    }

    pub(super) fn authority(&self) -> String {
        let authority = format!("{}:{}", self.host, self.port);
        // Only a host that a server named is judged.
        match self.judge {
            Some(_) => self.redactor.clean(&authority),
            None => authority,
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { "TLS" } else { "TCP" };
        write!(f, "Connector({}, {tls}, {:?})", self.authority(), self.http)
    }
}

/// TLS towards one server.
struct ClientTls {
    any: TlsConnector,
    http1: TlsConnector,
    name: ServerName<'static>,
    ca_file: Option<PathBuf>,
    /// There is a client certificate.
    certified: bool,
}

impl ClientTls {
    fn new(
        host: &Host,
        identity: Option<&Identity>,
        tls: &config::Tls,
        http: HttpVersion,
    ) -> Result<Self, TlsError> {
        let mut any = tls::client_config(tls, identity)?;
        let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
        // A clone shares the store of sessions.
        let mut http1 = any.clone();
        http1.alpn_protocols = vec![h1.clone()];
        any.alpn_protocols = match http {
            HttpVersion::Auto => vec![h2, h1],
            HttpVersion::Http1 => vec![h1],
            HttpVersion::Http2 => vec![h2],
        };
        Ok(Self {
            certified: any.client_auth_cert_resolver.has_certs(),
            any: TlsConnector::from(Arc::new(any)),
            http1: TlsConnector::from(Arc::new(http1)),
            name: tls::server_name(tls, host)?,
            ca_file: tls.ca_file.as_ref().map(|file| file.path().to_owned()),
        })
    }

    async fn handshake(
        &self,
        protocols: Protocols,
        http: HttpVersion,
        tcp: TcpStream,
        redactor: &Redactor,
    ) -> Result<(TlsStream<Socket>, bool), handshake::Failure> {
        let connector = match protocols {
            Protocols::Any => &self.any,
            Protocols::Http1 => &self.http1,
        };
        let stream = connector
            .connect(self.name.clone(), Socket::from(tcp))
            .await
            .map_err(|e| {
                let ca_file = self.ca_file.as_deref();
                handshake::handshake_failure(&e, ca_file, self.certified, redactor)
            })?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if http == HttpVersion::Http2 && protocols == Protocols::Any && !http2 {
            // A server without ALPN goes on as if it had agreed.
            return Err(handshake::Failure {
                reason: "the server does not speak HTTP/2, and http = \"2\" allows nothing else"
                    .to_owned(),
                certificate_refused: false,
            });
        }
        Ok((stream, http2))
    }
}

#[cfg(test)]
mod tests;
