use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};

use super::super::{ClientSettings, Connection, Frames, IncomingBody, PingInterval, RoundTrip};
use super::*;

#[derive(Default)]
struct Resized {
    streams: Option<u32>,
    connection: Option<u32>,
    busy: bool,
}

impl Resize for Resized {
    fn resize_streams(&mut self, size: u32) -> Result<(), h2::Error> {
        if self.busy {
            Err(h2::Reason::INTERNAL_ERROR.into())
        } else {
            self.streams = Some(size);
            Ok(())
        }
    }

    fn resize(&mut self, size: u32) {
        self.connection = Some(size);
    }
}

fn sizes(budget: &Arc<Budget>) -> Sizes {
    Sizes {
        stream: 64 << 10,
        max_streams: 100,
        budget: Arc::clone(budget),
    }
}

#[test]
fn what_stays_unread_narrows_the_windows_and_when_it_is_read_they_are_wide_again() {
    let budget = Budget::new(128 << 20);
    let mut windows = Windows::new(&sizes(&budget));
    assert_eq!(windows.stream(), (16 << 20) + (64 << 10));
    assert_eq!(windows.stream_for(512 << 10), (8 << 20) + (64 << 10));
    assert_eq!(windows.stream_for(1 << 20), 64 << 10);
    // There is always room for those that are read.
    let always = 16 * (64 << 10);
    assert_eq!(windows.connection_for(8 << 20), (16 << 20) + always);
    assert_eq!(windows.connection_for(17 << 20), (17 << 20) + always);
    // In small frames it counts for more.
    windows.byte_cost = 12 * FRAME_COST;
    assert_eq!(windows.stream_for(64 << 10), (4 << 20) + (64 << 10));
    assert_eq!(windows.stream_for(128 << 10), 64 << 10);
}

#[test]
fn without_a_budget_every_stream_has_its_own_window_alone() {
    let windows = Windows::new(&sizes(&Budget::new(0)));
    assert_eq!(
        (windows.stream(), windows.connection()),
        (64 << 10, 1 << 20)
    );
}

#[test]
fn windows_change_with_the_streams_and_by_one_change_at_a_time() {
    let budget = Budget::new(128 << 20);
    let mut windows = Windows::new(&sizes(&budget));
    let cx = Context::from_waker(Waker::noop());
    let mut resized = Resized::default();
    let mut arrived = Arrived::default();
    windows.adjust(&cx, arrived, 16, &mut resized);
    assert_eq!(resized.connection, None);
    windows.adjust(&cx, arrived, 17, &mut resized);
    assert_eq!(resized.connection, Some((16 << 20) + 33 * (64 << 10)));
    // As if it had been narrow, and all had been read.
    windows.stream = 64 << 10;
    windows.recent_unread = [0; 4];
    resized.busy = true;
    arrived.bytes += ADJUST_INTERVAL;
    windows.adjust(&cx, arrived, 17, &mut resized);
    assert_eq!(windows.stream(), 64 << 10, "another change is on its way");
    resized.busy = false;
    arrived.bytes += ADJUST_INTERVAL;
    windows.adjust(&cx, arrived, 17, &mut resized);
    assert_eq!(resized.streams, Some((16 << 20) + (64 << 10)));
}

fn request() -> Request<Option<Empty<Bytes>>> {
    let request = Request::get("http://api/").version(Version::HTTP_2);
    request.body(None).unwrap()
}

async fn head(mut trip: RoundTrip) -> Result<Response<IncomingBody>, super::super::Error> {
    std::future::poll_fn(|cx| trip.poll_head(cx, &mut drop)).await
}

/// A server whose streams send without end, and what it has sent so far.
async fn sends_without_end(server: DuplexStream, sent: Rc<Cell<usize>>) {
    let mut server = h2::server::handshake(server).await.unwrap();
    while let Some(Ok((_, mut respond))) = server.accept().await {
        let sent = Rc::clone(&sent);
        spawn_local(async move {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            loop {
                sending.reserve_capacity(16 << 10);
                let capacity = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await;
                let Some(Ok(length)) = capacity else { return };
                sending.send_data(vec![0; length].into(), false).unwrap();
                sent.set(sent.get() + length);
            }
        });
    }
}

/// A connection to a server whose streams send without end, and what it has sent so far.
async fn connected(budget: usize) -> (Connection, Rc<Cell<usize>>) {
    let (client, server) = duplex(1 << 20);
    let sent = Rc::new(Cell::new(0));
    spawn_local(sends_without_end(server, Rc::clone(&sent)));
    (connected_over(client, budget).await, sent)
}

/// The same over a pipe, whose other end the test holds.
async fn connected_over(client: DuplexStream, budget: usize) -> Connection {
    let settings = ClientSettings {
        windows: sizes(&Budget::new(budget)),
        small_frames: 1 << 20,
        max_header_bytes: 65_536,
        send_buffer: 65_536,
        ping_interval: PingInterval::new(Duration::ZERO),
        ping_timeout: Duration::from_secs(5),
    };
    let frames = Rc::new(RefCell::new(Frames::of_server()));
    let scanned = Scanned(client, Rc::clone(&frames));
    let arrived = move || frames.borrow().arrived();
    let connection = Connection::begin(scanned, arrived, &settings).await;
    connection.unwrap()
}

/// The body of one more stream.
async fn body(connection: &Connection) -> IncomingBody {
    connection.begin_stream();
    let trip = connection.send(request()).unwrap();
    head(trip).await.unwrap().into_body()
}

/// Reads at least this many bytes, and returns how many it were. The time is virtual: it moves on only when nothing
/// else can happen.
async fn read(body: &mut IncomingBody, bytes: usize) -> usize {
    let mut length = 0;
    while length < bytes {
        let frame = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        let frame = frame.expect("the stream stands still").unwrap().unwrap();
        length += frame.into_data().unwrap().len();
    }
    length
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_bounded_by_the_budget_and_leaves_room_for_what_is_read() {
    const STREAMS: usize = 40;
    const OWN: usize = 65_536;
    LocalSet::new()
        .run_until(async {
            for budget in [0, 64 << 20] {
                let (connection, sent) = connected(budget).await;
                let mut unread = Vec::new();
                for _ in 0..STREAMS {
                    unread.push(body(&connection).await);
                }
                // Until nothing moves: time goes on only then.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let share = budget / 8;
                let held = sent.get();
                assert!(held >= STREAMS * OWN, "{held}");
                assert!(held <= share + 2 * OWN * (STREAMS + 16), "{held}");

                read(&mut body(&connection).await, 10 << 20).await;
            }
        })
        .await;
}

/// What a server may still send on stream 1, as the client has said it (RFC 9113 sections 6.5.3 and 6.9.2).
#[derive(Default)]
struct SendWindow {
    initial: i64,
    bytes: i64,
    settings: usize,
}

impl SendWindow {
    /// Follows one frame of the client, and tells its type.
    async fn frame(&mut self, client: &mut (impl AsyncRead + Unpin)) -> u8 {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.unwrap();
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        client.read_exact(&mut payload).await.unwrap();
        match (kind, u32::from_be_bytes(stream)) {
            (4, 0) if flags == 0 => {
                self.settings += 1;
                for setting in payload.chunks(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap()).into();
                    if setting[..2] == [0, 4] {
                        self.bytes += value - self.initial;
                        self.initial = value;
                    }
                }
            }
            (8, 1) => self.bytes += i64::from(u32::from_be_bytes(payload.try_into().unwrap())),
            _ => {}
        }
        kind
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_read_goes_on_when_its_window_was_made_smaller() {
    const ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    const DATA: [u8; 9] = [0, 64, 0, 0, 0, 0, 0, 0, 1];
    LocalSet::new()
        .run_until(async {
            let (client, mut server) = duplex(1 << 20);
            let mut window = SendWindow::default();
            let begun = spawn_local(connected_over(client, 64 << 20));
            server.read_exact(&mut [0; 24]).await.unwrap();
            window.frame(&mut server).await;
            server
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            server.write_all(&ACK).await.unwrap();
            let connection = begun.await.unwrap();
            let asked = spawn_local(async move { (body(&connection).await, connection) });
            while window.frame(&mut server).await != 1 {}
            // `:status: 200` is one byte (RFC 7541 appendix A).
            let head = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
            server.write_all(&head).await.unwrap();
            let (mut body, _connection) = asked.await.unwrap();

            // Less than a third of the window is not worth an update of it. What came at once and stays
            // unread, while a little more comes, takes the window away at once.
            let piece = [&DATA[..], &[0; 64 << 8]].concat();
            let mut sent = 0;
            for pieces in [48, 4, 4, 4, 4] {
                for _ in 0..pieces {
                    server.write_all(&piece).await.unwrap();
                    sent += 64 << 8;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            window.bytes -= sent as i64;
            while window.settings < 2 {
                window.frame(&mut server).await;
            }
            read(&mut body, sent).await;
            server.write_all(&ACK).await.unwrap();
            assert!(window.bytes <= 0, "{}", window.bytes);
            while window.bytes <= 0 {
                let frame = window.frame(&mut server);
                let frame = tokio::time::timeout(Duration::from_secs(1), frame).await;
                frame.expect("the stream stands still");
            }
        })
        .await;
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
