//! Tunnels by CONNECT over HTTP/1.1 (RFC 9110 section 9.3.6).

use std::io;

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::refusal::ProxyRefusal;
use super::tunnel::{TunnelError, TunnelTarget};
use crate::config::ProxyAuthorization;
use crate::http1::{self, HeadError, HeadLimits, read_connect_response};

/// How large the head of a response may be. Pages that explain a refusal stand in its body, which is not read.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 * 1024,
    fields: 100,
};

pub(super) async fn open<I: AsyncRead + AsyncWrite + Unpin>(
    io: &mut I,
    target: TunnelTarget<'_>,
    authorization: Option<&ProxyAuthorization>,
) -> Result<(), TunnelError> {
    let value = authorization.map(ProxyAuthorization::header_value);
    io.write_all(&request(target, value.as_ref())).await?;
    io.flush().await?;
    let response = read_connect_response(io, &LIMITS).await.map_err(broken)?;
    if response.status().is_success() {
        return Ok(());
    }
    let (status, headers) = (response.status(), response.headers());
    Err(ProxyRefusal::of_response(status, headers, value.is_some()).into())
}

fn request(target: TunnelTarget<'_>, authorization: Option<&HeaderValue>) -> Zeroizing<Vec<u8>> {
    let authority = format!("{}:{}", target.host, target.port);
    let mut head = Zeroizing::new(Vec::with_capacity(1024));
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    put(&[b"CONNECT ", authority.as_bytes(), b" HTTP/1.1\r\n"]);
    put(&[b"Host: ", authority.as_bytes(), b"\r\n"]);
    if let Some(value) = authorization {
        put(&[b"Proxy-Authorization: ", value.as_bytes(), b"\r\n"]);
    }
    put(&[b"\r\n"]);
    head
}

fn broken(error: http1::Error) -> TunnelError {
    match error {
        http1::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ProxyRefusal::Closed.into()
        }
        http1::Error::Io(error) => error.into(),
        http1::Error::Closed => ProxyRefusal::Closed.into(),
        http1::Error::Head(HeadError::TooLarge) => ProxyRefusal::HeadTooLarge.into(),
        _ => ProxyRefusal::NotHttp.into(),
    }
}
