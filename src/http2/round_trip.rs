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

use super::Error;
use super::connection::Shared;
use super::receiving::Receiving;
use super::response::{self, ResponseBody};
use super::upload::{Held, Upload};

/// Interim responses to one request, as over HTTP/1.1.
pub(super) const MAX_INTERIM: u32 = 256;

/// A request that has been sent. Dropping it before the head of its response has come resets the stream.
pub struct RoundTrip {
    response: ResponseFuture,
    /// How many interim responses have come.
    interim: u32,
    shared: Rc<Shared>,
    /// The other direction of a tunnel that was asked for.
    connect: Option<SendStream<Bytes>>,
    upload: Option<Held>,
}

impl RoundTrip {
    pub(super) fn begin<B>(
        sender: &mut SendRequest<Bytes>,
        shared: Rc<Shared>,
        request: Request<B>,
    ) -> Result<Self, Error>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: std::error::Error + 'static,
    {
        let (head, body) = request.into_parts();
        let mut request = Request::from_parts(head, ());
        let connects = request.method() == Method::CONNECT;
        tell_length(&mut request, &body);
        let ends = !connects && body.is_end_stream();
        let sent = sender.send_request(request, ends);
        let (response, stream) = sent.map_err(|error| shared.error(error))?;
        let mut trip = Self {
            response,
            interim: 0,
            shared,
            connect: None,
            upload: None,
        };
        match (connects, ends) {
            (true, _) => trip.connect = Some(stream),
            (false, true) => {}
            (false, false) => {
                let (held, response) = oneshot::channel();
                let uploading = trip.shared.uploading();
                let mut upload = Upload::new(body, stream, response, uploading);
                let mut context = Context::from_waker(Waker::noop());
                // Often all of it is there. If not, its task asks again, to be woken.
                if Pin::new(&mut upload).poll(&mut context).is_pending() {
                    tokio::task::spawn_local(upload);
                    trip.upload = Some(held);
                }
            }
        }
        Ok(trip)
    }

    /// Whether any of an answer has come.
    pub fn has_heard(&self) -> bool {
        self.interim > 0
    }

    /// The head of the response. Interim ones that come before it are told.
    ///
    /// # Errors
    /// There is none, or too many interim ones.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        told: &mut impl FnMut(Response<()>),
    ) -> Poll<Result<Response<ResponseBody>, Error>> {
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Poll::Ready(Err(Error::Interim));
            }
            told(interim);
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx));
        let response = response.map_err(|error| self.shared.error(error))?;
        let length = response::length(response.headers());
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
                let body = Receiving::new(body, None, &self.shared.unread);
                ResponseBody::of_tunnel(body, stream, Rc::clone(&self.shared))
            })));
        }
        let (shared, upload) = (Rc::clone(&self.shared), self.upload.take());
        Poll::Ready(Ok(response.map(|body| {
            let body = Receiving::new(body, length, &shared.unread);
            ResponseBody::new(body, length, shared, upload)
        })))
    }
}

/// A body of known length says so, unless it is known anyway that there is none (RFC 9110 section 8.6).
fn tell_length<B: Body>(request: &mut Request<()>, body: &B) {
    let Some(length) = body.size_hint().exact() else {
        return;
    };
    let method = request.method();
    let usually_none =
        [Method::GET, Method::HEAD, Method::DELETE, Method::CONNECT].contains(method);
    if (length != 0 || !usually_none) && !request.headers().contains_key(header::CONTENT_LENGTH) {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
