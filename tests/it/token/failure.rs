//! What happens when the token endpoint does not give a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use sidebearer::config::Refresh;
use sidebearer::oauth::TokenErrorKind::{
    Local, Refused, ServerError, Throttled, Timeout, Unreachable,
};
use sidebearer::token::{Clock, CredentialPhase};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::fakes::{Answer, Scripted, World, fails, fails_for, grants, pass, policy, secs};

#[tokio::test(start_paused = true)]
async fn failure_while_valid_disturbs_no_request() {
    let world = World::eager([grants("a", 1000.0)], fails(ServerError));
    world.source.wait_for_first_attempt().await;
    for _ in 0..994 {
        pass(1.0).await;
        assert_eq!(world.acquire().await, (Ok("a".to_owned()), Duration::ZERO));
    }
    assert!(world.endpoint.requests() > 5, "it was retried");
    assert_eq!(world.source.status().state, CredentialPhase::Valid);
    assert!(world.source.is_ready());
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_growing_pauses_up_to_30_s() {
    let world = World::eager([], fails(Unreachable));
    pass(100_000.0).await;
    let gaps = world.gaps();
    let longest = |n: usize| (0.5 * f64::powi(2.0, n.min(10) as i32)).min(30.0);
    for (n, gap) in gaps.iter().enumerate() {
        // A timer may be a millisecond late.
        assert!(*gap <= longest(n) + 0.002, "gap {n}: {gap}");
    }
    // The later ones are 15 s in the mean; 3000 draws leave little room.
    let requests = world.endpoint.requests();
    assert!((6000..7400).contains(&requests), "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_lowered_pause_brings_the_next_attempt_forward() {
    let world = World::eager([], fails(Refused));
    pass(10_000.0).await;
    // By now there is one attempt in 5 minutes: waits for the next one.
    let before = world.endpoint.requests();
    while world.endpoint.requests() == before {
        pass(1.0).await;
    }
    let before = world.endpoint.requests();
    let (now, next) = (world.clock.now(), world.source.status().next_attempt);
    assert!(next.unwrap() > now.wall.as_secs() + 200);
    let mut lowered = policy(Refresh::Eager);
    lowered.pauses.refused = secs(3.0);
    world.source.configure(lowered, world.endpoint.clone());
    pass(3.1).await;
    assert_eq!(world.endpoint.requests(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn success_resets_the_backoff() {
    let failures = || std::iter::repeat_n(fails(Unreachable), 20);
    let script = failures().chain([grants("a", 100.0)]).chain(failures());
    let world = World::eager(script, grants("b", 100_000.0));
    while world.endpoint.requests() < 25 {
        pass(1.0).await;
    }
    let gaps = world.gaps();
    assert!(
        gaps[21] <= 0.502 && gaps[22] <= 1.002 && gaps[23] <= 2.002,
        "{gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_capped_and_stretched() {
    for (asked, expected) in [(60.0, 60.0), (100_000.0, 300.0)] {
        let script = [fails_for(Throttled, Some(asked))];
        let world = World::eager(script, grants("a", 1000.0));
        while world.value().is_none() {
            pass(0.5).await;
        }
        let gap = world.gaps()[0];
        assert!((expected..expected * 1.1 + 0.002).contains(&gap), "{gap}");
    }
}

#[tokio::test(start_paused = true)]
async fn request_waits_for_the_attempt_in_flight() {
    let world = World::eager([], grants("a", 100.0).after(3.0));
    assert_eq!(world.acquire().await, (Ok("a".to_owned()), secs(3.0)));
}

#[tokio::test(start_paused = true)]
async fn request_waits_at_most_acquire_timeout() {
    let world = World::eager([], grants("a", 100.0).after(8.0));
    let (got, waited) = world.acquire().await;
    let reason = got.expect_err("8 s are too long");
    assert!(reason.contains("5s"), "{reason}");
    assert_eq!(waited, secs(5.0));
    pass(3.1).await;
    assert_eq!(world.value().as_deref(), Some("a"), "the attempt went on");
    assert_eq!(world.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn request_fails_as_soon_as_the_next_attempt_comes_too_late_for_it() {
    let world = World::eager([], fails_for(ServerError, Some(3.5)).after(2.0));
    let (got, waited) = world.acquire().await;
    assert_eq!(got, Err("the fake says server_error".to_owned()));
    assert_eq!(waited, secs(2.0), "the pause ends after acquire_timeout");
}

#[tokio::test(start_paused = true)]
async fn request_that_meets_a_pause_waits_for_the_next_attempt_if_that_comes_in_time() {
    for refresh in [Refresh::Eager, Refresh::Lazy] {
        let script = [fails_for(Throttled, Some(3.0)), fails(Unreachable)];
        let endpoint = Scripted::new(script, grants("a", 100.0));
        let world = World::with(policy(refresh), endpoint);
        world.source.wait_for_first_attempt().await;
        let (got, waited) = world.acquire().await;
        assert_eq!(got, Ok("a".to_owned()), "{refresh:?}, after {waited:?}");
        assert!((3.0..5.0).contains(&waited.as_secs_f64()), "{waited:?}");
        assert_eq!(world.endpoint.requests(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn request_during_a_long_backoff_fails_at_once_and_says_when_to_come_back() {
    let script = [fails_for(Throttled, Some(100.0))];
    let world = World::eager(script, grants("a", 100.0));
    world.source.wait_for_first_attempt().await;
    pass(40.0).await;
    let unavailable = world.source.acquire().await.expect_err("back-off");
    assert_eq!(unavailable.reason, "the fake says throttled");
    assert!(
        (60.0..70.1).contains(&unavailable.retry_after.as_secs_f64()),
        "{unavailable:?}"
    );
    for _ in 0..1000 {
        let (got, waited) = world.acquire().await;
        assert!(got.is_err());
        assert_eq!(waited, Duration::ZERO);
    }
    assert_eq!(world.endpoint.requests(), 1, "requests cause no attempt");
    assert_eq!(world.source.status().state, CredentialPhase::BackingOff);
    pass(71.0).await;
    assert_eq!(world.value().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn lazy_request_after_a_backoff_starts_the_next_attempt() {
    let script = [fails_for(Throttled, Some(100.0))];
    let world = World::lazy(script, grants("a", 100.0));
    assert!(world.source.is_ready(), "nothing has failed yet");
    assert!(world.acquire().await.0.is_err());
    assert!(!world.source.is_ready());
    pass(50.0).await;
    assert!(world.acquire().await.0.is_err(), "during the back-off");
    pass(1000.0).await;
    assert_eq!(world.endpoint.requests(), 1, "nothing in the background");
    assert!(world.source.is_ready(), "it would try");
    assert!(world.acquire().await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn hanging_server_is_cut_off_after_fetch_timeout() {
    let world = World::eager([Answer::Hangs], grants("a", 100.0));
    world.source.wait_for_first_attempt().await;
    let error = world.source.status().last_error.expect("an error");
    assert_eq!(error.kind, Timeout.label());
    assert!(error.message.contains("10s"), "{}", error.message);
    pass(0.6).await;
    assert!((10.0..10.51).contains(&world.gaps()[0]));
    assert_eq!(world.value().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_fetch_is_a_failure_like_another() {
    let world = World::eager([Answer::Panics], grants("a", 100.0));
    let (got, waited) = world.acquire().await;
    assert_eq!(got, Ok("a".to_owned()));
    assert!(waited < secs(0.6), "{waited:?}");
    assert_eq!(world.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_retried_after_2_s_then_30_s_doubling_to_5_min() {
    let world = World::eager([], fails(Refused));
    pass(3.0 * 3600.0).await;
    let gaps = world.gaps();
    let expected = [2.0, 30.0, 60.0, 120.0, 240.0].into_iter();
    for (gap, least) in gaps.iter().zip(expected.chain(std::iter::repeat(300.0))) {
        assert!(
            (least..least * 1.1 + 0.002).contains(gap),
            "{gap} for {least}"
        );
    }
    assert!(gaps.len() > 30);
    assert_eq!(world.source.status().state, CredentialPhase::Refused);
    assert!(!world.source.is_ready());
}

#[tokio::test(start_paused = true)]
async fn refusal_ends_at_once_at_a_reload() {
    for kind in [Refused, Local] {
        let world = World::eager([], fails_for(kind, Some(250.0)));
        world.source.wait_for_first_attempt().await;
        pass(4.0).await;
        assert_eq!(world.endpoint.requests(), 1);
        world.endpoint.now(grants("a", 100.0));
        world.source.retry_now();
        pass(0.001).await;
        assert_eq!(world.value().as_deref(), Some("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn reload_does_not_end_the_backoff_of_a_server_that_is_down() {
    let world = World::eager([], fails_for(ServerError, Some(250.0)));
    world.source.wait_for_first_attempt().await;
    world.source.retry_now();
    pass(240.0).await;
    assert_eq!(world.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusal_ends_when_the_secret_on_disk_differs_from_the_one_sent() {
    let world = World::eager([], fails_for(Refused, Some(250.0)));
    world.source.wait_for_first_attempt().await;
    world.source.retry_if_secret_changed();
    pass(12.0).await;
    assert_eq!(world.endpoint.requests(), 1, "it has not changed");
    world.endpoint.rotate_secret();
    world.source.retry_if_secret_changed();
    pass(0.001).await;
    assert_eq!(world.endpoint.requests(), 2, "a watch says so: at once");

    world.endpoint.now(grants("a", 100.0));
    world.endpoint.rotate_secret();
    pass(5.1).await;
    assert_eq!(
        world.value().as_deref(),
        Some("a"),
        "no watch: seen within 5 s"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_now_leaves_a_valid_token_alone() {
    let world = World::eager([], grants("a", 1000.0));
    world.source.wait_for_first_attempt().await;
    pass(10.0).await;
    world.endpoint.rotate_secret();
    world.source.retry_now();
    world.source.retry_if_secret_changed();
    pass(100.0).await;
    assert_eq!(world.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn setting_the_wall_clock_neither_ends_nor_prolongs_the_backoff() {
    for by in [100_000, -100_000] {
        let script = [fails_for(Throttled, Some(100.0))];
        let world = World::eager(script, grants("a", 100.0));
        world.source.wait_for_first_attempt().await;
        world.clock.set_wall(by);
        pass(99.0).await;
        assert_eq!(world.endpoint.requests(), 1);
        pass(12.0).await;
        assert_eq!(world.value().as_deref(), Some("a"));
    }
}

/// Counts warnings; the rest is dropped.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.fetch_add(1, SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn day_without_a_server_fills_no_log() {
    let warnings = Warnings::default();
    let subscriber = tracing_subscriber::registry().with(warnings.clone());
    let _here = tracing::subscriber::set_default(subscriber);
    let world = World::eager([grants("a", 100.0)], fails(Unreachable));
    pass(86_400.0).await;
    assert!(world.endpoint.requests() > 4000);
    let warnings = warnings.0.load(SeqCst);
    assert!((2..20).contains(&warnings), "{warnings}");
}

#[tokio::test(start_paused = true)]
async fn status_tells_what_happens_and_no_secret() {
    let world = World::eager([grants("s3cr3t-value", 100.0)], fails(Unreachable));
    let status = world.source.status();
    assert_eq!(status.fetches, 0);
    world.source.wait_for_first_attempt().await;
    let status = world.source.status();
    assert_eq!(status.state, CredentialPhase::Valid);
    let issued = status.last_success.expect("a success");
    assert_eq!(status.expires_at, Some(issued + 100));
    assert_eq!(status.usable_until, Some(issued + 95));
    let expiry = format!(
        r#"sidebearer_token_expiry_timestamp_seconds{{credential="crm"}} {}"#,
        issued + 100
    );
    assert!(world.metrics.render().contains(&expiry));
    let next = status.next_attempt.expect("a refresh");
    assert!((issued + 70..=issued + 85).contains(&next));
    pass(120.0).await;
    let status = world.source.status();
    assert_eq!(status.state, CredentialPhase::BackingOff);
    let json = serde_json::to_string(&status).expect("it serialises");
    assert!(json.contains(r#""state":"backing_off""#), "{json}");
    assert!(json.contains("the fake says unreachable"), "{json}");
    assert!(!json.contains("s3cr3t"), "{json}");
    let text = world.metrics.render();
    assert!(!text.contains("s3cr3t"));
    let success = r#"sidebearer_token_requests_total{credential="crm",outcome="success"} 1"#;
    assert!(text.contains(success), "{text}");
    let failures = status.consecutive_failures;
    let label = r#"{credential="crm",outcome="unreachable"}"#;
    let failed = format!("sidebearer_token_requests_total{label} {failures}");
    assert!(text.contains(&failed), "{text}");
    let none = r#"sidebearer_token_expiry_timestamp_seconds{credential="crm"} 0"#;
    assert!(text.contains(none), "{text}");
}
