use std::convert::Infallible;

use http::header::HOST;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1000,
    fields: 10,
};

type Trip<B> = RoundTrip<DuplexStream, B>;

fn begin<B>(
    method: &Method,
    lines: &[(&'static str, &'static str)],
    body: Option<B>,
) -> (DuplexStream, Trip<B>)
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    let (near, far) = duplex(64 * 1024);
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let request = RequestHead {
        line: RequestLine {
            method,
            target: &PathAndQuery::from_static("/a?b"),
            host: &HeaderValue::from_static("api"),
            proxied: None,
        },
        headers: &headers,
        header_case: None,
        more: &[(
            http::header::AUTHORIZATION,
            HeaderValue::from_static("Bearer t"),
        )],
    };
    (far, RoundTrip::new(near, request, body, LIMITS, 1000))
}

fn get() -> (DuplexStream, Trip<Empty<Bytes>>) {
    begin(&Method::GET, &[], None)
}

async fn head<B>(trip: &mut Trip<B>) -> Result<Response<()>, Error>
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    std::future::poll_fn(|cx| trip.poll_head(cx, &mut |_| {})).await
}

#[tokio::test]
async fn a_request_is_written_once_with_host_and_token_in_their_places() {
    let body = Some(Full::from("hello"));
    let lines = [
        ("x", "1"),
        (HOST.as_str(), "theirs"),
        ("content-length", "5"),
    ];
    let (mut api, mut trip) = begin(&Method::POST, &lines, body);
    let answering = async {
        let mut bytes = [0; 1000];
        let length = api.read(&mut bytes).await.unwrap();
        api.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let (got, answered) = tokio::join!(answering, head(&mut trip));
    assert_eq!(
        got,
        "POST /a?b HTTP/1.1\r\nX: 1\r\nHost: api\r\nContent-Length: 5\r\nAuthorization: Bearer t\r\n\r\nhello"
    );
    assert_eq!(answered.unwrap().status(), StatusCode::OK);
    assert!(trip.is_sent() && trip.has_received() && !trip.is_response_complete());
    let body = (&mut trip).collect().await.unwrap();
    assert_eq!(body.to_bytes(), "ok");
    assert!(trip.into_idle().is_some());
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let (mut api, mut trip) = get();
    let both = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    api.write_all(both).await.unwrap();
    let mut told = Vec::new();
    let answered = std::future::poll_fn(|cx| {
        trip.poll_head(cx, &mut |interim| told.push(interim.status().as_u16()))
    });
    assert_eq!(answered.await.unwrap().status(), 204);
    assert_eq!(told, [103, 100]);
    assert!(trip.is_response_complete() && trip.into_idle().is_some());
}

#[tokio::test]
async fn a_connection_is_kept_only_when_nothing_is_left_on_it() {
    for (answer, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", false),
    ] {
        let (mut api, mut trip) = get();
        api.write_all(answer.as_bytes()).await.unwrap();
        head(&mut trip).await.unwrap();
        // Without waiting for what is not there.
        let _ = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut trip).poll_frame(cx))).await;
        assert_eq!(trip.into_idle().is_some(), kept, "{answer}");
    }
}

#[tokio::test]
async fn an_end_of_the_connection_before_that_of_the_message_is_an_error() {
    let (api, mut trip) = get();
    drop(api);
    assert!(matches!(head(&mut trip).await, Err(Error::Closed)));
    assert!(!trip.has_received());
    for (answer, whole) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhalf", true),
    ] {
        let (mut api, mut trip) = get();
        api.write_all(answer.as_bytes()).await.unwrap();
        drop(api);
        head(&mut trip).await.unwrap();
        assert_eq!((&mut trip).collect().await.is_ok(), whole, "{answer}");
        assert!(trip.into_idle().is_none());
    }
}

#[tokio::test]
async fn a_response_is_read_though_the_request_cannot_be_written() {
    let body = Some(Full::from(vec![b'x'; 1_000_000]));
    let (mut api, mut trip) = begin(&Method::POST, &[("content-length", "1000000")], body);
    let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
    api.write_all(answer).await.unwrap();
    drop(api);
    assert_eq!(head(&mut trip).await.unwrap().status(), 413);
    assert_eq!((&mut trip).collect().await.unwrap().to_bytes(), "no");
    assert!(trip.into_idle().is_none());
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_not_sent_as_if_it_were() {
    for length in ["4", "6"] {
        let body = Some(Full::from("hello"));
        let (_api, mut trip) = begin(&Method::POST, &[("content-length", length)], body);
        assert!(matches!(head(&mut trip).await, Err(Error::Upload(_))));
    }
}

#[tokio::test]
async fn a_head_that_promises_a_body_is_not_sent_without_one() {
    let lines = [("content-length", "5")];
    let (mut api, mut trip) = begin(&Method::POST, &lines, None::<Empty<Bytes>>);
    assert!(matches!(head(&mut trip).await, Err(Error::Upload(_))));
    drop(trip);
    assert_eq!(api.read(&mut [0; 1]).await.unwrap(), 0, "nothing was sent");
    let lines = [("content-length", "0")];
    let (mut api, mut trip) = begin(&Method::POST, &lines, None::<Empty<Bytes>>);
    api.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    assert!(head(&mut trip).await.is_ok());
}

#[tokio::test]
async fn a_body_of_which_nothing_tells_the_end_is_not_sent() {
    let body = Some(Full::from("GET /smuggled HTTP/1.1\r\n\r\n"));
    let (_api, mut trip) = begin(&Method::POST, &[], body);
    assert!(matches!(head(&mut trip).await, Err(Error::Upload(_))));
}

#[tokio::test]
async fn what_comes_behind_a_response_is_told() {
    for (behind, expected) in [
        ("", None),
        ("HTTP/1.1 200 OK\r\n", Some(Unsolicited::Stray)),
        ("\r\n", Some(Unsolicited::End)),
    ] {
        let (mut api, mut trip) = get();
        let answer = format!("HTTP/1.1 204 No Content\r\n\r\n{behind}");
        api.write_all(answer.as_bytes()).await.unwrap();
        head(&mut trip).await.unwrap();
        assert_eq!(trip.unsolicited(), expected);
        assert_eq!(trip.into_idle().is_some(), expected.is_none());
    }
}

#[tokio::test]
async fn a_length_that_is_not_a_number_is_refused_even_where_there_is_no_body() {
    for lengths in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: +2\r\n",
        "Content-Length:\r\n",
    ] {
        for status in ["200 OK", "304 Not Modified"] {
            let (mut api, mut trip) = begin(&Method::HEAD, &[], None::<Empty<Bytes>>);
            let answer = format!("HTTP/1.1 {status}\r\n{lengths}\r\n");
            api.write_all(answer.as_bytes()).await.unwrap();
            assert!(matches!(head(&mut trip).await, Err(Error::Head(_))));
        }
    }
}

#[tokio::test]
async fn a_length_that_is_repeated_is_passed_on_once() {
    for lengths in [
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
    ] {
        let (mut api, mut trip) = get();
        let answer = format!("HTTP/1.1 200 OK\r\n{lengths}\r\nok");
        api.write_all(answer.as_bytes()).await.unwrap();
        let head = head(&mut trip).await.unwrap();
        let lines = head.headers().get_all("content-length").iter();
        assert_eq!(lines.collect::<Vec<_>>(), ["2"], "{lengths}");
    }
}
