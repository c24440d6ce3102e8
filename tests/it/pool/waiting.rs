//! Requests that wait for a connection.

use super::*;

/// Makes the handshake of its first connection, where a request to `/wait` waits for the gate, and
/// takes the others without a word.
struct Reluctant {
    address: std::net::SocketAddr,
    gate: Arc<Semaphore>,
    taken: Arc<AtomicUsize>,
    ca: Ca,
}

impl Reluctant {
    fn start() -> Self {
        let ca = Ca::new();
        let acceptor = TlsAcceptor::from(Arc::new(ca.certificate(&["localhost"]).server(&[])));
        let (gate, taken) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
        let (open, count) = (Arc::clone(&gate), Arc::clone(&taken));
        let address = server::bytes(move |number, stream| {
            let (acceptor, open) = (acceptor.clone(), Arc::clone(&open));
            count.fetch_add(1, SeqCst);
            async move {
                if number > 0 {
                    std::future::pending::<()>().await;
                }
                let mut stream = acceptor.accept(stream).await.unwrap();
                loop {
                    let head = read_head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    if head.starts_with("GET /wait ") {
                        open.acquire().await.unwrap().forget();
                    }
                    stream.write_all(OK).await.unwrap();
                }
            }
        });
        Self {
            address,
            gate,
            taken,
            ca,
        }
    }

    /// What has learnt from one request that HTTP/1.1 is spoken.
    async fn proxied(&self, lines: &str) -> Sidebearer {
        let ca = self.ca.file();
        let lines = format!("{}\n{lines}", trusting(&ca));
        let sidebearer = Sidebearer::start(&config(&format!("https://{}", self.address), &lines));
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        sidebearer
    }
}

/// A request that keeps the one good connection.
async fn holding(sidebearer: &Sidebearer) -> tokio::task::JoinHandle<client::Answer> {
    let first = tokio::spawn(client::get(sidebearer.address(), "/wait"));
    let active = r#"sidebearer_upstream_connections{state="active",upstream="api"}"#;
    eventually("it is under way", async || {
        sidebearer.metric(active).await == 1.0
    })
    .await;
    first
}

fn trusting(ca: &std::path::Path) -> String {
    let ca = ca.display();
    format!("tls = {{ ca_file = \"{ca}\", server_name = \"localhost\" }}")
}

#[tokio::test]
async fn who_waits_takes_the_connection_that_another_gives_back() {
    let api = Reluctant::start();
    let sidebearer = api.proxied("connect_timeout = \"10m\"").await;
    let address = sidebearer.address();
    let first = holding(&sidebearer).await;
    let others: Vec<_> = (0..5)
        .map(|_| tokio::spawn(client::get(address, "/")))
        .collect();
    eventually("they wait for connections", async || {
        api.taken.load(SeqCst) == 6
    })
    .await;
    api.gate.add_permits(1);
    for request in others.into_iter().chain([first]) {
        let answer = timeout(PATIENCE, request).await.expect("it was served");
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(connects(&sidebearer).await, 1.0);
}

#[tokio::test]
async fn no_more_than_max_connecting_are_opened_at_once_and_nobody_waits_for_longer() {
    let api = Reluctant::start();
    let lines = "max_connecting = 2\nconnect_timeout = \"1s\"";
    let sidebearer = api.proxied(lines).await;
    let address = sidebearer.address();
    let first = holding(&sidebearer).await;
    let others: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client::get(address, "/")))
        .collect();
    for request in others {
        let answer = timeout(PATIENCE, request).await.expect("it has an end");
        let answer = answer.unwrap();
        assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"));
    }
    // Two, and two more at most when the first had failed.
    let opened = api.taken.load(SeqCst) - 1;
    assert!((2..=4).contains(&opened), "{opened}");
    api.gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_burst_is_served_by_few_connections_at_a_time() {
    let ca = Ca::new();
    let tls = ca.certificate(&["localhost"]).server(&[]);
    let api = Api::with_tls(Some(tls), |_| response(200, "ok"));
    let lines = format!("max_connecting = 1\n{}", trusting(&ca.file()));
    let sidebearer = Sidebearer::start(&config(&format!("https://{}", api.address), &lines));
    let address = sidebearer.address();
    let requests: Vec<_> = (0..200)
        .map(|_| tokio::spawn(client::get(address, "/")))
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    eventually("what was opened for it is kept", async || {
        idle(&sidebearer).await == connects(&sidebearer).await
    })
    .await;
}

#[tokio::test]
async fn the_failure_of_an_older_attempt_is_not_told_to_who_came_later() {
    const PATIENT: Duration = Duration::from_secs(2);
    let api = Reluctant::start();
    let sidebearer = api.proxied("connect_timeout = \"2s\"").await;
    let address = sidebearer.address();
    let first = holding(&sidebearer).await;
    let older = tokio::spawn(client::get(address, "/wait"));
    eventually("one is opened for it", async || api.taken.load(SeqCst) == 2).await;
    // So that the one attempt is older than the other.
    tokio::time::sleep(PATIENT / 4).await;
    let started = tokio::time::Instant::now();
    let younger = tokio::spawn(client::get(address, "/"));
    eventually("one more is opened", async || api.taken.load(SeqCst) == 3).await;
    // The older one goes on with what the first gives back.
    api.gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(younger.await.unwrap().status, 504);
    assert!(started.elapsed() >= PATIENT, "{:?}", started.elapsed());
    api.gate.add_permits(1);
    assert_eq!(older.await.unwrap().status, 200);
}
