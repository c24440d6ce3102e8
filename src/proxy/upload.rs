//! The request body on its way to the upstream: streamed, and kept as far as it may be sent again.

mod client_body;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

pub use client_body::{BodyFault, ClientBody};

use super::headers::{self, OwnHeaders};

/// A request body, read once from the client and offered to one attempt after another.
pub struct Upload {
    state: RefCell<UploadState>,
    progress: Cell<Instant>,
    finished: Cell<Option<Instant>>,
    received: Cell<u64>,
    /// The body's declared length.
    declared_length: Option<u64>,
}

struct UploadState {
    /// `None` once nobody will read it any more.
    source: Option<ClientBody>,
    /// What was read so far, for another attempt; `None` once it is more than may be kept.
    kept: Option<Vec<u8>>,
    keep: usize,
    trailers: Option<HeaderMap>,
    /// They must not leave by a trailer either.
    own: OwnHeaders<HeaderName>,
    attempt: u32,
    /// The last attempt goes on.
    attempted: bool,
    /// There will be no other.
    last: bool,
    fault: Option<BodyFault>,
    waits_for_client: bool,
    untouched: bool,
    /// What the first byte waits for: the upstream's 100, or a second.
    go_ahead: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The attempt that waits for more of the body.
    reader: Option<Waker>,
    waiter: Option<Waker>,
}

/// The body of one attempt to send the request: what is kept of the [`Upload`] first, and then the rest
/// of it as it comes.
pub struct AttemptBody {
    upload: Rc<Upload>,
    number: u32,
    replayed: Option<Bytes>,
    trailers_sent: bool,
    sent: u64,
}

/// The error that the sender of the body sees. The one who waits for the response asks [`Upload::fault`]. The cause is
/// what an HTTP/2 stream is reset with.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client's fault.
    #[error("the request body broke off")]
    BrokenOff(#[source] h2::Error),
    /// Another attempt has taken over.
    #[error("the request is being sent again")]
    Superseded(#[source] h2::Error),
    /// It is not as long as it was declared.
    #[error("the request body is not as long as its head says")]
    Length(#[source] h2::Error),
}

impl UploadError {
    fn broken_off() -> Self {
        Self::BrokenOff(h2::Reason::CANCEL.into())
    }
}

impl Upload {
    /// A body that has yet to be read.
    pub fn new(source: ClientBody) -> Rc<Self> {
        let declared_length = source.length();
        Rc::new(Self {
            state: RefCell::new(UploadState {
                source: Some(source),
                kept: None,
                keep: 0,
                trailers: None,
                own: OwnHeaders::injected(None),
                attempt: 0,
                attempted: false,
                last: false,
                fault: None,
                waits_for_client: false,
                untouched: true,
                go_ahead: None,
                reader: None,
                waiter: None,
            }),
            progress: Cell::new(Instant::now()),
            finished: Cell::new(None),
            received: Cell::new(0),
            declared_length,
        })
    }

    /// Before the first attempt: keeps at most `most` bytes for another one, and keeps our `own`
    /// headers out of the trailers.
    pub fn keep_for_replay(&self, most: usize, own: OwnHeaders<HeaderName>) {
        let fits = self
            .declared_length
            .is_none_or(|length| length <= most as u64);
        let mut state = self.state.borrow_mut();
        state.kept = fits.then(Vec::new);
        state.keep = most;
        state.own = own;
    }

    /// Holds the first byte back until `go_ahead` is ready.
    pub fn hold_until(&self, go_ahead: impl Future<Output = ()> + 'static) {
        self.state.borrow_mut().go_ahead = Some(Box::pin(go_ahead));
    }

    /// The body for another attempt; earlier attempts get no more of it.
    pub fn begin_attempt(self: &Rc<Self>) -> AttemptBody {
        let mut state = self.state.borrow_mut();
        state.supersede();
        state.attempted = true;
        let kept = state.kept.as_deref().unwrap_or_default();
        AttemptBody {
            upload: Rc::clone(self),
            number: state.attempt,
            replayed: (!kept.is_empty()).then(|| Bytes::copy_from_slice(kept)),
            trailers_sent: false,
            sent: 0,
        }
    }

    /// The response is there and the client still waits to be asked for the body: it never is.
    /// Tells whether this was so.
    pub fn decline_body(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let waiting = state.go_ahead.take().is_some();
        if waiting {
            state.supersede();
        }
        waiting
    }

    /// The response has begun: there will be no other attempt.
    pub fn end_attempts(&self) {
        let mut state = self.state.borrow_mut();
        state.last = true;
        state.drop_unread_source();
    }

    /// Whether another attempt would send the same body.
    pub fn can_restart(&self) -> bool {
        let state = self.state.borrow();
        state.kept.is_some() && state.fault.is_none()
    }

    /// Whether nothing was read yet.
    pub fn is_untouched(&self) -> bool {
        self.state.borrow().untouched
    }

    /// The declared length.
    pub fn declared_length(&self) -> Option<u64> {
        self.declared_length
    }

    /// When the last of it was handed on; `None` while there is more.
    pub fn finished_at(&self) -> Option<Instant> {
        self.finished.get()
    }

    /// Bytes that have come from the client.
    pub fn received_bytes(&self) -> u64 {
        self.received.get()
    }

    /// When some of it was last handed on.
    pub fn last_progress(&self) -> Instant {
        self.progress.get()
    }

    /// Whether it is the client that is waited for.
    pub fn is_waiting_for_client(&self) -> bool {
        self.state.borrow().waits_for_client
    }

    /// What went wrong on the client's side.
    pub fn fault(&self) -> Option<BodyFault> {
        self.state.borrow().fault.clone()
    }

    /// Wakes this task when the body has been handed on.
    pub fn register(&self, cx: &Context<'_>) {
        self.state.borrow_mut().waiter = Some(cx.waker().clone());
    }

    fn finish(&self) {
        self.finished.set(Some(self.progress.get()));
        if let Some(waiter) = self.state.borrow_mut().waiter.take() {
            waiter.wake();
        }
    }
}

impl AttemptBody {
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let state = &mut *self.upload.state.borrow_mut();
        if state.attempt != self.number {
            return Poll::Ready(Some(Err(UploadError::Superseded(
                h2::Reason::CANCEL.into(),
            ))));
        }
        if let Some(replayed) = self.replayed.take() {
            return Poll::Ready(Some(Ok(Frame::data(replayed))));
        }
        if let Some(trailers) = &state.trailers
            && !std::mem::replace(&mut self.trailers_sent, true)
        {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        state.reader = Some(cx.waker().clone());
        if let Some(go_ahead) = &mut state.go_ahead {
            std::task::ready!(go_ahead.as_mut().poll(cx));
            state.go_ahead = None;
            // The client is asked only now: the time before that was not a pause of the client.
            self.upload.progress.set(Instant::now());
        }
        let polled = match &mut state.source {
            Some(source) => source.poll_frame(cx),
            None => Poll::Ready(Some(Err(BodyFault::Gone))),
        };
        state.waits_for_client = polled.is_pending();
        state.untouched &= polled.is_pending();
        match std::task::ready!(polled) {
            None => Poll::Ready(None),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.upload.received.update(|so_far| so_far + length as u64);
                self.trailers_sent = frame.is_trailers();
                Poll::Ready(Some(Ok(state.keep(frame))))
            }
            Some(Err(fault)) => {
                state.fault = Some(fault);
                Poll::Ready(Some(Err(UploadError::broken_off())))
            }
        }
    }
}

impl UploadState {
    /// Wakes the attempt that has read until now, so that it sees that it is over and closes its connection.
    fn supersede(&mut self) {
        self.attempt += 1;
        self.attempted = false;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Drops the source once nobody will read it. Dropping it tells the task that serves the client, which then watches
    /// the client itself.
    fn drop_unread_source(&mut self) {
        if self.last && !self.attempted {
            self.source = None;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(ClientBody::is_end_stream)
    }

    fn keep(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) => {
                if let Some(kept) = &mut self.kept {
                    if kept.len() + data.len() <= self.keep {
                        kept.extend_from_slice(&data);
                    } else {
                        self.kept = None;
                    }
                }
                Frame::data(data)
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                headers::scrub_trailers(&mut trailers, self.own.as_ref());
                if self.kept.is_some() {
                    self.trailers = Some(trailers.clone());
                }
                Frame::trailers(trailers)
            }
        }
    }
}

impl Drop for AttemptBody {
    fn drop(&mut self) {
        let mut state = self.upload.state.borrow_mut();
        if state.attempt == self.number {
            state.attempted = false;
            state.drop_unread_source();
        }
    }
}

impl Body for AttemptBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let mut frame = std::task::ready!(self.poll_next(cx));
        self.upload.progress.set(Instant::now());
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.sent += data.len() as u64;
        }
        let last = frame
            .as_ref()
            .is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        let last = last || self.is_end_stream();
        if last {
            self.upload.finish();
        }
        if matches!(frame, None | Some(Ok(_)))
            && let Some(declared) = self.upload.declared_length
            && (self.sent > declared || last && self.sent < declared)
        {
            // The server side has checked the framing. If that were ever wrong, the API must not get a message
            // that ends elsewhere than its length says.
            self.upload.state.borrow_mut().fault = Some(BodyFault::Malformed);
            let error = UploadError::Length(h2::Reason::INTERNAL_ERROR.into());
            frame = Some(Err(error));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.upload.state.borrow();
        self.replayed.is_none() && state.trailers.is_none() && state.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self
            .upload
            .declared_length
            .map(|declared_length| declared_length.saturating_sub(self.sent));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
