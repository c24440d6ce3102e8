//! One request on a connection to an upstream, and its response.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body_decoder::BodyDecoder;
use super::chunked::MalformedBody;
use super::encode::{self, BodyEncoder, RequestLine};
use super::head::parse_response;
use super::header_case::HeaderCase;
use super::partial_head::PartialHead;
use super::read::poll_read;
use super::syntax::{HeadError, HeadLimits, Strictness};
use super::unsolicited::Unsolicited;
use super::write_buffer::{COALESCED, WriteBuffer};

#[cfg(test)]
mod tests;

/// Interim responses to one request. A server that says `102` every ten seconds says it for three
/// quarters of an hour.
const MAX_INTERIM: u32 = 256;

const SHORT: &str = "it is not as long as it was to be";

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// It was closed before the end.
    #[error("the connection was closed before the message was complete")]
    Closed,
    /// What came is no response, or its head is too large.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Interim responses came without end.
    #[error("more than {MAX_INTERIM} interim responses came")]
    Interim,
    /// Its body is not what its head tells.
    #[error(transparent)]
    Body(#[from] MalformedBody),
    /// The request body broke off.
    #[error("the request body broke off")]
    Upload(#[source] Box<dyn StdError + Send + Sync>),
}

/// A request on its way to an upstream, and the response on its way back. Both may move at once. When
/// writing fails, the response is read all the same: a server that refuses an upload in the middle
/// often closes at once.
#[derive(Debug)]
pub struct RoundTrip<I, B> {
    io: I,
    out: WriteBuffer,
    /// What is left of the request.
    upload: Option<B>,
    /// The head promises a body, and there is none.
    short: bool,
    coding: BodyEncoder,
    limits: HeadLimits,
    /// Bytes of one read.
    most: usize,
    method: Method,
    received: Bytes,
    gathered: PartialHead,
    /// How many interim responses have come.
    interim: u32,
    heard: bool,
    unheard: bool,
    /// Of the response, once its head has come.
    decoder: Option<BodyDecoder>,
    keep_alive: bool,
    /// The connection has ended.
    ended: bool,
}

/// A request, less its body.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'r> {
    /// The first line, and who is asked.
    pub line: RequestLine<'r>,
    /// In their order.
    pub headers: &'r HeaderMap,
    /// How they were written.
    pub header_case: Option<&'r HeaderCase>,
    /// Stand behind them.
    pub more: &'r [(HeaderName, HeaderValue)],
}

impl<I, B> RoundTrip<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// A request to be sent on `io`, on which nothing else is under way. `upload` is its body, whose
    /// length is framing by `Content-Length`, or else it is chunked.
    pub fn new(
        io: I,
        request: RequestHead<'_>,
        upload: Option<B>,
        limits: HeadLimits,
        most: usize,
    ) -> Self {
        let mut out = WriteBuffer::default();
        let (headers, more) = (request.headers, request.more);
        encode::request_head(
            out.space(),
            request.line,
            headers,
            request.header_case,
            more,
        );
        Self {
            io,
            out,
            short: upload.is_none() && encode::coding_of(headers, more).is_owed(),
            coding: match &upload {
                Some(_) => encode::coding_of(headers, more),
                None => BodyEncoder::Absent,
            },
            upload,
            limits,
            most,
            method: request.line.method.clone(),
            received: Bytes::new(),
            gathered: PartialHead::default(),
            interim: 0,
            heard: false,
            unheard: false,
            decoder: None,
            keep_alive: false,
            ended: false,
        }
    }

    /// Sends the request and waits for the head of its response. `interim` is framing the interim ones
    /// that come before.
    ///
    /// # Errors
    /// There is none. [`has_received`](Self::has_received) tells whether some of it came.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(Response<()>),
    ) -> Poll<Result<Response<()>, Error>> {
        loop {
            self.send(cx)?;
            let most = self.limits.bytes;
            while !self.received.is_empty() {
                let gathered = &mut self.gathered;
                let head = gathered.gather(&mut self.received, Strictness::Lenient, most)?;
                let Some(head) = head else { break };
                let (response, framing) = parse_response(&head, &self.limits)?;
                let status = response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Poll::Ready(Err(Error::Interim));
                    }
                    interim(response);
                    // It may have asked for the body.
                    self.send(cx)?;
                    continue;
                }
                let decoder =
                    BodyDecoder::of_response(&self.method, status, &framing, self.limits)?;
                // HTTP/1.0 has no chunks, and a 204 no body: who tells of one frames something wrongly
                // (RFC 9112 section 6.1).
                let bodied =
                    framing.has_transfer_coding || framing.length.is_some_and(|length| length > 0);
                let empty = status == StatusCode::NO_CONTENT;
                let doubtful = framing.has_transfer_coding && !framing.is_http11 || bodied && empty;
                self.keep_alive = framing.keep_alive && !doubtful;
                self.decoder = Some(decoder);
                return Poll::Ready(Ok(response));
            }
            ready!(self.poll_receive(cx))?;
            if self.ended {
                return Poll::Ready(Err(Error::Closed));
            }
        }
    }

    /// Moves the request on as far as it goes. What becomes of the connection is heard by reading.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.short {
            return Err(Error::Upload(SHORT.into()));
        }
        loop {
            let mut waits = self.upload.is_none();
            while !waits && self.out.has_room(COALESCED) {
                waits = !self.gather(cx)? || self.upload.is_none();
            }
            if !self.unheard {
                match self.out.poll_write(&mut self.io, cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(written) => self.unheard = written.is_err(),
                }
            }
            if self.unheard {
                self.out.clear();
            }
            if waits {
                return Ok(());
            }
        }
    }

    /// Takes a piece of the upload, if one is at hand.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let Some(upload) = &mut self.upload else {
            return Ok(false);
        };
        let Poll::Ready(frame) = Pin::new(&mut *upload).poll_frame(cx) else {
            return Ok(false);
        };
        let frame = frame
            .transpose()
            .map_err(|error| Error::Upload(error.into()))?;
        let last = upload.is_end_stream();
        let (whole, over) = match frame.map(Frame::into_data) {
            Some(Ok(data)) => (self.coding.push(&mut self.out, data, last), last),
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().ok();
                (self.coding.end(&mut self.out, trailers.as_ref()), true)
            }
            None => (self.coding.end(&mut self.out, None), true),
        };
        if over {
            self.upload = None;
        }
        match whole {
            true => Ok(true),
            false => Err(Error::Upload(SHORT.into())),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let received = ready!(poll_read(&mut self.io, cx, self.most)).map_err(Error::Io)?;
        self.ended = received.is_empty();
        self.heard |= !self.ended;
        self.received = received;
        Poll::Ready(Ok(()))
    }

    /// Goes on with a request whose response is complete, as long as there is some left.
    ///
    /// # Errors
    /// It broke off.
    pub fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.send(cx)?;
        match self.is_sent() || self.unheard {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// The next piece of the response body.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            self.send(cx)?;
            let Some(decoder) = &mut self.decoder else {
                return Poll::Ready(None);
            };
            match decoder.decode(&mut self.received)? {
                Some(frame) => return Poll::Ready(Some(Ok(frame))),
                None if decoder.is_done() => return Poll::Ready(None),
                None => {}
            }
            ready!(self.poll_receive(cx))?;
            if self.ended
                && !self
                    .decoder
                    .as_mut()
                    .is_some_and(BodyDecoder::finish_at_end_of_connection)
            {
                return Poll::Ready(Some(Err(Error::Closed)));
            }
        }
    }
}

impl<I, B> RoundTrip<I, B> {
    /// What it is sent on.
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Whether a byte has come since the request was begun.
    pub fn has_received(&self) -> bool {
        self.heard
    }

    /// Whether all of the request has been written.
    pub fn is_sent(&self) -> bool {
        self.upload.is_none() && self.out.is_flushed()
    }

    /// No other request is to follow, however this one ends.
    pub fn retire(&mut self) {
        self.keep_alive = false;
    }

    /// Sends no more of the request. Its connection ends with the response.
    pub fn abandon(&mut self) {
        self.upload = None;
        self.keep_alive = false;
    }

    /// Whether the server, which has said nothing else to this request, ends the connection.
    pub fn is_only_closing_response(&self) -> bool {
        self.interim == 0 && self.decoder.is_some() && !self.keep_alive
    }

    /// Whether all of the response has been read.
    pub fn is_answered(&self) -> bool {
        self.decoder.as_ref().is_some_and(BodyDecoder::is_done)
    }

    /// What came behind the response, if something did.
    pub fn unsolicited(&self) -> Option<Unsolicited> {
        let any = self.is_answered() && !self.received.is_empty();
        any.then(|| Unsolicited::of(&self.received))
    }

    /// The connection, if it can take another request: everything has been written and read, and
    /// neither side wants it to end.
    pub fn into_idle(self) -> Option<I> {
        let done = self.is_sent() && self.is_answered() && self.received.is_empty();
        (done && self.keep_alive && !self.unheard && !self.ended).then_some(self.io)
    }

    /// The connection behind a 101, and what has come of its new protocol.
    pub fn into_tunnel(self) -> (I, Bytes) {
        (self.io, self.received)
    }
}

impl<I, B> Body for RoundTrip<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.get_mut().poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_answered()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.decoder.as_ref().and_then(BodyDecoder::remaining);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
