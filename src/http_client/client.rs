//! One request and its whole response.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use url::{Position, Url};

use super::{
    Error, NetworkSettings, NetworkTransport, OnSend, RequestErrorKind, Response, TlsFiles,
    Transport, content_coding, display_url,
};
use crate::upstream::TlsError;

/// How every request of ours names its sender (RFC 9110 section 10.1.5).
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sidebearer/", env!("CARGO_PKG_VERSION")));

/// Asks one server.
#[derive(Clone)]
pub struct HttpClient {
    transport: Arc<dyn Transport>,
    max_body_bytes: usize,
}

impl HttpClient {
    /// Requests are carried by `transport`. The body of a response may have `max_body_bytes` once it is decoded.
    pub fn new(transport: Arc<dyn Transport>, max_body_bytes: usize) -> Self {
        Self {
            transport,
            max_body_bytes,
        }
    }

    /// A client of the server at the origin of `url`. Blocks while it reads the TLS files.
    ///
    /// # Errors
    /// A TLS file that cannot be used.
    pub fn connecting(url: &Url, settings: NetworkSettings) -> Result<Self, TlsError> {
        let max_body_bytes = settings.max_body_bytes.unwrap_or_default();
        let transport = NetworkTransport::new(url, settings)?;
        Ok(Self::new(Arc::new(transport), max_body_bytes))
    }

    /// Sends one request to `url`, which is of this server, and reads its response to the end. `headers`
    /// decide neither `Host` nor the framing. A `GET` has no body. Redirects are not followed. The caller
    /// bounds its time by dropping the future.
    ///
    /// # Errors
    /// The URL does not fit into a request, the server was not reached, or what it said is no
    /// response.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        self.send_telling(method, url, headers, body, &|| ()).await
    }

    /// As [`send`](Self::send), and calls `on_send` when the request goes out.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_telling(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        on_send: OnSend<'_>,
    ) -> Result<Response, Error> {
        // A server may have named this URL: what does not fit is its fault, not an invariant.
        let invalid = || {
            let message = format!("the URL {} is not usable in a request", display_url(url));
            Error::new(RequestErrorKind::InvalidRequest, message)
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        let target = &url[Position::BeforePath..Position::AfterQuery];
        *request.uri_mut() = target.parse().map_err(|_| invalid())?;
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let host = HeaderValue::from_str(host).map_err(|_| invalid())?;
        let own = request.headers_mut();
        own.insert(USER_AGENT, AGENT);
        own.extend(headers);
        own.remove(CONTENT_LENGTH);
        own.remove(TRANSFER_ENCODING);
        own.insert(HOST, host);

        let response = self.transport.carry(url, request, on_send).await?;
        let Response { headers, body, .. } = response;
        let decode = |body| content_coding::decoded(&headers, body, self.max_body_bytes);
        Ok(Response {
            body: body.and_then(decode),
            headers,
            ..response
        })
    }

    /// Reads the TLS files again: see [`Transport::tls_files`].
    pub fn tls_files(&self) -> TlsFiles {
        self.transport.tls_files()
    }
}
