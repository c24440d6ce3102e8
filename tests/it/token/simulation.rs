//! 30 days of one credential, for many seeds: a server in every mood, a machine that sleeps
//! and whose clock is set, and requests all the while.
//!
//! `SIDEBEARER_SIMULATION_SEEDS` is how many seeds to run (8 unless told), or a range of them:
//! `17..18` runs seed 17 again.

mod pace;
pub(crate) mod seeds;
mod server;
mod short;
mod wire;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use fastrand::Rng;
use sidebearer::config::Refresh;
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::token::{Clock, Token, TokenSource};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::pace::Report;
use self::seeds::{each_seed, paused};
use self::server::Server;
use super::fakes::{VirtualClock, policy, secs};

const DAY: Duration = Duration::from_secs(86_400);
/// The longest back-off with what is added to it, a fetch that was in flight when the server
/// recovered, and the one that succeeds.
const RECOVERED: Duration = Duration::from_secs(330 + 10 + 1);

#[test]
fn thirty_days_of_one_credential() {
    let total = Totals::default();
    let seeds = each_seed(8, |seed| total.add(&simulate(seed)));
    total.say(&seeds);
}

/// Runs one seed and checks what holds over its whole length.
fn simulate(seed: u64) -> Report {
    let runtime = paused(seed);
    // Every fourth one is lazy.
    let refresh = if seed % 4 == 3 {
        Refresh::Lazy
    } else {
        Refresh::Eager
    };
    // Timers that wake every 5 s, as in the product, are most of the work of a quiet month; few
    // seeds have them. It only matters to how late a resume is noticed.
    let longest_sleep = secs(if seed.is_multiple_of(50) { 5.0 } else { 120.0 });
    let rng = Rng::with_seed(seed ^ 0x5eed);
    let report = runtime.block_on(thirty_days(refresh, longest_sleep, rng));
    let broken = report.violations.first();
    assert!(broken.is_none(), "seed {seed} ({refresh:?}): {broken:?}");
    let bound = report.bound(30 * DAY);
    let fetches = report.fetches();
    assert!(
        fetches <= bound,
        "seed {seed} ({refresh:?}): {fetches} fetches, over {bound}: {report:?}"
    );
    // A seed in which little happened would prove little.
    assert!(
        report.successes > 50 && report.failures > 10,
        "seed {seed}: {report:?}"
    );
    report
}

async fn thirty_days(refresh: Refresh, longest_sleep: Duration, mut rng: Rng) -> Report {
    let clock = VirtualClock::with_longest_sleep(longest_sleep);
    let server = Server::new(clock.clone(), rng.fork());
    let source = TokenSource::start(
        "crm",
        policy(refresh),
        server.clone(),
        Arc::new(ConcurrencyLimit::new(1)),
        clock.clone(),
        Metrics::new().credential("crm"),
    );
    let mut others = JoinSet::new();
    others.spawn(server.clone().change_moods(rng.fork()));
    others.spawn(disturb(clock.clone(), server.clone(), rng.fork()));

    let end = Instant::now() + 30 * DAY;
    let mut requests = JoinSet::new();
    while Instant::now() < end && !server.is_broken() {
        sleep(log_uniform(&mut rng, 0.001, 3600.0)).await;
        // Mostly one at a time, sometimes a burst.
        let burst = if rng.u8(..) < 8 { rng.u8(1..50) } else { 1 };
        for _ in 0..burst {
            requests.spawn(request(
                refresh,
                source.clone(),
                clock.clone(),
                server.clone(),
            ));
        }
        while requests.try_join_next().is_some() {}
    }
    others.abort_all();
    while let Some(request) = requests.join_next().await {
        request.expect("no panic");
    }
    server.report()
}

/// One request: what it is given, and when.
async fn request(
    refresh: Refresh,
    source: Arc<TokenSource>,
    clock: Arc<VirtualClock>,
    server: Arc<Server>,
) {
    let recovered = server
        .healthy_for()
        .is_some_and(|healthy| healthy > RECOVERED);
    let held = source.current();
    server.check(
        !recovered || held.is_some() || refresh == Refresh::Lazy,
        || {
            format!(
                "no token though the server recovered: {:?}",
                source.status()
            )
        },
    );
    let asked = Instant::now();
    let token = match held {
        Some(token) => Ok(token),
        None => source.acquire().await,
    };
    let waited = asked.elapsed();
    server.answered(token.is_ok());
    server.check(waited <= secs(5.002), || format!("waited {waited:?}"));
    match token {
        Ok(token) => check_token(&token, &clock, &server),
        Err(unavailable) => server.check(!recovered, || {
            format!("{unavailable:?} though the server recovered")
        }),
    }
}

fn check_token(token: &Token, clock: &VirtualClock, server: &Server) {
    let now = clock.now();
    let truth = server.true_expiry(token.access_token().expose());
    server.check(now.boot < truth, || {
        format!("handed out at {now:?} what expired at {truth:?}")
    });
    server.check(
        !now.reached(token.expires()) && token.is_usable(now),
        || format!("handed out at {now:?}: {token:?}"),
    );
}

/// Suspends the machine and sets its wall clock, every two days or so.
async fn disturb(clock: Arc<VirtualClock>, server: Arc<Server>, mut rng: Rng) {
    loop {
        sleep(log_uniform(&mut rng, 600.0, 800_000.0)).await;
        match rng.u8(..3) {
            0 => clock.suspend(log_uniform(&mut rng, 1.0, 30_000.0)),
            1 => clock.set_wall(rng.i64(1..7200)),
            _ => clock.set_wall(-rng.i64(1..7200)),
        }
        server.disturbed();
        // Not twice within what the checks allow for one.
        sleep_until(Instant::now() + RECOVERED).await;
    }
}

pub(crate) fn log_uniform(rng: &mut Rng, least: f64, most: f64) -> Duration {
    secs(least * (most / least).powf(rng.f64()))
}

/// What happened over all seeds.
#[derive(Default)]
struct Totals {
    successes: AtomicU64,
    failures: AtomicU64,
    served: AtomicU64,
    turned_away: AtomicU64,
}

impl Totals {
    fn add(&self, report: &Report) {
        self.successes.fetch_add(report.successes, SeqCst);
        self.failures.fetch_add(report.failures, SeqCst);
        self.served.fetch_add(report.served, SeqCst);
        self.turned_away.fetch_add(report.turned_away, SeqCst);
    }

    fn say(&self, seeds: &Range<u64>) {
        let [successes, failures, served, turned_away] = [
            &self.successes,
            &self.failures,
            &self.served,
            &self.turned_away,
        ]
        .map(|count| count.load(SeqCst));
        println!(
            "seeds {seeds:?}: {successes} tokens, {failures} failed fetches, \
             {served} requests served, {turned_away} turned away"
        );
    }
}
