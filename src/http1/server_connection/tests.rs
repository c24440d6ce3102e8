use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};
use std::time::Duration;

use http::Response;
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::client_socket::in_memory::WakesLast;

mod two_tasks;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1000,
    fields: 10,
};

fn pair() -> (DuplexStream, ServerConnection<DuplexStream>) {
    let (near, far) = duplex(64 * 1024);
    (near, ServerConnection::new(far, Bytes::new(), LIMITS, 1000))
}

async fn next(
    connection: &ServerConnection<DuplexStream>,
) -> Request<Option<RequestBody<DuplexStream>>> {
    let request = std::future::poll_fn(|cx| connection.poll_request(cx)).await;
    request.unwrap().expect("a request")
}

async fn answer<B>(
    connection: &ServerConnection<DuplexStream>,
    response: Response<B>,
) -> Result<(), SendError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = response.into_parts();
    connection.start_response(&head, &body, false);
    let mut body = Some(body);
    std::future::poll_fn(|cx| connection.poll_send_response(cx, &mut body)).await
}

async fn read(near: &mut DuplexStream) -> String {
    let mut bytes = vec![0; 10_000];
    let length = near.read(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
    // The one header that tests cannot know.
    let dated = |line: &&str| !line.starts_with("Date: ");
    text.split_inclusive("\r\n").filter(dated).collect()
}

/// A body of unknown length, in these pieces; the last may break off.
struct Pieces(std::vec::IntoIter<Result<Frame<Bytes>, &'static str>>);

fn pieces(frames: Vec<Result<Frame<Bytes>, &'static str>>) -> Pieces {
    Pieces(frames.into_iter())
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.next())
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(text.into()))
}

#[tokio::test]
async fn requests_come_one_after_the_other_however_they_arrive() {
    let all = "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n\
        GET /c HTTP/1.1\r\n\r\n";
    for size in [1, 2, 7, all.len()] {
        let (mut near, connection) = pair();
        let sending = async {
            for piece in all.as_bytes().chunks(size) {
                near.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let serving = async {
            for (path, expected) in [("/a", "hello"), ("/b", "hello"), ("/c", "")] {
                let request = next(&connection).await;
                assert_eq!(request.uri(), path);
                let body = match request.into_body() {
                    Some(body) => body.collect().await.unwrap().to_bytes(),
                    None => Bytes::new(),
                };
                assert_eq!(body, expected);
                answer(&connection, Response::new(Full::from("ok")))
                    .await
                    .unwrap();
                assert!(connection.keeps_alive());
            }
        };
        tokio::join!(sending, serving);
        let once = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(read(&mut near).await, once.repeat(3), "{size}");
    }
}

#[tokio::test]
async fn a_body_that_was_read_gives_no_access_to_the_next_one() {
    let (mut near, connection) = pair();
    let first = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    near.write_all(first).await.unwrap();
    let mut old = next(&connection).await.into_body().unwrap();
    assert_eq!((&mut old).collect().await.unwrap().to_bytes(), "hello");
    answer(&connection, Response::new(Full::from("ok")))
        .await
        .unwrap();
    std::future::poll_fn(|cx| connection.poll_body_end(cx)).await;

    let second = b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nwo";
    near.write_all(second).await.unwrap();
    let body = next(&connection).await.into_body().unwrap();
    assert!(old.is_end_stream() && old.size_hint().exact() == Some(0));
    assert!(old.frame().await.is_none());
    drop(old);
    answer(&connection, Response::new(Full::from("early")))
        .await
        .unwrap();
    near.write_all(b"rld").await.unwrap();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "world");
    assert!(connection.keeps_alive());
}

#[tokio::test]
async fn a_body_of_unknown_length_is_chunked_and_its_trailers_go_to_clients_that_accept_them() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    for (asked, expected) in [
        (
            "GET / HTTP/1.1\r\nTE: trailers\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
        ),
    ] {
        let (mut near, connection) = pair();
        near.write_all(asked.as_bytes()).await.unwrap();
        next(&connection).await;
        let frames = vec![
            data("hello"),
            data(""),
            Ok(Frame::trailers(trailers.clone())),
        ];
        answer(&connection, Response::new(pieces(frames)))
            .await
            .unwrap();
        assert_eq!(read(&mut near).await, expected);
        assert_eq!(connection.keeps_alive(), asked.contains("1.1"));
    }
}

#[tokio::test]
async fn a_response_that_is_not_as_long_as_it_declares_is_broken() {
    for frames in [
        vec![data("hel")],
        vec![data("hello"), data("!")],
        vec![data("hel"), Err("cut")],
    ] {
        let (mut near, connection) = pair();
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        next(&connection).await;
        let mut response = Response::new(pieces(frames));
        response.headers_mut().insert(CONTENT_LENGTH, 5.into());
        let sent = answer(&connection, response).await;
        assert_eq!(sent, Err(SendError::BodyBroken));
    }
}

#[tokio::test]
async fn a_response_that_must_not_have_a_body_has_none() {
    let (mut near, connection) = pair();
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let asked = format!("{method} / HTTP/1.1\r\n\r\n");
        near.write_all(asked.as_bytes()).await.unwrap();
        next(&connection).await;
        let mut response = Response::new(Full::from("never"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        answer(&connection, response).await.unwrap();
        let got = read(&mut near).await;
        assert!(
            got.ends_with("\r\n\r\n") && !got.contains("Transfer"),
            "{got}"
        );
        assert!(connection.keeps_alive());
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_ends_the_connection_unless_all_of_it_has_come() {
    for (body, close) in [("hello", false), ("hel", true)] {
        let (mut near, connection) = pair();
        let asked = format!("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n{body}");
        near.write_all(asked.as_bytes()).await.unwrap();
        drop(next(&connection).await);
        answer(&connection, Response::new(Empty::new()))
            .await
            .unwrap();
        std::future::poll_fn(|cx| connection.poll_body_end(cx)).await;
        assert_eq!(read(&mut near).await.contains("Connection: close"), close);
        assert_eq!(connection.keeps_alive(), !close);
    }
}

#[tokio::test]
async fn the_body_is_asked_for_when_it_is_first_read() {
    let (mut near, connection) = pair();
    let asked = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    near.write_all(asked.as_bytes()).await.unwrap();
    let body = next(&connection).await.into_body().unwrap();
    let client = async {
        assert_eq!(read(&mut near).await, "HTTP/1.1 100 Continue\r\n\r\n");
        near.write_all(b"ok").await.unwrap();
    };
    let (read, ()) = tokio::join!(body.collect(), client);
    assert_eq!(read.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn the_reader_of_a_body_learns_that_the_client_or_the_connection_has_gone() {
    let asked = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel";
    let (mut near, connection) = pair();
    near.write_all(asked).await.unwrap();
    let body = next(&connection).await.into_body().unwrap();
    drop(near);
    assert_eq!(body.collect().await.unwrap_err(), BodyError::ClientGone);

    let (mut near, connection) = pair();
    near.write_all(asked).await.unwrap();
    let body = next(&connection).await.into_body().unwrap();
    let closing = async {
        tokio::task::yield_now().await;
        drop(connection);
    };
    let (read, ()) = tokio::join!(body.collect(), closing);
    assert_eq!(read.unwrap_err(), BodyError::ClientGone);
}

#[tokio::test]
async fn a_client_that_goes_while_it_waits_is_noticed_and_what_it_sends_is_kept() {
    let (mut near, connection) = pair();
    near.write_all(b"GET /a HTTP/1.1\r\n\r\n").await.unwrap();
    next(&connection).await;
    near.write_all(b"GET /b HTTP/1.1\r\n\r\n").await.unwrap();
    let gone = std::future::poll_fn(|cx| Poll::Ready(connection.poll_client_gone(cx))).await;
    assert!(gone.is_pending());
    answer(&connection, Response::new(Empty::new()))
        .await
        .unwrap();
    assert_eq!(next(&connection).await.uri(), "/b");
    drop(near);
    std::future::poll_fn(|cx| connection.poll_client_gone(cx)).await;
}

#[tokio::test]
async fn a_client_that_goes_is_noticed_behind_what_it_has_sent_too_much() {
    for behind in ["\r\n", "x", "GET /b HTTP/1.1\r\n\r\n"] {
        let (mut near, connection) = pair();
        let asked = format!("GET /a HTTP/1.1\r\n\r\n{behind}");
        near.write_all(asked.as_bytes()).await.unwrap();
        next(&connection).await;
        let gone = std::future::poll_fn(|cx| Poll::Ready(connection.poll_client_gone(cx))).await;
        assert!(gone.is_pending());
        near.write_all(behind.as_bytes()).await.unwrap();
        assert!(!connection.is_held_back());
        drop(near);
        std::future::poll_fn(|cx| connection.poll_client_gone(cx)).await;
        let (_, received) = connection.take_socket().unwrap();
        assert_eq!(received, behind.repeat(2), "nothing is lost");
    }
}

#[tokio::test]
async fn no_more_is_kept_for_later_than_one_read_brings() {
    let (mut near, far) = duplex(1000);
    let head = b"GET / HTTP/1.1\r\n\r\n";
    let connection = ServerConnection::new(far, Bytes::from_static(head), LIMITS, 100);
    next(&connection).await;
    near.write_all(&[b'x'; 60]).await.unwrap();
    for (held_back, more) in [(false, 60), (true, 60), (true, 0)] {
        let gone = std::future::poll_fn(|cx| Poll::Ready(connection.poll_client_gone(cx))).await;
        assert!(gone.is_pending());
        assert_eq!(connection.is_held_back(), held_back);
        near.write_all(&vec![b'x'; more]).await.unwrap();
    }
    assert_eq!(connection.take_socket().unwrap().1.len(), 100);
}

#[tokio::test]
async fn behind_a_101_the_connection_carries_bytes() {
    let (mut near, mut connection) = pair();
    let asked = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly";
    near.write_all(asked.as_bytes()).await.unwrap();
    next(&connection).await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = HeaderValue::from_static("upgrade");
    response.headers_mut().insert(CONNECTION, upgrade);
    answer(&connection, response).await.unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(read(&mut near).await, expected);
    let mut early = [0; 5];
    connection.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    connection.write_all(b"late").await.unwrap();
    assert_eq!(read(&mut near).await, "late");
}

#[tokio::test(start_paused = true)]
async fn the_reader_of_a_body_flushes_the_100_continue() {
    // Room for less than the question.
    let (mut near, far) = duplex(8);
    let head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let connection = ServerConnection::new(far, Bytes::from_static(head), LIMITS, 1000);
    let body = next(&connection).await.into_body().unwrap();
    let asking = async {
        let mut question = [0; 25];
        near.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"HTTP/1.1 100 Continue\r\n\r\n");
        near.write_all(b"ok").await.unwrap();
    };
    let both = async { tokio::join!(body.collect(), asking) };
    let (body, ()) = tokio::time::timeout(Duration::from_secs(1), both)
        .await
        .expect("it was asked for");
    assert_eq!(body.unwrap().to_bytes(), "ok");
}
