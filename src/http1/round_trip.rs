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

/// The most interim responses to one request. A server that sends a `102` every ten seconds can do so for
/// three quarters of an hour.
pub(super) const MAX_INTERIM: u32 = 256;

const WRONG_LENGTH: &str = "its length is not the one that was declared";

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// It was closed before the end.
    #[error("the connection was closed before the message was complete")]
    Closed,
    /// What came is not a response, or its head is too large.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Too many interim responses came.
    #[error("more than {MAX_INTERIM} interim responses came")]
    Interim,
    /// Its body does not follow the framing that its head told.
    #[error(transparent)]
    Body(#[from] MalformedBody),
    /// The request body broke off.
    #[error("the request body broke off")]
    Upload(#[source] Box<dyn StdError + Send + Sync>),
}

/// A request on its way to an upstream, and the response on its way back. Both may move at once. When
/// writing fails, the response is read nevertheless: a server that refuses an upload before its end often
/// responds and closes the connection at once.
#[derive(Debug)]
pub struct RoundTrip<I, B> {
    io: I,
    write_buffer: WriteBuffer,
    /// What is left of the request.
    upload: Option<B>,
    /// The head declares a body, and there is none.
    is_body_missing: bool,
    encoder: BodyEncoder,
    limits: HeadLimits,
    /// The most bytes of one read.
    max_read: usize,
    method: Method,
    received: Bytes,
    partial_head: PartialHead,
    /// How many interim responses have come.
    interim_count: u32,
    /// A byte has come.
    has_received: bool,
    /// Writing has failed: nothing more is sent.
    write_failed: bool,
    /// Reads the body of the response, once its head has come.
    decoder: Option<BodyDecoder>,
    keep_alive: bool,
    /// The upstream has closed the connection.
    is_closed: bool,
}

/// A request, less its body.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'r> {
    /// The first line, and who is asked.
    pub line: RequestLine<'r>,
    /// The headers, in their order.
    pub headers: &'r HeaderMap,
    /// How their names were written.
    pub header_case: Option<&'r HeaderCase>,
    /// Further headers, which stand behind them.
    pub more: &'r [(HeaderName, HeaderValue)],
}

impl<I, B> RoundTrip<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// A request to be sent on `io`, on which nothing else is under way. `upload` is its body: `Content-Length`
    /// tells its length, or else it is chunked. At most `max_read` bytes are read at once.
    pub fn new(
        io: I,
        request: RequestHead<'_>,
        upload: Option<B>,
        limits: HeadLimits,
        max_read: usize,
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
            write_buffer: out,
            is_body_missing: upload.is_none()
                && encode::request_body_encoder(headers, more).expects_data(),
            encoder: match &upload {
                Some(_) => encode::request_body_encoder(headers, more),
                None => BodyEncoder::Absent,
            },
            upload,
            limits,
            max_read,
            method: request.line.method.clone(),
            received: Bytes::new(),
            partial_head: PartialHead::default(),
            interim_count: 0,
            has_received: false,
            write_failed: false,
            decoder: None,
            keep_alive: false,
            is_closed: false,
        }
    }

    /// Sends the request and waits for the head of its response. `interim` gets the interim responses that
    /// come before.
    ///
    /// # Errors
    /// There is no response. [`has_received`](Self::has_received) tells whether a part of it came.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(Response<()>),
    ) -> Poll<Result<Response<()>, Error>> {
        loop {
            self.send(cx)?;
            let most = self.limits.bytes;
            while !self.received.is_empty() {
                let gathered = &mut self.partial_head;
                let head = gathered.gather(&mut self.received, Strictness::Lenient, most)?;
                let Some(head) = head else { break };
                let (response, framing) = parse_response(&head, &self.limits)?;
                let status = response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    self.interim_count += 1;
                    if self.interim_count > MAX_INTERIM {
                        return Poll::Ready(Err(Error::Interim));
                    }
                    interim(response);
                    // It may have been the `100 Continue` that the body waited for.
                    self.send(cx)?;
                    continue;
                }
                let decoder =
                    BodyDecoder::of_response(&self.method, status, &framing, self.limits)?;
                // HTTP/1.0 has no chunks, and a 204 has no body: a response that tells otherwise is framed
                // wrongly, and the connection is not used again (RFC 9112 section 6.1).
                let declares_body =
                    framing.has_transfer_coding || framing.length.is_some_and(|length| length > 0);
                let is_empty = status == StatusCode::NO_CONTENT;
                let is_doubtful =
                    framing.has_transfer_coding && !framing.is_http11 || declares_body && is_empty;
                self.keep_alive = framing.keep_alive && !is_doubtful;
                self.decoder = Some(decoder);
                return Poll::Ready(Ok(response));
            }
            ready!(self.poll_receive(cx))?;
            if self.is_closed {
                return Poll::Ready(Err(Error::Closed));
            }
        }
    }

    /// Sends as much of the request as possible. That the connection has broken is learned by reading.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.is_body_missing {
            return Err(Error::Upload(WRONG_LENGTH.into()));
        }
        loop {
            let mut waits = self.upload.is_none();
            while !waits && self.write_buffer.has_room(COALESCED) {
                waits = !self.buffer_upload(cx)? || self.upload.is_none();
            }
            if !self.write_failed {
                match self.write_buffer.poll_write(&mut self.io, cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(written) => self.write_failed = written.is_err(),
                }
            }
            if self.write_failed {
                self.write_buffer.clear();
            }
            if waits {
                return Ok(());
            }
        }
    }

    /// Takes a piece of the upload into the write buffer, if one is at hand.
    fn buffer_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
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
        let (fits, is_over) = match frame.map(Frame::into_data) {
            Some(Ok(data)) => (self.encoder.push(&mut self.write_buffer, data, last), last),
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().ok();
                (
                    self.encoder.end(&mut self.write_buffer, trailers.as_ref()),
                    true,
                )
            }
            None => (self.encoder.end(&mut self.write_buffer, None), true),
        };
        if is_over {
            self.upload = None;
        }
        if fits {
            Ok(true)
        } else {
            Err(Error::Upload(WRONG_LENGTH.into()))
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let received = ready!(poll_read(&mut self.io, cx, self.max_read)).map_err(Error::Io)?;
        self.is_closed = received.is_empty();
        self.has_received |= !self.is_closed;
        self.received = received;
        Poll::Ready(Ok(()))
    }

    /// Sends what is left of a request whose response is complete already.
    ///
    /// # Errors
    /// It broke off.
    pub fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.send(cx)?;
        if self.is_sent() || self.write_failed {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
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
            if self.is_closed
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
    /// The connection that it is sent on.
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Whether a byte has come since the request was begun.
    pub fn has_received(&self) -> bool {
        self.has_received
    }

    /// Whether all of the request has been written and flushed.
    pub fn is_sent(&self) -> bool {
        self.upload.is_none() && self.write_buffer.is_flushed()
    }

    /// Makes this the last request of its connection, however it ends.
    pub fn retire(&mut self) {
        self.keep_alive = false;
    }

    /// Sends no more of the request. The connection ends with the response.
    pub fn abandon(&mut self) {
        self.upload = None;
        self.keep_alive = false;
    }

    /// Whether this response, before which no interim one came, ends the connection.
    pub fn is_only_closing_response(&self) -> bool {
        self.interim_count == 0 && self.decoder.is_some() && !self.keep_alive
    }

    /// Whether all of the response has been read.
    pub fn is_response_complete(&self) -> bool {
        self.decoder.as_ref().is_some_and(BodyDecoder::is_done)
    }

    /// What came behind the response, if anything did.
    pub fn unsolicited(&self) -> Option<Unsolicited> {
        let any = self.is_response_complete() && !self.received.is_empty();
        any.then(|| Unsolicited::of(&self.received))
    }

    /// The connection, if it can take another request: everything has been written and read, and
    /// neither side wants it to end.
    pub fn into_idle(self) -> Option<I> {
        let done = self.is_sent() && self.is_response_complete() && self.received.is_empty();
        (done && self.keep_alive && !self.write_failed && !self.is_closed).then_some(self.io)
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
        self.is_response_complete()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.decoder.as_ref().and_then(BodyDecoder::remaining);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
