//! What it costs to look up the token that a request is sent with.

use std::sync::Arc;
use std::time::Duration;

use sidebearer::config::{Refresh, RetryPauses, Secret};
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::oauth::{BoxFuture, TokenEndpoint, TokenError, TokenResponse};
use sidebearer::token::{Policy, SystemClock, TokenRejections, TokenSource};
use tokio::runtime::{Builder, Runtime};

fn main() {
    divan::main();
}

/// Answers at once.
struct Ready;

impl TokenEndpoint for Ready {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        Box::pin(async {
            Ok(TokenResponse {
                access_token: Secret::new("x".repeat(900)),
                token_type: "Bearer",
                proof_key: None,
                requester: None,
                expires_in: Some(Duration::from_secs(3600)),
            })
        })
    }

    fn secret_changed(&self) -> bool {
        false
    }
}

/// A source that holds a token, on a runtime that has to live as long.
fn source() -> (Runtime, Arc<TokenSource>) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let policy = Policy {
        refresh: Refresh::Eager,
        default_lifetime: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(86_400),
        fetch_timeout: Duration::from_secs(10),
        pauses: RetryPauses::default(),
        acquire_timeout: Duration::from_secs(5),
    };
    let source = runtime.block_on(async {
        let gate = Arc::new(ConcurrencyLimit::new(1));
        let metrics = Metrics::new().credential("crm");
        let clock = Arc::new(SystemClock);
        let source = TokenSource::start("crm", policy, Arc::new(Ready), gate, clock, metrics);
        source.wait_for_token().await;
        source
    });
    (runtime, source)
}

#[divan::bench]
fn current(bencher: divan::Bencher<'_, '_>) {
    let (_runtime, source) = source();
    bencher.bench_local(|| source.current().expect("a token"));
}

/// As a request asks: the token, unless it is in quarantine for its upstream.
#[divan::bench]
fn not_quarantined(bencher: divan::Bencher<'_, '_>) {
    let (_runtime, source) = source();
    let rejections = TokenRejections::new();
    bencher.bench_local(|| rejections.current(&source).expect("a token"));
}
