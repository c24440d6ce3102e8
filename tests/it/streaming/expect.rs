//! `Expect: 100-continue`.

use super::*;
use crate::support::unprotected;

const EXPECTS: &str =
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

/// Sends a body when asked to; everything that came back.
async fn expecting(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(EXPECTS.as_bytes()).await.unwrap();
    let mut answer = read_head(&mut stream).await;
    if answer.starts_with("HTTP/1.1 100 Continue\r\n") {
        stream.write_all(b"body").await.unwrap();
        answer.push_str(&read_head(&mut stream).await);
    }
    answer
}

/// Meets the head of a request with `first`, and its body with 200. Tells what came after the
/// head.
fn meets_heads_with(first: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (bodies, read) = mpsc::unbounded_channel();
    let address = server::bytes(move |_, mut stream| {
        let bodies = bodies.clone();
        async move {
            let head = read_head(&mut stream).await;
            assert!(head.contains("expect: 100-continue"), "{head}");
            stream.write_all(first.as_bytes()).await.unwrap();
            let mut body = vec![0; 4];
            let length = stream.read(&mut body).await.unwrap_or(0);
            body.truncate(length);
            bodies.send(body).unwrap();
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(ok).await;
        }
    });
    (address, read)
}

#[tokio::test]
async fn a_final_answer_instead_of_100_never_asks_for_the_body() {
    for refusal in [
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
    ] {
        let (api, mut bodies) = meets_heads_with(refusal);
        let sidebearer = to(api);
        // Ends by itself: what came next could be taken for the body.
        let answer = client::raw(sidebearer.address(), EXPECTS).await;
        let status = refusal.split("\r\n").next().unwrap();
        assert!(answer.starts_with(status), "{answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
        assert!(!answer.contains("100 Continue"), "{answer}");
        assert_eq!(bodies.recv().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_401_instead_of_100_is_healed_before_the_body_is_asked_for() {
    let idp = Idp::start();
    let api = server::bytes(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        if head.contains("Bearer token-1\r\n") {
            let no = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(no).await.unwrap();
            assert_eq!(stream.read(&mut [0; 4]).await.unwrap_or(0), 0);
            return;
        }
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        stream.write_all(go_on).await.unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"body");
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(ok).await.unwrap();
    });
    let mut config = unprotected(&format!("http://{api}"), "credential = \"api\"");
    config.push_str(&format!(
        "[credentials.api]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\nclient_secret = {{ file = \"secret\" }}\n",
        idp.endpoint()
    ));
    let sidebearer = Sidebearer::start(&config);
    sidebearer.ready().await;
    let answer = expecting(sidebearer.address()).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue"), "{answer}");
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
}
