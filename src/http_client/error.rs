//! Why there is no response, or no body.

use std::io;

use crate::http1::{self, HeadError};
use crate::tls::without_documentation_link;
use crate::upstream::ConnectError;

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Whose fault it is.
    pub kind: RequestErrorKind,
    /// What happened, with the server's name; free of secrets.
    pub message: String,
}

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// The URL or a header does not fit into a request.
    InvalidRequest,
    /// There is no connection: nothing of the request was sent.
    Unreachable,
    /// The connection broke before the end of the response.
    Disconnected,
    /// The proxy on the way refused.
    ProxyRefused,
    /// There was no connection within the time for it.
    Timeout,
    /// The server is at no address where it may be: see [`AddressPolicy`](super::AddressPolicy).
    AddressForbidden,
    /// The server refused our client certificate, or wants one.
    CertificateRefused,
    /// The head of the response is larger than allowed.
    HeadTooLarge,
    /// What came is not an HTTP response.
    InvalidResponse,
    /// A defect of ours, or the system gives us no thread.
    Internal,
}

/// Why a response has no body that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableBody {
    /// Nobody wanted to read it.
    #[error("it was not read")]
    NotRead,
    /// It is longer than allowed, as sent or after decoding.
    #[error("it is too large")]
    TooLarge,
    /// It has a content coding other than gzip.
    #[error("it is in a compressed form that nobody asked for")]
    UnknownCoding,
    /// Its gzip content is damaged.
    #[error("its gzip content is damaged or cut off")]
    DamagedCoding,
    /// The connection or its framing broke before the end of the body.
    #[error(transparent)]
    Broken(Error),
}

/// Why an exchange on an open connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Http1(#[from] http1::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// No request over HTTP/2 can be made of it.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// More interim responses came than any server has reason to send.
    #[error("interim responses came without end")]
    Interim,
}

impl Error {
    pub(super) fn new(kind: RequestErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        let kind = match &error {
            ConnectError::Timeout { .. } => RequestErrorKind::Timeout,
            ConnectError::ProxyRefused { .. } => RequestErrorKind::ProxyRefused,
            ConnectError::Forbidden { .. } | ConnectError::OwnSocket { .. } => {
                RequestErrorKind::AddressForbidden
            }
            ConnectError::Tls {
                certificate_refused: true,
                ..
            } => RequestErrorKind::CertificateRefused,
            _ => RequestErrorKind::Unreachable,
        };
        Self::new(kind, error.to_string())
    }
}

impl ExchangeError {
    /// The same for the caller, who asked the server at `url` and allowed heads of `max_header_bytes`.
    pub(super) fn of(self, url: &str, max_header_bytes: usize) -> Error {
        let cut = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
        let (kind, message) = match self {
            Self::Http1(http1::Error::Head(HeadError::TooLarge)) => (
                RequestErrorKind::HeadTooLarge,
                format!(
                    "{url} answered with headers of more than {max_header_bytes} bytes, or too many"
                ),
            ),
            Self::Http1(http1::Error::Head(_) | http1::Error::Body(_)) => (
                RequestErrorKind::InvalidResponse,
                format!("{url} answered with something that is not HTTP/1.1"),
            ),
            Self::Request(_) => (
                RequestErrorKind::InvalidRequest,
                format!("the URL {url} is not usable in a request"),
            ),
            Self::Interim | Self::Http1(http1::Error::Interim) => (
                RequestErrorKind::InvalidResponse,
                format!("{url} sends interim responses without end, and no answer"),
            ),
            Self::Http1(http1::Error::Io(e)) if !cut(&e) => (
                RequestErrorKind::Disconnected,
                format!(
                    "the connection to {url} broke: {}",
                    without_documentation_link(e.to_string())
                ),
            ),
            Self::Http1(http1::Error::Io(_) | http1::Error::Closed | http1::Error::Upload(_)) => (
                RequestErrorKind::Disconnected,
                format!("{url} closed the connection before its answer was complete"),
            ),
            Self::Http2(e) => (
                RequestErrorKind::Disconnected,
                format!("the HTTP/2 connection to {url} broke: {e}"),
            ),
        };
        Error::new(kind, message)
    }
}
