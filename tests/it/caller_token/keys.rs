//! How the keys of an issuer are had, and what happens while they cannot be.

use std::time::Duration;

use serde_json::json;
use sidebearer::oauth::TokenErrorKind;
use tokio::time::{Instant, sleep};

use super::fakes::{Found, World, billing, found};
use super::servers::Mood;
use crate::support::jwt::{Signer, set};
use crate::token::fakes::secs;

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_keys_that_are_being_read() {
    let signer = Signer::new("a");
    let world = World::new(&[billing()], None);
    let slow = Mood::Slow(secs(3.0), set([&signer]));
    world.servers.issuer.is(slow);
    let token = signer.sign(&world.claims(json!({})));
    let start = Instant::now();
    let verify = || world.verify(&token);
    let told = tokio::join!(verify(), verify(), verify());
    assert_eq!(told, (found("billing"), found("billing"), found("billing")));
    assert_eq!(start.elapsed(), secs(3.0));
    assert_eq!(world.servers.issuer.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_keys_longer_than_five_seconds() {
    let signer = Signer::new("a");
    let world = World::new(&[billing()], None);
    let token = signer.sign(&world.claims(json!({})));
    for mood in [
        Mood::Hangs,
        Mood::Panics,
        Mood::Fails(TokenErrorKind::Unreachable),
    ] {
        world.servers.issuer.is(mood.clone());
        for _ in 0..20 {
            let start = Instant::now();
            let told = world.verify(&token).await;
            let Found::Unavailable(reason, retry_after) = &told else {
                panic!("{mood:?}: {told:?}")
            };
            assert!(start.elapsed() <= secs(5.0), "{:?}", start.elapsed());
            assert!(!retry_after.is_zero() && !reason.is_empty(), "{told:?}");
            sleep(secs(7.0)).await;
        }
    }
    assert_eq!(
        world
            .servers
            .issuer
            .load
            .most
            .load(std::sync::atomic::Ordering::SeqCst),
        1
    );
    world.servers.issuer.is(Mood::Answers(set([&signer])));
    sleep(secs(60.0)).await;
    assert_eq!(world.verify_now(&token), found("billing"));
}

#[tokio::test(start_paused = true)]
async fn what_no_keys_could_make_good_waits_for_none() {
    let signer = Signer::new("a");
    let world = World::new(&[billing()], None);
    for claims in [
        json!({ "aud": "x" }),
        json!({ "exp": 1 }),
        json!({ "sub": "x" }),
        json!({ "iss": "x" }),
    ] {
        let token = signer.sign(&world.claims(claims.clone()));
        assert!(world.verify_now(&token).is_nobody(), "{claims}");
    }
    assert!(world.verify_now("no-token").is_nobody());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_serve_on_through_any_failure() {
    let signer = Signer::new("a");
    let world = World::ready(&[billing()], set([&signer])).await;
    for mood in [
        Mood::Fails(TokenErrorKind::ServerError),
        Mood::Hangs,
        Mood::Panics,
        Mood::Answers(json!({ "keys": [] })),
        Mood::Answers(json!({ "keys": [{ "kty": "oct", "k": "AA" }] })),
        Mood::Answers(json!({ "keys": vec![signer.public(); 101] })),
        Mood::Answers(json!({ "keys": {} })),
        Mood::Answers(json!([])),
    ] {
        world.servers.issuer.is(mood.clone());
        sleep(secs(7200.0)).await;
        let status = &world.verifier.status().unwrap().keys[0];
        assert!(
            status.failures > 0 && status.last_error.is_some(),
            "{mood:?}: {status:?}"
        );
        assert_eq!(status.keys, 1);
        let token = signer.sign(&world.claims(json!({})));
        assert_eq!(world.verify_now(&token), found("billing"), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_new_is_found_by_the_first_token_that_names_it() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let world = World::ready(&[billing()], set([&old])).await;
    world
        .servers
        .issuer
        .is(Mood::Slow(secs(1.0), set([&old, &new])));
    let token = new.sign(&world.claims(json!({})));
    let told = tokio::join!(world.verify(&token), world.verify(&token));
    assert_eq!(told, (found("billing"), found("billing")));
    assert_eq!(world.servers.issuer.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_make_us_ask_once_a_minute() {
    let (signer, attacker) = (Signer::new("a"), Signer::new("b"));
    let world = World::ready(&[billing()], set([&signer])).await;
    let start = Instant::now();
    while start.elapsed() < secs(600.0) {
        let kid = format!("{}", fastrand::u64(..));
        let header = json!({ "alg": "ES256", "kid": kid });
        let token = attacker.sign_with(&header, &world.claims(json!({})));
        assert!(world.verify(&token).await.is_nobody());
        sleep(secs(1.0)).await;
    }
    let reads = world.servers.issuer.reads();
    assert!((2..=12).contains(&reads), "{reads} reads in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_a_503_while_the_issuer_is_away() {
    let (signer, new) = (Signer::new("a"), Signer::new("b"));
    let world = World::ready(&[billing()], set([&signer])).await;
    world
        .servers
        .issuer
        .is(Mood::Fails(TokenErrorKind::Unreachable));
    sleep(secs(3600.0)).await;
    let token = new.sign(&world.claims(json!({})));
    let told = world.verify(&token).await;
    assert!(told.is_unavailable(), "{told:?}");
    world.servers.issuer.is(Mood::Answers(set([&signer, &new])));
    sleep(secs(61.0)).await;
    assert_eq!(world.verify(&token).await, found("billing"));
}

#[tokio::test(start_paused = true)]
async fn what_a_withdrawn_key_has_signed_is_good_no_more() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let world = World::ready(&[billing()], set([&old, &new])).await;
    let [from_old, from_new] = [&old, &new].map(|signer| {
        let far = world.now() + 100_000;
        signer.sign(&world.claims(json!({ "exp": far })))
    });
    for token in [&from_old, &from_new] {
        assert_eq!(world.verify_now(token), found("billing"));
    }
    world.servers.issuer.is(Mood::Answers(set([&new])));
    sleep(secs(901.0)).await;
    assert!(world.verify(&from_old).await.is_nobody());
    assert_eq!(world.verify_now(&from_new), found("billing"));
    // Another key by the same name does not verify for the old one.
    world
        .servers
        .issuer
        .is(Mood::Answers(set([&Signer::new("new")])));
    sleep(secs(901.0)).await;
    assert!(world.verify(&from_new).await.is_nobody());
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_token_ends_with_it() {
    let signer = Signer::new("a");
    let world = World::ready(&[billing()], set([&signer])).await;
    let token = signer.sign(&world.claims(json!({ "exp": world.now() + 10 })));
    for _ in 0..39 {
        assert_eq!(world.verify_now(&token), found("billing"));
        sleep(secs(1.0)).await;
    }
    sleep(secs(2.0)).await;
    assert!(world.verify_now(&token).is_nobody());
}

#[tokio::test(start_paused = true)]
async fn keys_are_read_again_as_often_as_the_issuer_asks_within_bounds() {
    for (max_age, least, most) in [
        (None, 96, 130),
        (Some(1), 280, 370),
        (Some(1800), 48, 62),
        (Some(604_800), 4, 6),
    ] {
        let signer = Signer::new("a");
        let world = World::new(&[billing()], None);
        *world.servers.issuer.max_age.lock().unwrap() = max_age.map(Duration::from_secs);
        world.servers.issuer.is(Mood::Answers(set([&signer])));
        sleep(secs(86_400.0)).await;
        let reads = world.servers.issuer.reads();
        assert!(
            (least..=most).contains(&reads),
            "{max_age:?}: {reads} reads a day"
        );
        let page = world.metrics.render();
        let series = format!(
            "sidebearer_caller_key_fetches_total{{issuer=\"https://login.example.com\",outcome=\"success\"}} {reads}\n"
        );
        assert!(page.contains(&series), "{page}");
        assert!(
            page.contains("sidebearer_caller_keys_timestamp_seconds{issuer="),
            "{page}"
        );
    }
}
