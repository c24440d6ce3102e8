//! From a token to its caller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::claims::Claims;
use super::digest::TokenDigest;
use super::group::Group;
use super::keys::{KeyOutlook, KeySource, KeyVerdict, PublishedKey};
use super::reviews::Judgement;
use super::rules::Owner;
use super::table::TokenTable;
use super::verification::{CallerUnavailable, Verification, Verified};
use crate::caller::{CallerIndex, Identified};
use crate::config::{ProxyChoice, Secret};
use crate::jose::UnverifiedJwt;
use crate::token::Clock;

/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often keys are waited for: those that come may be of before the token's.
const ROUNDS: usize = 3;
/// How many forgeries are known by sight. Their table is their own, so that they take no place from good tokens.
const FORGERIES: usize = 1024;

const FORGED: &str = "the token is not signed by the key that it names";
const NOT_PUBLISHED: &str = "the token names a key that its issuer does not publish";
const REFUSED: &str = "the API server does not accept the token";

/// What a [`TokenVerifier`](super::TokenVerifier) of one snapshot knows.
pub(super) struct Verifier {
    pub(super) groups: Vec<Group>,
    /// Through which issuers are reached.
    pub(super) proxy: ProxyChoice,
    /// The tokens whose signature is good.
    verdicts: TokenTable<Verdict>,
    /// The tokens whose signature is not.
    forgeries: TokenTable<Arc<PublishedKey>>,
    clock: Arc<dyn Clock>,
}

/// A token whose signature is good.
struct Verdict {
    /// An index of [`Verifier::groups`].
    group: usize,
    identified: Identified,
    /// Since the Unix epoch.
    until: Duration,
    key: Arc<PublishedKey>,
}

/// What a token shows without waiting.
enum TokenFinding {
    Verified(Verified),
    /// The signature is good.
    Signed(usize, Identified),
    /// Keys lack of these groups: all of them, or the one that the token names (`true`).
    Missing(Vec<(usize, bool)>),
}

/// What to do about keys that lack.
enum Remedy {
    Wait(Vec<(Arc<KeySource>, u64)>),
    Unavailable(CallerUnavailable),
    Unknown,
}

impl Verifier {
    /// One that remembers this number of tokens.
    pub(super) fn new(
        groups: Vec<Group>,
        proxy: ProxyChoice,
        places: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            groups,
            proxy,
            verdicts: TokenTable::new(places),
            forgeries: TokenTable::new(FORGERIES),
            clock,
        }
    }

    /// Takes over what is known of tokens, where the same callers would be found again: their group is the same, and
    /// so is every other that may have tokens of its issuer. `same` is, for each group, the one of `old` that it was;
    /// `callers` is, for each caller of before, the index that it has now.
    pub(super) fn take_over(
        &self,
        old: &Self,
        same: &[Option<usize>],
        callers: &[Option<CallerIndex>],
    ) {
        let mut indices = HashMap::new();
        for (at, (group, before)) in self.groups.iter().zip(same).enumerate() {
            let issuer = group.issuer();
            let is_alone = |(other, before): (&Group, &Option<usize>)| {
                let other_issuer = other.issuer();
                before.is_some() || (other_issuer.is_some() && other_issuer != issuer)
            };
            if let Some(before) = before
                && self.groups.iter().zip(same).all(is_alone)
            {
                indices.insert(before, at);
            }
        }
        old.verdicts.for_each(|digest, verdict| {
            let Identified { caller, means } = verdict.identified;
            let caller = callers.get(caller as usize).copied().flatten();
            if let (Some(group), Some(caller)) = (indices.get(&verdict.group), caller) {
                let verdict = Verdict {
                    group: *group,
                    identified: Identified { caller, means },
                    until: verdict.until,
                    key: Arc::clone(&verdict.key),
                };
                self.verdicts.insert(digest, verdict, |_| false);
            }
        });
    }

    pub(super) fn verify(self: &Arc<Self>, token: &str) -> Verification {
        // No digest is made of what is never read.
        if token.len() > UnverifiedJwt::MAX_BYTES {
            return Verification::Unknown("the token is longer than any JWT that is read");
        }
        let digest = TokenDigest::of(token);
        match self.find(digest, token) {
            TokenFinding::Verified(verified) => verified.into(),
            TokenFinding::Signed(group, identified) => {
                self.review(group, identified, digest, token)
            }
            TokenFinding::Missing(missing) => match self.remedy(&missing, PATIENCE) {
                Remedy::Unknown => Verification::Unproven(NOT_PUBLISHED),
                Remedy::Unavailable(unavailable) => unavailable.into(),
                Remedy::Wait(attempts) => {
                    let (this, token) = (Arc::clone(self), Secret::new(token));
                    Verification::Pending(Box::pin(this.wait(digest, token, attempts)))
                }
            },
        }
    }

    /// What a token shows now.
    fn find(&self, digest: TokenDigest, token: &str) -> TokenFinding {
        let now = self.clock.now().wall;
        let known = self.verdicts.get(&digest, |verdict| {
            verdict
                .is_good(now)
                .then_some((verdict.group, verdict.identified))
        });
        if let Some((group, identified)) = known.flatten() {
            return TokenFinding::Signed(group, identified);
        }
        let is_forged = self.forgeries.get(&digest, |key| !key.is_withdrawn());
        if is_forged == Some(true) {
            return TokenFinding::Verified(Verified::Unproven(FORGED));
        }
        self.examine(digest, token, now)
            .unwrap_or_else(TokenFinding::Verified)
    }

    /// Reads the token. What costs most comes last, so that nobody is made to verify the signature of a token that
    /// would be of no use.
    ///
    /// # Errors
    /// It shows nobody.
    fn examine(
        &self,
        digest: TokenDigest,
        token: &str,
        now: Duration,
    ) -> Result<TokenFinding, Verified> {
        let jwt = UnverifiedJwt::parse(token).map_err(Verified::Unknown)?;
        let claims = Claims(&jwt.claims);
        let issuer = claims.issuer();
        let issuer = issuer.ok_or(Verified::Unknown("the token names no issuer (iss)"))?;
        let until = claims.good_until(now);
        let mut unknown = "the token is of an issuer that no caller has";
        let mut unproven = None;
        let (mut owner, mut signed, mut missing) = (Owner::Nobody, None, Vec::new());
        for (at, group) in self.groups.iter().enumerate() {
            let keys = group.keys.current();
            let known_issuer = keys.as_ref().map(|keys| keys.issuer.as_str());
            let known_issuer = known_issuer.or(group.named_issuer.as_deref());
            if known_issuer.is_some_and(|known| known != issuer) {
                continue;
            }
            let claimed = match group.rules.owner(claims) {
                Ok(claimed) => claimed,
                Err(why) => {
                    unknown = why;
                    continue;
                }
            };
            if let Err(why) = until {
                return Err(Verified::Unproven(why));
            }
            let Some(keys) = keys else {
                missing.push((at, false));
                continue;
            };
            match keys.judge(&jwt) {
                KeyVerdict::Signed(key) => {
                    owner = owner.or(claimed);
                    signed = Some((at, key));
                }
                KeyVerdict::NotPublished => missing.push((at, true)),
                KeyVerdict::Forged(key) => {
                    self.forgeries.insert(digest, key, |key| key.is_withdrawn());
                    unproven = Some(FORGED);
                }
                KeyVerdict::Misfit => {
                    let why = "the key of the token is not for the way that it is signed in";
                    unproven = Some(why);
                }
                KeyVerdict::TooMany => {
                    unproven = Some("the token names no key (kid), and too many fit");
                }
            }
        }
        if !missing.is_empty() {
            return Ok(TokenFinding::Missing(missing));
        }
        match (owner, signed, until) {
            (Owner::One(identified), Some((group, key)), Ok(until)) => {
                let verdict = Verdict {
                    group,
                    identified,
                    until,
                    key,
                };
                self.verdicts
                    .insert(digest, verdict, |old| !old.is_good(now));
                Ok(TokenFinding::Signed(group, identified))
            }
            (Owner::Several, ..) => Err(Verified::Ambiguous),
            _ => Err(unproven.map_or(Verified::Unknown(unknown), Verified::Unproven)),
        }
    }

    /// A token whose signature is good may have to be reviewed too.
    fn review(
        &self,
        group: usize,
        identified: Identified,
        digest: TokenDigest,
        token: &str,
    ) -> Verification {
        let Some(reviews) = &self.groups[group].reviews else {
            return Verification::Caller(identified);
        };
        let username = || {
            let jwt = UnverifiedJwt::parse(token).ok();
            let subject = jwt.and_then(|jwt| Some(Claims(&jwt.claims).subject()?.to_owned()));
            subject.unwrap_or_default()
        };
        match reviews.judge(digest, token, username) {
            Judgement::Accepted => Verification::Caller(identified),
            Judgement::Refused => Verification::Unproven(REFUSED),
            Judgement::Unavailable(unavailable) => unavailable.into(),
            Judgement::Waiting(review) => Verification::Pending(Box::pin(async move {
                let accepted = review.accepted().await?;
                Ok(if accepted {
                    Verified::Caller(identified)
                } else {
                    Verified::Unproven(REFUSED)
                })
            })),
        }
    }

    fn remedy(&self, missing: &[(usize, bool)], patience: Duration) -> Remedy {
        let (mut attempts, mut unavailable) = (Vec::new(), None);
        for (at, unknown) in missing {
            let group = &self.groups[*at];
            match group.keys.outlook(*unknown, patience) {
                KeyOutlook::Attempt(attempt) => attempts.push((Arc::clone(&group.keys), attempt)),
                KeyOutlook::Failing(retry_after) => {
                    let reason = group.keys.failure();
                    let reason = reason.unwrap_or_else(|| "its keys are not known yet".to_owned());
                    unavailable = Some(CallerUnavailable {
                        reason,
                        retry_after,
                    });
                }
                KeyOutlook::Settled => {}
            }
        }
        match unavailable {
            _ if !attempts.is_empty() => Remedy::Wait(attempts),
            Some(unavailable) => Remedy::Unavailable(unavailable),
            None => Remedy::Unknown,
        }
    }

    async fn wait(
        self: Arc<Self>,
        digest: TokenDigest,
        token: Secret,
        mut attempts: Vec<(Arc<KeySource>, u64)>,
    ) -> Result<Verified, CallerUnavailable> {
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..ROUNDS {
            for (keys, attempt) in &attempts {
                if timeout_at(deadline, keys.wait_for_attempt(*attempt))
                    .await
                    .is_err()
                {
                    return Err(too_slow(keys));
                }
            }
            let missing = match self.find(digest, token.expose()) {
                TokenFinding::Verified(verified) => return Ok(verified),
                TokenFinding::Missing(missing) => missing,
                TokenFinding::Signed(group, identified) => {
                    let review = self.review(group, identified, digest, token.expose());
                    return match review.settled() {
                        Ok(verified) => Ok(verified),
                        Err(pending) => pending.await,
                    };
                }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            attempts = match self.remedy(&missing, left) {
                Remedy::Wait(attempts) => attempts,
                Remedy::Unavailable(unavailable) => return Err(unavailable),
                Remedy::Unknown => return Ok(Verified::Unproven(NOT_PUBLISHED)),
            };
        }
        match attempts.first() {
            Some((keys, _)) => Err(too_slow(keys)),
            None => Ok(Verified::Unproven(NOT_PUBLISHED)),
        }
    }
}

fn too_slow(keys: &KeySource) -> CallerUnavailable {
    let mut reason = format!("the keys of the issuer have not come within {PATIENCE:?}");
    if let Some(before) = keys.failure() {
        reason = format!("{reason}; before that: {before}");
    }
    CallerUnavailable {
        reason,
        retry_after: Duration::from_secs(1),
    }
}

impl Verdict {
    /// Whether the token has not ended, and the key that signed it is still published.
    fn is_good(&self, now: Duration) -> bool {
        now < self.until && !self.key.is_withdrawn()
    }
}
