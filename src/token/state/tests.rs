//! What follows from what is known, step by step.

use super::*;
use crate::config::RetryPauses;
use crate::config::Secret;

fn at(seconds: u64) -> Moment {
    let since = Duration::from_secs(seconds);
    Moment {
        boot: since,
        wall: since,
    }
}

fn policy() -> Policy {
    Policy {
        refresh: Refresh::Eager,
        default_lifetime: Duration::from_secs(3600),
        max_lifetime: Duration::from_secs(3600),
        fetch_timeout: Duration::from_secs(10),
        acquire_timeout: Duration::from_secs(10),
        pauses: RetryPauses::default(),
    }
}

fn eager() -> TokenState {
    TokenState::new(policy(), Rng::with_seed(1))
}

fn fetched(state: &mut TokenState, now: Moment) {
    assert_eq!(state.next_step(now), NextStep::Fetch);
    let response = TokenResponse {
        access_token: Secret::new("abc".to_owned()),
        token_type: "Bearer",
        proof_key: None,
        requester: None,
        expires_in: None,
    };
    assert!(state.finish_attempt(now, now, Ok(response)).result.is_ok());
}

#[test]
fn a_token_that_arrived_since_the_look_is_taken_and_causes_no_attempt() {
    let mut state = eager();
    assert!(matches!(
        state.join_attempt(at(1), Duration::ZERO, false),
        JoinOutcome::Attempt(1)
    ));
    fetched(&mut state, at(1));

    assert!(matches!(
        state.join_attempt(at(1), Duration::ZERO, false),
        JoinOutcome::Token(_)
    ));

    assert_eq!(state.attempts_begun(), 1);
    let next = state.due_in(at(1)).unwrap();
    assert!(next > Duration::from_secs(2000), "{next:?}");
}

#[test]
fn a_token_at_its_end_is_not_joined() {
    let mut state = eager();
    fetched(&mut state, at(1));
    assert!(matches!(
        state.join_attempt(at(3596), Duration::ZERO, false),
        JoinOutcome::Attempt(2)
    ));
}

#[test]
fn a_lowered_pause_shortens_the_one_that_is_running() {
    let lowered = |pauses| Policy { pauses, ..policy() };
    let second = Duration::from_secs(1);
    let error = |kind, retry_after| TokenError {
        kind,
        message: String::new(),
        retry_after,
    };
    for (error, pauses) in [
        (
            error(TokenErrorKind::Unreachable, None),
            RetryPauses {
                retry: second,
                ..RetryPauses::default()
            },
        ),
        (
            error(TokenErrorKind::Refused, None),
            RetryPauses {
                refused: second,
                ..RetryPauses::default()
            },
        ),
        (
            error(TokenErrorKind::Throttled, Some(100 * second)),
            RetryPauses {
                retry: second,
                retry_after: second,
                ..RetryPauses::default()
            },
        ),
    ] {
        let mut state = eager();
        let mut now = at(1);
        while state.pause(now) <= 2 * second {
            now = now.plus(state.pause(now));
            assert_eq!(state.next_step(now), NextStep::Fetch);
            state.finish_attempt(now, now, Err(error.clone()));
        }
        state.configure(now, policy());
        assert!(state.pause(now) >= 2 * second, "{error:?}");
        state.configure(now, lowered(pauses));
        assert_eq!(state.due_in(now), Some(second), "{error:?}");
    }
}

#[test]
fn a_lowered_pause_leaves_the_rest_after_a_success_alone() {
    let mut state = eager();
    fetched(&mut state, at(1));
    let rest = state.pause(at(1));
    let pauses = RetryPauses {
        retry: Duration::ZERO,
        ..RetryPauses::default()
    };
    state.configure(at(1), Policy { pauses, ..policy() });
    assert_eq!(state.pause(at(1)), rest);
}
