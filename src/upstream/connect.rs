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

use super::addresses::KnownAddresses;
use super::dial::dial;
use super::dns::Resolver;
use super::error::{ConnectError, Stage, TlsError};
use super::handshake;
use super::io::{CountingSocket, UpstreamIo};
use super::tls::{self, ClientCertificate};
use crate::config::{self, Dialing, HttpVersion};
use crate::http2;
use crate::process::is_shortage;
use crate::redact::Redactor;

/// Makes connections to one origin. Files are read when it is built. A connection resumes the TLS session of
/// an earlier one.
pub struct Connector {
    resolver: Resolver,
    http: HttpVersion,
    tls: Option<ClientTls>,
    dialing: Dialing,
    address_check: Option<AddressCheck>,
    redactor: Arc<Redactor>,
    addresses: KnownAddresses,
}

/// Whether an address may be connected to. The error is the reason, in words that can follow the address.
pub type AddressCheck = Arc<dyn Fn(SocketAddr) -> Result<(), String> + Send + Sync>;

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
    pub io: UpstreamIo,
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
        Self::with_certificate(None, url, tls, http)
    }

    /// As [`new`](Self::new); but if a client certificate is given, every connection presents that one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_certificate(
        certificate: Option<&ClientCertificate>,
        url: &Url,
        tls: &config::Tls,
        http: HttpVersion,
    ) -> Result<Self, TlsError> {
        let host = url.host().ok_or(TlsError::Url)?.to_owned();
        let port = url.port_or_known_default().ok_or(TlsError::Url)?;
        let tls = match url.scheme() {
            "https" => Some(ClientTls::new(&host, certificate, tls, http)?),
            _ => None,
        };
        Ok(Self {
            resolver: Resolver::new(host, port),
            http,
            tls,
            dialing: Dialing::default(),
            address_check: None,
            redactor: Arc::default(),
            addresses: KnownAddresses::default(),
        })
    }

    /// Opens its connections with these settings.
    pub fn with_dialing(self, dialing: Dialing) -> Self {
        Self { dialing, ..self }
    }

    /// Connects only to addresses that `policy` allows. It is asked for every connection, after the name was
    /// resolved, about the addresses that are then dialled.
    pub fn with_address_check(self, policy: AddressCheck) -> Self {
        let address_check = Some(policy);
        Self {
            address_check,
            ..self
        }
    }

    /// Cleans with `redactor` what the server says in a handshake, before it becomes part of an error. Where
    /// addresses are checked, another server gave the name of this one, which is cleaned too.
    pub fn with_redactor(self, redactor: Arc<Redactor>) -> Self {
        Self { redactor, ..self }
    }

    /// Finds its host at these addresses, whatever the name.
    #[cfg(test)]
    pub(super) fn found_at(self, addresses: Vec<SocketAddr>) -> Self {
        Self {
            resolver: self.resolver.fixed(addresses),
            ..self
        }
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
        let mut stage = Stage::LookupTurn;
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

    /// If a connection failed because the server refused our client certificate, or wants one and we have
    /// none: what the server says about it. With TLS 1.3 the server checks the certificate when our side of
    /// the handshake is done (RFC 8446 section 4.4.2.4), so that [`connect`](Self::connect) succeeds and
    /// the first read fails.
    pub fn certificate_refused(&self, error: &(dyn Error + 'static)) -> Option<ConnectError> {
        let tls = self.tls.as_ref()?;
        let reason = handshake::certificate_refusal(error, tls.has_certificate)?;
        Some(ConnectError::Tls {
            authority: self.authority(),
            reason,
            certificate_refused: true,
        })
    }

    /// What is known of the addresses of its host.
    pub(super) fn addresses(&self) -> &KnownAddresses {
        &self.addresses
    }

    /// Whether its host has a name, whose addresses a resolver knows.
    pub(super) fn is_named(&self) -> bool {
        self.resolver.is_named()
    }

    /// Asks the resolver for the addresses, and records them in [`addresses`](Self::addresses).
    pub(super) async fn look_up(&self) {
        let Some(permit) = self.resolver.try_permit() else {
            return; // Earlier lookups have not been answered yet.
        };
        // A failed lookup shows nothing about the server.
        if let Ok(answer) = self.resolver.resolve(permit).await {
            self.addresses.record_lookup(&answer, Instant::now());
        }
    }

    /// The error when as many connections are open as `max` allows.
    pub(super) fn too_many(&self, max: usize) -> ConnectError {
        ConnectError::Full {
            authority: self.authority(),
            max,
        }
    }

    /// The error when a request has waited `within` that time for other connections to be opened, and got none.
    pub(super) fn no_turn(&self, within: Duration) -> ConnectError {
        ConnectError::Timeout {
            authority: self.authority(),
            within,
            stage: Stage::Turn,
        }
    }

    /// The error when a connection was made, but HTTP/2 cannot begin on it.
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
        let permit = self.resolver.permit().await;
        *stage = Stage::Resolve;
        let resolved = self.resolver.resolve(permit).await;
        let addresses = resolved.map_err(|e| ConnectError::Resolve {
            authority: self.authority(),
            reason: handshake::reason(&e),
        })?;
        self.addresses.record_lookup(&addresses, Instant::now());

        let addresses = self.allowed(addresses)?;

        *stage = Stage::Connect;
        let connected = dial(addresses, &self.dialing)
            .await
            .and_then(|(tcp, failed)| {
                let peer = tcp.peer_addr()?;
                self.addresses
                    .record_connection(peer.ip(), &failed, Instant::now());
                Ok((tcp, peer))
            });
        let (tcp, peer) = connected.map_err(|e| {
            let (authority, reason) = (self.authority(), handshake::reason(&e));
            if is_shortage(&e) {
                ConnectError::Shortage { authority, reason }
            } else {
                ConnectError::Connect { authority, reason }
            }
        })?;
        let Some(tls) = &self.tls else {
            return Ok(Connected {
                io: UpstreamIo::Tcp(tcp.into()),
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
            io: UpstreamIo::Tls(Box::new(stream)),
            http2,
            peer,
        })
    }

    /// Those of the addresses that may be connected to.
    fn allowed(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let Some(policy) = &self.address_check else {
            return Ok(addresses);
        };
        let mut refused = None;
        addresses.retain(|address| match policy(*address) {
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
        let authority = format!("{}:{}", self.resolver.host(), self.resolver.port());
        // Only where a server gave the name of this one are addresses checked.
        match self.address_check {
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
    /// We present a client certificate.
    has_certificate: bool,
}

impl ClientTls {
    fn new(
        host: &Host,
        certificate: Option<&ClientCertificate>,
        tls: &config::Tls,
        http: HttpVersion,
    ) -> Result<Self, TlsError> {
        let mut any = tls::client_config(tls, certificate)?;
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
            has_certificate: any.client_auth_cert_resolver.has_certs(),
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
    ) -> Result<(TlsStream<CountingSocket>, bool), handshake::HandshakeFailure> {
        let connector = match protocols {
            Protocols::Any => &self.any,
            Protocols::Http1 => &self.http1,
        };
        let stream = connector
            .connect(self.name.clone(), CountingSocket::from(tcp))
            .await
            .map_err(|e| {
                let ca_file = self.ca_file.as_deref();
                handshake::handshake_failure(&e, ca_file, self.has_certificate, redactor)
            })?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if http == HttpVersion::Http2 && protocols == Protocols::Any && !http2 {
            // A server without ALPN continues as if it had agreed.
            return Err(handshake::HandshakeFailure {
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
