//! One request and its response on a connection that serves nothing else.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use url::Url;
use zeroize::Zeroizing;

use super::error::ExchangeError;
use crate::http1::{self, AbsoluteForm, RequestHead, RequestLine, RoundTrip};
use crate::upstream::{Connected, UpstreamIo};

/// Header lines of a response over HTTP/1.1.
const MAX_HEADERS: usize = 100;
/// Bytes that are read at once over HTTP/1.1.
const READ: usize = 16 * 1024;
/// Interim responses over HTTP/2, as many as over HTTP/1.1.
const MAX_INTERIM: u32 = 256;

/// How much of a response is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeLimits {
    pub(super) header_bytes: usize,
    /// None of its body if `None`.
    pub(super) body_bytes: Option<usize>,
}

/// A body, unless it is too long or was not wanted.
type Read = Result<Option<Zeroizing<Vec<u8>>>, ExchangeError>;

/// Sends `request`, whose target is in origin form, to the server of `url`, which is at the other end of
/// the connection, and reads the response. `proxied`: how it is sent where a proxy reads it.
pub(super) async fn exchange(
    connected: Connected,
    proxied: Option<&AbsoluteForm>,
    url: &Url,
    request: Request<Bytes>,
    limits: ExchangeLimits,
) -> Result<Response<Read>, ExchangeError> {
    if connected.http2 {
        over_http2(connected.io, url, request, limits).await
    } else {
        over_http1(connected.io, proxied, request, limits).await
    }
}

async fn over_http1(
    io: UpstreamIo,
    proxied: Option<&AbsoluteForm>,
    request: Request<Bytes>,
    limits: ExchangeLimits,
) -> Result<Response<Read>, ExchangeError> {
    let (mut head, body) = request.into_parts();
    // The connection serves one request: the server need not wait for a second.
    let close = HeaderValue::from_static("close");
    head.headers.insert(CONNECTION, close);
    let body = (head.method != Method::GET).then_some(body);
    if let Some(body) = &body {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let root = PathAndQuery::from_static("/");
    let no_host = HeaderValue::from_static("");
    let request = RequestHead {
        line: RequestLine {
            method: &head.method,
            target: head.uri.path_and_query().unwrap_or(&root),
            host: head.headers.get(HOST).unwrap_or(&no_host),
            proxied,
        },
        headers: &head.headers,
        header_case: None,
        more: &[],
    };
    let head_limits = http1::HeadLimits {
        bytes: limits.header_bytes,
        fields: MAX_HEADERS,
    };
    let mut trip = RoundTrip::new(io, request, body.map(Full::new), head_limits, READ);
    let response = poll_fn(|cx| trip.poll_head(cx, &mut |_| {})).await?;
    let body = match limits.body_bytes {
        Some(max) => read_http1(&mut trip, max).await,
        None => Ok(None),
    };
    Ok(response.map(|()| body))
}

async fn over_http2(
    io: UpstreamIo,
    url: &Url,
    request: Request<Bytes>,
    limits: ExchangeLimits,
) -> Result<Response<Read>, ExchangeError> {
    let (mut head, body) = request.into_parts();
    let host = head.headers.remove(HOST);
    head.uri = absolute(url, host.as_ref(), &head.uri)?;
    let has_body = head.method != Method::GET;
    if has_body {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let (sender, connection) = h2::client::Builder::new()
        .max_header_list_size(limits.header_bytes.try_into().unwrap_or(u32::MAX))
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await?;
    let exchange = async {
        let mut sender = sender.ready().await?;
        let head = Request::from_parts(head, ());
        let (mut response, mut upload) = sender.send_request(head, !has_body)?;
        if has_body {
            upload.send_data(body, true)?;
        }
        let mut interim = 0;
        let response = poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(_))) = response.poll_informational(cx) {
                interim += 1;
                if interim > MAX_INTERIM {
                    return Poll::Ready(Err(ExchangeError::Interim));
                }
            }
            let response = ready!(Pin::new(&mut response).poll(cx));
            Poll::Ready(response.map_err(ExchangeError::from))
        });
        let (head, body) = response.await?.into_parts();
        let body = match limits.body_bytes {
            Some(max) => read_http2(body, max).await,
            None => Ok(None),
        };
        Ok(Response::from_parts(head, body))
    };
    // The connection is driven here, and dropped with the exchange.
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        // Its streams know by now how they ended.
        _ = connection => exchange.await,
    }
}

/// The URI of a request over HTTP/2, which names scheme and authority too (RFC 9113 section 8.3.1).
fn absolute(url: &Url, host: Option<&HeaderValue>, target: &Uri) -> Result<Uri, http::Error> {
    let authority = host.map_or(&b""[..], HeaderValue::as_bytes);
    let path = target.path_and_query().map_or("/", PathAndQuery::as_str);
    Uri::builder()
        .scheme(url.scheme())
        .authority(authority)
        .path_and_query(path)
        .build()
}

async fn read_http1(trip: &mut RoundTrip<UpstreamIo, Full<Bytes>>, max: usize) -> Read {
    let mut whole = buffer(trip.size_hint().upper(), max);
    while let Some(frame) = trip.frame().await {
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if !append(&mut whole, data, max) {
            return Ok(None);
        }
    }
    Ok(Some(whole))
}

async fn read_http2(mut body: RecvStream, max: usize) -> Read {
    let mut whole = buffer(None, max);
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if !append(&mut whole, &data, max) {
            return Ok(None);
        }
    }
    Ok(Some(whole))
}

/// Room for a body. It has its final size from the start: growing would leave copies of a token
/// behind.
fn buffer(announced: Option<u64>, max: usize) -> Zeroizing<Vec<u8>> {
    let capacity = announced.map_or(max, |size| (max as u64).min(size) as usize);
    Zeroizing::new(Vec::with_capacity(capacity))
}

/// Whether `data` still fits.
fn append(whole: &mut Vec<u8>, data: &[u8], max: usize) -> bool {
    let fits = whole.len() + data.len() <= max;
    if fits {
        whole.extend_from_slice(data);
    }
    fits
}
