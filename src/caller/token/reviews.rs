//! Reviews of tokens by the API server (TokenReview): it knows the pods and accounts that are gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::digest::TokenDigest;
use super::keys::KeyFetchError;
use super::table::TokenTable;
use super::verification::CallerUnavailable;
use crate::config::Secret;
use crate::http_client::BoxFuture;
use crate::limit::ConcurrencyLimit;
use crate::metrics::CallerReviewMetrics;
use crate::oauth::TokenErrorKind;
use crate::token::Clock;

/// For how long an answer is good.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// From this age on it is renewed while it serves, so that a token in use waits for none.
const RENEWED_AT: Duration = Duration::from_secs(7);
/// One review, whole.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a review while an older one can serve in its place.
const PATIENCE_IN_GRACE: Duration = Duration::from_secs(1);
/// How many the API server is asked for at once.
const MOST_AT_ONCE: usize = 32;
/// How many there may be that have not ended.
const MOST_UNDER_WAY: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What asks the API server; a trait, so that tests of outages need no network.
pub trait ReviewEndpoint: Send + Sync + 'static {
    /// Asks about one token, once. The caller bounds its time by dropping the future.
    fn review<'a>(&'a self, token: &'a Secret) -> BoxFuture<'a, Result<Review, KeyFetchError>>;
}

/// What the API server says about a token: `status` of a TokenReview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Whether it is a good token.
    pub is_authenticated: bool,
    /// For which of the audiences that were asked for.
    pub audiences: Vec<String>,
    /// Whose it is.
    pub username: String,
}

/// The reviews of all tokens.
pub(super) struct Reviews(Arc<SharedReviews>);

struct SharedReviews {
    audience: String,
    /// In milliseconds.
    grace: AtomicU64,
    endpoint: Mutex<Arc<dyn ReviewEndpoint>>,
    clock: Arc<dyn Clock>,
    metrics: CallerReviewMetrics,
    /// Of the main thread: all reviews run there.
    runtime: Handle,
    limit: Arc<ConcurrencyLimit>,
    /// Written by the main thread alone.
    known: TokenTable<KnownReview>,
    pace: Mutex<ReviewPace>,
}

struct KnownReview {
    accepted: bool,
    /// By the boot clock.
    at: Duration,
    /// It is being renewed.
    renewing: AtomicBool,
}

/// Whether the API server answers, and what it is being asked.
#[derive(Default)]
struct ReviewPace {
    under_way: HashMap<TokenDigest, watch::Receiver<Option<Reviewed>>>,
    failures: u32,
    not_before: Duration,
    last_error: Option<String>,
    last_success: Option<Duration>,
}

/// How a review has ended: with what it says, or not at all.
type Reviewed = Result<bool, String>;

/// What is to be made of a token that carries a good signature.
pub(super) enum Judgement {
    Accepted,
    Refused,
    Unavailable(CallerUnavailable),
    Waiting(ReviewWait),
}

/// A review under way.
pub(super) struct ReviewWait {
    ended: watch::Receiver<Option<Reviewed>>,
    /// An older review serves in its place if it does not end.
    in_grace: bool,
    retry_after: Duration,
}

/// What an operator sees of reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReviewStatus {
    /// When the API server answered last, Unix time.
    pub answered_at: Option<u64>,
    /// Reviews in a row since then that failed.
    pub failures: u32,
    /// Why the last of all that failed did.
    pub last_error: Option<String>,
}

impl Reviews {
    /// Asks on the current runtime. Tokens have to be for `audience`.
    pub(super) fn start(
        audience: &str,
        grace: Duration,
        endpoint: Arc<dyn ReviewEndpoint>,
        clock: Arc<dyn Clock>,
        metrics: CallerReviewMetrics,
        places: usize,
    ) -> Self {
        let reviews = Self(Arc::new(SharedReviews {
            audience: audience.to_owned(),
            grace: AtomicU64::new(0),
            endpoint: Mutex::new(endpoint),
            clock,
            metrics,
            runtime: Handle::current(),
            limit: Arc::new(ConcurrencyLimit::new(MOST_AT_ONCE)),
            known: TokenTable::new(places),
            pace: Mutex::default(),
        }));
        reviews.set_grace(grace);
        reviews
    }

    /// For how long a review serves on from now on, also one of before.
    pub(super) fn set_grace(&self, grace: Duration) {
        let milliseconds = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.0.grace.store(milliseconds, Relaxed);
    }

    /// Asks there from now on, at once if asking has failed.
    pub(super) fn ask_at(&self, endpoint: Arc<dyn ReviewEndpoint>) {
        *self.0.endpoint() = endpoint;
        self.0.pace().not_before = Duration::ZERO;
    }

    /// What is known of a token, whose signature is good and whose subject is `username`; or a review of it, begun now
    /// or under way. No lock and no allocation while a review is known that need not be renewed.
    pub(super) fn judge(
        &self,
        digest: TokenDigest,
        token: &str,
        username: impl FnOnce() -> String,
    ) -> Judgement {
        let now = self.0.clock.now().boot;
        let known = self.0.known.get(&digest, |review| {
            let age = now.saturating_sub(review.at);
            let renew = review.accepted
                && age >= RENEWED_AT
                && age < GOOD_FOR
                && !review.renewing.swap(true, Relaxed);
            (review.accepted, age, renew)
        });
        let in_grace = match known {
            Some((accepted, age, renew)) if age < GOOD_FOR => {
                if renew {
                    let _ = self.0.begin(digest, token, username, now);
                }
                return if accepted {
                    Judgement::Accepted
                } else {
                    Judgement::Refused
                };
            }
            Some((accepted, age, _)) => accepted && age < self.0.longest(),
            None => false,
        };
        match self.0.begin(digest, token, username, now) {
            Ok(ended) => Judgement::Waiting(ReviewWait {
                ended,
                in_grace,
                retry_after: Duration::from_secs(1),
            }),
            Err(_) if in_grace => Judgement::Accepted,
            Err(unavailable) => Judgement::Unavailable(unavailable),
        }
    }

    pub(super) fn status(&self) -> ReviewStatus {
        let now = self.0.clock.now();
        let unix = |at: Duration| {
            now.wall
                .saturating_sub(now.boot.saturating_sub(at))
                .as_secs()
        };
        let pace = self.0.pace();
        ReviewStatus {
            answered_at: pace.last_success.map(unix),
            failures: pace.failures,
            last_error: pace.last_error.clone(),
        }
    }
}

impl ReviewWait {
    /// Whether the token is accepted, once the review has ended.
    ///
    /// # Errors
    /// It has not, and no older one serves in its place.
    pub(super) async fn accepted(mut self) -> Result<bool, CallerUnavailable> {
        let patience = if self.in_grace {
            PATIENCE_IN_GRACE
        } else {
            REVIEW_TIMEOUT
        };
        let ended = timeout(patience, self.ended.wait_for(Option::is_some)).await;
        let reviewed = match ended {
            Ok(Ok(reviewed)) => (*reviewed).clone(),
            // The task that would have told is gone, or it takes too long.
            _ => None,
        };
        match reviewed {
            Some(Ok(accepted)) => Ok(accepted),
            _ if self.in_grace => Ok(true),
            Some(Err(reason)) => Err(CallerUnavailable {
                reason,
                retry_after: self.retry_after,
            }),
            None => Err(CallerUnavailable {
                reason: "the API server has not reviewed the token in time".to_owned(),
                retry_after: self.retry_after,
            }),
        }
    }
}

impl SharedReviews {
    /// A review of this token, begun or joined.
    fn begin(
        self: &Arc<Self>,
        digest: TokenDigest,
        token: &str,
        username: impl FnOnce() -> String,
        now: Duration,
    ) -> Result<watch::Receiver<Option<Reviewed>>, CallerUnavailable> {
        let mut pace = self.pace();
        if let Some(under_way) = pace.under_way.get(&digest) {
            return Ok(under_way.clone());
        }
        // While it does not answer, one review at a time finds out whether it does again.
        let pause = pace.not_before.saturating_sub(now);
        let is_probed = pace.failures > 0 && !pace.under_way.is_empty();
        if !pause.is_zero() || is_probed || pace.under_way.len() >= MOST_UNDER_WAY {
            let error = pace.last_error.as_ref().filter(|_| pace.failures > 0);
            return Err(CallerUnavailable {
                reason: match error {
                    Some(error) => format!("the API server does not review tokens: {error}"),
                    None => "too many tokens wait for a review".to_owned(),
                },
                retry_after: pause.max(Duration::from_secs(1)),
            });
        }
        let (tell, ended) = watch::channel(None);
        pace.under_way.insert(digest, ended.clone());
        drop(pace);
        let (shared, token, username) = (Arc::clone(self), Secret::new(token), username());
        self.runtime.spawn(async move {
            let mut running = Running {
                shared: &shared,
                digest,
                result: Err(KeyFetchError::new(
                    TokenErrorKind::Local,
                    "the review by the API server did not end: a defect of sidebearer",
                )),
                username: &username,
                tell,
            };
            let permit = shared.limit.acquire().await;
            let endpoint = Arc::clone(&shared.endpoint());
            let review = timeout(REVIEW_TIMEOUT, endpoint.review(&token)).await;
            drop(permit);
            running.result = review.unwrap_or_else(|_| {
                let what = format!("the API server has not answered within {REVIEW_TIMEOUT:?}");
                Err(KeyFetchError::new(TokenErrorKind::Timeout, what))
            });
        });
        Ok(ended)
    }

    fn finish(
        &self,
        digest: TokenDigest,
        result: &Result<Review, KeyFetchError>,
        username: &str,
    ) -> Reviewed {
        let now = self.clock.now().boot;
        let mut pace = self.pace();
        pace.under_way.remove(&digest);
        match result {
            Ok(review) => {
                let failures = std::mem::take(&mut pace.failures);
                pace.not_before = Duration::ZERO;
                pace.last_success = Some(now);
                drop(pace);
                if failures > 0 {
                    info!(failures, "the API server reviews tokens again");
                }
                // An API server that does not know audiences names none.
                let accepted = review.is_authenticated
                    && review.audiences.contains(&self.audience)
                    && review.username == username;
                let known = KnownReview {
                    accepted,
                    at: now,
                    renewing: AtomicBool::new(false),
                };
                let longest = self.longest();
                self.known
                    .insert(digest, known, |old| now.saturating_sub(old.at) >= longest);
                self.metrics
                    .count(if accepted { "accepted" } else { "refused" });
                Ok(accepted)
            }
            Err(error) => {
                // Those that were asked for together fail together, which counts once.
                if now >= pace.not_before {
                    let doubled = 2_u32.saturating_pow(pace.failures);
                    let longest = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
                    let pause = longest.mul_f64(0.5 + 0.5 * fastrand::f64());
                    let asked = error.retry_after.unwrap_or_default().min(LONGEST_PAUSE);
                    pace.not_before = now + pause.max(asked);
                    pace.failures = pace.failures.saturating_add(1);
                }
                pace.last_error = Some(error.message.clone());
                let failures = pace.failures;
                drop(pace);
                self.metrics.count("unavailable");
                let error = error.message.as_str();
                // What repeats itself is a reminder at 2, 4, 8, ... failures in a row.
                if failures.is_power_of_two() {
                    warn!(
                        error,
                        failures,
                        "the API server does not review tokens: those reviewed lately serve on, others are \
                         answered 503"
                    );
                } else {
                    debug!(error, failures, "the API server does not review tokens");
                }
                Err(error.to_owned())
            }
        }
    }

    /// For how long a review serves at most.
    fn longest(&self) -> Duration {
        Duration::from_millis(self.grace.load(Relaxed)).max(GOOD_FOR)
    }

    fn endpoint(&self) -> MutexGuard<'_, Arc<dyn ReviewEndpoint>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, ReviewPace> {
        // It is changed as a whole, so that it is valid even after a panic elsewhere.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells how a review ended, also when its task panics or is dropped.
struct Running<'a> {
    shared: &'a SharedReviews,
    digest: TokenDigest,
    result: Result<Review, KeyFetchError>,
    username: &'a str,
    tell: watch::Sender<Option<Reviewed>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let reviewed = self.shared.finish(self.digest, &self.result, self.username);
        self.tell.send_replace(Some(reviewed));
    }
}

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviews").finish_non_exhaustive()
    }
}
