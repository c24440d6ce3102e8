//! Extended CONNECT (RFC 8441): a tunnel in one stream of an HTTP/2 connection.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};

use super::*;
use crate::support::eventually;
use crate::support::unprotected;

const CONNECTS: &str = r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"}"#;

/// What an upstream saw of its tunnels.
#[derive(Debug, PartialEq)]
enum Seen {
    Opened(String),
    /// The client has ended its side.
    Ended,
    /// The client has reset the stream.
    Reset,
}

/// Takes websockets on `/chat`: returns what comes, and says `bye` when nothing more does. Breaks
/// off on `break`. Refuses them elsewhere; answers other requests with 204.
fn websockets() -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let (saw, seen) = mpsc::unbounded_channel();
    let mut settings = h2::server::Builder::new();
    settings.enable_connect_protocol();
    let address = server::http2_with(None, settings, move |request, mut respond| {
        let saw = saw.clone();
        async move {
            let status = match (request.method(), request.uri().path()) {
                (&Method::CONNECT, "/chat") => 200,
                (&Method::CONNECT, _) => 403,
                _ => 204,
            };
            let answer = Response::builder().status(status).body(()).unwrap();
            let last = status != 200;
            let sending = respond.send_response(answer, last).unwrap();
            if last {
                return;
            }
            let protocol: &Protocol = request.extensions().get().unwrap();
            saw.send(Seen::Opened(protocol.as_str().to_owned()))
                .unwrap();
            echoed(request.into_body(), sending, saw).await;
        }
    });
    (address, seen)
}

async fn echoed(
    mut incoming: RecvStream,
    mut sending: SendStream<Bytes>,
    saw: mpsc::UnboundedSender<Seen>,
) {
    while let Some(data) = incoming.data().await {
        let Ok(data) = data else {
            saw.send(Seen::Reset).unwrap();
            return;
        };
        incoming
            .flow_control()
            .release_capacity(data.len())
            .unwrap();
        if data == "break" {
            sending.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        sending.send_data(data, false).unwrap();
    }
    saw.send(Seen::Ended).unwrap();
    // The other side may have gone for good.
    let _ = sending.send_data("bye".into(), true);
}

/// A connection to the product, once it has said that it takes extended CONNECT.
async fn client(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    eventually("it takes extended CONNECT", async || {
        sender.is_extended_connect_protocol_enabled()
    })
    .await;
    sender
}

fn ask(sender: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let mut request = streaming(Method::CONNECT, path, whole("")).map(drop);
    request.headers_mut().remove("host");
    let websocket = Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    sender.send_request(request, false).unwrap()
}

async fn opened(sender: &mut SendRequest<Bytes>) -> (SendStream<Bytes>, RecvStream) {
    let (answer, sending) = ask(sender, "/chat");
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    (sending, answer.into_body())
}

async fn comes_back(sending: &mut SendStream<Bytes>, incoming: &mut RecvStream, data: Vec<u8>) {
    sending.send_data(data.clone().into(), false).unwrap();
    let mut back = Vec::new();
    while back.len() < data.len() {
        let piece = incoming.data().await.unwrap().unwrap();
        incoming
            .flow_control()
            .release_capacity(piece.len())
            .unwrap();
        back.extend_from_slice(&piece);
    }
    assert_eq!(back, data);
}

/// What comes before the end, or a reset.
async fn rest(incoming: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(piece)) = timeout(PATIENCE, incoming.data()).await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

#[tokio::test]
async fn extended_connect_is_a_tunnel_that_ends_one_way_at_a_time() {
    let (api, mut seen) = websockets();
    let config = unprotected(&format!("http://{api}"), "http = \"2\"");
    let sidebearer = Sidebearer::start(&format!("[server]\nworkers = 1\n{config}"));
    let mut sender = client(sidebearer.address()).await;
    let (mut sending, mut incoming) = opened(&mut sender).await;
    assert_eq!(seen.recv().await, Some(Seen::Opened("websocket".into())));
    comes_back(&mut sending, &mut incoming, b"ping".to_vec()).await;

    // Beside others on the same connections, to the client and to the upstream.
    let (mut other, mut others) = opened(&mut sender).await;
    seen.recv().await.unwrap();
    comes_back(&mut other, &mut others, vec![7; 200_000]).await;
    let plain = client::get(sidebearer.address(), "/plain").await;
    assert_eq!(plain.status, 204);
    assert_eq!(sidebearer.metric(CONNECTS).await, 1.0);

    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(seen.recv().await, Some(Seen::Ended));
    let bye = incoming.data().await.unwrap().unwrap();
    assert_eq!(bye, "bye");
    assert!(rest(&mut incoming).await.is_empty());
    comes_back(&mut other, &mut others, b"goes on".to_vec()).await;
}

#[tokio::test]
async fn the_end_of_one_side_of_a_tunnel_is_that_of_the_other() {
    let (api, mut seen) = websockets();
    let sidebearer = speaking("2", api);
    let mut sender = client(sidebearer.address()).await;

    let (mut sending, incoming) = opened(&mut sender).await;
    seen.recv().await.unwrap();
    sending.send_reset(Reason::CANCEL);
    drop(incoming);
    let end = timeout(PATIENCE, seen.recv()).await.unwrap().unwrap();
    assert!([Seen::Reset, Seen::Ended].contains(&end), "{end:?}");

    let (mut sending, mut incoming) = opened(&mut sender).await;
    sending.send_data("break".into(), false).unwrap();
    assert!(rest(&mut incoming).await.is_empty());

    // What was refused is an answer like any other.
    let (answer, _sending) = ask(&mut sender, "/elsewhere");
    assert_eq!(answer.await.unwrap().status(), 403);
}

#[tokio::test]
async fn each_stream_that_is_a_tunnel_has_a_place_in_the_limits_while_it_lives() {
    let (api, _seen) = websockets();
    let config = unprotected(&format!("http://{api}"), "http = \"2\"");
    let limits = "[[routes]]\npath = \"/chat\"\nupstream = \"api\"\nlimits = { tunnels = 1 }\n";
    let sidebearer = Sidebearer::start(&format!("{config}{limits}"));
    let mut sender = client(sidebearer.address()).await;
    let (mut sending, mut incoming) = opened(&mut sender).await;
    let mut another = client(sidebearer.address()).await;
    for sender in [&mut sender, &mut another] {
        let (refused, _) = ask(sender, "/chat");
        assert_eq!(refused.await.unwrap().status(), 429);
    }
    comes_back(&mut sending, &mut incoming, b"on".to_vec()).await;
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(rest(&mut incoming).await, b"bye");
    eventually("its place is free", async || {
        let (answer, _sending) = ask(&mut another, "/chat");
        answer.await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn an_upstream_without_extended_connect_is_never_asked_for_it() {
    // HTTP/2 that does not offer it; HTTP/1.1.
    let without = server::http2(|request, mut respond| async move {
        assert_eq!(request.method(), Method::GET);
        let answer = Response::new(());
        respond.send_response(answer, true).unwrap();
    });
    for sidebearer in [speaking("2", without), to(without)] {
        let mut sender = client(sidebearer.address()).await;
        let (answer, _sending) = ask(&mut sender, "/chat");
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 405);
        let said = answer.headers()["proxy-status"].to_str().unwrap();
        assert!(said.contains("extended CONNECT"), "{said}");
    }
    let sidebearer = speaking("2", without);
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
}

#[tokio::test]
async fn a_tunnel_moves_no_more_at_once_than_tunnel_buffer() {
    let (api, _seen) = websockets();
    for (buffer, least, most) in [("1KiB", 1, 1 << 10), ("64KiB", (8 << 10) + 1, 16 << 10)] {
        let upstream = unprotected(&format!("http://{api}"), "http = \"2\"");
        let server = format!("[server]\ntunnel_buffer = \"{buffer}\"\n");
        let sidebearer = Sidebearer::start(&(server + &upstream));
        let mut sender = client(sidebearer.address()).await;
        let (mut sending, mut incoming) = opened(&mut sender).await;
        let mut largest = 0;
        // What has gathered meanwhile goes on in one piece, as large as it may be.
        eventually("large pieces", async || {
            sending.send_data(vec![7; 60_000].into(), false).unwrap();
            let mut left = 60_000;
            while left > 0 {
                let piece = incoming.data().await.unwrap().unwrap();
                let flow = incoming.flow_control();
                flow.release_capacity(piece.len()).unwrap();
                assert!(piece.len() <= most, "{buffer}: {}", piece.len());
                largest = largest.max(piece.len());
                left -= piece.len();
            }
            largest >= least
        })
        .await;
    }
}

#[tokio::test]
async fn connect_without_a_protocol_stays_refused() {
    let (api, _seen) = websockets();
    let sidebearer = speaking("2", api);
    let mut sender = client(sidebearer.address()).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("localhost:443")
        .body(())
        .unwrap();
    let (answer, _sending) = sender.send_request(request, false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 405);
}
