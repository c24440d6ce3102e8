//! What follows from what is known, step by step.

use super::*;
use crate::config::Pauses;
use crate::config::Secret;

fn at(seconds: u64) -> Moment {
    let since = Duration::from_secs(seconds);
    Moment {
        boot: since,
        wall: since,
    }
}

fn eager() -> State {
    let policy = Policy {
        refresh: Refresh::Eager,
        default_lifetime: Duration::from_secs(3600),
        max_lifetime: Duration::from_secs(3600),
        fetch_timeout: Duration::from_secs(10),
        acquire_timeout: Duration::from_secs(10),
        pauses: Pauses::default(),
    };
    State::new(policy, Rng::with_seed(1))
}

fn fetched(state: &mut State, now: Moment) {
    assert_eq!(state.next(now), Next::Fetch);
    let response = TokenResponse {
        access_token: Secret::new("abc".to_owned()),
        token_type: "Bearer",
        proof_key: None,
        expires_in: None,
    };
    assert!(state.finish(now, now, Ok(response)).result.is_ok());
}

#[test]
fn a_token_that_arrived_since_the_look_is_taken_and_causes_no_attempt() {
    let mut state = eager();
    assert!(matches!(
        state.join(at(1), Duration::ZERO, false),
        Joined::Attempt(1)
    ));
    fetched(&mut state, at(1));

    assert!(matches!(
        state.join(at(1), Duration::ZERO, false),
        Joined::Token(_)
    ));

    assert_eq!(state.begun(), 1);
    let next = state.due_in(at(1)).unwrap();
    assert!(next > Duration::from_secs(2000), "{next:?}");
}

#[test]
fn a_token_at_its_end_is_not_joined() {
    let mut state = eager();
    fetched(&mut state, at(1));
    assert!(matches!(
        state.join(at(3596), Duration::ZERO, false),
        Joined::Attempt(2)
    ));
}
