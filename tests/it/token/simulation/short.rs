//! Short tokens from a server that fails or hangs every second time, and requests all the while.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sidebearer::config::{Refresh, Secret};
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::oauth::{BoxFuture, TokenEndpoint, TokenError, TokenErrorKind, TokenResponse};
use sidebearer::token::{Policy, TokenRejections, TokenSource};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::fakes::{VirtualClock, policy, secs};
use super::seeds::paused;

const MINUTES_10: Duration = Duration::from_secs(600);

/// Answers every second token request 503, or never.
struct EverySecond {
    lifetime: Duration,
    hangs: bool,
    requests: AtomicU64,
}

impl TokenEndpoint for EverySecond {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        let number = self.requests.fetch_add(1, SeqCst);
        Box::pin(async move {
            sleep(secs(0.02)).await;
            if number % 2 == 1 && self.hangs {
                return pending().await;
            }
            if number % 2 == 1 {
                return Err(TokenError {
                    kind: TokenErrorKind::ServerError,
                    message: "503".to_owned(),
                    retry_after: None,
                });
            }
            Ok(TokenResponse {
                access_token: Secret::new(format!("t{number}")),
                token_type: "Bearer",
                proof_key: None,
                requester: None,
                expires_in: Some(self.lifetime),
            })
        })
    }

    fn secret_changed(&self) -> bool {
        false
    }
}

/// What became of the requests of ten minutes.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    /// Those that found no token at once.
    waited: AtomicU64,
    without_token: AtomicU64,
    rejected: AtomicU64,
    unrenewed: AtomicU64,
    token_requests: AtomicU64,
}

/// A request every 20 ms, and every 29 s the API forgets all tokens, unless the server hangs.
async fn ten_minutes(refresh: Refresh, lifetime: f64, hangs: bool, counts: Arc<Counts>) {
    let endpoint = Arc::new(EverySecond {
        lifetime: secs(lifetime),
        hangs,
        requests: AtomicU64::new(0),
    });
    let source = TokenSource::start(
        "crm",
        Policy {
            acquire_timeout: secs(if hangs { 1.0 } else { 5.0 }),
            ..policy(refresh)
        },
        endpoint.clone(),
        Arc::new(ConcurrencyLimit::new(1)),
        VirtualClock::new(),
        Metrics::new().credential("crm"),
    );
    let upstream = Arc::new(TokenRejections::new());
    let (begin, forgotten) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut requests = JoinSet::new();
    for n in 0..(MINUTES_10.as_millis() / 20) as u64 {
        if n % 1450 == 1449 && !hangs {
            let held = source.current();
            forgotten.store(held.map_or(0, |token| token.id()), SeqCst);
        }
        let (source, upstream) = (source.clone(), upstream.clone());
        let (counts, forgotten) = (counts.clone(), forgotten.clone());
        requests.spawn(async move {
            counts.requests.fetch_add(1, SeqCst);
            let token = match upstream.current(&source) {
                Some(token) => Ok(token),
                None => {
                    counts.waited.fetch_add(1, SeqCst);
                    upstream.acquire(&source).await
                }
            };
            let Ok(token) = token else {
                counts.without_token.fetch_add(1, SeqCst);
                return;
            };
            if token.id() > forgotten.load(SeqCst) {
                return;
            }
            counts.rejected.fetch_add(1, SeqCst);
            match upstream.renew(&source, &token).await {
                Some(newer) => upstream.record_replay(&source, &newer, true),
                None => {
                    counts.unrenewed.fetch_add(1, SeqCst);
                }
            }
        });
        while requests.try_join_next().is_some() {}
        sleep(secs(0.02)).await;
    }
    while requests.join_next().await.is_some() {}
    assert!(begin.elapsed() >= MINUTES_10);
    let fetched = endpoint.requests.load(SeqCst);
    counts.token_requests.fetch_add(fetched, SeqCst);
}

#[test]
fn no_request_fails_of_short_tokens_when_every_second_token_request_does() {
    for refresh in [Refresh::Eager, Refresh::Lazy] {
        for lifetime in [3.0, 4.0, 5.0] {
            let counts = Arc::new(Counts::default());
            let runtime = paused(lifetime as u64);
            runtime.block_on(ten_minutes(refresh, lifetime, false, counts.clone()));
            let count = |of: &AtomicU64| of.load(SeqCst);
            let (all, rejected) = (count(&counts.requests), count(&counts.rejected));
            let failed = [count(&counts.without_token), count(&counts.unrenewed)];
            let fetched = count(&counts.token_requests);
            println!(
                "{refresh:?}, {lifetime} s: of {all} requests {} failed ({:.2} %), of {rejected} \
                 rejected ones {} were not renewed, {fetched} token requests",
                failed[0],
                100.0 * failed[0] as f64 / all as f64,
                failed[1],
            );
            assert_eq!(failed, [0, 0], "{refresh:?}, {lifetime} s");
            assert!(all == 30_000 && rejected >= 20, "{all}, {rejected}");
            // A token for every 1 s at least, after one failure each, and those for rejections.
            assert!(fetched < 2 * (600 + 40), "{fetched}");
        }
    }
}

#[test]
fn no_request_fails_of_tokens_when_every_second_token_request_hangs() {
    for refresh in [Refresh::Eager, Refresh::Lazy] {
        for lifetime in [3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0] {
            let counts = Arc::new(Counts::default());
            let runtime = paused(lifetime as u64);
            runtime.block_on(ten_minutes(refresh, lifetime, true, counts.clone()));
            let count = |of: &AtomicU64| of.load(SeqCst);
            let (failed, waited) = (count(&counts.without_token), count(&counts.waited));
            let fetched = count(&counts.token_requests);
            println!(
                "{refresh:?}, {lifetime} s: {failed} requests failed, {waited} waited, {fetched} \
                 token requests"
            );
            assert_eq!(failed, 0, "{refresh:?}, {lifetime} s");
            // Of 3 s, one is left for renewals, which is what the shortest attempt has; the others wait for the first
            // token alone, which takes 20 ms.
            assert!(waited <= 3 || lifetime < 4.0, "{lifetime} s: {waited}");
            assert!(fetched >= 2 * (600.0 / lifetime) as u64, "{fetched}");
        }
    }
}
