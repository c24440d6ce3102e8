//! Everything goes wrong at once: two hundred clients, a configuration that keeps changing, servers
//! that die, hang, reset and come back, tokens of two seconds, and a restart in the middle.
//!
//! What may not happen, whatever is injected: a response that belongs to another request, a request
//! that arrives without its token or with a foreign one, a body that was cut and looks complete, an
//! order that was carried out twice. What is not a success must be explained by a fault.
//!
//! `SIDEBEARER_CHAOS_SECONDS` is how long (10 unless told), `SIDEBEARER_CHAOS_SEED` runs the same
//! faults again.

mod clients;
mod ledger;
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::process::Process;
use crate::support::{eventually, loopback};
use ledger::Ledger;
use servers::{Mood, Servers};

const CLIENTS: usize = 200;

#[tokio::test]
async fn whatever_goes_wrong_no_response_is_wrong_and_every_failure_has_its_reason() {
    let length = Duration::from_secs(variable("SIDEBEARER_CHAOS_SECONDS").unwrap_or(10));
    let seed = variable("SIDEBEARER_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SIDEBEARER_CHAOS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let ledger = Arc::new(Ledger::default());
    let world = World {
        servers: Servers::start(&ledger),
        address: loopback(),
        admin: loopback(),
    };

    let first = world.run(rng.u64(..)).await;
    let clients = clients::start(CLIENTS, world.address, &ledger, &world.servers, &mut rng);
    let faults = tokio::spawn(inject(world.servers.clone(), rng.fork()));

    let end = Instant::now() + length;
    world.churn(&first, end - length / 2, rng.fork()).await;
    let wrong = ledger.wrong();
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Clients that are connected finish. Those that come in the meantime are refused.
    ledger.restarting(true);
    first.signal(Signal::TERM);
    let ended = first.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let second = world.run(rng.u64(..)).await;
    ledger.restarting(false);
    world.churn(&second, end, rng.fork()).await;

    faults.abort();
    world.servers.calm();
    // Health is not lost for good, wherever it went wrong.
    for path in ["/alpha", "/beta", "/open"] {
        eventually("it works again", async || {
            let answer = clients::once(world.address, path).await;
            answer.is_ok_and(|status| status == 200)
        })
        .await;
    }
    for client in clients {
        client.abort();
    }
    let (log, memory) = (second.log(), resident(second.id()));
    println!("{}", ledger.summary());
    assert_eq!(ledger.wrong(), Vec::<String>::new(), "{log}");
    ledger.was_worth_it(&world.servers);
    // 200 clients and their bodies of 64 KiB at most, each way.
    assert!(memory < 200 << 20, "{memory} bytes");
}

struct World {
    servers: Servers,
    address: SocketAddr,
    admin: SocketAddr,
}

impl World {
    async fn run(&self, number: u64) -> Process {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        let process = Process::start_in(dir, &self.config(number)).await;
        eventually("ready", async || {
            let answer = clients::once(self.admin, "/readyz").await;
            answer.is_ok_and(|status| status == 200)
        })
        .await;
        process
    }

    /// Changes what is harmless to requests, and now and then writes nonsense.
    async fn churn(&self, process: &Process, until: Instant, mut rng: Rng) {
        let file = process.dir().join("sidebearer.toml");
        while Instant::now() < until {
            sleep(Duration::from_millis(rng.u64(50..500))).await;
            let mut text = self.config(rng.u64(..));
            if rng.u8(..5) == 0 {
                text.truncate(rng.usize(..text.len()));
                // What is cut off between two tables would be whole.
                text.push_str("\n[\"");
            }
            let beside = process.dir().join("sidebearer.toml.new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, &file).unwrap();
        }
    }

    fn config(&self, number: u64) -> String {
        let Self {
            servers,
            address,
            admin,
        } = self;
        // Some bits for each thing that changes: pools, credentials and routes, not all at once.
        let (pool, scope) = (8 + number % 3, number >> 8 & 3);
        let (retry, more) = (200 + (number >> 16) % 3, number >> 24 & 7);
        format!(
            r#"
[server]
workers = 2
drain_timeout = "10s"

[log]
access = "off"

[admin]
address = "{admin}"

[[listeners]]
name = "app"
address = "{address}"

[[routes]]
path = "/alpha"
upstream = "alpha"

[[routes]]
path = "/beta"
upstream = "beta"

[[routes]]
path = "/open"
upstream = "open"

[[routes]]
path = "/more/{more}"
upstream = "open"

[upstreams.alpha]
url = "http://{alpha}"
credential = "shaky"
response_timeout = "3s"
stream_idle_timeout = "3s"
pool_idle = {pool}

[upstreams.beta]
url = "http://{beta}"
http = "2"
credential = "firm"
response_timeout = "3s"
stream_idle_timeout = "3s"

[upstreams.open]
url = "http://{open}"
response_timeout = "3s"
stream_idle_timeout = "3s"
replay_buffer = "{retry}KiB"

[credentials.shaky]
token_endpoint = "http://{shaky}/token"
client_id = "shaky"
client_secret = {{ file = "secret" }}
scopes = ["s{scope}"]
fetch_timeout = "2s"
# Whether the process is ready is not for a server to say that has faults.
required = false

[credentials.firm]
token_endpoint = "http://{firm}/token"
client_id = "firm"
client_secret = {{ file = "secret" }}
"#,
            alpha = servers.alpha.address,
            beta = servers.beta.address,
            open = servers.open.address,
            shaky = servers.shaky.address,
            firm = servers.firm.address,
        )
    }
}

/// Faults, a few at a time. The server of the credential `firm` has none: its tokens have no excuse.
async fn inject(servers: Servers, mut rng: Rng) {
    loop {
        sleep(Duration::from_millis(rng.u64(50..400))).await;
        let faulty = servers.faulty();
        let server = faulty[rng.usize(..faulty.len())].clone();
        let mood = Mood::FAULTS[rng.usize(..Mood::FAULTS.len())];
        let length = Duration::from_millis(rng.u64(50..1200));
        if server.is_calm() {
            server.turn(mood);
            tokio::spawn(async move {
                sleep(length).await;
                server.turn(Mood::Healthy);
            });
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

/// The memory of a process, in bytes.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.split("VmRSS:").nth(1).unwrap().trim_start();
    resident
        .split(' ')
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        << 10
}
