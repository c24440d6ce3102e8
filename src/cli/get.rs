//! One request over plain HTTP, for commands that ask a server nearby.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::{Host, Position, Url};

/// As much of an answer as is shown: every mistake of a large configuration.
const SHOWN: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Not something this can ask.
    #[error("only http:// can be asked")]
    Scheme,
    /// No HTTP request can be made of it.
    #[error("cannot be asked: {0}")]
    Request(http::Error),
    /// Nobody listens.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// Somebody listens, but does not answer.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
}

/// As [`ask`], by GET.
pub(super) async fn get(url: &Url) -> Result<(StatusCode, String), NoAnswer> {
    ask(Method::GET, url).await
}

/// The status and text of the answer. A body that breaks off, or is too long, is left out: the
/// status decides. Takes as long as the server likes.
pub(super) async fn ask(method: Method, url: &Url) -> Result<(StatusCode, String), NoAnswer> {
    let (host, port) = match (url.scheme(), url.host()) {
        ("http", Some(host)) => (host, url.port_or_known_default().unwrap_or(80)),
        _ => return Err(NoAnswer::Scheme),
    };
    let stream = match host {
        Host::Domain(name) => TcpStream::connect((name, port)).await,
        Host::Ipv4(ip) => TcpStream::connect((ip, port)).await,
        Host::Ipv6(ip) => TcpStream::connect((ip, port)).await,
    }
    .map_err(NoAnswer::Connect)?;

    let request = Request::builder()
        .method(method)
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .header(
            header::HOST,
            &url[Position::BeforeHost..Position::AfterPort],
        )
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(NoAnswer::Request)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let text = match Limited::new(body, SHOWN).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    Ok((head.status, text))
}
