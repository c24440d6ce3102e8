use std::sync::Barrier;
use std::thread;

use super::*;

fn limits(rate: Option<u32>, burst: Option<u32>, concurrent: Option<u32>) -> Limits {
    Limits {
        requests_per_second: rate,
        burst,
        concurrent,
        tunnels: Some(2),
    }
}

fn state(limits: Limits) -> Arc<LimitState> {
    LimitState::build(limits, None).unwrap()
}

/// How many are admitted until the first refusal, and that.
fn admitted(state: &LimitState) -> (u32, RateLimited) {
    let mut count = 0;
    loop {
        match state.admit(RequestKind::Response) {
            Ok(_) => count += 1,
            Err(refused) => return (count, refused),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_at_once_and_then_the_rate() {
    let state = state(limits(Some(10), Some(25), None));
    let (burst, refused) = admitted(&state);
    assert_eq!(burst, 25);
    assert_eq!(refused.key, "requests_per_second");
    assert_eq!(
        (refused.limit, refused.retry_after),
        (10, Duration::from_millis(100))
    );
    for _ in 0..50 {
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(admitted(&state).0, 1);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(admitted(&state).0, 10);
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(
        admitted(&state).0,
        25,
        "a long pause gives no more than the burst"
    );
}

#[tokio::test(start_paused = true)]
async fn to_judge_uses_nothing_and_says_what_admission_says() {
    let state = state(limits(Some(10), Some(25), Some(3)));
    for left in (0..=25).rev() {
        for _ in 0..3 {
            assert_eq!(state.left(), Some(left));
            assert_eq!(state.judge(RequestKind::Response, 1).is_ok(), left > 0);
            assert_eq!(state.judge(RequestKind::Response, 2).is_ok(), left > 1);
        }
        let admitted = state.admit(RequestKind::Response);
        assert_eq!(admitted.is_ok(), left > 0);
    }
    let said = state.judge(RequestKind::Tunnel, 1).unwrap_err();
    assert_eq!(said, state.admit(RequestKind::Tunnel).unwrap_err());
    tokio::time::advance(Duration::from_millis(299)).await;
    assert_eq!(state.left(), Some(2));
    let mut requests = [(); 2].map(|()| state.admit(RequestKind::Tunnel).unwrap());
    tokio::time::advance(Duration::from_secs(1)).await;
    let said = state.judge(RequestKind::Tunnel, 1).unwrap_err();
    assert_eq!((said.key, said.limit), ("tunnels", 2));
    assert_eq!(state.judge(RequestKind::Response, 1), Ok(()));
    let _last = state.admit(RequestKind::Response).unwrap();
    let said = state.judge(RequestKind::Response, 1).unwrap_err();
    assert_eq!(said, state.admit(RequestKind::Response).unwrap_err());
    assert_eq!((said.key, said.limit), ("concurrent", 3));
    assert!(requests[0].take_tunnel().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_has_used_nothing() {
    let state = state(limits(Some(1), Some(3), Some(1)));
    let held = state.admit(RequestKind::Response).unwrap();
    for _ in 0..100 {
        assert_eq!(
            state.admit(RequestKind::Response).unwrap_err().key,
            "concurrent"
        );
    }
    drop(held);
    assert_eq!(
        admitted(&state).0,
        2,
        "no token was taken by the refused ones"
    );
    for _ in 0..100 {
        let refused = state.admit(RequestKind::Tunnel).unwrap_err();
        assert_eq!(refused.key, "requests_per_second");
    }
    let free = LimitUse {
        requests: 0,
        tunnels: 0,
    };
    assert_eq!(state.in_use(), free);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_keeps_its_place_when_its_request_is_over() {
    let state = state(limits(None, None, Some(1)));
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut request = state.admit(RequestKind::Tunnel).unwrap();
        tunnels.extend(request.take_tunnel());
        assert!(request.take_tunnel().is_none());
    }
    let refused = state.admit(RequestKind::Tunnel).unwrap_err();
    assert_eq!((refused.key, refused.limit), ("tunnels", 2));
    assert!(state.admit(RequestKind::Response).is_ok());
    tunnels.pop();
    // A tunnel that was not opened gives its place back with the request.
    for _ in 0..3 {
        drop(state.admit(RequestKind::Tunnel).unwrap());
    }
}

#[test]
fn simultaneous_requests_are_bounded_exactly() {
    const THREADS: usize = 8;
    let state = state(limits(Some(1), Some(1000), None));
    let few = LimitState::build(limits(None, None, Some(7)), None).unwrap();
    let barrier = Barrier::new(THREADS);
    let admitted: u32 = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            let mut held = Vec::new();
            let mut admitted = 0;
            for _ in 0..1000 {
                admitted += u32::from(state.admit(RequestKind::Response).is_ok());
                held.extend(few.admit(RequestKind::Response));
                assert!(few.in_use().requests <= 7);
            }
            barrier.wait();
            assert_eq!(few.in_use().requests, 7);
            barrier.wait();
            admitted
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    // One may come in each second that this takes.
    assert!((1000..1030).contains(&admitted), "{admitted}");
    assert_eq!(few.in_use().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_neither_what_is_held_nor_what_was_used() {
    let before = state(limits(Some(10), Some(20), Some(5)));
    let held: Vec<_> = (0..5)
        .map(|_| before.admit(RequestKind::Response).unwrap())
        .collect();
    let same = LimitState::build(*before.limits(), Some(&before)).unwrap();
    assert!(Arc::ptr_eq(&before, &same));
    let after = LimitState::build(limits(Some(1), Some(10), Some(6)), Some(&before)).unwrap();
    let one = after.admit(RequestKind::Response).unwrap();
    assert_eq!(
        after.admit(RequestKind::Response).unwrap_err().key,
        "concurrent"
    );
    drop((held, one));
    assert_eq!(admitted(&after).0, 4, "six of ten have been used");
    assert!(LimitState::build(Limits::default(), Some(&after)).is_none());
    let again = LimitState::build(limits(None, None, Some(1)), Some(&after)).unwrap();
    assert!(again.admit(RequestKind::Response).is_ok());
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_taken_away_and_come_back_count_what_is_held() {
    let one = Limits {
        tunnels: Some(1),
        ..Limits::default()
    };
    let before = state(one);
    let held = before.admit(RequestKind::Tunnel).unwrap();
    let mut between = before;
    for _ in 0..2 {
        between = LimitState::build(Limits::default(), Some(&between)).unwrap();
        // Nothing is limited meanwhile.
        drop(between.admit(RequestKind::Tunnel).unwrap());
    }
    let after = LimitState::build(one, Some(&between)).unwrap();
    let refused = after.admit(RequestKind::Tunnel).unwrap_err();
    assert_eq!(refused.key, "tunnels");
    drop(held);
    drop(after.admit(RequestKind::Tunnel).unwrap());
    assert!(LimitState::build(Limits::default(), Some(&between)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_rate_gets_back_what_another_limit_has_refused() {
    let state = state(limits(Some(1), Some(3), None));
    for _ in 0..100 {
        drop(state.admit(RequestKind::Response).unwrap());
        state.return_rate();
    }
    assert_eq!(state.left(), Some(3));
    assert_eq!(admitted(&state).0, 3);
}
