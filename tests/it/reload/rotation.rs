//! Secrets that change, vanish and come back while tokens are in use.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::*;
use crate::support::client::Connection;
use crate::support::{eventually, smallest};

/// Requests until it is stopped; every answer must be a 200.
struct Client {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut connection = Connection::open(address).await;
            let mut answers = 0;
            while !told.load(Ordering::SeqCst) {
                let answer = connection.get("/").await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                answers += 1;
            }
            answers
        });
        Self { stop, task }
    }

    async fn ended(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

#[tokio::test]
async fn no_request_fails_while_secrets_rotate() {
    let idp = Idp::start();
    // Renewed after 3 s, sent until 6 s: each round has to be told by then.
    idp.set_lifetime(7);
    let api = api("api", &idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let client = Client::start(sidebearer.address());
    eventually("the first token is used", async || !api.seen().is_empty()).await;
    // Queued behind the second look at the configuration that every start takes.
    sidebearer.reload().await.unwrap();

    // Each round begins with a fresh token, so that no request is under way that the old secret
    // began and the new one would have to end.
    for round in 0..4 {
        let (secret, prefix) = (format!("s3cret-{round}"), format!("round{round}"));
        let requests = idp.requests();
        idp.set_prefix(&prefix);
        if round % 2 == 0 {
            fs::write(sidebearer.dir().join("secret"), &secret).unwrap();
        } else {
            sidebearer.write("secret", &secret);
        }
        idp.rotate_secret(&secret);
        let token = format!("Bearer {prefix}-");
        eventually("a token is had for the new secret", async || {
            let seen = api.seen();
            seen.last()
                .is_some_and(|seen| seen.authorization().starts_with(&token))
        })
        .await;
        assert_eq!(
            idp.requests() - requests,
            1,
            "the valid token was kept until its time"
        );
    }
    assert!(client.ended().await > 0);
    assert_eq!(
        generation(&sidebearer).await,
        2,
        "a secret is not configuration"
    );
}

#[tokio::test]
async fn a_refused_secret_is_tried_again_as_soon_as_it_changes() {
    let idp = Idp::start();
    // Renewed after 14 to 17 s, sent until 18 s: longer than the first pause would be too long.
    idp.set_lifetime(20);
    let api = api("api", &idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    let client = Client::start(sidebearer.address());
    let credential = async || sidebearer.status().await["credentials"]["api"].clone();

    // The server knows the new secret before we do.
    idp.rotate_secret("rotated");
    eventually("the renewal is refused", async || {
        credential().await["consecutive_failures"] != 0
    })
    .await;
    assert_eq!(
        credential().await["state"],
        "valid",
        "the old token serves on"
    );
    sidebearer.write("secret", "rotated\n");
    eventually("the new secret is tried", async || {
        credential().await["consecutive_failures"] == 0
    })
    .await;

    assert!(client.ended().await > 0);
    assert_eq!(text(sidebearer.address(), "/").await.0, 200);
    assert_eq!(api.seen().last().unwrap().authorization(), "Bearer token-2");
    assert_eq!(idp.requests(), 3, "nothing was asked but this");
}

#[tokio::test]
async fn a_vanished_secret_costs_nothing_while_the_server_takes_the_last_one() {
    let idp = Idp::start();
    idp.set_lifetime(4);
    let api = api("api", &idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    // Queued behind the second look at the configuration that every start takes.
    sidebearer.reload().await.unwrap();
    let client = Client::start(sidebearer.address());
    let credential = async || sidebearer.status().await["credentials"]["api"].clone();

    fs::remove_file(sidebearer.dir().join("secret")).unwrap();
    let requests = idp.requests();
    eventually("it is renewed all the same", async || {
        idp.requests() > requests + 1
    })
    .await;
    assert!(client.ended().await > 0);
    assert_eq!(credential().await["consecutive_failures"], 0);

    // Now the last good one is good no more, and there is no other to try.
    idp.rotate_secret("rotated");
    eventually("without a token requests fail", async || {
        client::get(sidebearer.address(), "/").await.code() == "token_unavailable"
    })
    .await;
    // Another try may be under way.
    eventually("it is refused", async || {
        credential().await["state"] == "refused"
    })
    .await;

    sidebearer.write("secret", "rotated");
    eventually("it is there again", async || {
        text(sidebearer.address(), "/").await.0 == 200
    })
    .await;
    assert_eq!(outcome(&sidebearer).await.0, "success");
}

#[tokio::test]
async fn a_reload_that_lacks_a_secret_is_cured_by_the_secret() {
    let idp = Idp::start();
    let api = api("api", &idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    fs::remove_file(sidebearer.dir().join("secret")).unwrap();
    let refused = sidebearer.reload().await.unwrap_err().to_string();
    assert!(refused.contains("secret"), "{refused}");
    assert_eq!(text(sidebearer.address(), "/").await.0, 200);

    sidebearer.write("secret", "s3cret");
    eventually("it is taken up", async || {
        outcome(&sidebearer).await.0 == "success"
    })
    .await;
    assert_eq!(idp.requests(), 1);
}
