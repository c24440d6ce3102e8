//! The end of a connection towards a client: requests in, responses out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, response};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::body_decoder::BodyDecoder;
use super::encode::{self, BodyEncoder, ResponseFraming};
use super::framing::MessageFraming;
use super::head::parse_request;
use super::partial_head::PartialHead;
use super::read::poll_read;
use super::round_trip::COALESCED;
use super::syntax::{HeadError, HeadLimits, Strictness};
use super::write_buffer::WriteBuffer;

mod body;
#[cfg(test)]
mod tests;
mod upgraded;

pub use body::{BodyError, RequestBody};

/// A client's connection, which carries one request after another. As [`AsyncRead`] and
/// [`AsyncWrite`] it is what it has been upgraded to.
#[derive(Debug)]
pub struct ServerConnection<S>(Rc<RefCell<ConnectionState<S>>>);

/// A request, with its body if it has one.
pub type IncomingRequest<S> = Request<Option<RequestBody<S>>>;

/// Why a response is not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Its body broke off, or is not as long as it was to be.
    Broken,
    /// Nobody is left to read it.
    Gone,
}

#[derive(Debug)]
struct ConnectionState<S> {
    /// `None` once it is closed, whoever still holds a body.
    stream: Option<S>,
    limits: HeadLimits,
    /// Bytes of one read.
    most: usize,
    received: Bytes,
    gathered: PartialHead,
    out: WriteBuffer,
    /// Since when the client takes nothing of what it is to read, nor sends anything.
    stalled: Option<Instant>,
    asked: CurrentRequest,
    /// Requests so far.
    count: u64,
    /// How often something has come.
    reads: u64,
    /// What is left of the response.
    answer: Option<BodyEncoder>,
    /// Of the connection's task, while it waits for the client to read.
    writer: Option<Waker>,
    /// Of whoever reads the body.
    reader: Option<Waker>,
    /// Of whoever waits for the end of the body.
    waiter: Option<Waker>,
}

/// The request that is being served.
#[derive(Debug)]
struct CurrentRequest {
    body: BodyDecoder,
    /// Somebody holds its body.
    read: bool,
    /// The client waits to be asked for it.
    expects: bool,
    takes_trailers: bool,
    head: bool,
    http11: bool,
    /// Another request may follow.
    keep_alive: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerConnection<S> {
    /// A connection of which `received` has been read already.
    pub fn new(stream: S, received: Bytes, limits: HeadLimits, most: usize) -> Self {
        Self(Rc::new(RefCell::new(ConnectionState {
            stream: Some(stream),
            limits,
            most,
            received,
            gathered: PartialHead::default(),
            out: WriteBuffer::default(),
            stalled: None,
            asked: CurrentRequest::by(&Method::GET, MessageFraming::default(), limits),
            count: 0,
            reads: 0,
            answer: None,
            writer: None,
            reader: None,
            waiter: None,
        })))
    }

    /// The next request; `None` when the connection has ended before it was whole.
    ///
    /// # Errors
    /// What came is none, or its head is too large.
    pub fn poll_request(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<IncomingRequest<S>>, HeadError>> {
        let mut shared = self.0.borrow_mut();
        let shared = &mut *shared;
        loop {
            if !shared.received.is_empty() {
                let most = shared.limits.bytes;
                let gathered = &mut shared.gathered;
                let head = gathered.gather(&mut shared.received, Strictness::Strict, most)?;
                if let Some(head) = head {
                    let (request, framing) = parse_request(&head, &shared.limits)?;
                    shared.asked = CurrentRequest::by(request.method(), framing, shared.limits);
                    shared.asked.read = !shared.asked.body.is_done();
                    shared.count += 1;
                    let body = shared.asked.read.then(|| RequestBody {
                        shared: Rc::clone(&self.0),
                        number: shared.count,
                    });
                    return Poll::Ready(Ok(Some(request.map(|()| body))));
                }
            }
            if !ready!(shared.poll_receive(cx)) {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Whether some of a request head has come, and not all.
    pub fn in_head(&self) -> bool {
        self.0.borrow().gathered.has_begun()
    }

    /// Whether another request may follow the one that was answered. It must have been read to its end.
    pub fn keeps_alive(&self) -> bool {
        let shared = self.0.borrow();
        shared.asked.keep_alive && shared.asked.body.is_done()
    }

    /// Since when the client has read nothing of what waits for it, nor sent anything.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.0.borrow().stalled
    }

    /// Ready once the client has gone, while it waits for its response. What it sends meanwhile is kept
    /// for later, as far as one read goes; what is left of a body that nobody reads is forgotten.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.0.borrow_mut();
        loop {
            shared.skip_body();
            if shared.asked.read && !shared.asked.body.is_done() {
                // Whoever reads the body, perhaps another task, hears of it there. Behind the body
                // it is for us to look.
                shared.wait_for_body(cx);
                return Poll::Pending;
            }
            if !shared.received.is_empty() {
                return Poll::Pending;
            }
            if !ready!(shared.poll_receive(cx)) {
                return Poll::Ready(());
            }
        }
    }

    /// Takes interim responses, to be sent before the final one.
    pub fn inform(&self, interim: &[u8]) {
        let mut shared = self.0.borrow_mut();
        if shared.asked.http11 && shared.answer.is_none() {
            shared.out.space().extend_from_slice(interim);
        }
    }

    /// How much waits for the client to read it.
    pub fn unread(&self) -> usize {
        self.0.borrow().out.len()
    }

    /// Writes what waits to be written.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    /// Begins the response to the request. `body` says how long it is. With `close` no other request
    /// follows.
    pub fn answer<B: Body>(&self, head: &response::Parts, body: &B, close: bool) {
        let mut shared = self.0.borrow_mut();
        let shared = &mut *shared;
        shared.skip_body();
        let asked = &mut shared.asked;
        let bodiless = head.status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        let framing = head.headers.get(CONTENT_LENGTH).and_then(encode::number);
        let mut add_length = None;
        let coding = match (framing, body.size_hint().exact()) {
            _ if asked.head || bodiless => BodyEncoder::Absent,
            (Some(length), _) => BodyEncoder::Length(length),
            (None, Some(length)) => {
                add_length = Some(length);
                BodyEncoder::Length(length)
            }
            (None, None) if asked.http11 => BodyEncoder::Chunked,
            (None, None) => BodyEncoder::UntilClose,
        };
        // What nobody reads would be taken for the next request.
        let over = asked.read || asked.body.is_done();
        asked.keep_alive &=
            over && !close && !closes(&head.headers) && coding != BodyEncoder::UntilClose;
        let answering = ResponseFraming {
            http11: asked.http11,
            keep_alive: asked.keep_alive,
            add_length,
            coding,
        };
        encode::response_head(shared.out.space(), head, answering);
        shared.answer = Some(coding);
    }

    /// Sends the response that was begun. The body is dropped as soon as all of it has been read.
    ///
    /// # Errors
    /// It cannot be sent to its end: the connection is to be reset.
    pub fn poll_answered<B>(
        &self,
        cx: &mut Context<'_>,
        body: &mut Option<B>,
    ) -> Poll<Result<(), SendError>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            let mut waits = false;
            while let Some(more) = body
                && !waits
                && self.0.borrow().out.has_room(COALESCED)
            {
                // Nothing is borrowed here: the body may read from this connection itself.
                let frame = match more.is_end_stream() {
                    true => Poll::Ready(None),
                    false => Pin::new(more).poll_frame(cx),
                };
                match frame {
                    Poll::Ready(frame) => self.push(frame)?,
                    Poll::Pending => waits = true,
                }
                if !self.is_answering() {
                    *body = None;
                }
            }
            if ready!(self.poll_flush(cx)).is_err() {
                return Poll::Ready(Err(SendError::Gone));
            }
            if body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Whether there is more of a response to come than what waits to be written.
    fn is_answering(&self) -> bool {
        self.0.borrow().answer.is_some()
    }

    /// Takes a piece of the response, or its end.
    fn push<E>(&self, frame: Option<Result<Frame<Bytes>, E>>) -> Result<(), SendError> {
        let mut shared = self.0.borrow_mut();
        let shared = &mut *shared;
        let Some(coding) = &mut shared.answer else {
            return Ok(());
        };
        let frame = frame.transpose().map_err(|_| SendError::Broken)?;
        let (whole, last) = match frame.map(Frame::into_data) {
            Some(Ok(data)) => (coding.push(&mut shared.out, data, false), false),
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().ok();
                let trailers = trailers.filter(|_| shared.asked.takes_trailers);
                (coding.end(&mut shared.out, trailers.as_ref()), true)
            }
            None => (coding.end(&mut shared.out, None), true),
        };
        if last {
            shared.answer = None;
        }
        match whole {
            true => Ok(()),
            false => Err(SendError::Broken),
        }
    }

    /// Ready once the request has been read to its end, or nobody reads it any more.
    pub fn poll_body_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.0.borrow_mut();
        if shared.asked.body.is_done() || !shared.asked.read {
            shared.skip_body();
            return Poll::Ready(());
        }
        shared.wait_for_body(cx);
        Poll::Pending
    }

    /// How often something has come: as long as it grows, the client sends.
    pub fn reads(&self) -> u64 {
        self.0.borrow().reads
    }

    /// Looks at the socket.
    pub fn with_stream(&self, look: impl FnOnce(&S)) {
        if let Some(stream) = &self.0.borrow().stream {
            look(stream);
        }
    }
}

impl CurrentRequest {
    fn by(method: &Method, framing: MessageFraming, limits: HeadLimits) -> Self {
        Self {
            body: BodyDecoder::of_request(&framing, limits),
            read: false,
            expects: framing.is_http11 && framing.expects_continue,
            takes_trailers: framing.accepts_trailers,
            head: *method == Method::HEAD,
            http11: framing.is_http11,
            keep_alive: framing.keep_alive,
        }
    }
}

fn closes(headers: &HeaderMap) -> bool {
    let close = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    headers.get_all(CONNECTION).iter().any(close)
}

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionState<S> {
    /// Reads what comes next; `false` at the end of the connection.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(false);
        };
        // However it ends, nothing more comes.
        self.received = ready!(poll_read(stream, cx, self.most)).unwrap_or_default();
        self.reads += 1;
        if let Some(since) = &mut self.stalled {
            *since = Instant::now();
        }
        Poll::Ready(!self.received.is_empty())
    }

    /// Wakes this task once the body has been read to its end, or nobody reads it any more.
    fn wait_for_body(&mut self, cx: &Context<'_>) {
        let waits = self.waiter.as_ref();
        if !waits.is_some_and(|waiter| waiter.will_wake(cx.waker())) {
            self.waiter = Some(cx.waker().clone());
        }
    }

    /// Forgets the body that nobody reads, as far as it has come.
    fn skip_body(&mut self) {
        while !self.asked.read
            && let Ok(Some(_)) = self.asked.body.decode(&mut self.received)
        {}
    }

    /// For the connection's task.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.write(cx);
        self.writer = written.is_pending().then(|| cx.waker().clone());
        written
    }

    /// For whoever reads the body, perhaps another task. That writing fails is heard by reading.
    fn poll_flush_aside(&mut self, cx: &mut Context<'_>) {
        // Only who asks last is woken when the client reads on.
        let _ = match self.writer.take() {
            None => self.write(cx),
            Some(writer) => {
                let written = self.write(&mut Context::from_waker(&writer));
                match written.is_pending() {
                    true => self.writer = Some(writer),
                    false => writer.wake(),
                }
                written
            }
        };
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = self.out.len();
        let written = self.out.poll_write(stream, cx);
        if written.is_ready() {
            self.stalled = None;
        } else if self.stalled.is_none() || self.out.len() < before {
            self.stalled = Some(Instant::now());
        }
        written
    }
}

impl<S> Drop for ServerConnection<S> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.stream = None;
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }
}
