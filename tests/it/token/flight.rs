//! One fetch per credential at a time, and nobody who leaves takes it along.

use std::sync::Arc;

use sidebearer::config::Refresh;
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::token::TokenSource;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fakes::{Scripted, VirtualClock, World, grants, pass, policy, secs};

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_at_a_cold_start_cause_one_token_request() {
    let answer = grants("a", 100.0).after(1.0);
    for world in [
        World::eager([], answer.clone()),
        World::lazy([], answer.clone()),
    ] {
        let mut requests = JoinSet::new();
        for _ in 0..10_000 {
            let source = world.source.clone();
            requests.spawn(async move { source.acquire().await });
        }
        let mut served = 0;
        while let Some(got) = requests.join_next().await {
            assert!(got.expect("no panic").is_ok());
            served += 1;
        }
        assert_eq!(served, 10_000);
        assert_eq!(world.endpoint.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_waiter_leaving_cancels_nobody() {
    let world = World::lazy([], grants("a", 100.0).after(2.0));
    let first = timeout(secs(0.5), world.source.acquire());
    let second = async {
        pass(0.1).await;
        world.acquire().await
    };
    let (first, (second, waited)) = tokio::join!(first, second);
    assert!(first.is_err(), "it left");
    assert_eq!(second, Ok("a".to_owned()));
    assert!(waited < secs(1.91), "{waited:?}");
    assert_eq!(world.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempt_goes_on_when_everyone_has_left() {
    let world = World::lazy([], grants("a", 100.0).after(2.0));
    assert!(timeout(secs(0.5), world.source.acquire()).await.is_err());
    pass(2.0).await;
    assert_eq!(world.value().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_sees_at_most_as_many_fetches_as_its_gate_lets_through() {
    let endpoint = Scripted::new([], grants("a", 1000.0).after(8.0));
    let gate = Arc::new(ConcurrencyLimit::new(32));
    let clock = VirtualClock::new();
    let metrics = Metrics::new();
    let sources: Vec<_> = (0..100)
        .map(|i| {
            let name = format!("c{i}");
            TokenSource::start(
                &name,
                policy(Refresh::Eager),
                endpoint.clone(),
                gate.clone(),
                clock.clone(),
                metrics.credential(&name),
            )
        })
        .collect();
    pass(1.0).await;
    assert_eq!(endpoint.requests(), 32);
    for source in &sources {
        source.wait_for_first_attempt().await;
        // The last ones waited 24 s for their turn, which `fetch_timeout` does not count.
        let token = source.current().expect("a token");
        assert_eq!(token.expires(), token.issued().plus(secs(1000.0)));
    }
    assert_eq!(endpoint.requests(), 100);
    assert_eq!(endpoint.most_in_flight(), 32);
    let token = sources[99].current().expect("a token");
    let first = sources[0].current().expect("a token");
    let later = token.issued().boot - first.issued().boot;
    assert!(
        later >= secs(23.9),
        "life counts from when it was sent: {later:?}"
    );
}

/// A runtime of one thread, as the product's are.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

#[test]
fn threads_that_share_a_source_get_one_token_from_one_fetch() {
    let endpoint = Scripted::new([], grants("a", 100.0).after(0.05));
    let control = runtime();
    let world = control.block_on(async { World::with(policy(Refresh::Lazy), endpoint.clone()) });
    let ids: Vec<u64> = std::thread::scope(|scope| {
        let shards: Vec<_> = (0..4)
            .map(|_| {
                let source = world.source.clone();
                let (served, token) = tokio::sync::oneshot::channel();
                scope.spawn(move || {
                    let token = runtime().block_on(source.acquire());
                    // The receiver waits below.
                    let _ = served.send(token.expect("a token").id());
                });
                token
            })
            .collect();
        control.block_on(async {
            let mut ids = Vec::new();
            for token in shards {
                ids.push(token.await.expect("no panic in the shard"));
            }
            ids
        })
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(endpoint.requests(), 1);
}
