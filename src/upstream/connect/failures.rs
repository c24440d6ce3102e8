//! The errors of a connector that show only when or after a connection was asked for.

use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::super::error::{ConnectError, Stage};
use super::super::handshake;
use super::Connector;
use crate::egress::proxy::{ProxyRefusal, is_refused};
use crate::http2;
use crate::tls::reason;

impl Connector {
    /// If a connection failed because the server refused our client certificate, or wants one and we have
    /// none: what the server says about it. With TLS 1.3 the server checks the certificate when our side of
    /// the handshake is done (RFC 8446 section 4.4.2.4), so that [`connect`](Self::connect) succeeds and
    /// the first read fails.
    pub fn certificate_refusal(&self, error: &(dyn Error + 'static)) -> Option<ConnectError> {
        let Some(tls) = &self.tls else {
            return self.proxy.as_ref()?.certificate_refusal(error);
        };
        let reason = handshake::certificate_refusal(error, tls.has_certificate)?;
        Some(ConnectError::Tls {
            authority: self.authority(),
            reason,
            certificate_refused: true,
        })
    }

    /// The error if a response on a connection whose requests a proxy reads is a refusal by the proxy itself.
    pub fn proxy_refusal(&self, status: StatusCode, headers: &HeaderMap) -> Option<ConnectError> {
        let proxy = self.proxy.as_ref().filter(|_| is_refused(status))?;
        let refusal = ProxyRefusal::of_response(status, headers, proxy.is_authorized());
        Some(proxy.refused(refusal))
    }

    /// The error when as many connections are open as `max` allows.
    pub(in super::super) fn too_many_connections(&self, max: usize) -> ConnectError {
        ConnectError::Full {
            authority: self.authority(),
            max,
        }
    }

    /// The error when a request has waited `within` that time for other connections to be opened, and got none.
    pub(in super::super) fn waited_too_long(&self, within: Duration) -> ConnectError {
        ConnectError::Timeout {
            authority: self.authority(),
            within,
            stage: Stage::Turn,
        }
    }

    /// The error when a connection was made, but HTTP/2 cannot begin on it.
    pub(in super::super) fn http2_failed(&self, error: &http2::Error) -> ConnectError {
        ConnectError::Connect {
            authority: self.authority(),
            reason: match error {
                http2::Error::Io(error) => {
                    format!("HTTP cannot begin: {}", reason(error))
                }
                error => format!("HTTP cannot begin: {error}"),
            },
        }
    }
}
