//! Interim responses to clients of HTTP/2: 100 Continue and hints.

use bytes::Bytes;
use h2::client::ResponseFuture;

use super::*;

/// Asks with this head: how it goes on, and where the body goes.
async fn ask(
    address: SocketAddr,
    expects: bool,
    last: bool,
) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = streaming(Method::POST, "/", whole("")).map(drop);
    request.headers_mut().remove("host");
    if expects {
        let waits = "100-continue".parse().unwrap();
        request.headers_mut().insert("expect", waits);
    }
    let mut sender = sender.ready().await.unwrap();
    sender.send_request(request, last).unwrap()
}

/// The interim responses, and the final one.
async fn heads(mut answer: ResponseFuture) -> (Vec<Response<()>>, u16) {
    let mut interim = Vec::new();
    loop {
        let next = std::future::poll_fn(|cx| answer.poll_informational(cx));
        match timeout(PATIENCE, next).await.expect("it goes on") {
            Some(response) => interim.push(response.unwrap()),
            None => return (interim, answer.await.unwrap().status().as_u16()),
        }
    }
}

#[tokio::test]
async fn an_http2_client_that_waits_for_100_is_asked_for_its_body() {
    for upstream in ["1.1", "2"] {
        let api = server::serve(None, |request| async {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            response(if body == "body" { 200 } else { 400 }, "")
        });
        let sidebearer = speaking(upstream, api);
        let (mut answer, mut sending) = ask(sidebearer.address(), true, false).await;
        let first = std::future::poll_fn(|cx| answer.poll_informational(cx));
        let first = timeout(PATIENCE, first).await.expect("it is asked");
        assert_eq!(first.unwrap().unwrap().status(), 100, "{upstream}");
        sending.send_data("body".into(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200, "{upstream}");
    }
}

#[tokio::test]
async fn an_http2_client_that_waits_for_100_gets_the_refusal_of_the_api_instead() {
    let api = server::bytes(|_, mut stream| async move {
        assert!(
            read_head(&mut stream)
                .await
                .contains("expect: 100-continue")
        );
        let no = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(no).await.unwrap();
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap_or(0), 0);
    });
    let sidebearer = to(api);
    let (answer, _sending) = ask(sidebearer.address(), true, false).await;
    let (interim, status) = heads(answer).await;
    assert_eq!((interim.len(), status), (0, 413));
}

#[tokio::test]
async fn an_http2_client_that_does_not_wait_is_not_asked() {
    let api = server::serve(None, |request| async {
        request.into_body().collect().await.unwrap();
        response(200, "")
    });
    let sidebearer = to(api);
    let (answer, mut sending) = ask(sidebearer.address(), false, false).await;
    sending.send_data("body".into(), true).unwrap();
    let (interim, status) = heads(answer).await;
    assert_eq!((interim.len(), status), (0, 200));
}

/// Answers each request with hints, then with 200.
fn hints(version: &str) -> SocketAddr {
    if version == "2" {
        return server::http2(|_, mut respond| async move {
            for _ in 0..2 {
                let hint = Response::builder().status(103).header("link", "</a>");
                respond.send_informational(hint.body(()).unwrap()).unwrap();
            }
            respond.send_response(Response::new(()), true).unwrap();
        });
    }
    server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n";
        stream.write_all(&hint.repeat(2)).await.unwrap();
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(ok).await.unwrap();
    })
}

#[tokio::test]
async fn hints_pass_whatever_the_versions() {
    for (client, upstream) in VERSIONS {
        let sidebearer = speaking(upstream, hints(upstream));
        let address = sidebearer.address();
        if client == "2" {
            let (answer, _) = ask(address, false, true).await;
            let (interim, status) = heads(answer).await;
            assert_eq!((interim.len(), status), (2, 200), "{client} {upstream}");
            for hint in interim {
                assert_eq!(
                    (hint.status().as_u16(), &hint.headers()["link"]),
                    (103, &"</a>".parse::<http::HeaderValue>().unwrap())
                );
                assert_eq!(hint.headers().len(), 1, "{hint:?}");
            }
            continue;
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(get).await.unwrap();
        for status in ["103", "103", "200"] {
            let head = read_head(&mut stream).await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{upstream}: {head}"
            );
        }
    }
}

#[tokio::test]
async fn an_http2_api_that_sends_interim_responses_without_end_is_given_up() {
    let api = server::http2(|_, mut respond| async move {
        loop {
            let hint = Response::builder().status(103).body(()).unwrap();
            if respond.send_informational(hint).is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let sidebearer = speaking("2", api);
    let answer = timeout(PATIENCE, client::get(sidebearer.address(), "/")).await;
    assert_eq!(answer.expect("an answer").code(), "upstream_protocol");
}
