//! The response to a CONNECT, behind which a tunnel begins.

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::head::parse_response;
use super::partial_head::PartialHead;
use super::round_trip::{Error, MAX_INTERIM};
use super::syntax::{HeadLimits, Strictness};

/// Reads the head of the response to a CONNECT, and no byte beyond it: what comes behind belongs to the tunnel.
/// Interim responses are skipped.
///
/// # Errors
/// What came is no response, its head is too large, or the connection has ended.
pub async fn read_connect_response<I: AsyncRead + Unpin>(
    io: &mut I,
    limits: &HeadLimits,
) -> Result<Response<()>, Error> {
    for _ in 0..=MAX_INTERIM {
        let response = read_head(io, limits).await?;
        let status = response.status();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
    }
    Err(Error::Interim)
}

async fn read_head<I: AsyncRead + Unpin>(
    io: &mut I,
    limits: &HeadLimits,
) -> Result<Response<()>, Error> {
    let mut gathered = PartialHead::default();
    loop {
        let mut byte = [0];
        if io.read(&mut byte).await.map_err(Error::Io)? == 0 {
            return Err(Error::Closed);
        }
        let mut received = Bytes::copy_from_slice(&byte);
        let head = gathered.gather(&mut received, Strictness::Lenient, limits.bytes)?;
        if let Some(head) = head {
            return Ok(parse_response(&head, limits)?.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::HeadError;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 200,
        fields: 5,
    };

    /// What is made of these bytes, and what is left of them.
    async fn read(mut bytes: &[u8]) -> (Result<u16, Error>, &[u8]) {
        let response = read_connect_response(&mut bytes, &LIMITS).await;
        (response.map(|response| response.status().as_u16()), bytes)
    }

    #[tokio::test]
    async fn what_comes_behind_the_head_is_left_alone() {
        for (bytes, status) in [
            ("HTTP/1.1 200 OK\r\n\r\nbehind", 200),
            ("HTTP/1.0 200 Connection established\r\n\r\nbehind", 200),
            // The length of a response to CONNECT means nothing (RFC 9110 section 9.3.6).
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbehind", 200),
            ("HTTP/1.1 200 OK\nA: b\n\nbehind", 200),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\nA: b\r\n\r\nbehind",
                407,
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\nbehind", 101),
        ] {
            let (response, left) = read(bytes.as_bytes()).await;
            assert_eq!(
                (response.unwrap(), left),
                (status, &b"behind"[..]),
                "{bytes:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_response_is_refused() {
        for bytes in [
            "SSH-2.0",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\x01\r\n\r\n",
        ] {
            let (response, _) = read(bytes.as_bytes()).await;
            let is_malformed = matches!(response, Err(Error::Head(HeadError::Malformed(_))));
            assert!(is_malformed, "{bytes:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(1000));
        let (response, left) = read(endless.as_bytes()).await;
        assert!(matches!(response, Err(Error::Head(HeadError::TooLarge))));
        assert!(left.len() > 700);
        for cut in ["", "HTTP/1.1 200 OK\r\nA"] {
            assert!(matches!(read(cut.as_bytes()).await.0, Err(Error::Closed)));
        }
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(300);
        assert!(matches!(
            read(interim.as_bytes()).await.0,
            Err(Error::Interim)
        ));
    }
}
