//! When a token is usable, and when it is renewed.

use std::time::Duration;

use sidebearer::config::Refresh;
use sidebearer::oauth::TokenErrorKind::Unreachable;
use sidebearer::token::{Clock, CredentialPhase};

use super::fakes::{Answer, Scripted, World, fails, grants, pass, policy, response, secs};

#[tokio::test(start_paused = true)]
async fn authorization_is_type_and_token_built_once_and_sensitive() {
    let world = World::eager([], grants("abc", 100.0));
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    assert_eq!(token.authorization(), "Bearer abc");
    assert!(token.authorization().is_sensitive());
    assert_ne!(token.id(), 0);
    assert!(!format!("{token:?}").contains("abc"));
}

#[tokio::test(start_paused = true)]
async fn eager_source_fetches_at_once_and_lazy_source_when_asked() {
    let eager = World::eager([], grants("a", 100.0));
    let lazy = World::lazy([], grants("a", 100.0));
    pass(0.001).await;
    assert_eq!(eager.endpoint.requests(), 1);
    pass(1000.0).await;
    assert_eq!(lazy.endpoint.requests(), 0);
    assert_eq!(lazy.source.status().state, CredentialPhase::Idle);
    assert_eq!(lazy.acquire().await, (Ok("a".to_owned()), Duration::ZERO));
    assert_eq!(lazy.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn first_attempt_of_a_lazy_source_is_not_waited_for() {
    let lazy = World::lazy([], Answer::Hangs);
    lazy.source.wait_for_first_attempt().await;
    assert_eq!(lazy.endpoint.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn lifetime_counts_from_when_the_request_was_sent() {
    let world = World::eager([grants("slow", 20.0).after(8.0)], Answer::Hangs);
    let sent = world.clock.now();
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    assert_eq!(token.issued(), sent);
    assert_eq!(token.expires(), sent.plus(secs(20.0)));
    pass(9.99).await;
    assert!(world.source.current().is_some(), "18 s after it was sent");
    pass(0.02).await;
    assert!(world.source.current().is_none());
}

#[tokio::test(start_paused = true)]
async fn expired_token_is_never_sent_whatever_is_down() {
    for (lifetime, usable) in [(2.0, 1.0), (3.0, 2.0), (30.0, 27.0), (3600.0, 3595.0)] {
        let world = World::eager([grants("a", lifetime)], fails(Unreachable));
        world.source.wait_for_first_attempt().await;
        let token = world.source.current().expect("a token");
        pass(usable - 0.01).await;
        assert_eq!(world.value().as_deref(), Some("a"), "{lifetime}");
        pass(0.02).await;
        assert_eq!(world.value(), None, "{lifetime}");
        assert!(!token.is_usable(world.clock.now()));
        assert!(world.source.acquire().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn suspend_counts_as_life() {
    let world = World::eager([grants("a", 100.0)], grants("b", 100.0).after(0.1));
    world.source.wait_for_first_attempt().await;
    world.clock.suspend(secs(200.0));
    assert_eq!(world.value(), None, "not for one request after the resume");
    pass(5.2).await;
    assert_eq!(
        world.value().as_deref(),
        Some("b"),
        "timers nap 5 s at most"
    );
}

#[tokio::test(start_paused = true)]
async fn request_after_a_resume_need_not_wait_for_the_timer() {
    let world = World::eager([grants("a", 100.0)], grants("b", 100.0).after(0.1));
    world.source.wait_for_first_attempt().await;
    world.clock.suspend(secs(200.0));
    assert_eq!(world.acquire().await, (Ok("b".to_owned()), secs(0.1)));
}

#[tokio::test(start_paused = true)]
async fn the_earlier_end_of_both_clocks_counts() {
    let world = World::eager([grants("a", 100.0)], Answer::Hangs);
    world.source.wait_for_first_attempt().await;
    world.clock.set_wall(-3600);
    assert_eq!(world.value().as_deref(), Some("a"));
    pass(98.0).await;
    assert_eq!(
        world.value(),
        None,
        "setting the wall clock back adds no life"
    );

    let world = World::eager([grants("a", 100.0)], Answer::Hangs);
    world.source.wait_for_first_attempt().await;
    world.clock.set_wall(99);
    assert_eq!(world.value(), None);
}

#[tokio::test(start_paused = true)]
async fn eager_refresh_starts_between_70_and_85_percent_drawn_for_each_token() {
    let world = World::eager([], grants("a", 1000.0));
    // A new value each time: the same one again would be no renewal.
    for i in 0..100 {
        world.endpoint.now(grants(&format!("t{i}"), 1000.0));
        while world.endpoint.requests() <= i {
            pass(1.0).await;
        }
    }
    let gaps = world.gaps();
    assert!(
        gaps.iter().all(|gap| (700.0..851.0).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps.iter().any(|gap| *gap < 730.0) && gaps.iter().any(|gap| *gap > 820.0));
}

#[tokio::test(start_paused = true)]
async fn old_token_serves_until_the_new_one_is_there() {
    let world = World::eager([grants("old", 100.0)], grants("new", 100.0).after(9.0));
    world.source.wait_for_first_attempt().await;
    while world.endpoint.requests() < 2 {
        pass(0.01).await;
    }
    assert_eq!(world.source.status().state, CredentialPhase::Refreshing);
    pass(8.9).await;
    assert_eq!(world.value().as_deref(), Some("old"));
    pass(0.2).await;
    assert_eq!(world.value().as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn short_lived_tokens_are_renewed_before_they_end() {
    for lifetime in [2.0, 3.0, 5.0, 9.0] {
        let world = World::eager([], grants("t", lifetime));
        world.source.wait_for_first_attempt().await;
        for i in 0..600 {
            let next = grants(&format!("t{i}"), lifetime).after(lifetime / 25.0);
            world.endpoint.now(next);
            pass(0.05).await;
            assert!(world.value().is_some(), "{lifetime} s, after {i} x 50 ms");
        }
        let most = 30.0 / (0.24 * lifetime) + 2.0;
        assert!((world.endpoint.requests() as f64) < most, "{lifetime}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_fetch_within_half_a_second_of_the_last_success() {
    // Each is due again the moment it arrives.
    let world = World::eager([], grants("t", 1.0).after(0.45));
    for i in 0..200 {
        world
            .endpoint
            .now(grants(&format!("t{i}"), 1.0).after(0.45));
        let (got, _) = world.acquire().await;
        assert!(got.is_ok(), "{got:?}");
        pass(0.1).await;
    }
    let gaps = world.gaps();
    assert!(gaps.len() > 20);
    assert!(gaps.iter().all(|gap| *gap >= 0.95), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn same_value_again_has_renewed_nothing() {
    let world = World::eager([grants("a", 100.0)], Answer::Hangs);
    world.source.wait_for_first_attempt().await;
    let first = world.source.current().expect("a token");
    world.endpoint.now(grants("a", 20.0));
    while world.endpoint.requests() < 2 {
        pass(0.01).await;
    }
    pass(0.001).await;
    let again = world.source.current().expect("a token");
    assert_eq!(again.id(), first.id(), "the same value");
    assert_eq!(again.lifetime(), secs(20.0), "the expiry is updated");
    world.endpoint.now(grants("b", 100.0));
    pass(8.9).await;
    assert_eq!(world.endpoint.requests(), 2, "half of 18 usable seconds");
    pass(0.2).await;
    assert_eq!(world.endpoint.requests(), 3);
    assert_eq!(world.value().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn server_that_caches_its_tokens_is_asked_ever_closer_to_the_end_but_not_in_a_loop() {
    let world = World::eager([], grants("cached", 3600.0));
    world.source.wait_for_first_attempt().await;
    for second in 1..3599 {
        world
            .endpoint
            .now(grants("cached", f64::from(3600 - second)));
        pass(1.0).await;
        assert!(world.value().is_some(), "{second}");
    }
    let requests = world.endpoint.requests();
    assert!((8..25).contains(&requests), "{requests}");
}

#[tokio::test(start_paused = true)]
async fn lifetime_is_the_default_when_unsaid_and_cut_when_huge() {
    let unsaid = World::eager([response("a", None)], Answer::Hangs);
    unsaid.source.wait_for_first_attempt().await;
    let token = unsaid.source.current().expect("a token");
    assert_eq!(token.lifetime(), secs(300.0));

    let huge = World::eager([response("a", Some(Duration::MAX))], Answer::Hangs);
    huge.source.wait_for_first_attempt().await;
    let token = huge.source.current().expect("a token");
    assert_eq!(token.lifetime(), secs(86_400.0));
}

#[tokio::test(start_paused = true)]
async fn token_that_arrives_unusable_is_a_failure_and_the_old_one_stays() {
    let world = World::eager([grants("old", 100.0)], grants("dead", 8.0).after(9.0));
    world.source.wait_for_first_attempt().await;
    while world.source.status().consecutive_failures == 0 {
        pass(0.1).await;
    }
    assert_eq!(world.value().as_deref(), Some("old"));
    let status = world.source.status();
    let error = status.last_error.expect("an error");
    assert_eq!(error.kind, "bad_response");
    assert!(error.message.contains("no longer usable"), "{error:?}");
    pass(96.0 - 70.0).await;
    assert_eq!(world.value(), None);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_always_slow_renews_tokens_in_time() {
    for (lifetime, slow) in [(4.0, 1.2), (10.0, 4.0), (20.0, 8.0), (3600.0, 9.9)] {
        let world = World::eager([], grants("t", lifetime).after(slow));
        world.source.wait_for_first_attempt().await;
        for i in 0..1000 {
            let next = grants(&format!("t{i}"), lifetime).after(slow);
            world.endpoint.now(next);
            pass(lifetime / 100.0).await;
            let status = world.source.status();
            assert!(world.value().is_some(), "{lifetime} s: {status:?}");
            assert_eq!(status.consecutive_failures, 0, "{lifetime} s: {status:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_cannot_stand_in_a_header_is_a_failure() {
    let world = World::eager([], grants("a\nb", 100.0));
    world.source.wait_for_first_attempt().await;
    assert_eq!(world.value(), None);
    let error = world.source.status().last_error.expect("an error");
    assert_eq!(error.kind, "bad_response");
}

#[tokio::test(start_paused = true)]
async fn lazy_source_does_nothing_in_the_background() {
    let world = World::lazy([], grants("a", 100.0));
    assert!(world.acquire().await.0.is_ok());
    pass(100_000.0).await;
    assert_eq!(world.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn lazy_request_inside_the_window_starts_a_refresh_and_uses_the_old_token() {
    let world = World::lazy([grants("old", 100.0)], grants("new", 100.0).after(1.0));
    assert!(world.acquire().await.0.is_ok());
    pass(69.0).await;
    assert_eq!(world.value().as_deref(), Some("old"));
    pass(1.0).await;
    assert_eq!(world.endpoint.requests(), 1, "before the window");
    pass(16.0).await;
    for _ in 0..100 {
        assert_eq!(world.value().as_deref(), Some("old"));
    }
    pass(0.5).await;
    assert_eq!(world.value().as_deref(), Some("old"));
    pass(0.6).await;
    assert_eq!(world.value().as_deref(), Some("new"));
    assert_eq!(world.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn lazy_refresh_that_failed_is_tried_again_by_a_request_after_the_backoff() {
    let script = [grants("old", 1000.0), fails(Unreachable)];
    let world = World::lazy(script, grants("new", 1000.0));
    assert!(world.acquire().await.0.is_ok());
    pass(860.0).await;
    assert_eq!(world.value().as_deref(), Some("old"));
    pass(60.0).await;
    assert_eq!(world.endpoint.requests(), 2, "nobody asked since");
    assert_eq!(world.value().as_deref(), Some("old"));
    pass(0.01).await;
    assert_eq!(world.endpoint.requests(), 3);
    assert_eq!(world.value().as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn dropped_source_fetches_no_more() {
    let endpoint = Scripted::new([], grants("a", 10.0));
    let world = World::with(policy(Refresh::Eager), endpoint.clone());
    world.source.wait_for_first_attempt().await;
    drop(world);
    pass(1000.0).await;
    assert_eq!(endpoint.requests(), 1);
}
