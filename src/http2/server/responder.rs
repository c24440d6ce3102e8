//! The response to a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;

use super::super::receiving::Receiving;
use super::super::sending::Sending;
use super::super::tunnel::Tunnel;

/// Sends the response to one request.
pub struct Responder {
    respond: RefCell<SendResponse<Bytes>>,
    /// The final response has been begun.
    answered: Cell<bool>,
    /// Bytes of interim responses that may still be sent.
    interim_bytes: Cell<usize>,
}

/// What is left of a response whose head has been sent.
pub enum ResponseProgress<B> {
    /// Nothing: all of it has been sent.
    Complete,
    /// The body must be sent.
    Body(Sending<B>),
}

/// The client's direction of a tunnel that it asks for.
pub struct TunnelReceiver(pub(super) Receiving);

impl Responder {
    pub(super) fn new(respond: SendResponse<Bytes>, max_interim_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            respond: RefCell::new(respond),
            answered: Cell::new(false),
            interim_bytes: Cell::new(max_interim_bytes),
        })
    }

    /// Sends an interim response, unless the final one has begun. They are hints: those beyond
    /// `max_interim_bytes` are left out.
    pub fn send_interim(&self, interim: Response<()>) {
        let fields = interim.headers().iter();
        let bytes: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        let left = self.interim_bytes.get().checked_sub(bytes + 32);
        if let Some(left) = left.filter(|_| !self.answered.get()) {
            self.interim_bytes.set(left);
            // This fails when the stream has ended, which the final response notices too.
            let _ = self.respond.borrow_mut().send_informational(interim);
        }
    }

    /// Asks for the body (RFC 9110 section 15.2.1).
    pub(super) fn send_continue(&self) {
        if !self.answered.get() {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            let _ = self.respond.borrow_mut().send_informational(go_on);
        }
    }

    /// Ready when the client has reset the stream, or has gone away.
    pub fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.borrow_mut().poll_reset(cx).map(drop)
    }

    /// Ends the stream.
    pub fn reset(&self, reason: Reason) {
        self.respond.borrow_mut().send_reset(reason);
    }

    /// Sends the head of the final response, and an end if it has no body.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn send<B: Body>(&self, response: Response<B>) -> Result<ResponseProgress<B>, h2::Error> {
        let (head, body) = response.into_parts();
        let ends = body.is_end_stream();
        let mut response = Response::from_parts(head, ());
        if !ends && let Some(length) = body.size_hint().exact() {
            let headers = response.headers_mut();
            headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        let stream = self.begin(response, ends)?;
        Ok(if ends {
            ResponseProgress::Complete
        } else {
            ResponseProgress::Body(Sending::new(body, stream))
        })
    }

    /// Accepts a tunnel, of which `receiver` is the client's direction.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn connect(
        &self,
        mut response: Response<()>,
        receiver: TunnelReceiver,
    ) -> Result<Tunnel, h2::Error> {
        // It has no body (RFC 9110 section 9.3.6).
        response.headers_mut().remove(CONTENT_LENGTH);
        let stream = self.begin(response, false)?;
        Ok(Tunnel::new(stream, receiver.0))
    }

    fn begin(
        &self,
        mut response: Response<()>,
        ends: bool,
    ) -> Result<SendStream<Bytes>, h2::Error> {
        let headers = response.headers_mut();
        // HTTP/2 has none (RFC 9113 section 8.2.2).
        headers.remove(CONNECTION);
        // A server with a clock must send it (RFC 9110 section 6.6.1).
        headers.entry(DATE).or_insert_with(date);
        self.answered.set(true);
        let mut respond = self.respond.borrow_mut();
        respond.send_response(response, ends).inspect_err(|_| {
            respond.send_reset(Reason::INTERNAL_ERROR);
        })
    }
}

fn date() -> HeaderValue {
    thread_local! {
        /// As it was last made, and for which second.
        static LAST: RefCell<(Duration, HeaderValue)> = const {
            RefCell::new((Duration::MAX, HeaderValue::from_static("")))
        };
    }
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let second = Duration::from_secs(since.unwrap_or_default().as_secs());
    LAST.with_borrow_mut(|(at, value)| {
        if *at != second {
            // A date is visible ASCII.
            if let Ok(made) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
                (*at, *value) = (second, made);
            }
        }
        value.clone()
    })
}
