//! Whose a request inside of a CONNECT is, where the API server of Kubernetes reviews the token that opened it.

use std::cell::Cell;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::jose::SigningKey;
use crate::token::{Clock, SystemClock};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const TOKEN_OF_POD: &str = "token-of-the-pod";

/// What the API server does when it is asked for a review.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Knows,
    Denies,
    IsAway,
}

/// An API server in memory: its keys, and what it says about tokens.
struct InMemoryCluster {
    key: SigningKey,
    mood: Cell<Mood>,
    reviews: Cell<usize>,
}

impl InMemoryCluster {
    fn address() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 6443).into()
    }

    fn start() -> Rc<Self> {
        let server = Rc::new(Self {
            key: SigningKey::generate_es256(),
            mood: Cell::new(Mood::Knows),
            reviews: Cell::default(),
        });
        let mut listener = InMemoryListener::bind(Self::address());
        let answering = Rc::clone(&server);
        spawn_local(async move {
            loop {
                let mut stream = listener.accept().await;
                let (head, body) = read_message(&mut stream).await;
                let (status, answer) = answering.answer(&head, &body);
                let answer = answer.to_string();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{answer}",
                    answer.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        server
    }

    fn answer(&self, head: &str, body: &str) -> (u16, Value) {
        assert!(
            head.contains(&format!("authorization: bearer {TOKEN_OF_POD}\r\n")),
            "{head}"
        );
        let keys = "/openid/v1/jwks";
        if head.starts_with("GET /.well-known/openid-configuration ") {
            let uri = format!("http://{}{keys}", Self::address());
            return (200, json!({ "issuer": ISSUER, "jwks_uri": uri }));
        }
        if head.starts_with(&format!("GET {keys} ")) {
            return (200, json!({ "keys": [self.key.public_jwk().unwrap()] }));
        }
        assert!(head.starts_with("POST "), "{head}");
        self.reviews.set(self.reviews.get() + 1);
        if self.mood.get() == Mood::IsAway {
            return (503, json!("away"));
        }
        let asked: Value = serde_json::from_str(body).unwrap();
        let status = json!({
            "authenticated": self.mood.get() == Mood::Knows,
            "user": { "username": "system:serviceaccount:billing:app" },
            "audiences": asked["spec"]["audiences"],
        });
        (201, json!({ "kind": "TokenReview", "status": status }))
    }

    /// A token of `billing/app`, good for a day.
    fn token(&self) -> String {
        let claims = json!({
            "iss": ISSUER,
            "aud": ["sidebearer"],
            "sub": "system:serviceaccount:billing:app",
            "exp": SystemClock.now().wall.as_secs() + 24 * 3600,
            "kubernetes.io": { "namespace": "billing", "serviceaccount": { "name": "app", "uid": "1" } },
        });
        let header = json!({ "alg": self.key.algorithm().name() });
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

#[test]
fn each_request_inside_of_a_connect_is_of_whom_the_api_server_knows_at_that_moment() {
    on_paused_time(async {
        serve_ok();
        let server = InMemoryCluster::start();
        let pod = tempfile::tempdir().unwrap();
        std::fs::write(pod.path().join("token"), TOKEN_OF_POD).unwrap();
        let config = format!(
            "[kubernetes]\nreview = true\nreview_grace = \"60s\"\napi_server = \"http://{}\"\ntoken_file = \"{}\"\n\
             [callers.billing]\nservice_account = \"billing/app\"\n\
             [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nkind = \"forward\"\ncallers = [\"billing\"]\n\
             [upstreams.api]\nurl = \"http://{}\"\n",
            InMemoryCluster::address(),
            pod.path().join("token").display(),
            api()
        );
        let shard = InMemoryShard::start(&config);
        let token = server.token();
        let target = api();
        let connect = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
        );
        let mut client = shard.connect();
        client.write_all(connect.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let get = format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let mut inside = async || {
            let (head, _) = exchange(&mut client, get.as_bytes()).await;
            head[9..12].to_owned()
        };
        let reviews = || server.reviews.get();

        // What the API server has said is known for ten seconds.
        assert_eq!(inside().await, "200");
        assert_eq!(reviews(), 1);
        sleep(secs(11)).await;
        assert_eq!(inside().await, "200");
        assert_eq!(reviews(), 2);

        // While it is away its last word counts, for the grace.
        server.mood.set(Mood::IsAway);
        for _ in 0..4 {
            sleep(secs(12)).await;
            let start = Instant::now();
            assert_eq!(inside().await, "200");
            assert!(start.elapsed() <= secs(2), "{:?}", start.elapsed());
        }
        assert!(reviews() > 2);
        sleep(secs(15)).await;
        assert_eq!(inside().await, "503");

        // Then it says what it says.
        server.mood.set(Mood::Knows);
        sleep(secs(12)).await;
        assert_eq!(inside().await, "200");
        server.mood.set(Mood::Denies);
        sleep(secs(12)).await;
        assert_eq!(inside().await, "407");
    });
}
