//! A hundred reloads while clients keep requesting.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::support::client::Connection;
use crate::support::{any_port, eventually, loopback};

const ROUNDS: usize = 100;

#[tokio::test]
async fn no_request_fails_in_a_hundred_reloads() {
    let world = World::new();
    let volume = Volume::new();
    volume.publish(&world.config(0));
    let sidebearer = Sidebearer::start_at(volume.dir, volume.path.clone());
    let volume = volume.path;
    sidebearer.ready().await;

    let clients = Clients::default();
    let mut tasks = Vec::new();
    for (path, bodies) in [
        ("/fixed", &["fixed"][..]),
        ("/moving", &["even", "odd"]),
        ("/renewed", &["renewed"]),
    ] {
        tasks.push(clients.keep_alive(world.stays, path, bodies));
        tasks.push(clients.connecting(world.stays, path, bodies));
    }
    let passing = clients.passing(world.comes_and_goes);

    let mut refused = 0;
    for round in 1..=ROUNDS {
        // Every client gets on with its requests in every round.
        clients.answer_some().await;
        if round % 5 == 0 {
            let before = generation(&sidebearer).await;
            let (bad, complaint) = world.bad(round / 5);
            publish(&volume, round, &bad);
            let answer = client::post(sidebearer.admin(), "/reload", "").await;
            refused += 1;
            assert_eq!(answer.status, 422, "{}", answer.text());
            assert!(answer.text().contains(complaint), "{}", answer.text());
            let (outcome, diagnostics) = outcome(&sidebearer).await;
            assert_eq!(outcome, "failure");
            assert!(diagnostics.contains(complaint), "{diagnostics}");
            assert_eq!(generation(&sidebearer).await, before);
            assert!(reloads(&sidebearer, "failure").await >= f64::from(refused));
            continue;
        }
        if round % 7 == 0 {
            rotate(&volume, round, &world.fixed);
        }
        publish(&volume, round, &world.config(round));
        if round % 10 == 3 {
            eventually("the swapped directory is noticed", async || {
                let page = sidebearer.page("/status").await;
                page.contains(&format!("/round/{round}\""))
            })
            .await;
        } else {
            let answer = client::post(sidebearer.admin(), "/reload", "").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let round_path = format!("/round/{round}");
        assert_eq!(text(world.stays, &round_path).await.1, "fixed");
    }
    clients.answer_some().await;
    clients.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let answered = passing.await.unwrap();

    assert!(generation(&sidebearer).await > (ROUNDS - ROUNDS / 5) as u64);
    assert_eq!(world.fixed.requests(), 1, "the unchanged credential");
    let rejections = "sidebearer_token_rejections_total{credential=\"fixed\"}";
    assert_eq!(sidebearer.metric(rejections).await, 0.0);
    assert!(answered > 0, "the listener that came and went was used");
    let begun = world.passing_api.seen().len();
    assert_eq!(answered, begun, "connections were closed between requests");
}

struct World {
    stays: SocketAddr,
    comes_and_goes: SocketAddr,
    taken: TcpListener,
    fixed: Idp,
    renewed: Idp,
    fixed_api: Api,
    even_api: Api,
    odd_api: Api,
    renewed_api: Api,
    passing_api: Api,
}

impl World {
    fn new() -> Self {
        let (fixed, renewed) = (Idp::start(), Idp::start());
        Self {
            stays: loopback(),
            comes_and_goes: loopback(),
            taken: TcpListener::bind(loopback()).unwrap(),
            fixed_api: api("fixed", &fixed),
            even_api: api("even", &fixed),
            odd_api: api("odd", &fixed),
            passing_api: api("passing", &fixed),
            renewed_api: api("renewed", &renewed),
            fixed,
            renewed,
        }
    }

    fn config(&self, round: usize) -> String {
        let moving = if round.is_multiple_of(2) {
            &self.even_api
        } else {
            &self.odd_api
        };
        let mut config = [
            format!("[admin]\naddress = \"{}\"\n\n", any_port()),
            listener("stays", self.stays),
            route("/fixed", "fixed"),
            route("/moving", "moving"),
            route("/renewed", "renewed"),
            route(&format!("/round/{round}"), "fixed"),
            upstream("fixed", &self.fixed_api.url(), "fixed"),
            upstream("moving", &moving.url(), "fixed"),
            upstream("renewed", &self.renewed_api.url(), "renewed"),
            credential("fixed", &self.fixed).replace("\"secret\"", "\"rotating\""),
            credential("renewed", &self.renewed),
        ]
        .concat();
        config += &format!("audience = \"round-{}\"\n\n", round / 3);
        if round % 4 < 2 {
            config += &listener("passing", self.comes_and_goes);
            config += &route("/passing", "passing");
            config += &upstream("passing", &self.passing_api.url(), "fixed");
        }
        config
    }

    /// A configuration that is refused, and what is said of it.
    fn bad(&self, kind: usize) -> (String, &'static str) {
        let mut config = self.config(0);
        let complaint = match kind % 4 {
            0 => {
                config += "[upstreams.";
                "expected"
            }
            1 => {
                config += "[upstreams.more]\nurl = \"http://127.0.0.1\"\nulr = 1\n";
                "ulr"
            }
            2 => {
                config += &listener("late", self.taken.local_addr().unwrap());
                "cannot bind"
            }
            _ => {
                config += "[credentials.more]\ntoken_endpoint = \"http://127.0.0.1/\"\n\
                           client_id = \"x\"\nclient_secret = { file = \"no-such-file\" }\n";
                "cannot be read from"
            }
        };
        (config, complaint)
    }
}

/// A directory as Kubernetes mounts it.
struct Volume {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Volume {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::create_dir(&path).unwrap();
        for secret in ["secret", "rotating"] {
            fs::write(path.join(secret), "s3cret").unwrap();
        }
        symlink("..data/sidebearer.toml", path.join("sidebearer.toml")).unwrap();
        Self { dir, path }
    }

    fn publish(&self, config: &str) {
        publish(&self.path, 0, config);
    }
}

/// Swaps `..data` as the kubelet does, and removes what it named before.
fn publish(volume: &Path, round: usize, config: &str) {
    let before = fs::read_link(volume.join("..data"));
    let name = format!("..{round}");
    fs::create_dir(volume.join(&name)).unwrap();
    fs::write(volume.join(&name).join("sidebearer.toml"), config).unwrap();
    symlink(&name, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if let Ok(before) = before {
        fs::remove_dir_all(volume.join(before)).unwrap();
    }
}

fn rotate(volume: &Path, round: usize, idp: &Idp) {
    let secret = format!("s3cret-{round}");
    fs::write(volume.join("rotating.new"), &secret).unwrap();
    fs::rename(volume.join("rotating.new"), volume.join("rotating")).unwrap();
    idp.rotate_secret(&secret);
}

/// Clients that request until they are told to stop, and count their answers.
#[derive(Default)]
struct Clients {
    stop: Arc<AtomicBool>,
    counts: std::sync::Mutex<Vec<Arc<AtomicUsize>>>,
}

impl Clients {
    fn keep_alive(
        &self,
        at: SocketAddr,
        path: &'static str,
        bodies: &'static [&str],
    ) -> JoinHandle<()> {
        let (stop, count) = self.count();
        tokio::spawn(async move {
            let mut connection = Connection::open(at).await;
            while !stop.load(Ordering::SeqCst) {
                let answer = connection.get(path).await.unwrap();
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert!(bodies.contains(&answer.text().as_str()), "{path}");
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    }

    fn connecting(
        &self,
        at: SocketAddr,
        path: &'static str,
        bodies: &'static [&str],
    ) -> JoinHandle<()> {
        let (stop, count) = self.count();
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let answer = client::get(at, path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert!(bodies.contains(&answer.text().as_str()), "{path}");
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    }

    /// Uses a listener that is not always there; how many answers it got.
    fn passing(&self, at: SocketAddr) -> JoinHandle<usize> {
        let stop = Arc::clone(&self.stop);
        tokio::spawn(async move {
            let mut answered = 0;
            while !stop.load(Ordering::SeqCst) {
                let Ok(stream) = TcpStream::connect(at).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let mut connection = Connection::over(stream).await;
                while !stop.load(Ordering::SeqCst)
                    && let Ok(answer) = connection.get("/passing").await
                {
                    assert_eq!((answer.status, answer.text().as_str()), (200, "passing"));
                    answered += 1;
                }
            }
            answered
        })
    }

    fn count(&self) -> (Arc<AtomicBool>, Arc<AtomicUsize>) {
        let count = Arc::<AtomicUsize>::default();
        self.counts.lock().unwrap().push(Arc::clone(&count));
        (Arc::clone(&self.stop), count)
    }

    /// Waits until each of them has had another answer; one that failed never has.
    async fn answer_some(&self) {
        let counts = self.counts.lock().unwrap().clone();
        let before: Vec<_> = counts
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect();
        eventually("every client gets an answer", async || {
            let mut pairs = counts.iter().zip(&before);
            pairs.all(|(count, before)| count.load(Ordering::SeqCst) > *before)
        })
        .await;
    }
}
