//! A client that uploads, on virtual time, to a connection as clients have it.

use std::cell::RefCell;
use std::task::Context;

use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body_util::Empty;

use super::sending_api::Scanned;
use super::*;
use crate::http2::Frames;
use crate::http2::server::{RequestContent, ServerConnection, ServerSettings};

/// Receives all requests, and answers each when it has read it. What is longer than `most` is not read.
async fn receive(io: DuplexStream, budget: Arc<Budget>, most: u64) {
    let settings = ServerSettings {
        windows: sizes(&budget),
        max_streams: 100,
        small_frames: 256 << 10,
        max_header_bytes: 65_536,
        send_buffer: 65_536,
        max_interim_bytes: 0,
        ping_interval: PingInterval::new(PING_INTERVAL),
        ping_timeout: PING_TIMEOUT,
        extended_connect: true,
    };
    let frames = Rc::new(RefCell::new(Frames::of_client()));
    let scanned = Scanned(io, Rc::clone(&frames));
    let arrived = || frames.borrow().arrived();
    let begun = ServerConnection::begin(scanned, &settings).await;
    let mut connection = begun.unwrap();
    let mut next = async || {
        let poll = |cx: &mut Context<'_>| connection.poll_request(cx, arrived, 0, false);
        std::future::poll_fn(poll).await
    };
    while let Some(request) = next().await {
        let RequestContent::Body(body) = request.content else {
            panic!("a body")
        };
        let length = &request.head.headers[CONTENT_LENGTH];
        let length: u64 = length.to_str().unwrap().parse().unwrap();
        spawn_local(async move {
            if length > most {
                sleep(LONG * 1000).await;
            }
            body.collect().await.unwrap();
            let answer = Response::new(Empty::<Bytes>::new());
            let _ = request.responder.send(answer);
        });
    }
}

/// A client at the other end of this way. Uploads that are longer than `most` are not read.
pub(super) async fn client(
    budget: &Arc<Budget>,
    (near, far): (DuplexStream, DuplexStream),
    most: usize,
) -> SendRequest<Bytes> {
    spawn_local(receive(near, Arc::clone(budget), most as u64));
    let mut builder = h2::client::Builder::new();
    builder.max_send_buffer_size(4 * LENGTH);
    let (client, connection) = builder.handshake::<_, Bytes>(far).await.unwrap();
    spawn_local(connection);
    client
}

/// Begins an upload of this length.
pub(super) fn begin(
    client: &mut SendRequest<Bytes>,
    length: usize,
) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post("http://api/").header(CONTENT_LENGTH, length);
    let request = request.body(()).unwrap();
    client.send_request(request, false).unwrap()
}

/// How long an upload takes, and its answer.
pub(super) async fn upload(client: &mut SendRequest<Bytes>, length: usize) -> Duration {
    let begun = Instant::now();
    let (response, mut sending) = begin(client, length);
    sending.send_data(vec![0; length].into(), true).unwrap();
    timeout(LONG, response).await.expect("it is read").unwrap();
    begun.elapsed()
}

/// How much of an upload is taken that nobody reads.
pub(super) async fn sent_unread(sending: &mut SendStream<Bytes>) -> usize {
    let mut sent = 0;
    loop {
        sending.reserve_capacity(4 * LENGTH);
        let room = std::future::poll_fn(|cx| sending.poll_capacity(cx));
        let Ok(Some(length)) = timeout(LONG, room).await else {
            return sent;
        };
        let length = length.unwrap();
        sending.send_data(vec![0; length].into(), false).unwrap();
        sent += length;
    }
}
