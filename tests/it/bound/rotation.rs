//! Good certificates, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::world::{World, get, status, write};
use crate::support::client::{self, Connection};
use crate::support::eventually;
use crate::support::sidebearer::Sidebearer;

/// Sends requests until it is stopped; every answer must be a 200.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(sidebearer: &Sidebearer) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let address = sidebearer.address();
        let client = |number: usize| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            let path = ["/http1", "/http2"][number % 2];
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                while !stop.load(Ordering::SeqCst) {
                    let answer = connection.get(path).await.unwrap();
                    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let tasks = (0..8).map(client).collect();
        Self {
            stop,
            answers,
            tasks,
        }
    }

    /// Waits until every client has got on.
    async fn goes_on(&self) {
        let before = self.answers.load(Ordering::SeqCst);
        eventually("requests are answered", async || {
            self.answers.load(Ordering::SeqCst) > before + 100
        })
        .await;
    }

    async fn ends(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_request_fails_while_certificates_rotate() {
    let world = World::new();
    let mut certified_key = world.certificate();
    world.server.knows(&certified_key);
    let sidebearer = world.start(&certified_key);
    let load = Load::start(&sidebearer);
    for round in 0..5 {
        load.goes_on().await;
        let fetched = world.server.requests();
        certified_key = world.certificate();
        world.server.knows(&certified_key);
        match round % 2 {
            0 => write(&sidebearer, &certified_key),
            // In place, and for a moment half.
            _ => {
                for (name, text) in [
                    ("client.pem", &certified_key.certificate_pem),
                    ("client.key", &certified_key.key_pem),
                ] {
                    let path = sidebearer.dir().join(name);
                    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
                    load.goes_on().await;
                    std::fs::write(&path, text).unwrap();
                }
            }
        }
        world.only(&sidebearer, &certified_key).await;
        assert_eq!(
            world.server.requests() - fetched,
            1,
            "one token a certificate"
        );
    }
    load.goes_on().await;
    load.ends().await;
    assert!(world.shown().len() > 600);
    let rejections = "sidebearer_token_rejections_total{credential=\"bound\"}";
    assert_eq!(sidebearer.metric(rejections).await, 0.0);
    let page = sidebearer.page("/metrics").await;
    for code in ["502", "503", "504"] {
        let code = format!("code=\"{code}\"");
        let mut counted = page.lines().filter(|line| line.contains(&code));
        assert!(counted.all(|line| line.ends_with(" 0")), "{page}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_at_once() {
    let (world, _, second, sidebearer) = World::serving().await;
    world.server.knows(&second);
    // Queued behind the second look at the configuration that every start takes.
    sidebearer.reload().await.unwrap();

    write(&sidebearer, &second);
    eventually("it is in use", async || {
        status(&sidebearer).await["certificate"] == second.thumbprint()
    })
    .await;
    world.only(&sidebearer, &second).await;
    world.shown();
}

#[tokio::test]
async fn requests_in_flight_finish_on_the_certificate_they_began_with() {
    let world = World::new();
    let (first, second) = (world.certificate(), world.certificate());
    world.server.knows(&first);
    world.server.knows(&second);
    let sidebearer = world.start(&first);
    for (path, api) in [("/http1", &world.http1), ("/http2", &world.http2)] {
        get(&sidebearer, path).await;
        api.hold();
    }
    let requests = ["/http1", "/http2"].map(|path| {
        let address = sidebearer.address();
        tokio::spawn(async move { client::get(address, path).await })
    });
    eventually("both requests are under way", async || {
        world.http1.held() + world.http2.held() == 2
    })
    .await;

    write(&sidebearer, &second);
    eventually("the other certificate is in use", async || {
        status(&sidebearer).await["certificate"] == second.thumbprint()
    })
    .await;
    world.http1.let_go();
    world.http2.let_go();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    world.only(&sidebearer, &second).await;
    assert_eq!(
        world
            .shown()
            .iter()
            .filter(|it| **it == first.thumbprint())
            .count(),
        4
    );
}

#[tokio::test]
async fn the_certificate_of_a_lazy_credential_rotates_too() {
    let world = World::new();
    let (first, second) = (world.certificate(), world.certificate());
    world.server.knows(&first);
    let sidebearer = world.start_with(&first, "refresh = \"lazy\"\n");
    get(&sidebearer, "/http1").await;
    let load = Load::start(&sidebearer);
    load.goes_on().await;

    write(&sidebearer, &second);
    eventually("the other certificate stands by, refused", async || {
        status(&sidebearer).await["rotation"]["state"] == "refused"
    })
    .await;
    load.goes_on().await;
    world.server.knows(&second);
    sidebearer.reload().await.unwrap();
    world.only(&sidebearer, &second).await;
    load.ends().await;
    world.shown();
}

#[tokio::test]
async fn the_same_certificate_written_again_changes_nothing() {
    let world = World::new();
    let certified_key = world.certificate();
    world.server.knows(&certified_key);
    let sidebearer = world.start(&certified_key);
    get(&sidebearer, "/http1").await;
    let text = format!("# renewed\n{}", certified_key.certificate_pem);
    sidebearer.write("client.pem", &text);
    sidebearer.reload().await.unwrap();
    get(&sidebearer, "/http1").await;
    assert!(status(&sidebearer).await["rotation"].is_null());
    assert_eq!(world.server.requests(), 1);
    assert!(sidebearer.connects("http1").await <= 2.0, "one a shard");
}
