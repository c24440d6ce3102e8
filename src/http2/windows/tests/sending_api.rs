//! A connection to an API that sends, on virtual time: it goes on only when nothing moves any more.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use tokio::io::DuplexStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::*;
use crate::http2::{
    ClientSettings, Connection, Error, Frames, IncomingBody, PingInterval, RoundTrip,
};

fn request() -> Request<Option<Empty<Bytes>>> {
    let request = Request::get("http://api/").version(Version::HTTP_2);
    request.body(None).unwrap()
}

async fn head(mut trip: RoundTrip) -> Result<Response<IncomingBody>, Error> {
    std::future::poll_fn(|cx| trip.poll_head(cx, &mut drop)).await
}

/// What an API has sent, and how.
pub(super) struct SendingApi {
    pub(super) sent: Cell<usize>,
    /// The length of each response; without end: `usize::MAX`.
    pub(super) length: Cell<usize>,
    /// The length of each frame, at most.
    frame: usize,
}

async fn serve(io: DuplexStream, api: Rc<SendingApi>) {
    let mut builder = h2::server::Builder::new();
    builder.initial_connection_window_size(1 << 30);
    let mut server = builder.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(Ok((_, mut respond))) = server.accept().await {
        let api = Rc::clone(&api);
        spawn_local(async move {
            let mut left = api.length.get();
            let mut head = Response::builder();
            if left < usize::MAX {
                head = head.header(CONTENT_LENGTH, left);
            }
            let head = head.body(()).unwrap();
            let mut sending = respond.send_response(head, false).unwrap();
            while left > 0 {
                sending.reserve_capacity(left.min(api.frame));
                let capacity = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await;
                let Some(Ok(length)) = capacity else { return };
                let length = length.min(left);
                left -= length;
                let sent = sending.send_data(vec![0; length].into(), left == 0);
                sent.unwrap();
                api.sent.set(api.sent.get() + length);
            }
        });
    }
}

/// A connection to an API of which each response has this length.
pub(super) async fn connected(
    budget: &Arc<Budget>,
    (near, far): (DuplexStream, DuplexStream),
    length: usize,
    frame: usize,
) -> (Connection, Rc<SendingApi>) {
    let api = Rc::new(SendingApi {
        sent: Cell::new(0),
        length: Cell::new(length),
        frame,
    });
    spawn_local(serve(far, Rc::clone(&api)));
    (connected_over(near, budget).await, api)
}

/// A connection to whoever has the other end.
pub(super) async fn connected_over(near: DuplexStream, budget: &Arc<Budget>) -> Connection {
    let settings = ClientSettings {
        windows: sizes(budget),
        small_frames: MIB,
        max_header_bytes: 65_536,
        send_buffer: 65_536,
        ping_interval: PingInterval::new(PING_INTERVAL),
        ping_timeout: PING_TIMEOUT,
    };
    let frames = Rc::new(RefCell::new(Frames::of_server()));
    let scanned = Scanned(near, Rc::clone(&frames));
    let arrived = move || frames.borrow().arrived();
    let connection = Connection::begin(scanned, arrived, &settings).await;
    connection.unwrap()
}

/// The body of one more stream.
pub(super) async fn body(connection: &Connection) -> IncomingBody {
    connection.begin_stream();
    let trip = connection.send(request()).unwrap();
    head(trip).await.unwrap().into_body()
}

/// Reads at least this many bytes.
pub(super) async fn read(body: &mut IncomingBody, bytes: usize) {
    let mut length = 0;
    while length < bytes {
        let frame = timeout(LONG, body.frame()).await;
        let frame = frame.expect("the stream stands still").unwrap().unwrap();
        length += frame.into_data().unwrap().len();
    }
}

/// Follows what is read.
struct Scanned(DuplexStream, Rc<RefCell<Frames>>);

impl AsyncRead for Scanned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.borrow_mut().scan(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Scanned {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
