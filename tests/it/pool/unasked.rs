//! Bytes that an API sends though nothing asked for them.

use super::*;

const STRAY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// Answers every request, and sends these bytes behind the answer to the first one of all: at once, or
/// when it is told to. Tells when they have been sent.
struct Babbler {
    address: std::net::SocketAddr,
    tell: Arc<Notify>,
    told: Arc<Notify>,
}

impl Babbler {
    fn start(behind: &'static [u8], at_once: bool) -> Self {
        let (tell, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (go, gone) = (Arc::clone(&tell), Arc::clone(&told));
        let address = server::bytes(move |number, mut stream| {
            let (go, gone) = (Arc::clone(&go), Arc::clone(&gone));
            async move {
                let mut first = number == 0;
                while !read_head(&mut stream).await.is_empty() {
                    let behind = if first { behind } else { b"" };
                    if first && !at_once {
                        stream.write_all(OK).await.unwrap();
                        go.notified().await;
                        stream.write_all(behind).await.unwrap();
                        gone.notify_one();
                    } else {
                        let all = [OK, behind].concat();
                        stream.write_all(&all).await.unwrap();
                    }
                    first = false;
                }
            }
        });
        Self {
            address,
            tell,
            told,
        }
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_answer_and_end_all_reuse_for_a_while() {
    for at_once in [false, true] {
        let api = Babbler::start(STRAY, at_once);
        let sidebearer = to(api.address);
        assert_eq!(client::get(sidebearer.address(), "/").await.text(), "ok");
        if !at_once {
            api.tell.notify_one();
            api.told.notified().await;
        }
        for _ in 0..4 {
            let answer = client::post(sidebearer.address(), "/", "x").await;
            assert_eq!((answer.status, &*answer.text()), (200, "ok"));
        }
        // Each had one of its own.
        assert_eq!(sidebearer.connects("api").await, 5.0, "{at_once}");
    }
}

#[tokio::test]
async fn what_some_servers_say_at_the_end_of_a_connection_ends_that_one_alone() {
    for farewell in [
        &b"\r\n"[..],
        b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n",
    ] {
        let api = Babbler::start(farewell, false);
        let sidebearer = to(api.address);
        assert_eq!(client::get(sidebearer.address(), "/").await.text(), "ok");
        api.tell.notify_one();
        api.told.notified().await;
        for _ in 0..4 {
            let answer = client::post(sidebearer.address(), "/", "x").await;
            assert_eq!((answer.status, &*answer.text()), (200, "ok"));
        }
        assert_eq!(sidebearer.connects("api").await, 2.0);
    }
}

#[tokio::test]
async fn bytes_on_an_idle_connection_end_it_before_anybody_needs_it() {
    let api = Babbler::start(STRAY, false);
    let sidebearer = to(api.address);
    assert_eq!(client::get(sidebearer.address(), "/").await.text(), "ok");
    eventually("it is idle", async || idle(&sidebearer).await == 1.0).await;
    api.tell.notify_one();
    eventually("it has ended", async || idle(&sidebearer).await == 0.0).await;
}

#[tokio::test]
async fn without_idle_connections_every_request_gets_one_of_its_own() {
    let api = Api::open();
    let lines = "pool_idle = 0\nmax_connecting = 1";
    let sidebearer = Sidebearer::start(&config(&api.url(), lines));
    let address = sidebearer.address();
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        // Also those that wait for a connection.
        requests.spawn(async move { client::get(address, "/").await.status });
    }
    assert_eq!(requests.join_all().await, [200; 20]);
    assert_eq!(sidebearer.connects("api").await, 20.0);
}
