//! Fresh tokens that an upstream rejects. Another token would not help, so an operator is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tracing::{debug, info, warn};

use super::{Moment, Token};

/// An accepted token ends the problem only after this long without another rejection: an upstream may
/// reject on one path what it accepts on another.
const OVER_AFTER: Duration = Duration::from_secs(60);
/// The same token is counted again after this long.
const COUNTED_AGAIN: Duration = Duration::from_secs(60);

/// The rejections by one upstream of tokens that it has not accepted before.
#[derive(Debug)]
pub struct FreshTokenRejections {
    upstream: String,
    credential: String,
    /// The id of the newest token that it accepted: all that a request normally reads.
    accepted: AtomicU64,
    /// The reading of the boot clock from which an accepted token ends it, in nanoseconds; the maximum
    /// while there is nothing to end.
    over_from: AtomicU64,
    rejected: Mutex<Option<RejectedTokens>>,
}

/// Fresh tokens were rejected; as `/status` shows it. Times are Unix seconds. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedTokens {
    /// How many tokens, or the same one minute by minute.
    pub tokens: u64,
    /// When it began.
    pub since: u64,
    /// When the last one was rejected.
    pub last: u64,
    /// `error` of the last challenge, cleaned; empty if it said none.
    pub error: String,
    /// `error_description` of the last challenge, cleaned; empty if it said none.
    pub error_description: String,
    #[serde(skip)]
    id: u64,
    #[serde(skip)]
    counted: Duration,
}

impl FreshTokenRejections {
    /// Nothing rejected yet.
    pub fn new(upstream: &str, credential: &str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            credential: credential.to_owned(),
            accepted: AtomicU64::new(0),
            over_from: AtomicU64::new(u64::MAX),
            rejected: Mutex::default(),
        }
    }

    /// Whether the upstream accepted this token or a newer one before, and no problem is open. Another accepted
    /// answer then changes nothing. Called for each answer: it costs two atomic loads.
    pub fn has_accepted(&self, token: &Token) -> bool {
        self.accepted.load(Ordering::Relaxed) >= token.id()
            && self.over_from.load(Ordering::Relaxed) == u64::MAX
    }

    /// The upstream accepted this token. Takes the lock only if a problem is open, and then once.
    pub fn accept(&self, token: &Token, now: impl FnOnce() -> Moment) {
        self.note_accepted(token);
        let over_from = self.over_from.load(Ordering::Relaxed);
        if over_from != u64::MAX && nanos(now().boot) >= over_from {
            self.end();
        }
    }

    /// The upstream accepted another token in place of one that it rejected: an open problem has ended.
    pub fn accept_replacement(&self, token: &Token) {
        self.note_accepted(token);
        if self.over_from.load(Ordering::Relaxed) != u64::MAX {
            self.end();
        }
    }

    /// A rejection of this token went to the client. `reason` gives `error` and `error_description` of
    /// the challenge, cleaned; it is called only if they are reported.
    pub fn reject(&self, token: &Token, now: Moment, reason: impl FnOnce() -> (String, String)) {
        let over_from = nanos(now.boot.saturating_add(OVER_AFTER));
        if token.id() <= self.accepted.load(Ordering::Relaxed) {
            // The token was accepted before, so it was revoked, or is not valid for this request. An open
            // problem stays open.
            let going_on = |from| (from != u64::MAX).then_some(over_from);
            let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
            let _ = self.over_from.fetch_update(set, fetch, going_on);
            return;
        }
        let mut rejected = self.lock();
        self.over_from.store(over_from, Ordering::Relaxed);
        let known = rejected.as_ref();
        if let Some(known) = known
            && known.id == token.id()
            && now.boot < known.counted + COUNTED_AGAIN
        {
            return;
        }
        let at = now.wall.as_secs();
        let (tokens, since) = known.map_or((1, at), |known| (known.tokens + 1, known.since));
        let (error, error_description) = reason();
        let told = rejected.insert(RejectedTokens {
            tokens,
            since,
            last: at,
            error,
            error_description,
            id: token.id(),
            counted: now.boot,
        });
        self.log(told);
    }

    fn note_accepted(&self, accepted: &Token) {
        // The answer to a request with an older token may come later than that to a newer one.
        if self.accepted.load(Ordering::Relaxed) < accepted.id() {
            self.accepted.fetch_max(accepted.id(), Ordering::Relaxed);
        }
    }

    /// The open problem, if there is one.
    pub fn rejected(&self) -> Option<RejectedTokens> {
        self.lock().clone()
    }

    /// The first at `warn`, what repeats itself at `debug`, with a reminder at 2, 4, 8, ...
    fn log(&self, rejected: &RejectedTokens) {
        let (upstream, credential) = (self.upstream.as_str(), self.credential.as_str());
        let (error, description) = (&*rejected.error, &*rejected.error_description);
        let tokens = rejected.tokens;
        if tokens.is_power_of_two() {
            warn!(
                upstream,
                credential,
                error,
                description,
                tokens,
                "the upstream rejects fresh tokens: check the credential's audience and scopes, \
                 the clocks, and that the upstream's url is the API that the tokens are for"
            );
        } else {
            debug!(
                upstream,
                credential, error, description, tokens, "the upstream rejects fresh tokens"
            );
        }
    }

    fn end(&self) {
        self.over_from.store(u64::MAX, Ordering::Relaxed);
        if let Some(RejectedTokens { tokens, .. }) = self.lock().take() {
            let (upstream, credential) = (self.upstream.as_str(), self.credential.as_str());
            info!(
                upstream,
                credential, tokens, "the upstream accepts tokens again"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<RejectedTokens>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
