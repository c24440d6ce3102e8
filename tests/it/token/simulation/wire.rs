//! Weeks of the client of the real wire: files that rotate and are half-written for a while,
//! nonces that change under way, assertions that expire, on a machine that sleeps and whose clock
//! is wrong at times; the servers take nothing on trust.
//!
//! Seeds are chosen as for the other simulation; `SIDEBEARER_SIMULATION_DAYS` is how long each lasts (10 unless told).

mod api;
mod authorization_server;
mod client_checks;
mod files;
mod jwt;
mod nonce;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use fastrand::Rng;
use http::StatusCode;
use sidebearer::config::{
    AssertionAudience, AssertionForm, ClientAuth, Credential, Dpop, Grant, Refresh, SecurityToken,
};
use sidebearer::dpop::{LastNonce, Nonce, ProofClaims};
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::oauth::{Client, challenge};
use sidebearer::token::{Clock, Token, TokenRejections, TokenSource};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::api::{Issued, Meant};
use self::authorization_server::Mood;
use self::files::{Which, Writers};
use self::world::{Observed, World};
use super::super::fakes::{VirtualClock, policy, secs};
use super::pace::Report;
use super::seeds::{each_seed, moods, paused};
use super::{DAY, RECOVERED, log_uniform};
use crate::support::process::scale;
use crate::support::scripted::credential;

const TOKEN_ENDPOINT: &str = "https://login.example.com/oauth/token";
const RESOURCE: &str = "https://api.example.com/things";
const CLIENT_ID: &str = "billing";
/// What a request may wait for: `acquire_timeout`, and a timer's grain.
const PATIENCE: Duration = Duration::from_millis(5002);

/// What kind of credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// `private_key_jwt`, its tokens bound to a key that was made at the start.
    OwnKey,
    /// `client_assertion`, its tokens bound to a key in a file.
    ClientAssertion,
    /// `private_key_jwt` and the grant `jwt-bearer`; a key in a file.
    OwnKeyJwtBearer,
    /// A secret and the grant `token-exchange`; a key that was made at the start.
    TokenExchange,
}

impl Setting {
    fn shows_assertion(self) -> bool {
        self != Self::OwnKey
    }

    fn has_proof_key_file(self) -> bool {
        matches!(self, Self::ClientAssertion | Self::OwnKeyJwtBearer)
    }

    fn credential(self, world: &World) -> Credential {
        let inner = world.lock();
        let assertion = inner.files.source(Which::Assertion);
        let own_key = ClientAuth::PrivateKeyJwt {
            key: inner.files.source(Which::ClientKey),
            algorithm: None,
            form: AssertionForm {
                key_id: None,
                audience: AssertionAudience::TokenEndpoint,
            },
        };
        let proof_key = inner.files.source(Which::ProofKey);
        let plain = Credential {
            dpop: Some(Dpop {
                required: true,
                key: self.has_proof_key_file().then_some(proof_key),
            }),
            ..credential(TOKEN_ENDPOINT)
        };
        match self {
            Self::OwnKey => Credential {
                auth: own_key,
                ..plain
            },
            Self::ClientAssertion => Credential {
                auth: ClientAuth::ClientAssertion { assertion },
                ..plain
            },
            Self::OwnKeyJwtBearer => Credential {
                auth: own_key,
                grant: Grant::JwtBearer { assertion },
                ..plain
            },
            Self::TokenExchange => Credential {
                grant: Grant::TokenExchange {
                    subject: SecurityToken {
                        token: assertion,
                        token_type: SecurityToken::JWT.to_owned(),
                    },
                    actor: None,
                    requested_token_type: None,
                },
                ..plain
            },
        }
    }
}

#[test]
fn weeks_of_a_client_whose_nonces_keys_and_assertions_change() {
    let totals: [AtomicU64; 6] = Default::default();
    let seeds = each_seed(4, |seed| {
        for (total, count) in totals.iter().zip(simulate(seed)) {
            total.fetch_add(count, SeqCst);
        }
    });
    let [tokens, failures, served, turned_away, nonces, rejections] =
        totals.map(AtomicU64::into_inner);
    println!(
        "seeds {seeds:?}: {tokens} tokens, {failures} failed fetches, {served} requests served, \
         {turned_away} turned away, {nonces} nonces asked for, {rejections} tokens rejected"
    );
}

/// Runs one seed and checks what holds over its whole length.
fn simulate(seed: u64) -> [u64; 6] {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = paused(seed);
    let days = scale("SIDEBEARER_SIMULATION_DAYS", 10).try_into().unwrap();
    let setting = [
        Setting::OwnKey,
        Setting::ClientAssertion,
        Setting::OwnKeyJwtBearer,
        Setting::TokenExchange,
    ][(seed % 4) as usize];
    let refresh = match (seed / 4) % 3 {
        2 => Refresh::Lazy,
        _ => Refresh::Eager,
    };
    let rng = Rng::with_seed(seed ^ 0x0417);
    let world = runtime.block_on(weeks(days, setting, refresh, dir, rng));
    let inner = world.lock();
    let report: &Report = &inner.pace.report;
    let what = format!("seed {seed} ({setting:?}, {refresh:?})");
    let broken = report.violations.first();
    assert!(broken.is_none(), "{what}: {broken:?}");
    let (fetches, bound) = (report.fetches(), report.bound(days * DAY));
    assert!(
        fetches <= bound,
        "{what}: {fetches} fetches, over {bound}: {report:?}"
    );
    let nonces = inner.server.asked_again.min(inner.api.asked_again);
    // A seed in which little happened would prove little.
    assert!(
        report.successes > u64::from(days)
            && report.failures > 5
            && nonces > 2
            && inner.api.rejected > 0,
        "{what}: {nonces} nonces, {} rejections, {report:?}",
        inner.api.rejected
    );
    [
        report.successes,
        report.failures,
        report.served,
        report.turned_away,
        inner.server.asked_again + inner.api.asked_again,
        inner.api.rejected,
    ]
}

async fn weeks(
    days: u32,
    setting: Setting,
    refresh: Refresh,
    dir: TempDir,
    mut rng: Rng,
) -> Arc<World> {
    let clock = VirtualClock::with_longest_sleep(secs(120.0));
    let world = World::new(setting, clock.clone(), dir, rng.fork());
    let wall = world.clone();
    let client = Client::with_transport(
        world.clone(),
        Arc::new(move || wall.wall()),
        &setting.credential(&world),
    );
    let own_key = client.own_proof_key();
    let times = world.times();
    world.lock().files.look(times);
    world.lock().own_key = own_key.map(|key| key.thumbprint().to_owned());
    let source = TokenSource::start(
        "crm",
        policy(refresh),
        Arc::new(Observed {
            client,
            world: world.clone(),
        }),
        Arc::new(ConcurrencyLimit::new(1)),
        clock,
        Metrics::new().credential("crm"),
    );
    let writers = Writers {
        world: world.clone(),
        source: source.clone(),
    };
    let mut others = JoinSet::new();
    others.spawn(writers.clone().rotate_client_key(rng.fork()));
    others.spawn(writers.clone().rotate_proof_key(rng.fork()));
    others.spawn(writers.renew_assertion(rng.fork()));
    others.spawn(disturb(world.clone(), rng.fork()));
    let (moody, draws) = (world.clone(), rng.fork());
    others.spawn(async move {
        moods(Mood::Healthy, &Mood::BAD, draws, |mood| moody.turn(mood)).await;
    });

    let proxy = Arc::new(Proxy {
        world: world.clone(),
        refresh,
        source,
        rejections: TokenRejections::new(),
        nonce: LastNonce::default(),
    });
    let end = Instant::now() + days * DAY;
    let mut requests = JoinSet::new();
    while Instant::now() < end && world.lock().pace.report.violations.is_empty() {
        sleep(log_uniform(&mut rng, 0.001, 30_000.0)).await;
        let burst = if rng.u8(..) < 8 { rng.u8(1..20) } else { 1 };
        for _ in 0..burst {
            requests.spawn(proxy.clone().request(rng.fork()));
        }
        while requests.try_join_next().is_some() {}
    }
    others.abort_all();
    while let Some(request) = requests.join_next().await {
        request.expect("no panic");
    }
    world
}

/// What the proxy does for a request, as far as tokens and proofs go.
struct Proxy {
    world: Arc<World>,
    refresh: Refresh,
    source: Arc<TokenSource>,
    rejections: TokenRejections,
    nonce: LastNonce,
}

impl Proxy {
    async fn request(self: Arc<Self>, mut rng: Rng) {
        let (world, source) = (&self.world, &self.source);
        let recovered = world.well_for().is_some_and(|well| well > RECOVERED);
        let now = world.clock.now();
        let held = source.current().is_some();
        let usable = world.lock().pace.holds(now);
        world.check(held || !usable, || {
            format!(
                "no token at {now:?} though it is usable: {:?}",
                source.status()
            )
        });
        world.check(!recovered || held || self.refresh == Refresh::Lazy, || {
            format!(
                "no token at {now:?} though all is well: {:?}",
                source.status()
            )
        });
        let asked = Instant::now();
        let token = match self.rejections.current(source) {
            Some(token) => Ok(token),
            None => self.rejections.acquire(source).await,
        };
        let waited = asked.elapsed();
        world.lock().pace.answered(token.is_ok());
        world.check(waited <= PATIENCE, || format!("waited {waited:?}"));
        match token {
            Ok(token) => self.send(token, &mut rng).await,
            Err(unavailable) => {
                // A nonce may have changed twice meanwhile.
                let recovered = recovered && world.well_for() > Some(RECOVERED);
                world.check(!recovered, || {
                    format!("{unavailable:?} at {now:?} though all is well")
                });
            }
        }
    }

    /// Sends it, once more with a nonce, and once more with another token.
    async fn send(&self, token: Arc<Token>, rng: &mut Rng) {
        if self.send_with_nonce(&token, rng).await != Meant::Revoked {
            return;
        }
        let asked = Instant::now();
        let newer = self.rejections.renew(&self.source, &token).await;
        let waited = asked.elapsed();
        self.world
            .check(waited <= PATIENCE, || format!("renewed for {waited:?}"));
        if let Some(newer) = newer {
            let meant = self.send_with_nonce(&newer, rng).await;
            let accepted = meant != Meant::Revoked;
            self.rejections
                .record_replay(&self.source, &newer, accepted);
        }
    }

    async fn send_with_nonce(&self, token: &Token, rng: &mut Rng) -> Meant {
        let meant = self.send_once(token);
        if meant != Meant::WantsNonce {
            return meant;
        }
        sleep(log_uniform(rng, 0.001, 0.05)).await;
        if token.is_usable(self.world.clock.now()) {
            self.send_once(token)
        } else {
            meant
        }
    }

    fn send_once(&self, token: &Token) -> Meant {
        let times = self.world.times();
        let inner = &mut *self.world.lock();
        let bound = Issued::read(token.access_token().expose()).zip(token.binding());
        let Some((issued, binding)) = bound else {
            inner.pace.check(false, || format!("handed out: {token:?}"));
            return Meant::Fine;
        };
        let value = token.access_token().expose();
        let good = times.now.boot < issued.end
            && inner.pace.may_be_sent(value, times.now)
            && issued.thumbprint == binding.key.thumbprint();
        inner
            .pace
            .check(good, || format!("handed out at {times:?}: {token:?}"));
        let nonce = self.nonce.get();
        let proof = binding.key.prove(ProofClaims {
            method: "GET",
            target: ["https", "api.example.com", "/things"],
            issued_at: times.machine(),
            token_hash: Some(&binding.token_hash),
            nonce: nonce.as_ref().map(Nonce::as_str),
        });
        let issued = inner.server.issued;
        let answer = inner
            .api
            .answer(token.authorization(), &proof, issued, times);
        let (status, mut headers, meant) = match answer {
            Ok(answer) => answer,
            Err(wrong) => {
                inner.pace.check(false, || wrong);
                return Meant::Fine;
            }
        };
        let refused = status == StatusCode::UNAUTHORIZED;
        let given = Nonce::take(&mut headers, usize::MAX);
        let wants = refused && challenge::wants_nonce(&headers) && given.is_some();
        if let Some(nonce) = given {
            self.nonce.set(nonce);
        }
        let rejects = refused && challenge::rejects_token(&headers, &[token.token_type()]);
        let understood = [wants, rejects] == [meant == Meant::WantsNonce, meant == Meant::Revoked];
        inner.pace.check(understood, || {
            format!("{meant:?} taken for {:?}", [wants, rejects])
        });
        if rejects {
            inner.pace.rejected();
        }
        meant
    }
}

/// Suspends the machine, and sets its wall clock wrong for a while, every two days or so.
async fn disturb(world: Arc<World>, mut rng: Rng) {
    loop {
        sleep(log_uniform(&mut rng, 600.0, 800_000.0)).await;
        if rng.u8(..3) == 0 {
            world.clock.suspend(log_uniform(&mut rng, 1.0, 30_000.0));
            world.disturbed();
        } else {
            let off = rng.i64(1..7200) * if rng.bool() { 1 } else { -1 };
            world.clock.set_wall(off);
            world.disturbed();
            sleep(log_uniform(&mut rng, 1.0, 7200.0)).await;
            world.clock.set_wall(-off);
            world.disturbed();
        }
        // Not twice within what the checks allow for one.
        sleep_until(Instant::now() + RECOVERED).await;
    }
}
