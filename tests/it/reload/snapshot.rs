//! What a new snapshot brings along, takes over, and leaves behind.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::*;
use crate::support::client::Connection;
use crate::support::idp::Behaviour;
use crate::support::server::{self, Body};
use crate::support::tls::Ca;
use crate::support::{any_port, eventually, loopback, smallest};

#[tokio::test]
async fn a_new_credential_has_its_token_before_anyone_needs_it() {
    let (idp, slow) = (Idp::start(), Idp::start());
    let (old, new) = (api("old", &idp), api("new", &slow));
    let before = smallest(&old, &idp);
    let sidebearer = Sidebearer::start(&before);
    sidebearer.ready().await;
    slow.behave(Behaviour::Holds);
    let after = [
        before,
        route("/new", "new"),
        upstream("new", &new.url(), "new"),
        credential("new", &slow),
    ]
    .concat();

    let reload = sidebearer.reconfigure(&after);
    tokio::pin!(reload);
    let asked = eventually("the first token is asked for", async || {
        slow.requests() == 1
    });
    tokio::select! {
        biased;
        outcome = &mut reload => panic!("swapped without a token: {outcome:?}"),
        () = asked => {}
    }
    assert_eq!(generation(&sidebearer).await, 1);
    assert_eq!(text(sidebearer.address(), "/new").await.1, "old");
    slow.let_go(1);
    reload.await.unwrap();

    // Another token request would not come back.
    let answer = text(sidebearer.address(), "/new").await;
    assert_eq!(answer, (200, "new".to_owned()));
    assert_eq!((idp.requests(), slow.requests()), (1, 1));
}

#[tokio::test]
async fn a_changed_credential_keeps_its_old_token_until_the_new_one_is_there() {
    let (idp, next) = (Idp::start(), Idp::start());
    let api = Api::open();
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    next.set_prefix("next");
    next.behave(Behaviour::Holds);

    let changed = smallest(&api, &next);
    let reload = sidebearer.reconfigure(&changed);
    tokio::pin!(reload);
    let asked = eventually("the first token is asked for", async || {
        next.requests() == 1
    });
    tokio::select! {
        biased;
        outcome = &mut reload => panic!("swapped without a token: {outcome:?}"),
        () = asked => {}
    }
    assert_eq!(text(sidebearer.address(), "/").await.0, 200);
    next.let_go(1);
    reload.await.unwrap();
    text(sidebearer.address(), "/").await;

    let sent: Vec<_> = api
        .seen()
        .iter()
        .map(|seen| seen.authorization().to_owned())
        .collect();
    assert_eq!(sent, ["Bearer token-1", "Bearer next-1"]);
}

#[tokio::test]
async fn a_silent_token_endpoint_delays_the_swap_for_fetch_timeout_at_most() {
    let (idp, silent) = (Idp::start(), Idp::start());
    let (old, new) = (api("old", &idp), api("new", &silent));
    let before = smallest(&old, &idp);
    let sidebearer = Sidebearer::start(&before);
    sidebearer.ready().await;
    silent.behave(Behaviour::Holds);
    let after = [
        before,
        route("/new", "new"),
        upstream("new", &new.url(), "new"),
        credential("new", &silent),
        "fetch_timeout = \"500ms\"\nacquire_timeout = \"100ms\"\n".to_owned(),
    ]
    .concat();

    let start = Instant::now();
    sidebearer.reconfigure(&after).await.unwrap();

    assert!(start.elapsed() >= Duration::from_millis(500));
    assert_eq!(text(sidebearer.address(), "/").await.1, "old");
    let answer = client::get(sidebearer.address(), "/new").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "token_unavailable")
    );
    // What a reload brings does not make a ready process unready.
    assert_eq!(client::get(sidebearer.admin(), "/readyz").await.status, 200);
}

#[tokio::test]
async fn requests_in_flight_finish_on_the_snapshot_they_began_with() {
    let idp = Idp::start();
    let slow = Slow::start();
    let (stays, goes) = (loopback(), loopback());
    let open = Api::open();
    let common = [
        listener("stays", stays),
        route("/", "open"),
        upstream("open", &open.url(), ""),
    ];
    let before = [
        common.concat(),
        listener("goes", goes),
        route("/slow", "slow"),
        upstream("slow", &slow.url, "slow"),
        credential("slow", &idp),
    ]
    .concat();
    let sidebearer = Sidebearer::start(&before);
    sidebearer.ready().await;

    // One has its head and half of its body, one has nothing yet.
    let requests = [goes, goes].map(|at| tokio::spawn(client::get(at, "/slow")));
    let [half, none] = [slow.next().await, slow.next().await];
    half.send(Bytes::from_static(b"one ")).await.unwrap();

    sidebearer.reconfigure(&common.concat()).await.unwrap();
    assert!(refuses_connections(goes));
    assert_eq!(text(stays, "/slow").await, (200, "ok".to_owned()));
    half.send(Bytes::from_static(b"two")).await.unwrap();
    drop(half);
    none.send(Bytes::from_static(b"one two")).await.unwrap();
    drop(none);

    for request in requests {
        let answer = request.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "one two"));
    }
    eventually("their connections are closed", async || {
        sidebearer.status().await["connections"] == 0
    })
    .await;
}

#[tokio::test]
async fn connections_to_unchanged_upstreams_survive() {
    let idp = Idp::start();
    let (kept, moved) = (api("kept", &idp), api("moved", &idp));
    let address = loopback();
    let config = |timeout: &str| {
        [
            "[server]\nworkers = 1\n\n".to_owned(),
            listener("app", address),
            route("/kept", "kept"),
            route("/moved", "moved"),
            upstream("kept", &kept.url(), "api"),
            upstream("moved", &moved.url(), "api"),
            format!("connect_timeout = \"{timeout}\"\n\n"),
            credential("api", &idp),
        ]
        .concat()
    };
    let sidebearer = Sidebearer::start(&config("1s"));
    for round in 1..=5 {
        for path in ["/kept", "/moved"] {
            assert_eq!(text(address, path).await.0, 200);
        }
        let counts = [
            sidebearer.connects("kept").await,
            sidebearer.connects("moved").await,
        ];
        assert_eq!(counts, [1.0, f64::from(round)]);
        sidebearer
            .reconfigure(&config(&format!("{}s", round + 1)))
            .await
            .unwrap();
    }
    assert_eq!(idp.requests(), 1);
}

#[tokio::test]
async fn new_content_of_a_ca_file_is_taken_up() {
    let ca = Ca::new();
    let api = Api::with_tls(Some(ca.own_certificate().server(&[])), |_| {
        server::response(200, "ok")
    });
    let config = [
        &format!(
            "[[listeners]]\naddress = \"{}\"\nupstream = \"api\"\n\n",
            any_port()
        ),
        &upstream("api", &format!("https://{}", api.address), ""),
        "tls = { ca_file = \"ca.pem\" }\n",
    ]
    .concat();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &ca.pem).unwrap();
    let sidebearer = Sidebearer::start_in(dir, &config);
    let mut connection = Connection::open(sidebearer.address()).await;
    assert_eq!(connection.get("/").await.unwrap().status, 200);

    sidebearer.write("ca.pem", &Ca::new().pem);
    eventually("the other CA counts, for old connections too", async || {
        connection.get("/").await.unwrap().code() == "upstream_tls"
    })
    .await;
    sidebearer.write("ca.pem", &ca.pem);
    eventually("the first CA counts again", async || {
        connection.get("/").await.unwrap().status == 200
    })
    .await;
}

#[tokio::test]
async fn an_idle_client_does_not_keep_what_was_removed() {
    let idp = Idp::start();
    let (stays, goes) = (api("stays", &idp), api("goes", &idp));
    let address = loopback();
    let common = [
        listener("app", address),
        route("/", "stays"),
        upstream("stays", &stays.url(), "stays"),
        credential("stays", &idp),
    ]
    .concat();
    let before = [
        common.clone(),
        route("/goes", "goes"),
        upstream("goes", &goes.url(), "stays"),
    ];
    let sidebearer = Sidebearer::start(&before.concat());
    let mut client = Connection::open(address).await;
    assert_eq!(client.get("/goes").await.unwrap().text(), "goes");
    let idle = "sidebearer_upstream_connections{state=\"idle\",upstream=\"goes\"}";
    eventually("its connection is kept", async || {
        sidebearer.metric(idle).await == 1.0
    })
    .await;

    sidebearer.reconfigure(&common).await.unwrap();

    eventually("its connection is closed", async || {
        sidebearer.metric(idle).await == 0.0
    })
    .await;
    assert_eq!(client.get("/goes").await.unwrap().text(), "stays");
}

#[tokio::test]
async fn ten_thousand_routes_reload() {
    let idp = Idp::start();
    let api = api("api", &idp);
    let config = |prefix: &str| {
        let mut config = smallest(&api, &idp);
        for number in 0..10_000 {
            config += &route(&format!("/{prefix}/{number}"), "api");
        }
        config
    };
    let sidebearer = Sidebearer::start(&config("old"));
    sidebearer.ready().await;
    let start = Instant::now();
    sidebearer.reconfigure(&config("new")).await.unwrap();
    println!("a reload of 10,000 routes took {:?}", start.elapsed());

    assert_eq!(text(sidebearer.address(), "/new/9999").await.0, 200);
    let status = sidebearer.status().await;
    assert_eq!(status["routes"].as_array().unwrap().len(), 10_001);
    assert_eq!(idp.requests(), 1);
}

/// An API whose responses are written by the test, piece by piece; the head goes with the first.
struct Slow {
    url: String,
    responses: tokio::sync::Mutex<mpsc::UnboundedReceiver<mpsc::Sender<Bytes>>>,
}

impl Slow {
    fn start() -> Self {
        let (begun, responses) = mpsc::unbounded_channel();
        let address = server::serve(None, move |_| {
            let (pieces, mut written) = mpsc::channel(1);
            begun.send(pieces).unwrap();
            async move {
                let first = written.recv().await;
                let pieces = Pieces(Mutex::new((first, written)));
                Response::new(Body::new(pieces.map_err(|never| match never {})))
            }
        });
        Self {
            url: format!("http://{address}"),
            responses: tokio::sync::Mutex::new(responses),
        }
    }

    /// The next request has arrived: what its response is written with.
    async fn next(&self) -> mpsc::Sender<Bytes> {
        self.responses.lock().await.recv().await.unwrap()
    }
}

struct Pieces(Mutex<(Option<Bytes>, mpsc::Receiver<Bytes>)>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut state = self.0.lock().unwrap();
        match state.0.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => state
                .1
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }
}
