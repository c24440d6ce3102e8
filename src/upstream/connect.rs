//! One connection to a server: DNS, TCP, perhaps a proxy, TLS.

mod failures;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::address_check::AddressCheck;
use super::addresses::KnownAddresses;
use super::client_tls::{ClientTls, Protocols};
use super::error::{ConnectError, Stage, TlsError};
use super::first_hop::FirstHop;
use super::io::UpstreamIo;
use super::proxy_hop::{ProxyHop, ReadyProxy};
use super::socket::CountingSocket;
use super::tls::ClientCertificate;
use crate::address::OwnSockets;
use crate::config::{self, Dialing, EgressProxy, HttpVersion};
use crate::http1::AbsoluteForm;
use crate::redact::Redactor;

/// Makes connections to one origin. Files are read when it is built. A connection resumes the TLS session of
/// an earlier one.
pub struct Connector {
    hop: FirstHop,
    proxy: Option<Box<ProxyHop>>,
    http: HttpVersion,
    tls: Option<ClientTls>,
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub io: UpstreamIo,
    /// HTTP/2 is spoken, by ALPN or prior knowledge; else HTTP/1.1.
    pub http2: bool,
    /// The address that answered: that of the server, or of the proxy on the way to it.
    pub peer: SocketAddr,
    /// A proxy reads the requests on it, which are sent in [absolute form](Connector::absolute_form).
    pub is_read_by_proxy: bool,
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
        Ok(Self::with_tls(host, port, tls, http))
    }

    /// With TLS settings that have been made for this host, or without TLS.
    pub(super) fn with_tls(
        host: Host,
        port: u16,
        tls: Option<ClientTls>,
        http: HttpVersion,
    ) -> Self {
        Self {
            hop: FirstHop::new(host, port),
            proxy: None,
            http,
            tls,
        }
    }

    /// Opens its connections with these settings.
    pub fn with_dialing(mut self, dialing: Dialing) -> Self {
        self.hop.dialing = dialing;
        self
    }

    /// Connects only to addresses that `check` allows.
    pub fn with_address_check(mut self, check: Arc<dyn AddressCheck>) -> Self {
        self.hop.address_check = Some(check);
        self
    }

    /// Never connects to these sockets of this process.
    pub fn with_own_sockets(mut self, own_sockets: Arc<OwnSockets>) -> Self {
        self.hop.own_sockets = own_sockets;
        self
    }

    /// Cleans with `redactor` what the server says in a handshake, before it becomes part of an error. Where
    /// addresses are checked, another server gave the name of this one, which is cleaned too.
    pub fn with_redactor(mut self, redactor: Arc<Redactor>) -> Self {
        self.hop.redactor = redactor;
        self
    }

    /// Goes through this proxy, if there is one. Its files are read. Its address is not checked, and the server's
    /// is not known.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn through(self, proxy: Option<&EgressProxy>) -> Result<Self, TlsError> {
        Ok(match proxy {
            Some(proxy) => self.behind(Arc::new(ReadyProxy::new(proxy)?)),
            None => self,
        })
    }

    /// The same with a proxy whose files have been read.
    pub(super) fn behind(self, proxy: Arc<ReadyProxy>) -> Self {
        let reads_requests = self.tls.is_none() && self.http != HttpVersion::Http2;
        let (hop, (host, port)) = self.hop.through(proxy.resolver());
        Self {
            hop,
            proxy: Some(Box::new(ProxyHop::new(proxy, host, port, reads_requests))),
            ..self
        }
    }

    /// Finds its host at these addresses, whatever the name.
    #[cfg(test)]
    pub(super) fn with_addresses(self, addresses: Vec<SocketAddr>) -> Self {
        self.with_answers([addresses])
    }

    /// Resolves its host to these addresses, one answer after the other.
    #[cfg(test)]
    pub(super) fn with_answers(self, answers: impl IntoIterator<Item = Vec<SocketAddr>>) -> Self {
        Self {
            hop: self.hop.with_answers(answers.into_iter().collect()),
            ..self
        }
    }

    /// DNS, TCP, the proxy and TLS, together within `timeout`. Dropping the future closes everything.
    ///
    /// # Errors
    /// Which step failed and why.
    pub async fn connect(
        &self,
        protocols: Protocols,
        timeout: Duration,
    ) -> Result<Connected, ConnectError> {
        self.within(timeout, async |stage| self.attempt(protocols, stage).await)
            .await
    }

    /// The bare bytes of a connection to the host and port, for a tunnel: neither TLS nor HTTP is begun on it. Else
    /// as [`connect`](Self::connect), the check of addresses included.
    ///
    /// # Errors
    /// Which step failed and why.
    pub async fn open_tunnel(
        &self,
        timeout: Duration,
    ) -> Result<(UpstreamIo, SocketAddr), ConnectError> {
        self.within(timeout, async |stage| {
            let (socket, peer) = self.open(stage).await?;
            let Some(proxy) = &self.proxy else {
                return Ok((UpstreamIo::Tcp(socket), peer));
            };
            // Boxed, so that those who go straight are not as large.
            let tunnel = Box::pin(async {
                let mut io = proxy.begin(socket, stage).await?;
                proxy.tunnel(&mut io, stage).await?;
                Ok(io)
            });
            Ok((tunnel.await?, peer))
        })
        .await
    }

    async fn within<T>(
        &self,
        timeout: Duration,
        attempt: impl AsyncFnOnce(&mut Stage) -> Result<T, ConnectError>,
    ) -> Result<T, ConnectError> {
        let mut stage = Stage::LookupTurn;
        match tokio::time::timeout(timeout, attempt(&mut stage)).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::Timeout {
                authority: self.authority(),
                within: timeout,
                stage: match self.proxy {
                    Some(_) => stage.with_proxy(),
                    None => stage,
                },
            }),
        }
    }

    /// Whether no connection of it can speak HTTP/2.
    pub fn speaks_only_http1(&self) -> bool {
        match self.http {
            HttpVersion::Auto => self.tls.is_none(),
            HttpVersion::Http1 => true,
            HttpVersion::Http2 => false,
        }
    }

    /// How requests are sent on connections whose requests a proxy reads.
    pub fn absolute_form(&self) -> Option<&AbsoluteForm> {
        self.proxy.as_ref()?.absolute_form.as_ref()
    }

    /// Whether it goes through a proxy: the address of the server is not known then.
    pub fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Judges the server as [`connect`](Self::connect) does before anything is dialled, as far as that shows without a
    /// resolver.
    ///
    /// # Errors
    /// Its host is written as an address that may not be connected to.
    pub fn check_written(&self) -> Result<(), ConnectError> {
        self.hop.check_server()?;
        self.hop.check_written()
    }

    /// The URL of the proxy that it goes through, without what that is shown.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(|hop| hop.proxy_url())
    }

    /// What is known of the addresses of its host.
    pub(super) fn addresses(&self) -> &KnownAddresses {
        &self.hop.addresses
    }

    /// Whether its host has a name, whose addresses a resolver knows.
    pub(super) fn is_named(&self) -> bool {
        self.hop.is_named()
    }

    /// Asks the resolver for the addresses, and records them in [`addresses`](Self::addresses).
    pub(super) async fn look_up(&self) {
        self.hop.look_up().await;
    }

    async fn attempt(
        &self,
        protocols: Protocols,
        stage: &mut Stage,
    ) -> Result<Connected, ConnectError> {
        let (socket, peer) = self.open(stage).await?;
        if let Some(proxy) = &self.proxy {
            // Boxed, so that those who go straight are not as large.
            return Box::pin(self.through_proxy(proxy, protocols, socket, peer, stage)).await;
        }
        let connected = |io, http2| Connected {
            io,
            http2,
            peer,
            is_read_by_proxy: false,
        };
        let Some(tls) = &self.tls else {
            return Ok(connected(
                UpstreamIo::Tcp(socket),
                self.begins_http2(protocols),
            ));
        };
        let (stream, http2) = self.begin_tls(tls, protocols, socket, stage).await?;
        Ok(connected(UpstreamIo::Tls(Box::new(stream)), http2))
    }

    /// The rest of an attempt that has reached the proxy.
    async fn through_proxy(
        &self,
        proxy: &ProxyHop,
        protocols: Protocols,
        socket: CountingSocket,
        peer: SocketAddr,
        stage: &mut Stage,
    ) -> Result<Connected, ConnectError> {
        let mut io = proxy.begin(socket, stage).await?;
        let connected = |io, http2| Connected {
            io,
            http2,
            peer,
            is_read_by_proxy: false,
        };
        // What may be upgraded goes through a tunnel, as browsers do it (RFC 6455 section 4.1).
        if proxy.absolute_form.is_some() && protocols == Protocols::Any {
            return Ok(Connected {
                is_read_by_proxy: true,
                ..connected(io, false)
            });
        }
        proxy.tunnel(&mut io, stage).await?;
        let Some(tls) = &self.tls else {
            return Ok(connected(io, self.begins_http2(protocols)));
        };
        Ok(match io {
            UpstreamIo::Tcp(socket) => {
                let (stream, http2) = self.begin_tls(tls, protocols, socket, stage).await?;
                connected(UpstreamIo::Tls(Box::new(stream)), http2)
            }
            with_tls => {
                let (stream, http2) = self.begin_tls(tls, protocols, with_tls, stage).await?;
                connected(UpstreamIo::TlsInTls(Box::new(stream)), http2)
            }
        })
    }

    async fn begin_tls<I: AsyncRead + AsyncWrite + Unpin>(
        &self,
        tls: &ClientTls,
        protocols: Protocols,
        io: I,
        stage: &mut Stage,
    ) -> Result<(TlsStream<I>, bool), ConnectError> {
        *stage = Stage::Tls;
        let handshake = tls.handshake(protocols, self.http, io, &self.hop.redactor);
        handshake.await.map_err(|failure| ConnectError::Tls {
            authority: self.authority(),
            reason: failure.reason,
            certificate_refused: failure.certificate_refused,
        })
    }

    /// Whether HTTP/2 is spoken without TLS, by prior knowledge (RFC 9113 section 3.3).
    fn begins_http2(&self, protocols: Protocols) -> bool {
        self.http == HttpVersion::Http2 && protocols == Protocols::Any
    }

    /// A byte stream to the server, or to the proxy on the way: DNS and TCP.
    async fn open(&self, stage: &mut Stage) -> Result<(CountingSocket, SocketAddr), ConnectError> {
        let Some(proxy) = &self.proxy else {
            return self.hop.dial(stage).await;
        };
        self.hop.check_server()?;
        let opened = self.hop.dial(stage).await;
        opened.map_err(|error| proxy.unreachable(error))
    }

    /// Host and port of the server.
    pub fn authority(&self) -> String {
        self.hop.authority()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { "TLS" } else { "TCP" };
        write!(f, "Connector({}, {tls}, {:?})", self.authority(), self.http)
    }
}

#[cfg(test)]
mod tests;
