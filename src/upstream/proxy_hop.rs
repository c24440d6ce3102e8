//! The proxy that connections to a server go through.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use url::Host;

use super::client_tls::{ClientTls, Protocols};
use super::dns::Resolver;
use super::error::{ConnectError, Stage, TlsError};
use super::handshake;
use super::io::UpstreamIo;
use super::socket::CountingSocket;
use crate::config::{EgressProxy, HttpVersion, ProxyAuthorization, ProxyScheme};
use crate::egress::proxy::{ProxyRefusal, TunnelError, TunnelTarget, open_tunnel};
use crate::http1::AbsoluteForm;
use crate::redact::Redactor;
use crate::tls::reason;

/// A proxy with what its files held at one moment.
pub struct ReadyProxy {
    scheme: ProxyScheme,
    host: Host,
    port: u16,
    /// Its URL, for messages.
    shown: String,
    tls: Option<ClientTls>,
    authorization: Option<ProxyAuthorization>,
}

/// A proxy, and the server behind it. The server's name is resolved by the proxy.
pub(super) struct ProxyHop {
    proxy: Arc<ReadyProxy>,
    host: Host,
    port: u16,
    /// How requests are sent that the proxy itself reads; `None` if there are none of them.
    pub(super) absolute_form: Option<AbsoluteForm>,
}

impl ReadyProxy {
    /// Reads the files of `proxy`.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn new(proxy: &EgressProxy) -> Result<Self, TlsError> {
        let tls = match proxy.scheme {
            ProxyScheme::Https => {
                let tls = ClientTls::new(&proxy.host, None, &proxy.tls, HttpVersion::Http1)?;
                Some(tls)
            }
            ProxyScheme::Http | ProxyScheme::Socks5h => None,
        };
        let authorization = match &proxy.authorization {
            Some(source) => {
                let unusable = |what: String| TlsError::ProxyAuthorization(what);
                let secret = source.read().map_err(|error| unusable(error.to_string()))?;
                let made = ProxyAuthorization::new(&secret, proxy.scheme);
                Some(made.map_err(|expected| unusable(expected.to_owned()))?)
            }
            None => None,
        };
        Ok(Self {
            scheme: proxy.scheme,
            host: proxy.host.clone(),
            port: proxy.port,
            shown: proxy.to_string(),
            tls,
            authorization,
        })
    }

    /// Finds its addresses.
    pub(super) fn resolver(&self) -> Resolver {
        Resolver::new(self.host.clone(), self.port)
    }
}

impl fmt::Debug for ReadyProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadyProxy({})", self.shown)
    }
}

impl ProxyHop {
    /// For a server at this host and port. `reads_requests`: requests to the server can be read by a proxy.
    pub(super) fn new(proxy: Arc<ReadyProxy>, host: Host, port: u16, reads_requests: bool) -> Self {
        let takes_requests = proxy.scheme != ProxyScheme::Socks5h;
        let absolute_form = (reads_requests && takes_requests).then(|| AbsoluteForm {
            origin: match port {
                80 => format!("http://{host}"),
                _ => format!("http://{host}:{port}"),
            },
            authorization: proxy
                .authorization
                .as_ref()
                .map(ProxyAuthorization::header_value),
        });
        Self {
            proxy,
            host,
            port,
            absolute_form,
        }
    }

    /// The URL of the proxy, for messages.
    pub(super) fn proxy_url(&self) -> &str {
        &self.proxy.shown
    }

    /// Host and port of the server.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Begins TLS with the proxy, if it wants that.
    pub(super) async fn begin(
        &self,
        socket: CountingSocket,
        stage: &mut Stage,
    ) -> Result<UpstreamIo, ConnectError> {
        let Some(tls) = &self.proxy.tls else {
            return Ok(UpstreamIo::Tcp(socket));
        };
        *stage = Stage::ProxyTls;
        // What a proxy says of itself holds no secret of ours: it has not seen any.
        let nothing = Redactor::default();
        let http = HttpVersion::Http1;
        match tls
            .handshake(Protocols::Http1, http, socket, &nothing)
            .await
        {
            Ok((stream, _)) => Ok(UpstreamIo::Tls(Box::new(stream))),
            Err(failure) => Err(self.tls_failed(&failure.reason, failure.certificate_refused)),
        }
    }

    /// Makes `io`, which leads to the proxy, a tunnel to the server.
    pub(super) async fn tunnel(
        &self,
        io: &mut UpstreamIo,
        stage: &mut Stage,
    ) -> Result<(), ConnectError> {
        *stage = Stage::ProxyAnswer;
        let target = TunnelTarget {
            host: &self.host,
            port: self.port,
        };
        let opened = open_tunnel(
            io,
            self.proxy.scheme,
            target,
            self.proxy.authorization.as_ref(),
        )
        .await;
        opened.map_err(|error| match error {
            TunnelError::Refused(refusal) => self.refused(refusal),
            TunnelError::Io(error) => match self.certificate_refusal(&error) {
                Some(refused) => refused,
                None => ConnectError::ToProxy {
                    authority: self.authority(),
                    error: Box::new(ConnectError::Connect {
                        authority: self.proxy.shown.clone(),
                        reason: reason(&error),
                    }),
                },
            },
        })
    }

    /// The proxy does not let something through.
    pub(super) fn refused(&self, refusal: ProxyRefusal) -> ConnectError {
        ConnectError::ProxyRefused {
            authority: self.authority(),
            proxy: self.proxy.shown.clone(),
            refusal,
        }
    }

    /// Whether requests to the proxy carry an authorization.
    pub(super) fn is_authorized(&self) -> bool {
        self.proxy.authorization.is_some()
    }

    /// The proxy cannot be reached.
    pub(super) fn unreachable(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::Shortage { .. } | ConnectError::OwnSocket { .. } => error,
            error => ConnectError::ToProxy {
                authority: self.authority(),
                error: Box::new(error),
            },
        }
    }

    /// If `error` means that the proxy refused our client certificate, or wants one and we have none: what it says
    /// about that.
    pub(super) fn certificate_refusal(
        &self,
        error: &(dyn Error + 'static),
    ) -> Option<ConnectError> {
        let tls = self.proxy.tls.as_ref()?;
        let reason = handshake::certificate_refusal(error, tls.has_certificate)?;
        Some(self.tls_failed(&reason, true))
    }

    fn tls_failed(&self, reason: &str, certificate_refused: bool) -> ConnectError {
        self.unreachable(ConnectError::Tls {
            authority: self.proxy.shown.clone(),
            // The keys have the same names in both tables.
            reason: reason.replace("tls.", "proxy_tls."),
            certificate_refused,
        })
    }
}
