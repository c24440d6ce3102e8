//! Bodies over a long way: windows must not make it longer.

use super::*;
use crate::support::relay::delayed;
use crate::support::unprotected;

const ROUND_TRIP: Duration = Duration::from_millis(40);
const LENGTH: usize = 6_000_000;
/// With windows of 64 KiB it would be 92 round trips.
const MOST: Duration = Duration::from_millis(40 * 30);

/// How long one body took, the quickest of some: on a loaded machine one may take long.
async fn quickest(mut once: impl AsyncFnMut() -> Duration) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        quickest = quickest.min(once().await);
        if quickest < MOST {
            break;
        }
    }
    quickest
}

/// A server whose own windows stand in nobody's way.
fn roomy() -> SocketAddr {
    server::bytes(|_, stream| async move {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(1 << 30)
            .initial_connection_window_size(1 << 30);
        let mut connection = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut length = 0;
                while let Some(Ok(data)) = body.data().await {
                    length += data.len();
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                let answer = match length {
                    0 => vec![b'x'; LENGTH],
                    length => length.to_string().into_bytes(),
                };
                sending.send_data(answer.into(), true).unwrap();
            });
        }
    })
}

async fn exchange(
    client: &mut hyper::client::conn::http2::SendRequest<Body>,
    up: bool,
) -> Duration {
    let body = if up { vec![b'x'; LENGTH] } else { Vec::new() };
    let start = Instant::now();
    let asked = streaming(Method::POST, "/", whole(body));
    let answer = read(client.send_request(asked).await.unwrap())
        .await
        .unwrap();
    if up {
        assert_eq!(answer.text(), LENGTH.to_string())
    } else {
        assert_eq!(answer.body.len(), LENGTH)
    }
    start.elapsed()
}

/// A client whose own windows stand in nobody's way.
async fn roomy_client(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Body> {
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let mut builder = hyper::client::conn::http2::Builder::new(executor);
    builder
        .initial_stream_window_size(1 << 30)
        .initial_connection_window_size(1 << 30);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_body_over_http2_waits_for_no_windows_on_a_long_way() {
    // The way to the API, and the way to the client.
    for far_api in [true, false] {
        let api = roomy();
        let way = if far_api {
            delayed(api, ROUND_TRIP)
        } else {
            api
        };
        let server = "[server]\nwindow_budget = \"64MiB\"\n";
        let config = unprotected(&format!("http://{way}"), "http = \"2\"");
        let sidebearer = Sidebearer::start(&format!("{server}{config}"));
        let address = if far_api {
            sidebearer.address()
        } else {
            delayed(sidebearer.address(), ROUND_TRIP)
        };
        let mut client = roomy_client(address).await;
        for up in [true, false] {
            // What both sides say to begin with has come.
            exchange(&mut client, up).await;
            let took = quickest(async || exchange(&mut client, up).await).await;
            assert!(took < MOST, "{far_api} {up}: {took:?}");
        }
    }
}
