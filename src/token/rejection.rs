//! What a 401 from an upstream means for the token it rejects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Moment, Token, TokenSource, Unavailable};

/// An upstream that rejects fresh tokens causes no token request for this long; each time it is doubled.
const FIRST_COOLDOWN: Duration = Duration::from_secs(10);
const LONGEST_COOLDOWN: Duration = Duration::from_secs(60);

/// The tokens that one upstream rejected, shared by every thread that sends to it. Belongs to one
/// upstream and one [`TokenSource`]: the same source must be passed each time.
///
/// The token that it rejected is in quarantine, that is, not sent to this upstream, while one shared
/// attempt to get another is in flight. Other upstreams of the source go on with it. When another token
/// does not help, a cooldown begins, during which rejections cause no token requests.
#[derive(Debug, Default)]
pub struct TokenRejections {
    /// The id of the token in quarantine, 0 for none: all that a request normally reads.
    quarantined: AtomicU64,
    /// Tokens that are inherited are not for this upstream.
    own_only: bool,
    state: Mutex<RejectionState>,
}

#[derive(Debug, Default)]
struct RejectionState {
    quarantined: Option<Quarantine>,
    /// The id of the token that the last attempt brought in place of one in quarantine.
    replacement: u64,
    /// Ids up to this have been counted as rejected.
    counted: u64,
    /// Tokens with ids up to this have been rejected after a replay, and have begun a cooldown.
    failed_replay: u64,
    /// The id of a token in place of which an attempt brought nothing.
    irreplaceable: u64,
    /// Attempts up to this took too long; nobody waits for them any more.
    given_up: u64,
    /// On the boot clock; no fetch is caused before it.
    cooldown_until: Duration,
    cooldown: Duration,
}

/// A token that is not sent to the upstream until an attempt ends.
#[derive(Debug)]
struct Quarantine {
    token: u64,
    attempt: u64,
    /// Requests that have not been rejected wait for the attempt too.
    blocks_others: bool,
}

/// What follows from a rejection.
enum Decision {
    Replay(Arc<Token>),
    Wait(u64),
    PassThrough,
}

impl TokenRejections {
    /// Nothing rejected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, for an upstream that must not get what its source inherited
    /// ([`Token::is_inherited`]): it was not sent those tokens before the reload.
    pub fn of_own_tokens() -> Self {
        Self {
            own_only: true,
            ..Self::default()
        }
    }

    /// Whether the upstream may get what its source inherited.
    pub fn may_inherit(&self) -> bool {
        !self.own_only
    }

    /// As [`TokenSource::current`], but `None` while the token is in quarantine for this upstream. One
    /// more atomic load.
    pub fn current(&self, source: &TokenSource) -> Option<Arc<Token>> {
        let token = source.current().filter(|token| self.may_get(token))?;
        if token.id() == self.quarantined.load(Ordering::Acquire)
            && self.attempt_to_wait_for(source).is_some()
        {
            return None;
        }
        Some(token)
    }

    /// Whether the token that the source holds is in quarantine for this upstream.
    pub fn is_quarantined(&self, source: &TokenSource) -> bool {
        let held = source.last_token();
        let quarantined = self.quarantined.load(Ordering::Acquire);
        held.is_some_and(|token| token.id() == quarantined)
            && self.attempt_to_wait_for(source).is_some()
    }

    /// As [`TokenSource::acquire`], but waits for the shared attempt while the token is in quarantine for
    /// this upstream. When that brings nothing in time, the token in quarantine serves on.
    ///
    /// # Errors
    ///
    /// As [`TokenSource::acquire`], when no token is usable.
    pub async fn acquire(&self, source: &TokenSource) -> Result<Arc<Token>, Unavailable> {
        let deadline = source.deadline();
        if let Some(attempt) = self.attempt_to_wait_for(source) {
            self.wait(source, attempt, deadline).await;
        }
        source.acquire_by(deadline, self.own_only).await
    }

    /// The upstream rejected `rejected`. Returns the token to replay with: a newer value that is
    /// there already, or the one of a shared attempt. For that it waits at most `acquire_timeout`,
    /// through a pause and for the attempt after one that failed, if they end in time. `None`: the
    /// 401 passes through.
    pub async fn renew(&self, source: &TokenSource, rejected: &Token) -> Option<Arc<Token>> {
        let deadline = source.deadline();
        loop {
            match self.decide(source, rejected, deadline) {
                Decision::Replay(newer) => return Some(newer),
                Decision::PassThrough => return None,
                Decision::Wait(attempt) => {
                    if !self.wait(source, attempt, deadline).await {
                        return self.newer(source, rejected);
                    }
                }
            }
        }
    }

    /// As [`renew`](Self::renew), for a request that cannot be replayed: what it begins is for those
    /// that follow.
    pub fn reject(&self, source: &TokenSource, rejected: &Token) {
        self.decide(source, rejected, source.deadline());
    }

    /// What became of the replay with `token`. A rejected one begins or doubles the time for
    /// which this upstream causes no fetch, once per token however many requests were replayed;
    /// an accepted one ends it.
    pub fn record_replay(&self, source: &TokenSource, token: &Token, accepted: bool) {
        let mut state = self.lock();
        if accepted {
            state.cooldown_until = Duration::ZERO;
            state.cooldown = Duration::ZERO;
        } else {
            state.note_failed_replay(token, source.now());
        }
    }

    fn decide(&self, source: &TokenSource, rejected: &Token, deadline: Instant) -> Decision {
        let mut state = self.lock();
        self.settle(&mut state, source);
        if state.counted < rejected.id() {
            state.counted = rejected.id();
            source.count_rejection();
        }
        let now = source.now();
        if rejected.id() == state.replacement
            && now.boot.saturating_sub(rejected.issued().boot) < FIRST_COOLDOWN
        {
            // Requests that cannot be replayed show that the replacement did not help, too.
            state.note_failed_replay(rejected, now);
        }
        if let Some(quarantined) = &state.quarantined {
            return match self.newer(source, rejected) {
                Some(newer) if newer.id() != quarantined.token => Decision::Replay(newer),
                _ if quarantined.attempt <= state.given_up => Decision::PassThrough,
                _ => Decision::Wait(quarantined.attempt),
            };
        }
        if let Some(newer) = self.newer(source, rejected) {
            return Decision::Replay(newer);
        }
        if now.boot < state.cooldown_until {
            return Decision::PassThrough;
        }
        let attempt = source.request_replacement(deadline);
        let Some(attempt) = attempt.filter(|attempt| *attempt > state.given_up) else {
            // An attempt may have ended since it was checked above.
            let newer = self.newer(source, rejected);
            return newer.map_or(Decision::PassThrough, Decision::Replay);
        };
        // While attempts fail, a request that is rejected whatever its token must not delay the
        // others again and again.
        let blocks_others = state.irreplaceable != rejected.id();
        state.quarantined = Some(Quarantine {
            token: rejected.id(),
            attempt,
            blocks_others,
        });
        if blocks_others {
            self.quarantined.store(rejected.id(), Ordering::Release);
        }
        Decision::Wait(attempt)
    }

    /// The attempt for which requests of this upstream wait, if any.
    fn attempt_to_wait_for(&self, source: &TokenSource) -> Option<u64> {
        let mut state = self.lock();
        self.settle(&mut state, source);
        let quarantined = state.quarantined.as_ref()?;
        quarantined.blocks_others.then_some(quarantined.attempt)
    }

    /// Waits for the attempt; whether it ended in time. Once it has been in flight for all the time
    /// that a request may wait, nobody waits for it any more: an upstream that rejects one request
    /// must not delay all the others for as long as a server hangs.
    async fn wait(&self, source: &TokenSource, attempt: u64, deadline: Instant) -> bool {
        let in_flight = source.has_begun_or_may_begin(attempt);
        let in_time = timeout_at(deadline, source.wait_for_attempt(attempt))
            .await
            .is_ok();
        let mut state = self.lock();
        self.settle(&mut state, source);
        if in_time || !in_flight {
            return in_time;
        }
        state.given_up = state.given_up.max(attempt);
        if let Some(quarantined) = &mut state.quarantined
            && quarantined.attempt == attempt
        {
            quarantined.blocks_others = false;
            self.quarantined.store(0, Ordering::Release);
        }
        false
    }

    /// Ends the quarantine if its attempt has ended. Everyone who comes by does this, so that
    /// it depends on no request that may have left.
    fn settle(&self, state: &mut RejectionState, source: &TokenSource) {
        let Some(quarantined) = state
            .quarantined
            .take_if(|quarantined| source.has_ended(quarantined.attempt))
        else {
            return;
        };
        self.quarantined.store(0, Ordering::Release);
        let Some(current) = source.current() else {
            return;
        };
        if current.id() != quarantined.token {
            state.replacement = current.id();
        } else if source.is_failing() {
            state.irreplaceable = quarantined.token;
        } else {
            // The server answers, but with the value that was rejected: as good as a replay.
            state.start_cooldown(source.now());
        }
    }

    /// A usable token with a newer value than the rejected one.
    fn newer(&self, source: &TokenSource, rejected: &Token) -> Option<Arc<Token>> {
        let newer = |token: &Arc<Token>| token.id() > rejected.id() && self.may_get(token);
        source.current().filter(newer)
    }

    /// Whether the upstream may be sent it.
    pub fn may_get(&self, token: &Token) -> bool {
        !(self.own_only && token.is_inherited())
    }

    fn lock(&self) -> MutexGuard<'_, RejectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RejectionState {
    /// The upstream rejects the token that was fetched because it had rejected the one before.
    fn note_failed_replay(&mut self, token: &Token, now: Moment) {
        if self.failed_replay < token.id() {
            self.failed_replay = token.id();
            self.start_cooldown(now);
        }
    }

    fn start_cooldown(&mut self, now: Moment) {
        self.cooldown = (self.cooldown * 2).clamp(FIRST_COOLDOWN, LONGEST_COOLDOWN);
        self.cooldown_until = now.boot.saturating_add(self.cooldown);
    }
}
