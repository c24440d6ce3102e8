//! What comes before a token request takes neither from its time nor from the life of its token.

use std::sync::Arc;
use std::time::Duration;

use sidebearer::config::{Refresh, Secret};
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::oauth::{
    BoxFuture, OnSend, TokenEndpoint, TokenError, TokenErrorKind, TokenResponse,
};
use sidebearer::token::{Clock, TokenSource};
use tokio::time::{Instant, sleep};

use super::fakes::{VirtualClock, policy, secs};

const UNREAD: &str = "/run/secret: the file system has not answered within 5s";

/// Reads its files, looks for its server, and is answered, each after a while.
struct Slow {
    reads: f64,
    finds: f64,
    answers: f64,
    is_read: bool,
}

impl TokenEndpoint for Slow {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        self.request_telling(&|| ())
    }

    fn request_telling<'a>(
        &'a self,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenError>> {
        Box::pin(async move {
            sleep(secs(self.finds)).await;
            on_send();
            sleep(secs(self.answers)).await;
            Ok(TokenResponse {
                access_token: Secret::new("t"),
                token_type: "Bearer",
                proof_key: None,
                requester: None,
                expires_in: Some(secs(3.0)),
            })
        })
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), TokenError>> {
        Box::pin(async {
            sleep(secs(self.reads)).await;
            let unread = || TokenError {
                kind: TokenErrorKind::Local,
                message: UNREAD.to_owned(),
                retry_after: None,
            };
            self.is_read.then_some(()).ok_or_else(unread)
        })
    }

    fn secret_changed(&self) -> bool {
        false
    }
}

fn start(endpoint: Slow) -> (Arc<TokenSource>, Arc<VirtualClock>) {
    let clock = VirtualClock::new();
    let source = TokenSource::start(
        "crm",
        policy(Refresh::Eager),
        Arc::new(endpoint),
        Arc::new(ConcurrencyLimit::new(1)),
        clock.clone(),
        Metrics::new().credential("crm"),
    );
    (source, clock)
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_token_counts_from_the_request_and_not_from_what_came_before() {
    let (reads, finds, answers) = (5.0, 4.0, 1.0);
    let (source, clock) = start(Slow {
        reads,
        finds,
        answers,
        is_read: true,
    });
    let begun = clock.now();
    source.wait_for_first_attempt().await;
    let token = source.current().expect("a token of 3 s that is 1 s old");
    assert_eq!(token.issued(), begun.plus(secs(reads + finds)));
    assert_eq!(token.expires(), begun.plus(secs(reads + finds + 3.0)));
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_read_are_the_reason_and_not_a_server_that_nobody_asked() {
    let begun = Instant::now();
    let (source, _) = start(Slow {
        // Longer than fetch_timeout.
        reads: 15.0,
        finds: 0.0,
        answers: 0.0,
        is_read: false,
    });
    source.wait_for_first_attempt().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(15));
    let error = source.status().last_error.expect("an error");
    assert_eq!((error.kind, error.message.as_str()), ("local", UNREAD));
}

#[tokio::test(start_paused = true)]
async fn a_token_request_has_all_of_its_time_after_its_files_were_read() {
    let (source, _) = start(Slow {
        reads: 9.0,
        finds: 0.0,
        answers: 1.5,
        is_read: true,
    });
    source.wait_for_first_attempt().await;
    assert!(source.current().is_some(), "{:?}", source.status());
}
