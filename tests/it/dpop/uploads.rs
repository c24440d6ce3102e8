//! Uploads under way when a server asks for a nonce.

use http::Method;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::dpop::config;
use crate::support::api::Api;
use crate::support::client::{http1, read, streaming};
use crate::support::dpop::{Issuer, Referee, guard};
use crate::support::server::{self, fed, response};
use crate::support::sidebearer::Sidebearer;

/// Judges a request by its head, and reads its body only if that is good: it comes back. Tells the
/// status before.
fn judges_heads(
    issuer: &Issuer,
    referee: &Referee,
) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<u16>) {
    let (told, judgements) = mpsc::unbounded_channel();
    let (issuer, referee) = (issuer.clone(), referee.clone());
    let address = server::serve(None, move |request| {
        let (head, body) = request.into_parts();
        let host = head.headers["host"].to_str().unwrap();
        let url = format!("http://{host}{}", head.uri.path());
        let judged = guard(&issuer, &referee, head.method.as_str(), &url, &head.headers);
        let told = told.clone();
        async move {
            told.send(judged.status().as_u16()).unwrap();
            if judged.status() != 200 {
                return judged;
            }
            response(200, body.collect().await.unwrap().to_bytes())
        }
    });
    (address, judgements)
}

#[tokio::test]
async fn an_upload_under_way_when_the_nonce_is_asked_for_is_sent_whole() {
    const LIMIT: usize = 64 * 1024;
    // What is sent before the refusal and after it: nothing; under, at and over the limit.
    for (before, after) in [
        (0, 0),
        (0, 10),
        (10, 10),
        (10, LIMIT - 10),
        (LIMIT, 0),
        (10, LIMIT),
    ] {
        for sized in [false, true] {
            let issuer = Issuer::start();
            let referee = Referee::default();
            referee.want("for-uploads");
            let (address, mut judgements) = judges_heads(&issuer, &referee);
            let decoy = Api::open();
            let config = config(&decoy, &issuer, "", "dpop = true");
            let config = config.replace(&decoy.url(), &format!("http://{address}"));
            let sidebearer = Sidebearer::start(&config);
            sidebearer.ready().await;
            let (feed, body) = fed();
            let mut asked = streaming(Method::POST, "/", body);
            let whole = before + after;
            if sized {
                asked.headers_mut().insert("content-length", whole.into());
            }
            let mut connection = http1(sidebearer.address()).await;
            let answering = tokio::spawn(connection.send_request(asked));
            if before > 0 {
                let data = Frame::data(vec![b'x'; before].into());
                feed.send(Ok(data)).await.unwrap();
            }
            // Too large from the start, if its length is declared; else the rest need not be kept.
            let expected = if sized && whole > LIMIT { 401 } else { 200 };
            assert_eq!(judgements.recv().await, Some(401));
            if expected == 200 {
                // What follows is read by the second attempt alone.
                assert_eq!(judgements.recv().await, Some(200));
            }
            if after > 0 {
                let data = Frame::data(vec![b'x'; after].into());
                let _ = feed.send(Ok(data)).await;
            }
            drop(feed);
            let answer = read(answering.await.unwrap().unwrap()).await.unwrap();
            let case = format!("{before} and {after}, sized: {sized}");
            assert_eq!(answer.status, expected, "{case}");
            if expected == 200 {
                assert_eq!(answer.body, vec![b'x'; whole], "{case}");
            }
        }
    }
}

#[tokio::test]
async fn an_upload_that_waits_for_consent_is_sent_again_whatever_its_size() {
    let issuer = Issuer::start();
    let referee = Referee::default();
    referee.want("before-the-body");
    let (theirs, judging) = (issuer.clone(), referee.clone());
    let address = server::serve(None, move |request| {
        let (theirs, judging) = (theirs.clone(), judging.clone());
        async move {
            let (head, body) = request.into_parts();
            let host = head.headers["host"].to_str().unwrap();
            let url = format!("http://{host}{}", head.uri.path());
            let answer = guard(&theirs, &judging, head.method.as_str(), &url, &head.headers);
            if answer.status() == 200 {
                let body = body.collect().await.unwrap().to_bytes();
                return server::response(200, body.len().to_string());
            }
            answer
        }
    });
    let api = Api::open();
    let config = config(&api, &issuer, "replay_buffer = \"1KiB\"", "dpop = true");
    let config = config.replace(&api.url(), &format!("http://{address}"));
    let sidebearer = Sidebearer::start(&config);
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let head = "POST /x HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                connection: close\r\ncontent-length: 300000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(
        server::read_head(&mut stream).await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    stream.write_all(&vec![b'x'; 300_000]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("300000"), "{answer}");
    assert_eq!(referee.accepted(), 1);
}
