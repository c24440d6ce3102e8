//! One request and the head of its response.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::sync::oneshot;

use super::driver::DriverState;
use super::error::{Error, MAX_INTERIM};
use super::receiving::Receiving;
use super::response::{self, IncomingBody};
use super::upload::{UploadHandle, UploadTask};

/// A request that has been sent. Dropping it before the head of its response has come resets the stream.
pub struct RoundTrip {
    response: ResponseFuture,
    /// How many interim responses have come.
    interim: u32,
    state: Rc<DriverState>,
    /// Our direction of a tunnel that was asked for.
    connect: Option<SendStream<Bytes>>,
    upload: Option<UploadHandle>,
}

impl RoundTrip {
    pub(super) fn begin<B>(
        sender: &mut SendRequest<Bytes>,
        state: Rc<DriverState>,
        request: Request<Option<B>>,
    ) -> Result<Self, Error>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: std::error::Error + 'static,
    {
        let (head, body) = request.into_parts();
        let mut request = Request::from_parts(head, ());
        let connects = request.method() == Method::CONNECT;
        add_content_length(&mut request, body.as_ref());
        let body = body.filter(|body| !body.is_end_stream());
        let ends = !connects && body.is_none();
        let sent = sender.send_request(request, ends);
        let (response, stream) = sent.map_err(|error| state.error(error))?;
        let mut trip = Self {
            response,
            interim: 0,
            state,
            connect: None,
            upload: None,
        };
        if connects {
            trip.connect = Some(stream);
        } else if let Some(body) = body {
            let (handle, response) = oneshot::channel();
            let counted = trip.state.begin_upload();
            let mut upload = UploadTask::new(body, stream, response, counted);
            // Most bodies are there as a whole and fit into the windows: this poll sends them, and
            // no task is spawned. Otherwise nothing may be lost by the waker that does nothing. It is
            // not: a spawned task is polled at once, with a waker of its own, and each source that
            // the upload waits for (the body, the stream, the end of the response, the timer) then
            // replaces the waker that it has by that one.
            let mut context = Context::from_waker(Waker::noop());
            if Pin::new(&mut upload).poll(&mut context).is_pending() {
                tokio::task::spawn_local(upload);
                trip.upload = Some(handle);
            }
        }
        Ok(trip)
    }

    /// Whether any part of a response has come.
    pub fn has_response_begun(&self) -> bool {
        self.interim > 0
    }

    /// The head of the response. Interim responses that come before it go to `on_interim`.
    ///
    /// # Errors
    /// There is no response, or there are too many interim ones.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        on_interim: &mut impl FnMut(Response<()>),
    ) -> Poll<Result<Response<IncomingBody>, Error>> {
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Poll::Ready(Err(Error::Interim));
            }
            on_interim(interim);
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx));
        let response = response.map_err(|error| self.state.error(error))?;
        let length = response::content_length(response.headers());
        let tunnel = self
            .connect
            .take()
            .filter(|_| response.status() == StatusCode::OK);
        if let Some(mut stream) = tunnel {
            if length.is_some_and(|length| length != 0) {
                stream.send_reset(Reason::PROTOCOL_ERROR);
                return Poll::Ready(Err(Error::TunnelWithBody));
            }
            return Poll::Ready(Ok(response.map(|body| {
                let body = Receiving::new(body, None, &self.state.inbound);
                IncomingBody::of_tunnel(body, stream, Rc::clone(&self.state))
            })));
        }
        let (state, upload) = (Rc::clone(&self.state), self.upload.take());
        Poll::Ready(Ok(response.map(|body| {
            let body = Receiving::new(body, length, &state.inbound);
            IncomingBody::new(body, length, state, upload)
        })))
    }
}

/// Adds `Content-Length` where the length of the body is known. It is left out where the method implies that
/// there is no body (RFC 9110 section 8.6).
fn add_content_length<B: Body>(request: &mut Request<()>, body: Option<&B>) {
    let Some(length) = body.map_or(Some(0), |body| body.size_hint().exact()) else {
        return;
    };
    let method = request.method();
    let implies_no_body =
        [Method::GET, Method::HEAD, Method::DELETE, Method::CONNECT].contains(method);
    if (length != 0 || !implies_no_body) && !request.headers().contains_key(header::CONTENT_LENGTH)
    {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
