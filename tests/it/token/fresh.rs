//! Fresh tokens that an upstream rejects: told once, reminded of, and over at some point.

use sidebearer::token::FreshTokenRejections;

use super::fakes::{World, grants, pass};

fn reason() -> (String, String) {
    ("invalid_token".to_owned(), "wrong audience".to_owned())
}

/// The tokens counted, 0 if there is nothing to tell.
fn tokens(fresh: &FreshTokenRejections) -> u64 {
    fresh.rejected().map_or(0, |rejected| rejected.tokens)
}

#[tokio::test(start_paused = true)]
async fn token_that_was_accepted_before_is_no_fresh_one() {
    let world = World::eager([], grants("a", 3600.0));
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    let fresh = FreshTokenRejections::new("api", "crm");
    fresh.accept(&token, || world.source.now());
    fresh.reject(&token, world.source.now(), reason);
    assert_eq!(fresh.rejected(), None);
}

#[tokio::test(start_paused = true)]
async fn rejections_of_one_token_count_once_a_minute() {
    let world = World::eager([], grants("a", 3600.0));
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    let fresh = FreshTokenRejections::new("api", "crm");
    for second in 0..180 {
        fresh.reject(&token, world.source.now(), reason);
        assert_eq!(tokens(&fresh), second / 60 + 1);
        pass(1.0).await;
    }
    let rejected = fresh.rejected().expect("it goes on");
    assert_eq!(rejected.last - rejected.since, 120);
    assert_eq!(rejected.error, "invalid_token");
    assert_eq!(rejected.error_description, "wrong audience");
}

#[tokio::test(start_paused = true)]
async fn it_is_over_when_a_token_is_accepted_a_minute_after_the_last_rejection() {
    let world = World::eager([grants("a", 3600.0)], grants("b", 3600.0));
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    let fresh = FreshTokenRejections::new("api", "crm");
    let now = || world.source.now();
    fresh.reject(&token, now(), reason);
    pass(59.0).await;
    // Another path may accept what this one rejects.
    fresh.accept(&token, now);
    assert_eq!(tokens(&fresh), 1);
    pass(2.0).await;
    fresh.accept(&token, now);
    assert_eq!(fresh.rejected(), None);
}

#[tokio::test(start_paused = true)]
async fn it_is_over_at_once_when_a_rejected_token_is_replaced_by_one_that_is_accepted() {
    let world = World::eager([grants("a", 100.0)], grants("b", 100.0));
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    let fresh = FreshTokenRejections::new("api", "crm");
    fresh.reject(&token, world.source.now(), reason);
    pass(90.0).await;
    let newer = world.source.current().expect("a token");
    fresh.accept_replacement(&newer);
    assert_eq!(fresh.rejected(), None);
    fresh.reject(&newer, world.source.now(), reason);
    assert_eq!(fresh.rejected(), None, "it was accepted before");
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_while_tokens_are_rejected_that_were_accepted_elsewhere() {
    let world = World::eager([], grants("a", 3600.0));
    world.source.wait_for_first_attempt().await;
    let token = world.source.current().expect("a token");
    let fresh = FreshTokenRejections::new("api", "crm");
    let now = || world.source.now();
    fresh.reject(&token, now(), reason);
    for _ in 0..20 {
        // One path takes it, another does not.
        pass(10.0).await;
        fresh.accept(&token, now);
        fresh.reject(&token, now(), reason);
        assert_eq!(tokens(&fresh), 1);
    }
    pass(61.0).await;
    fresh.accept(&token, now);
    assert_eq!(fresh.rejected(), None);
}

#[tokio::test(start_paused = true)]
async fn late_answers_to_an_older_token_do_not_make_a_newer_one_fresh_again() {
    let world = World::eager([grants("a", 100.0)], grants("b", 100.0));
    world.source.wait_for_first_attempt().await;
    let older = world.source.current().expect("a token");
    pass(90.0).await;
    let newer = world.source.current().expect("a token");
    assert!(newer.id() > older.id());
    let fresh = FreshTokenRejections::new("api", "crm");
    let now = || world.source.now();
    fresh.accept(&newer, now);
    fresh.accept(&older, now);
    assert!(fresh.has_accepted(&older) && fresh.has_accepted(&newer));
    fresh.reject(&newer, now(), reason);
    assert_eq!(fresh.rejected(), None);
}
