//! What a 401 from an upstream means for the token it rejects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Moment, Source, Token, Unavailable};

/// An upstream that rejects fresh tokens causes no fetch for this long, doubling.
const QUIET_FIRST: Duration = Duration::from_secs(10);
const QUIET_LONGEST: Duration = Duration::from_secs(60);

/// The tokens that one upstream rejected, shared by every thread that sends to it. Belongs to one
/// upstream and one [`Source`]: the same source must be passed each time.
///
/// The value it rejected is set aside for this upstream while one shared attempt is in flight;
/// other upstreams of the source go on with it.
#[derive(Debug, Default)]
pub struct Rejections {
    /// The id of the token set aside, 0 for none: all that a request normally reads.
    aside: AtomicU64,
    /// Tokens that are inherited are not for this upstream.
    own_only: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    aside: Option<Aside>,
    /// The id of the token that the last attempt brought in place of one set aside.
    brought: u64,
    /// Ids up to this have been counted as rejected.
    counted: u64,
    /// Ids up to this have begun a quiet time.
    in_vain: u64,
    /// The id of a token in place of which an attempt brought nothing.
    irreplaceable: u64,
    /// Attempts up to this took too long; nobody waits for them any more.
    given_up: u64,
    /// On the boot clock; no fetch is caused before it.
    quiet_until: Duration,
    quiet: Duration,
}

/// A token set aside until an attempt ends.
#[derive(Debug)]
struct Aside {
    token: u64,
    attempt: u64,
    /// Requests that have not been rejected wait for the attempt too.
    holds_up: bool,
}

/// What follows from a rejection.
enum Verdict {
    Replay(Arc<Token>),
    Wait(u64),
    PassThrough,
}

impl Rejections {
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

    /// As [`Source::current`], but `None` while the token is set aside for this upstream. One
    /// more atomic load.
    pub fn current(&self, source: &Source) -> Option<Arc<Token>> {
        let token = source.current().filter(|token| self.takes(token))?;
        if token.id() == self.aside.load(Ordering::Acquire) && self.waits_for(source).is_some() {
            return None;
        }
        Some(token)
    }

    /// As [`Source::acquire`], but waits for the shared attempt while the token is set aside for
    /// this upstream. When that brings nothing in time, the token set aside serves on.
    ///
    /// # Errors
    ///
    /// As [`Source::acquire`], when no token is usable.
    pub async fn acquire(&self, source: &Source) -> Result<Arc<Token>, Unavailable> {
        let deadline = source.deadline();
        if let Some(attempt) = self.waits_for(source) {
            self.wait(source, attempt, deadline).await;
        }
        source.acquire_by(deadline, self.own_only).await
    }

    /// The upstream rejected `rejected`. Returns the token to replay with: a newer value that is
    /// there already, or the one of a shared attempt. For that it waits at most `acquire_timeout`,
    /// through a pause and for the attempt after one that failed, if they end in time. `None`: the
    /// 401 passes through.
    pub async fn heal(&self, source: &Source, rejected: &Token) -> Option<Arc<Token>> {
        let deadline = source.deadline();
        loop {
            match self.judge(source, rejected, deadline) {
                Verdict::Replay(newer) => return Some(newer),
                Verdict::PassThrough => return None,
                Verdict::Wait(attempt) => {
                    if !self.wait(source, attempt, deadline).await {
                        return self.newer(source, rejected);
                    }
                }
            }
        }
    }

    /// As [`heal`](Self::heal), for a request that cannot be replayed: what it begins is for those
    /// that follow.
    pub fn reject(&self, source: &Source, rejected: &Token) {
        self.judge(source, rejected, source.deadline());
    }

    /// What became of the replay with `token`. A rejected one begins or doubles the time for
    /// which this upstream causes no fetch, once per token however many requests were replayed;
    /// an accepted one ends it.
    pub fn replayed(&self, source: &Source, token: &Token, accepted: bool) {
        let mut inner = self.lock();
        if accepted {
            inner.quiet_until = Duration::ZERO;
            inner.quiet = Duration::ZERO;
        } else {
            inner.in_vain(token, source.now());
        }
    }

    fn judge(&self, source: &Source, rejected: &Token, deadline: Instant) -> Verdict {
        let mut inner = self.lock();
        self.settle(&mut inner, source);
        if inner.counted < rejected.id() {
            inner.counted = rejected.id();
            source.count_rejection();
        }
        let now = source.now();
        if rejected.id() == inner.brought
            && now.boot.saturating_sub(rejected.issued().boot) < QUIET_FIRST
        {
            // Requests that cannot be replayed show that it was in vain as well.
            inner.in_vain(rejected, now);
        }
        if let Some(aside) = &inner.aside {
            return match self.newer(source, rejected) {
                Some(newer) if newer.id() != aside.token => Verdict::Replay(newer),
                _ if aside.attempt <= inner.given_up => Verdict::PassThrough,
                _ => Verdict::Wait(aside.attempt),
            };
        }
        if let Some(newer) = self.newer(source, rejected) {
            return Verdict::Replay(newer);
        }
        if now.boot < inner.quiet_until {
            return Verdict::PassThrough;
        }
        let attempt = source.replace(deadline);
        let Some(attempt) = attempt.filter(|attempt| *attempt > inner.given_up) else {
            // An attempt may have ended since the look above.
            let newer = self.newer(source, rejected);
            return newer.map_or(Verdict::PassThrough, Verdict::Replay);
        };
        // While attempts fail, a request that is rejected whatever its token must not delay the
        // others again and again.
        let holds_up = inner.irreplaceable != rejected.id();
        inner.aside = Some(Aside {
            token: rejected.id(),
            attempt,
            holds_up,
        });
        if holds_up {
            self.aside.store(rejected.id(), Ordering::Release);
        }
        Verdict::Wait(attempt)
    }

    /// The attempt for which requests of this upstream wait, if any.
    fn waits_for(&self, source: &Source) -> Option<u64> {
        let mut inner = self.lock();
        self.settle(&mut inner, source);
        let aside = inner.aside.as_ref()?;
        aside.holds_up.then_some(aside.attempt)
    }

    /// Waits for the attempt; whether it ended in time. Once it has been in flight for all the time
    /// that a request may wait, nobody waits for it any more: an upstream that rejects one request
    /// must not delay all the others for as long as a server hangs.
    async fn wait(&self, source: &Source, attempt: u64, deadline: Instant) -> bool {
        let in_flight = source.begins_by_now(attempt);
        let in_time = timeout_at(deadline, source.ended(attempt)).await.is_ok();
        let mut inner = self.lock();
        self.settle(&mut inner, source);
        if in_time || !in_flight {
            return in_time;
        }
        inner.given_up = inner.given_up.max(attempt);
        if let Some(aside) = &mut inner.aside
            && aside.attempt == attempt
        {
            aside.holds_up = false;
            self.aside.store(0, Ordering::Release);
        }
        false
    }

    /// Ends the setting aside if its attempt has ended. Everyone who comes by does this, so that
    /// it depends on no request that may have left.
    fn settle(&self, inner: &mut Inner, source: &Source) {
        let Some(aside) = inner.aside.take_if(|aside| source.has_ended(aside.attempt)) else {
            return;
        };
        self.aside.store(0, Ordering::Release);
        let Some(current) = source.current() else {
            return;
        };
        if current.id() != aside.token {
            inner.brought = current.id();
        } else if source.is_failing() {
            inner.irreplaceable = aside.token;
        } else {
            // The server answers, but with the value that was rejected: as good as a replay.
            inner.be_quiet(source.now());
        }
    }

    /// A usable token with a newer value than the rejected one.
    fn newer(&self, source: &Source, rejected: &Token) -> Option<Arc<Token>> {
        let newer = |token: &Arc<Token>| token.id() > rejected.id() && self.takes(token);
        source.current().filter(newer)
    }

    fn takes(&self, token: &Token) -> bool {
        !(self.own_only && token.is_inherited())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The upstream rejects the token that was fetched on its account.
    fn in_vain(&mut self, token: &Token, now: Moment) {
        if self.in_vain < token.id() {
            self.in_vain = token.id();
            self.be_quiet(now);
        }
    }

    fn be_quiet(&mut self, now: Moment) {
        self.quiet = (self.quiet * 2).clamp(QUIET_FIRST, QUIET_LONGEST);
        self.quiet_until = now.boot.saturating_add(self.quiet);
    }
}
