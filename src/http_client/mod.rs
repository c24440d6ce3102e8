//! The HTTP client for requests of our own: one request, one connection, one bounded response.
//!
//! It knows HTTP and nothing of what is asked for: authorization servers, an API that is tried out and
//! the admin address are all asked through it. Proxied requests do not come here, they use the pools of
//! [`crate::upstream`].
//!
//! - [`HttpClient`] makes a request complete, and undoes the content coding of its response.
//! - [`Transport`] carries it: [`NetworkTransport`], or a simulation of the network.
//! - [`AddressPolicy`] says where a URL may lead that a server named, and not the operator.

mod address_policy;
mod client;
mod content_coding;
mod error;
mod exchange;
mod fields;
mod network;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use url::{Position, Url};
use zeroize::Zeroizing;

pub use address_policy::AddressPolicy;
pub use client::HttpClient;
pub use error::{Error, RequestErrorKind, UnreadableBody};
pub use fields::{digits, max_age, retry_after};
pub use network::{NetworkSettings, NetworkTransport};

/// A boxed future; one is made for each request of our own, never for a proxied one.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Called when a request is about to be written, on a connection that is there: its receiver cannot have acted before.
pub type OnSend<'a> = &'a (dyn Fn() + Send + Sync);

/// The body of a response, read to its end and wiped on drop; or why there is none.
pub type Body = Result<Zeroizing<Vec<u8>>, UnreadableBody>;

/// A response, whatever its status.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// The address that answered, if there is a network.
    pub peer: Option<SocketAddr>,
}

/// What carries requests to one server: the network, or a simulation of it.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request, once, to the origin of `url`, and reads the whole response, whatever its
    /// status. The target is in origin form and `Host` is set (RFC 9112 section 3.2.1). The caller
    /// bounds its time by dropping the future. `on_send` is called once it goes out.
    ///
    /// # Errors
    /// The server was not reached, or what it said is not a response.
    fn carry<'a>(
        &'a self,
        url: &'a Url,
        request: Request<Bytes>,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<Response, Error>>;

    /// Reads the TLS files again, if there are any. Blocks: on a thread that serves nobody.
    fn tls_files(&self) -> TlsFiles {
        TlsFiles::default()
    }
}

/// The TLS files of a [`Transport`] at one moment.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Stands for the content that is in use; differs when that does.
    pub fingerprint: u64,
    /// Why the content that is there now is not in use.
    pub fault: Option<TlsFileFault>,
}

/// A TLS file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFileFault {
    /// Its path.
    pub file: PathBuf,
    /// What is wrong with it; never its content.
    pub reason: String,
}

/// A URL for messages: without user, query and fragment, which may hold secrets.
pub fn display_url(url: &Url) -> String {
    let rest = &url[Position::BeforeHost..Position::AfterPath];
    format!("{}://{rest}", url.scheme())
}
