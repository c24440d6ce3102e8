//! Requests that wait for a connection to the API.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Semaphore;

use super::pools::CONNECTS;
use super::*;

const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Accepts one connection, on which a request to `/wait` waits for the gate, and lets all others wait.
struct Reluctant {
    gate: Rc<Semaphore>,
    dialed: Rc<Cell<usize>>,
    shard: InMemoryShard,
}

impl Reluctant {
    /// With what has learnt from one request that HTTP/1.1 is spoken.
    async fn start(lines: &str) -> Self {
        let (gate, dialed) = (Rc::new(Semaphore::new(0)), Rc::<Cell<usize>>::default());
        let (open, count) = (Rc::clone(&gate), Rc::clone(&dialed));
        let mut listener = InMemoryListener::bind(api());
        spawn_local(async move {
            let mut stream = listener.accept().await;
            spawn_local(async move {
                loop {
                    let head = read_head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    if head.starts_with("GET /wait ") {
                        open.acquire().await.unwrap().forget();
                    }
                    stream.write_all(OK).await.unwrap();
                }
            });
            let mut waiting = Vec::new();
            loop {
                waiting.push(listener.dialed().await);
                count.set(waiting.len());
            }
        });
        let shard = shard("", lines);
        assert_eq!(exchange(&mut shard.connect(), GET).await.1, "ok");
        Self {
            gate,
            dialed,
            shard,
        }
    }

    /// A client that has sent this request, and has waited for a moment.
    async fn ask(&self, request: &[u8]) -> DuplexStream {
        let mut client = self.shard.connect();
        client.write_all(request).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        client
    }
}

#[test]
fn who_waits_takes_the_connection_that_another_gives_back() {
    on_paused_time(async {
        let api = Reluctant::start("connect_timeout = \"10m\"\nmax_connecting = 8").await;
        let mut clients = vec![api.ask(WAIT).await];
        for _ in 0..5 {
            clients.push(api.ask(GET).await);
        }
        assert_eq!(api.dialed.get(), 5);
        sleep(secs(50)).await;
        api.gate.add_permits(1);
        let start = Instant::now();
        for client in &mut clients {
            assert_eq!(read_message(client).await.1, "ok");
        }
        assert_took(start, Duration::ZERO);
        assert_eq!(api.shard.metric(CONNECTS), 1.0);
    });
}

#[test]
fn no_more_than_max_connecting_are_opened_at_once_and_nobody_waits_for_longer() {
    on_paused_time(async {
        let lines = "max_connecting = 2\nconnect_timeout = \"5s\"";
        let api = Reluctant::start(lines).await;
        let mut first = api.ask(WAIT).await;
        let mut others = Vec::new();
        for _ in 0..10 {
            others.push(api.ask(GET).await);
        }
        assert_eq!(api.dialed.get(), 2);
        let start = Instant::now();
        for other in &mut others {
            let (head, problem) = read_message(other).await;
            assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
            assert!(problem.contains("error:upstream_timeout"), "{problem}");
        }
        let waited = start.elapsed();
        assert!((secs(4)..secs(6)).contains(&waited), "{waited:?}");
        // Two, and two more at most when the first had failed.
        assert!(api.dialed.get() <= 4, "{:?}", api.dialed);
        api.gate.add_permits(1);
        assert_eq!(read_message(&mut first).await.1, "ok");
    });
}

#[test]
fn the_failure_of_an_older_attempt_is_not_told_to_who_came_later() {
    on_paused_time(async {
        let api = Reluctant::start("connect_timeout = \"20s\"").await;
        let mut first = api.ask(WAIT).await;
        let mut older = api.ask(WAIT).await;
        assert_eq!(api.dialed.get(), 1);
        sleep(secs(5)).await;
        let start = Instant::now();
        let mut younger = api.ask(GET).await;
        assert_eq!(api.dialed.get(), 2);
        // The older one goes on with what the first gives back.
        api.gate.add_permits(1);
        assert_eq!(read_message(&mut first).await.1, "ok");
        let (head, _) = read_message(&mut younger).await;
        assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
        assert_took(start, secs(20));
        api.gate.add_permits(1);
        assert_eq!(read_message(&mut older).await.1, "ok");
    });
}
