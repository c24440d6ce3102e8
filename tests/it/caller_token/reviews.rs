//! Service accounts of Kubernetes, and what the API server says about their tokens.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use sidebearer::caller::token::Review;
use sidebearer::config::{Kubernetes, ProxyChoice};
use sidebearer::oauth::TokenErrorKind;
use tokio::time::{Instant, sleep};

use super::fakes::{AUDIENCE, Found, World, by_account, by_token, found, kubernetes};
use super::servers::{Mood, review_of};
use crate::support::jwt::{Signer, set};
use crate::token::fakes::secs;

/// A cluster whose keys have been read; tokens are reviewed, if so, as those of `billing/app`.
async fn cluster(signer: &Signer, review: bool) -> World {
    let callers = [
        by_account("billing", "billing", "app"),
        by_account("search", "search", "app"),
    ];
    let world = World::new(&callers, Some(&kubernetes(review)));
    world.servers.cluster.is(Mood::Answers(set([signer])));
    world
        .servers
        .reviewer
        .is(Mood::Answers(review_of("billing", "app")));
    world.read().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_service_account_is_known_by_its_token() {
    let signer = Signer::new("a");
    let world = cluster(&signer, false).await;
    for (namespace, name, caller) in [
        ("billing", "app", Some("billing")),
        ("search", "app", Some("search")),
        ("billing", "default", None),
        ("billing:app", "", None),
        ("", "", None),
    ] {
        let told = world.verify_now(&signer.sign(&world.account(namespace, name)));
        match caller {
            Some(caller) => assert_eq!(told, found(caller)),
            None => assert!(told.is_nobody(), "{namespace}/{name}: {told:?}"),
        }
    }
    let wrong = [
        ("aud", json!(["https://kubernetes.default.svc"])),
        ("iss", json!("https://another.cluster")),
        ("sub", json!("system:serviceaccount:search:app")),
        ("kubernetes.io", json!({})),
        ("exp", json!(1)),
    ];
    for (name, value) in wrong {
        let mut claims = world.account("billing", "app");
        claims[name] = value;
        let told = world.verify_now(&signer.sign(&claims));
        assert!(told.is_nobody(), "{name}: {told:?}");
    }
    assert_eq!(world.servers.reviewer.reviews(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_api_server_says_whole_is_accepted() {
    let signer = Signer::new("a");
    let good = review_of("billing", "app");
    for (accepted, review) in [
        (true, good.clone()),
        (
            true,
            Review {
                audiences: vec!["x".to_owned(), AUDIENCE.to_owned()],
                ..good.clone()
            },
        ),
        (
            false,
            Review {
                is_authenticated: false,
                ..good.clone()
            },
        ),
        (
            false,
            Review {
                audiences: vec![],
                ..good.clone()
            },
        ),
        (
            false,
            Review {
                audiences: vec!["x".to_owned()],
                ..good.clone()
            },
        ),
        (false, review_of("search", "app")),
        (
            false,
            Review {
                username: String::new(),
                ..good.clone()
            },
        ),
    ] {
        let world = cluster(&signer, true).await;
        world.servers.reviewer.is(Mood::Answers(review.clone()));
        let token = signer.sign(&world.account("billing", "app"));
        for _ in 0..3 {
            let told = world.verify(&token).await;
            assert_eq!(told == found("billing"), accepted, "{review:?}: {told:?}");
            assert_eq!(told.is_nobody(), !accepted, "{review:?}: {told:?}");
        }
        assert_eq!(world.servers.reviewer.reviews(), 1, "it is remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgery_is_never_reviewed() {
    let (signer, attacker) = (Signer::new("a"), Signer::new("a"));
    let world = cluster(&signer, true).await;
    for claims in [world.account("billing", "app"), world.account("x", "y")] {
        assert!(world.verify(&attacker.sign(&claims)).await.is_nobody());
    }
    assert!(
        world
            .verify(&signer.sign(&world.account("x", "y")))
            .await
            .is_nobody()
    );
    assert_eq!(world.servers.reviewer.reviews(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_waits_for_one_review_only() {
    let signer = Signer::new("a");
    let world = cluster(&signer, true).await;
    let slow = Mood::Slow(secs(0.5), review_of("billing", "app"));
    world.servers.reviewer.is(slow);
    let token = signer.sign(&world.account("billing", "app"));
    let told = tokio::join!(
        world.verify(&token),
        world.verify(&token),
        world.verify(&token)
    );
    assert_eq!(told, (found("billing"), found("billing"), found("billing")));
    assert_eq!(world.servers.reviewer.reviews(), 1);
    let start = Instant::now();
    while start.elapsed() < secs(100.0) {
        assert_eq!(world.verify_now(&token), found("billing"));
        sleep(secs(0.1)).await;
    }
    let reviews = world.servers.reviewer.reviews();
    assert!((10..=16).contains(&reviews), "{reviews} reviews in 100 s");
    assert_eq!(world.servers.reviewer.load.most.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_revokes_is_refused_within_ten_seconds() {
    let signer = Signer::new("a");
    let world = cluster(&signer, true).await;
    let token = signer.sign(&world.account("billing", "app"));
    assert_eq!(world.verify(&token).await, found("billing"));
    let gone = Review {
        is_authenticated: false,
        ..review_of("billing", "app")
    };
    world.servers.reviewer.is(Mood::Answers(gone));
    sleep(secs(10.0)).await;
    assert!(world.verify(&token).await.is_nobody());
    // No grace for it, once it is known to be gone.
    world
        .servers
        .reviewer
        .is(Mood::Fails(TokenErrorKind::Unreachable));
    sleep(secs(10.0)).await;
    assert!(world.verify(&token).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn reviewed_tokens_serve_for_the_grace_while_the_api_server_is_away() {
    let signer = Signer::new("a");
    for away in [
        Mood::Fails(TokenErrorKind::Unreachable),
        Mood::Fails(TokenErrorKind::Refused),
        Mood::Hangs,
        Mood::Panics,
    ] {
        let world = cluster(&signer, true).await;
        let token = signer.sign(&world.account("billing", "app"));
        assert_eq!(world.verify(&token).await, found("billing"));
        let reviewed = Instant::now();
        world.servers.reviewer.is(away.clone());
        let never_reviewed = signer.sign(&world.account("search", "app"));
        while reviewed.elapsed() < secs(298.0) {
            let start = Instant::now();
            assert_eq!(world.verify(&token).await, found("billing"), "{away:?}");
            assert!(start.elapsed() <= secs(1.001), "{:?}", start.elapsed());
            sleep(secs(2.3)).await;
        }
        let told = world.verify(&never_reviewed).await;
        assert!(told.is_unavailable(), "{told:?}");
        sleep(secs(300.0) - reviewed.elapsed().min(secs(300.0))).await;
        let Found::Unavailable(reason, retry_after) = world.verify(&token).await else {
            panic!("{away:?}")
        };
        assert!(
            reason.contains("API server") || reason.contains("the fake says"),
            "{reason}"
        );
        assert!(retry_after >= secs(1.0));
        let asked = world.servers.reviewer.reviews();
        assert!(asked < 120, "{away:?}: asked {asked} times in five minutes");
        world
            .servers
            .reviewer
            .is(Mood::Answers(review_of("billing", "app")));
        sleep(secs(20.0)).await;
        assert_eq!(world.verify(&token).await, found("billing"), "{away:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reviews_survive_a_reload_in_an_outage() {
    let signer = Signer::new("a");
    let mut world = cluster(&signer, true).await;
    let token = signer.sign(&world.account("billing", "app"));
    assert_eq!(world.verify(&token).await, found("billing"));
    world.servers.reviewer.is(Mood::Hangs);
    world.servers.cluster.is(Mood::Hangs);
    let callers = [
        by_token("another", &[("sub", "x")]),
        by_account("billing", "billing", "app"),
        by_account("new", "x", "y"),
    ];
    world.reload(&callers, Some(&kubernetes(true)));
    for _ in 0..20 {
        sleep(secs(10.0)).await;
        assert_eq!(world.verify(&token).await, found("billing"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_the_grace_in_an_outage_keeps_what_was_reviewed() {
    let signer = Signer::new("a");
    let mut world = cluster(&signer, true).await;
    let callers = [by_account("billing", "billing", "app")];
    let token = signer.sign(&world.account("billing", "app"));
    assert_eq!(world.verify(&token).await, found("billing"));
    world.servers.reviewer.is(Mood::Hangs);
    sleep(secs(100.0)).await;
    let with_grace = |seconds: f64| Kubernetes {
        review_grace: secs(seconds),
        ..kubernetes(true)
    };
    // Beyond the five minutes of before, and then no more.
    world.reload(&callers, Some(&with_grace(3000.0)));
    for _ in 0..4 {
        sleep(secs(100.0)).await;
        assert_eq!(world.verify(&token).await, found("billing"));
    }
    world.reload(&callers, Some(&with_grace(400.0)));
    assert!(world.verify(&token).await.is_unavailable());
    // What it is reviewed for is another matter.
    world.reload(&callers, Some(&with_grace(3000.0)));
    assert_eq!(world.verify(&token).await, found("billing"));
    let elsewhere = Kubernetes {
        api_server: Some("https://10.0.0.1".parse().unwrap()),
        ..with_grace(3000.0)
    };
    world.reload(&callers, Some(&elsewhere));
    assert!(world.verify(&token).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_the_proxy_in_an_outage_keeps_what_is_known() {
    let signer = Signer::new("a");
    let mut world = cluster(&signer, true).await;
    let callers = [by_account("billing", "billing", "app")];
    let token = signer.sign(&world.account("billing", "app"));
    assert_eq!(world.verify(&token).await, found("billing"));
    world.servers.reviewer.is(Mood::Hangs);
    world.servers.cluster.is(Mood::Hangs);
    sleep(secs(20.0)).await;
    world.proxy = ProxyChoice::Direct;
    world.reload(&callers, Some(&kubernetes(true)));
    assert_eq!(world.verify(&token).await, found("billing"));
    assert_eq!(world.servers.cluster.reads(), 2, "they are read anew");
    // Another token needs the keys, and a review that has not been.
    world
        .servers
        .reviewer
        .is(Mood::Answers(review_of("billing", "app")));
    let another = signer.sign(&world.account("billing", "app"));
    assert_eq!(world.verify(&another).await, found("billing"));
}

#[tokio::test(start_paused = true)]
async fn many_tokens_are_reviewed_a_few_at_a_time() {
    let signer = Signer::new("a");
    let world = cluster(&signer, true).await;
    let slow = Mood::Slow(secs(0.1), review_of("billing", "app"));
    world.servers.reviewer.is(slow);
    let tokens = (0..200).map(|n| {
        let mut claims = world.account("billing", "app");
        claims["jti"] = json!(n);
        signer.sign(&claims)
    });
    let tokens: Vec<_> = tokens.collect();
    let pending = tokens.iter().map(|token| world.verify(token));
    let mut told = Vec::new();
    let mut all: Vec<_> = pending.map(Box::pin).collect();
    for one in &mut all {
        // Begun in their order: the first poll of each begins its review.
        let _ = std::future::poll_fn(|context| {
            let polled = std::future::Future::poll(one.as_mut(), context);
            std::task::Poll::Ready(polled.is_ready())
        })
        .await;
    }
    for one in all {
        told.push(one.await);
    }
    assert!(
        told.iter().all(|told| *told == found("billing")),
        "{told:?}"
    );
    assert!(world.servers.reviewer.load.most.load(SeqCst) <= 32);
}
