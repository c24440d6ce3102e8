//! TLS towards one server.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::error::TlsError;
use super::handshake;
use super::tls::{self, ClientCertificate};
use crate::config::{self, HttpVersion};
use crate::redact::Redactor;

/// Which HTTP versions a connection may end up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// What the configuration allows.
    Any,
    /// HTTP/1.1 alone, as an upgrade needs it.
    Http1,
}

/// TLS towards one server.
pub(super) struct ClientTls {
    any: TlsConnector,
    http1: TlsConnector,
    name: ServerName<'static>,
    ca_file: Option<PathBuf>,
    /// We present a client certificate.
    pub(super) has_certificate: bool,
}

impl ClientTls {
    /// Reads the files of `tls` and prepares for certificates of `host`.
    ///
    /// # Errors
    /// A file that cannot be used, or a name that no certificate can carry.
    pub(super) fn new(
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

    /// The same settings for another host. Both share the store of sessions, which are kept by name.
    ///
    /// # Errors
    /// No certificate can carry its name.
    pub(super) fn for_host(&self, host: &Host) -> Result<Self, TlsError> {
        Ok(Self {
            any: self.any.clone(),
            http1: self.http1.clone(),
            name: tls::server_name(&config::Tls::default(), host)?,
            ca_file: self.ca_file.clone(),
            has_certificate: self.has_certificate,
        })
    }

    /// Begins TLS on a connection, and tells whether HTTP/2 is spoken on it.
    pub(super) async fn handshake<I: AsyncRead + AsyncWrite + Unpin>(
        &self,
        protocols: Protocols,
        http: HttpVersion,
        io: I,
        redactor: &Redactor,
    ) -> Result<(TlsStream<I>, bool), handshake::HandshakeFailure> {
        let connector = match protocols {
            Protocols::Any => &self.any,
            Protocols::Http1 => &self.http1,
        };
        let stream = connector
            .connect(self.name.clone(), io)
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
