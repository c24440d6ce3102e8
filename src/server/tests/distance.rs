//! Bodies over a long way: windows must not make it longer.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response};
use tokio::sync::Semaphore;

use super::*;
use crate::http2::long_way::lengthened;

const FAR: Duration = Duration::from_millis(40);
const LENGTH: usize = 6_000_000;
/// Less than so many round trips. The second measures it, the third comes with wider windows, and with still wider ones
/// a fourth if the first was not read at once. With windows of 64 KiB it would be 92.
const FIRST: u32 = 5;
/// A window that stands in nobody's way.
const ROOMY: u32 = 1 << 30;
/// More uploads or responses than wide windows have room for.
const MANY: usize = 20;
/// Long enough for everything on its way to arrive.
const SETTLED: Duration = Duration::from_secs(10);

/// What has come to an API.
struct Arrivals {
    connections: Cell<usize>,
    waiting: Cell<usize>,
    /// How many requests may go on that wait.
    go: Semaphore,
}

/// Serves an API this far away. Its own window for the connection stands in nobody's way, and its streams have this
/// one. It answers a body with its length, and what has none with a long one; `/waits` reads no body before it may
/// go on.
fn serve_far(round_trip: Duration, window: u32) -> Rc<Arrivals> {
    let arrivals = Rc::new(Arrivals {
        connections: Cell::default(),
        waiting: Cell::default(),
        go: Semaphore::new(0),
    });
    let kept = Rc::clone(&arrivals);
    serve(move |_, stream| {
        let arrivals = Rc::clone(&kept);
        arrivals.connections.set(arrivals.connections.get() + 1);
        async move {
            let mut builder = h2::server::Builder::new();
            builder
                .initial_window_size(window)
                .initial_connection_window_size(ROOMY)
                .max_send_buffer_size(2 * LENGTH);
            let stream = lengthened(stream, round_trip);
            let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                spawn_local(answer(request, respond, Rc::clone(&arrivals)));
            }
        }
    });
    arrivals
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    arrivals: Rc<Arrivals>,
) {
    if request.uri().path() == "/waits" {
        arrivals.waiting.set(arrivals.waiting.get() + 1);
        arrivals.go.acquire().await.unwrap().forget();
    }
    let length = read_all(request.into_body()).await.unwrap().len();
    let answer = match length {
        0 => vec![b'x'; LENGTH],
        length => length.to_string().into_bytes(),
    };
    let head = Response::builder().header(CONTENT_LENGTH, answer.len());
    let mut sending = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    sending.send_data(answer.into(), true).unwrap();
}

async fn read_all(mut body: h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut came = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        came.extend_from_slice(&data);
    }
    Ok(came)
}

/// A client this far away, whose own windows stand in nobody's way.
async fn far_client(shard: &InMemoryShard, round_trip: Duration) -> SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(ROOMY)
        .initial_connection_window_size(ROOMY)
        .max_send_buffer_size(2 * LENGTH);
    let stream = lengthened(shard.connect(), round_trip);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    spawn_local(connection);
    sender
}

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://localhost{path}");
    let mut request = Request::builder().uri(uri);
    if method == Method::POST && path == "/" {
        request = request.header(CONTENT_LENGTH, LENGTH);
    }
    request.method(method).body(()).unwrap()
}

/// A body of [`LENGTH`] up or down: how long it takes, or that the connection takes no more requests.
async fn transfer(client: &mut SendRequest<Bytes>, up: bool) -> Result<Duration, h2::Error> {
    let start = Instant::now();
    let method = if up { Method::POST } else { Method::GET };
    let (answer, mut sending) = client.send_request(request(method, "/"), !up)?;
    if up {
        sending.send_data(vec![b'x'; LENGTH].into(), true)?;
    }
    let came = read_all(answer.await?.into_body()).await?;
    if up {
        assert_eq!(came, LENGTH.to_string().into_bytes());
    } else {
        assert_eq!(came.len(), LENGTH);
    }
    Ok(start.elapsed())
}

#[test]
fn a_body_over_http2_waits_for_no_windows_on_a_long_way() {
    on_paused_time(async {
        for (to_api, to_client) in [(FAR, Duration::ZERO), (Duration::ZERO, FAR)] {
            serve_far(to_api, ROOMY);
            let shard = shard("", "http = \"2\"");
            let mut client = far_client(&shard, to_client).await;
            for up in [true, false] {
                let first = transfer(&mut client, up).await.unwrap();
                assert!(first < FIRST * FAR, "{first:?}, up: {up}");
                transfer(&mut client, up).await.unwrap();
                let used = transfer(&mut client, up).await.unwrap();
                assert!(used < FAR * 3 / 2, "{used:?}, up: {up}");
            }
        }
    });
}

#[test]
fn responses_beyond_the_windows_of_a_connection_come_on_another() {
    on_paused_time(async {
        let arrivals = serve_far(FAR, ROOMY);
        let shard = shard("", "http = \"2\"");
        let mut client = far_client(&shard, Duration::ZERO).await;
        // Now the windows are wide.
        for _ in 0..2 {
            transfer(&mut client, false).await.unwrap();
        }
        for _ in 0..MANY {
            client = client.ready().await.unwrap();
            let sent = client.send_request(request(Method::GET, "/waits"), true);
            spawn_local(sent.unwrap().0);
        }
        sleep(SETTLED).await;
        assert_eq!(
            (arrivals.waiting.get(), arrivals.connections.get()),
            (MANY, 2)
        );
    });
}

#[test]
fn a_client_whose_uploads_are_not_read_is_told_to_open_another_connection_and_loses_none() {
    const UPLOAD: usize = 1 << 20;
    on_paused_time(async {
        let arrivals = serve_far(Duration::ZERO, 65_535);
        let shard = shard("window_budget = \"8MiB\"", "http = \"2\"");
        let mut client = far_client(&shard, FAR).await;
        // Now the windows are wide.
        for _ in 0..2 {
            transfer(&mut client, true).await.unwrap();
        }
        let mut uploads = Vec::new();
        for _ in 0..MANY {
            client = client.ready().await.unwrap();
            let (answer, mut sending) = client
                .send_request(request(Method::POST, "/waits"), false)
                .unwrap();
            sending.send_data(vec![b'x'; UPLOAD].into(), true).unwrap();
            uploads.push(answer);
        }
        sleep(SETTLED).await;
        assert_eq!(arrivals.waiting.get(), MANY);
        transfer(&mut client, false).await.unwrap_err();
        arrivals.go.add_permits(MANY);
        for answer in uploads {
            let body = answer.await.unwrap().into_body();
            let length = read_all(body).await.unwrap();
            assert_eq!(length, UPLOAD.to_string().into_bytes());
        }
    });
}
