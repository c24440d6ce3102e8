//! Days of requests by callers with tokens, for many seeds: an issuer that is away, slow or lies, keys that are
//! rotated, an API server that is away, reloads, and forgeries all the while.
//!
//! `SIDEBEARER_SIMULATION_SEEDS` is how many seeds to run (4 unless told), or a range of them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use sidebearer::oauth::TokenErrorKind;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::fakes::{Found, World, billing, by_account, by_token, found, kubernetes};
use super::servers::{Mood, review_of};
use crate::support::jwt::Signer;
use crate::token::fakes::secs;
use crate::token::simulation::log_uniform;
use crate::token::simulation::seeds::{each_seed, paused};

const DAYS: Duration = Duration::from_secs(2 * 86_400);
/// How long tokens live, and for how long a key is still published that signs no more.
const LIFETIME: u64 = 2 * 3600;
/// The longest pause after a failure, the attempt that hung when the issuer recovered, one that is slow, and the
/// minute in which no other unknown key is asked for.
const RECOVERED: Duration = Duration::from_secs(60 + 10 + 4 + 60);
const GRACE: Duration = Duration::from_secs(300);
/// More reads of keys in one hour would be a storm: some 120 while the issuer is away (half a minute apart), one in
/// a minute for unknown keys, and the periodic ones.
const MOST_READS: usize = 260;

#[test]
fn two_days_of_callers_with_tokens() {
    let seeds = each_seed(4, |seed| {
        let runtime = paused(seed);
        let rng = Rng::with_seed(seed ^ 0xca11);
        LocalSet::new().block_on(&runtime, two_days(seed, rng));
    });
    println!("seeds {seeds:?}");
}

/// What is true, whatever the product believes.
struct Truth {
    world: RefCell<World>,
    /// Every key that was ever published, by its name; and when.
    signers: RefCell<Vec<(Rc<Signer>, Instant)>>,
    /// The names of those that are published now.
    published: RefCell<Vec<&'static str>>,
    is_well: Cell<bool>,
    well_since: Cell<Instant>,
    reviews_well_since: Cell<Option<Instant>>,
    served: Cell<u64>,
    turned_away: Cell<u64>,
}

const NAMES: [&str; 12] = [
    "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11",
];

impl Truth {
    fn keys(&self) -> Value {
        let published = self.published.borrow();
        let signers = self.signers.borrow();
        let keys = signers
            .iter()
            .filter(|(signer, _)| published.contains(&signer.id))
            .map(|(signer, _)| signer.public());
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    fn rotate(&self) {
        let name = NAMES[self.signers.borrow().len() % NAMES.len()];
        let new = (Rc::new(Signer::new(name)), Instant::now());
        self.signers.borrow_mut().push(new);
        self.published.borrow_mut().push(name);
    }

    /// The issuer answers well from now on, with the keys of now.
    fn recover(&self, rng: &mut Rng) {
        let keys = self.keys();
        let world = self.world.borrow();
        world.servers.issuer.is(match rng.u8(..4) {
            0 => Mood::Slow(secs(4.0 * rng.f64()), keys),
            _ => Mood::Answers(keys),
        });
        if !self.is_well.replace(true) {
            self.well_since.set(Instant::now());
        }
    }
}

async fn two_days(seed: u64, mut rng: Rng) {
    let world = World::new(&callers(0), Some(&kubernetes(true)));
    let truth = Rc::new(Truth {
        world: RefCell::new(world),
        signers: RefCell::default(),
        published: RefCell::default(),
        is_well: Cell::new(false),
        well_since: Cell::new(Instant::now()),
        reviews_well_since: Cell::new(Some(Instant::now())),
        served: Cell::new(0),
        turned_away: Cell::new(0),
    });
    truth.rotate();
    truth.recover(&mut rng);
    let cluster = Signer::new("cluster");
    let reading = {
        let world = truth.world.borrow();
        let keys = json!({ "keys": [cluster.public()] });
        world.servers.cluster.is(Mood::Answers(keys));
        let review = review_of("billing", "app");
        world.servers.reviewer.is(Mood::Answers(review));
        world.read()
    };
    reading.await;
    let others = [
        tokio::task::spawn_local(change_moods(Rc::clone(&truth), rng.fork())),
        tokio::task::spawn_local(change_reviews(Rc::clone(&truth), rng.fork())),
        tokio::task::spawn_local(rotate_keys(Rc::clone(&truth), rng.fork())),
    ];
    let end = Instant::now() + DAYS;
    let mut tokens = Tokens::default();
    let mut reads = BTreeMap::new();
    let begun = Instant::now();
    let mut reloads = 0;
    while Instant::now() < end {
        sleep(log_uniform(&mut rng, 0.01, 600.0)).await;
        match rng.u8(..40) {
            0 => {
                reloads += 1;
                let mut world = truth.world.borrow_mut();
                world.reload(&callers(reloads), Some(&kubernetes(true)));
            }
            1..=4 => forge(&truth, seed, &mut rng).await,
            5..=14 => account(&truth, seed, &cluster, &mut tokens).await,
            _ => request(&truth, seed, &mut tokens, &mut rng).await,
        }
        let hour = begun.elapsed().as_secs() / 3600;
        reads.insert(hour, truth.world.borrow().servers.issuer.reads());
    }
    others.iter().for_each(tokio::task::JoinHandle::abort);
    let world = truth.world.borrow();
    let most = |load: &super::servers::Load| load.most.load(SeqCst);
    assert_eq!(
        most(&world.servers.issuer.load),
        1,
        "seed {seed}: reads at once"
    );
    assert_eq!(
        most(&world.servers.cluster.load),
        1,
        "seed {seed}: reads at once"
    );
    let mut before = 0;
    for (hour, read) in reads {
        assert!(
            read - before <= MOST_READS,
            "seed {seed}: {} reads in hour {hour}",
            read - before
        );
        before = read;
    }
    let (served, turned_away) = (truth.served.get(), truth.turned_away.get());
    println!(
        "seed {seed}: {served} served, {turned_away} turned away, {before} reads, {reloads} reloads"
    );
    // A seed in which little happened would prove little.
    assert!(served > 300 && reloads > 5, "seed {seed}");
}

/// The callers after so many reloads: `billing` and `app` always, others before and behind them come and go.
fn callers(reloads: usize) -> Vec<sidebearer::config::Caller> {
    let mut callers = vec![billing(), by_account("app", "billing", "app")];
    if reloads % 2 == 1 {
        callers.push(by_token("aaa", &[("sub", "aaa")]));
    }
    if reloads % 3 == 1 {
        callers.push(by_account("zzz", "z", "z"));
    }
    callers
}

/// The tokens in use, and what the fakes have said about them.
#[derive(Default)]
struct Tokens {
    /// With the name of the key, the signer's index, and the end.
    jwts: Vec<(String, usize, u64)>,
    account: Option<(String, u64)>,
    /// When the account's token was accepted last.
    accepted: HashMap<String, Instant>,
}

/// A request with a token of a key that is published.
async fn request(truth: &Truth, seed: u64, tokens: &mut Tokens, rng: &mut Rng) {
    let now = truth.world.borrow().now();
    tokens.jwts.retain(|(_, _, end)| *end > now);
    if tokens.jwts.len() < 3 {
        let newest = truth.signers.borrow().len() - 1;
        let end = now + rng.u64(60..LIFETIME);
        let claims = truth
            .world
            .borrow()
            .claims(json!({ "exp": end, "jti": rng.u64(..) }));
        let token = truth.signers.borrow()[newest].0.sign(&claims);
        tokens.jwts.push((token, newest, end));
    }
    let (token, signer, end) = &tokens.jwts[rng.usize(..tokens.jwts.len())];
    let (signer, published_at) = truth.signers.borrow()[*signer].clone();
    let last_read = truth.world.borrow().servers.issuer.last_read();
    let key_is_read = last_read.contains(&signer.public());
    let start = Instant::now();
    let told = verify(truth, token).await;
    let waited = start.elapsed();
    assert!(waited <= secs(5.0), "seed {seed}: waited {waited:?}");
    if told == found("billing") {
        truth.served.set(truth.served.get() + 1);
        assert!(
            truth.world.borrow().now() <= end + 30,
            "seed {seed}: after its end"
        );
        return;
    }
    truth.turned_away.set(truth.turned_away.get() + 1);
    assert!(
        !key_is_read,
        "seed {seed}: {told:?} though its key is known"
    );
    let recovered = truth.is_well.get() && truth.well_since.get().elapsed() > RECOVERED;
    let settled = published_at.elapsed() > RECOVERED;
    assert!(
        !(recovered && settled),
        "seed {seed}: {told:?} though the issuer is well"
    );
}

async fn verify(truth: &Truth, token: &str) -> Found {
    // The verifier of now, which a reload may replace meanwhile.
    let pending = truth.world.borrow().begin(token);
    pending.await
}

/// A request with the token of a service account, which is reviewed.
async fn account(truth: &Truth, seed: u64, cluster: &Signer, tokens: &mut Tokens) {
    let now = truth.world.borrow().now();
    if tokens.account.as_ref().is_none_or(|(_, end)| *end <= now) {
        let mut claims = truth.world.borrow().account("billing", "app");
        claims["exp"] = json!(now + 3600);
        tokens.account = Some((cluster.sign(&claims), now + 3600));
    }
    let (token, _) = tokens.account.clone().unwrap();
    let before = tokens.accepted.get(&token).copied();
    let well = truth.reviews_well_since.get();
    let start = Instant::now();
    let told = verify(truth, &token).await;
    let waited = start.elapsed();
    assert!(waited <= secs(5.0), "seed {seed}: waited {waited:?}");
    if told == found("app") {
        truth.served.set(truth.served.get() + 1);
        // Only a review that was asked for now, or lately, counts as one.
        if well.is_some_and(|since| since.elapsed() > secs(20.0)) {
            tokens.accepted.insert(token, start);
        }
        return;
    }
    truth.turned_away.set(truth.turned_away.get() + 1);
    assert!(told.is_unavailable(), "seed {seed}: {told:?}");
    // It may be ten seconds older than we know, and the reviews that we count are those of a server that was well.
    let in_grace = before.is_some_and(|before| start - before < GRACE - secs(25.0));
    assert!(!in_grace, "seed {seed}: {told:?} in its grace");
    let recovered = well.is_some_and(|since| since.elapsed() > secs(20.0));
    assert!(
        !recovered,
        "seed {seed}: {told:?} though the API server is well"
    );
}

/// A token that somebody else made.
async fn forge(truth: &Truth, seed: u64, rng: &mut Rng) {
    let attacker = Signer::new("attacker");
    let kid = if rng.bool() {
        truth.signers.borrow()[0].0.id.to_owned()
    } else {
        rng.u64(..).to_string()
    };
    let claims = truth.world.borrow().claims(json!({}));
    let token = attacker.sign_with(&json!({ "alg": "ES256", "kid": kid }), &claims);
    let told = verify(truth, &token).await;
    assert!(
        told.is_nobody() || told.is_unavailable(),
        "seed {seed}: {told:?} for a forgery"
    );
}

/// Good hours and bad ones of the issuer.
async fn change_moods(truth: Rc<Truth>, mut rng: Rng) {
    loop {
        sleep(log_uniform(&mut rng, 60.0, 40_000.0)).await;
        truth.is_well.set(false);
        for _ in 0..rng.u8(1..4) {
            let bad = match rng.u8(..7) {
                0 => Mood::Fails(TokenErrorKind::Unreachable),
                1 => Mood::Fails(TokenErrorKind::ServerError),
                2 => Mood::Hangs,
                3 => Mood::Answers(json!({ "keys": [] })),
                4 => Mood::Answers(json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] })),
                5 => Mood::Slow(secs(11.0), truth.keys()),
                _ => Mood::Answers(json!("<html>")),
            };
            truth.world.borrow().servers.issuer.is(bad);
            sleep(log_uniform(&mut rng, 1.0, 20_000.0)).await;
        }
        truth.recover(&mut rng);
    }
}

/// A new key now and then; the one before it is published until its tokens have ended.
async fn rotate_keys(truth: Rc<Truth>, mut rng: Rng) {
    loop {
        sleep(log_uniform(&mut rng, 8_000.0, 60_000.0)).await;
        truth.rotate();
        if truth.is_well.get() {
            truth.recover(&mut rng);
        }
        sleep(Duration::from_secs(LIFETIME + 60)).await;
        truth.published.borrow_mut().remove(0);
        if truth.is_well.get() {
            truth.recover(&mut rng);
        }
    }
}

/// Good hours and bad minutes of the API server.
async fn change_reviews(truth: Rc<Truth>, mut rng: Rng) {
    loop {
        sleep(log_uniform(&mut rng, 60.0, 20_000.0)).await;
        truth.reviews_well_since.set(None);
        let bad = match rng.u8(..3) {
            0 => Mood::Fails(TokenErrorKind::Unreachable),
            1 => Mood::Fails(TokenErrorKind::Refused),
            _ => Mood::Hangs,
        };
        truth.world.borrow().servers.reviewer.is(bad);
        sleep(log_uniform(&mut rng, 1.0, 1_500.0)).await;
        let good = Mood::Answers(review_of("billing", "app"));
        truth.world.borrow().servers.reviewer.is(good);
        truth.reviews_well_since.set(Some(Instant::now()));
    }
}
