//! The 401 rules: what an upstream's rejection means for the token.

use std::sync::Arc;

use sidebearer::oauth::TokenErrorKind::{ServerError, Throttled};
use sidebearer::token::{Token, TokenRejections};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::fakes::{Answer, World, fails, fails_for, grants, pass, secs, value};

/// A source that holds the token `old`, good for an hour, for long enough that another fetch may
/// begin; and one upstream of it.
async fn holding_old(then: Answer) -> (World, Arc<TokenRejections>, Arc<Token>) {
    let world = World::eager([grants("old", 3600.0)], then);
    world.source.wait_for_first_attempt().await;
    pass(10.0).await;
    let token = world.source.current().expect("a token");
    (world, Arc::new(TokenRejections::new()), token)
}

async fn renew(world: &World, upstream: &TokenRejections, rejected: &Token) -> Option<String> {
    let renewed = upstream.renew(&world.source, rejected).await;
    renewed.map(|token| value(&token))
}

#[tokio::test(start_paused = true)]
async fn rejected_token_is_replaced_by_one_fetch_for_everyone() {
    let (world, upstream, old) = holding_old(grants("new", 3600.0).after(1.0)).await;
    assert_eq!(renew(&world, &upstream, &old).await.as_deref(), Some("new"));
    assert_eq!(world.value().as_deref(), Some("new"));
    assert_eq!(world.endpoint.requests(), 2);
    let counted = r#"sidebearer_token_rejections_total{credential="crm"} 1"#;
    assert!(world.metrics.render().contains(counted));
}

#[tokio::test(start_paused = true)]
async fn burst_of_rejections_causes_one_fetch() {
    let (world, upstream, old) = holding_old(grants("new", 3600.0).after(1.0)).await;
    let mut requests = JoinSet::new();
    for i in 0..1000 {
        let (source, upstream, old) = (world.source.clone(), upstream.clone(), old.clone());
        requests.spawn(async move {
            // Some answers come while the fetch is in flight, some when it is long over.
            pass(f64::from(i) * 0.003).await;
            upstream.renew(&source, &old).await
        });
    }
    let mut renewed = 0;
    while let Some(token) = requests.join_next().await {
        let token = token.expect("no panic").expect("a token to replay with");
        assert_eq!(value(&token), "new");
        renewed += 1;
    }
    assert_eq!(renewed, 1000);
    assert_eq!(world.endpoint.requests(), 2);
    let counted = r#"sidebearer_token_rejections_total{credential="crm"} 1"#;
    assert!(world.metrics.render().contains(counted));
}

#[tokio::test(start_paused = true)]
async fn newer_value_that_is_there_already_is_used_without_a_fetch() {
    let (world, upstream, old) = holding_old(grants("new", 3600.0)).await;
    pass(3500.0).await;
    assert_eq!(world.value().as_deref(), Some("new"), "renewed meanwhile");
    assert_eq!(renew(&world, &upstream, &old).await.as_deref(), Some("new"));
    assert_eq!(world.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_of_that_upstream_wait_and_those_of_others_do_not() {
    let (world, broken, old) = holding_old(grants("new", 3600.0).after(2.0)).await;
    let sound = TokenRejections::new();
    let others = async {
        pass(1.0).await;
        assert!(broken.current(&world.source).is_none(), "quarantined");
        let current = sound.current(&world.source).expect("a token");
        assert_eq!(current.id(), old.id());
        let asked = Instant::now();
        let token = broken.acquire(&world.source).await.expect("a token");
        assert_eq!(
            (value(&token).as_str(), asked.elapsed()),
            ("new", secs(1.0))
        );
    };
    let (renewed, ()) = tokio::join!(renew(&world, &broken, &old), others);
    assert_eq!(renewed.as_deref(), Some("new"));
    assert!(broken.current(&world.source).is_some());
}

#[tokio::test(start_paused = true)]
async fn quarantined_value_serves_on_when_the_fetch_fails() {
    let (world, upstream, old) = holding_old(fails_for(Throttled, Some(60.0)).after(1.0)).await;
    assert_eq!(renew(&world, &upstream, &old).await, None);
    let current = upstream.current(&world.source).expect("it serves on");
    assert_eq!(current.id(), old.id());
    assert_eq!(
        renew(&world, &upstream, &old).await,
        None,
        "back-off: none may start"
    );
    assert_eq!(world.endpoint.requests(), 2);
    world.endpoint.now(grants("new", 3600.0));
    pass(70.0).await;
    assert_eq!(renew(&world, &upstream, &old).await.as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn waiting_request_gets_the_quarantined_value_when_the_fetch_fails() {
    let (world, upstream, old) = holding_old(fails(ServerError).after(2.0)).await;
    let other = async {
        pass(1.0).await;
        upstream.acquire(&world.source).await
    };
    let (renewed, other) = tokio::join!(renew(&world, &upstream, &old), other);
    assert_eq!(renewed, None);
    assert_eq!(other.expect("a token").id(), old.id());
}

#[tokio::test(start_paused = true)]
async fn first_rejection_of_a_token_starts_a_fetch_at_once_however_young_it_is() {
    let world = World::eager([grants("old", 3600.0)], grants("new", 3600.0));
    world.source.wait_for_first_attempt().await;
    let old = world.source.current().expect("a token");
    let asked = Instant::now();
    let renewed = renew(&world, &TokenRejections::new(), &old).await;
    assert_eq!(renewed.as_deref(), Some("new"));
    assert_eq!(asked.elapsed(), secs(0.0));
}

#[tokio::test(start_paused = true)]
async fn token_fetched_because_of_a_rejection_is_not_replaced_within_half_a_second() {
    let (world, first, old) = holding_old(grants("new", 3600.0)).await;
    assert_eq!(renew(&world, &first, &old).await.as_deref(), Some("new"));
    let new = world.source.current().expect("a token");
    world.endpoint.now(grants("newest", 3600.0));
    pass(0.1).await;
    let asked = Instant::now();
    // Another upstream: its own cooldown has not begun.
    let renewed = renew(&world, &TokenRejections::new(), &new).await;
    assert_eq!(renewed.as_deref(), Some("newest"));
    assert_eq!(asked.elapsed(), secs(0.4));
}

#[tokio::test(start_paused = true)]
async fn rejection_during_a_pause_waits_for_the_next_attempt_if_that_comes_in_time() {
    let script = [fails_for(Throttled, Some(3.0)), fails(ServerError)];
    let world = World::eager(
        [grants("old", 3600.0)].into_iter().chain(script),
        grants("new", 3600.0),
    );
    world.source.wait_for_first_attempt().await;
    let old = world.source.current().expect("a token");
    let (upstream, sound) = (TokenRejections::new(), TokenRejections::new());
    let asked = Instant::now();
    let others = async {
        pass(0.1).await;
        // Its attempt has failed: the rejected one waits on, the others need not.
        assert!(upstream.current(&world.source).is_some());
        assert!(sound.current(&world.source).is_some());
    };
    let (renewed, ()) = tokio::join!(renew(&world, &upstream, &old), others);
    assert_eq!(renewed.as_deref(), Some("new"));
    let waited = asked.elapsed().as_secs_f64();
    assert!((3.0..5.0).contains(&waited), "{waited}");
    assert_eq!(world.endpoint.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn upstream_that_rejects_whatever_it_gets_delays_the_others_once_while_fetches_fail() {
    let (world, upstream, old) = holding_old(fails_for(ServerError, Some(2.0)).after(0.5)).await;
    let others = async {
        pass(0.1).await;
        let mut delayed = 0;
        for _ in 0..100 {
            delayed += usize::from(upstream.current(&world.source).is_none());
            pass(0.1).await;
        }
        assert!((4..6).contains(&delayed), "{delayed} of 100");
    };
    let rejected = async {
        for _ in 0..20 {
            assert_eq!(renew(&world, &upstream, &old).await, None);
            pass(0.1).await;
        }
    };
    tokio::select! {
        () = others => {}
        () = rejected => panic!("each waits for attempts"),
    }
}

#[tokio::test(start_paused = true)]
async fn rejection_joins_the_fetch_in_flight() {
    let (world, upstream, old) = holding_old(grants("new", 3600.0).after(4.0)).await;
    while world.endpoint.requests() < 2 {
        pass(0.5).await;
    }
    assert_eq!(renew(&world, &upstream, &old).await.as_deref(), Some("new"));
    assert_eq!(world.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn same_value_again_passes_the_401_through_and_begins_a_cooldown() {
    let (world, upstream, old) = holding_old(grants("old", 3600.0)).await;
    assert_eq!(renew(&world, &upstream, &old).await, None);
    assert!(upstream.current(&world.source).is_some(), "it serves on");
    for _ in 0..99 {
        pass(0.1).await;
        assert_eq!(renew(&world, &upstream, &old).await, None);
    }
    assert_eq!(world.endpoint.requests(), 2);
    pass(0.2).await;
    assert_eq!(renew(&world, &upstream, &old).await, None);
    assert_eq!(world.endpoint.requests(), 3, "after 10 s it may try again");
    pass(19.0).await;
    assert_eq!(renew(&world, &upstream, &old).await, None);
    assert_eq!(world.endpoint.requests(), 3, "then after 20 s");
}

/// A fetch whose token the upstream rejects as well; how often one was caused until then.
async fn renew_and_reject(world: &World, upstream: &TokenRejections, n: usize) -> usize {
    world
        .endpoint
        .now(grants(&format!("rejected{n}"), 36_000.0));
    let rejected = world.source.current().expect("a token");
    if let Some(token) = upstream.renew(&world.source, &rejected).await {
        // A burst is replayed and rejected as a whole; it counts once.
        for _ in 0..100 {
            upstream.record_replay(&world.source, &token, false);
        }
    }
    world.endpoint.requests()
}

#[tokio::test(start_paused = true)]
async fn rejected_replay_begins_a_cooldown_of_that_upstream_of_10_s_doubling_to_60_s() {
    let (world, upstream, _) = holding_old(Answer::Hangs).await;
    let mut requests = renew_and_reject(&world, &upstream, 0).await;
    for (n, cooldown) in [10.0, 20.0, 40.0, 60.0, 60.0, 60.0].into_iter().enumerate() {
        pass(cooldown - 0.1).await;
        let still = renew_and_reject(&world, &upstream, n + 1).await;
        assert_eq!(still, requests, "cooldown of {cooldown} s");
        pass(0.2).await;
        requests = renew_and_reject(&world, &upstream, n + 1).await;
        assert_eq!(requests, still + 1, "after {cooldown} s");
    }
}

#[tokio::test(start_paused = true)]
async fn accepted_replay_ends_the_cooldown() {
    let (world, upstream, _) = holding_old(Answer::Hangs).await;
    for n in 0..3 {
        renew_and_reject(&world, &upstream, n).await;
        pass(60.1).await;
    }
    let requests = renew_and_reject(&world, &upstream, 3).await;
    let token = world.source.current().expect("a token");
    upstream.record_replay(&world.source, &token, true);
    pass(1.0).await;
    assert_eq!(renew_and_reject(&world, &upstream, 4).await, requests + 1);
    pass(9.9).await;
    assert_eq!(
        renew_and_reject(&world, &upstream, 5).await,
        requests + 1,
        "10 s again"
    );
    pass(0.2).await;
    assert_eq!(renew_and_reject(&world, &upstream, 5).await, requests + 2);
}

#[tokio::test(start_paused = true)]
async fn wrong_audience_at_one_upstream_hammers_nobody_and_costs_others_nothing() {
    let (world, broken, _) = holding_old(Answer::Hangs).await;
    let sound = TokenRejections::new();
    for n in 0..3600 {
        world
            .endpoint
            .now(grants(&format!("t{n}"), 36_000.0).after(0.2));
        assert!(sound.current(&world.source).is_some());
        let rejected = broken.acquire(&world.source).await.expect("a token");
        let (renewed, ()) = tokio::join!(broken.renew(&world.source, &rejected), async {
            pass(0.1).await;
            assert!(sound.current(&world.source).is_some());
        });
        if let Some(token) = renewed {
            broken.record_replay(&world.source, &token, false);
        }
        pass(0.9).await;
    }
    let requests = world.endpoint.requests();
    assert!((60..70).contains(&requests), "one a minute, not {requests}");
}

#[tokio::test(start_paused = true)]
async fn renewing_request_that_leaves_holds_up_nobody() {
    let (world, upstream, old) = holding_old(fails(ServerError).after(1.0)).await;
    let left = timeout(secs(0.5), renew(&world, &upstream, &old)).await;
    assert!(left.is_err());
    assert!(upstream.current(&world.source).is_none());
    pass(0.6).await;
    assert!(upstream.current(&world.source).is_some());
}

#[tokio::test(start_paused = true)]
async fn hanging_token_endpoint_delays_requests_of_that_upstream_once() {
    let (world, upstream, old) = holding_old(Answer::Hangs).await;
    let asked = Instant::now();
    assert_eq!(renew(&world, &upstream, &old).await, None);
    assert_eq!(asked.elapsed(), secs(5.0), "acquire_timeout");
    assert!(upstream.current(&world.source).is_some(), "it serves on");
    assert_eq!(renew(&world, &upstream, &old).await, None);
    assert_eq!(
        asked.elapsed(),
        secs(5.0),
        "the same attempt is not waited for twice"
    );
    assert_eq!(world.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_at_an_upstream_is_bounded_by_acquire_timeout_as_a_whole() {
    let world = World::eager([grants("old", 30.0)], Answer::Hangs);
    world.source.wait_for_first_attempt().await;
    let upstream = TokenRejections::new();
    let old = world.source.current().expect("a token");
    pass(20.0).await;
    let waiting = async {
        pass(0.1).await;
        let asked = Instant::now();
        // The token ends while it waits.
        world.clock.suspend(secs(8.0));
        let got = upstream.acquire(&world.source).await;
        (got.is_ok(), asked.elapsed())
    };
    let (_, (got, waited)) = tokio::join!(renew(&world, &upstream, &old), waiting);
    assert!(!got);
    assert!(waited <= secs(5.0), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn rejections_without_a_replay_begin_a_cooldown_too() {
    let (world, upstream, _) = holding_old(Answer::Hangs).await;
    for n in 0..3600 {
        world.endpoint.now(grants(&format!("t{n}"), 36_000.0));
        let token = upstream.acquire(&world.source).await.expect("a token");
        // An upload that is too large to be sent again.
        upstream.reject(&world.source, &token);
        pass(1.0).await;
    }
    let requests = world.endpoint.requests();
    assert!((60..70).contains(&requests), "one a minute, not {requests}");
}

#[tokio::test(start_paused = true)]
async fn rejection_long_after_the_fetch_it_caused_is_news() {
    let (world, upstream, old) = holding_old(grants("new", 3600.0)).await;
    upstream.reject(&world.source, &old);
    let new = upstream.acquire(&world.source).await.expect("a token");
    pass(10.1).await;
    world.endpoint.now(grants("newest", 3600.0));
    assert_eq!(
        renew(&world, &upstream, &new).await.as_deref(),
        Some("newest")
    );
}
