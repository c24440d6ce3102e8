//! Whose a request inside of a CONNECT is, where the API server of Kubernetes reviews the token that opened it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

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

/// A forward listener that lets in `billing/app` alone, which [`InMemoryCluster`] reviews with a grace of a minute.
struct ReviewedListener {
    cluster: Rc<InMemoryCluster>,
    shard: InMemoryShard,
    _pod: TempDir,
}

impl ReviewedListener {
    /// `listener` is more of the listener, and `rest` the rest of the configuration.
    fn start(listener: &str, rest: &str) -> Self {
        let cluster = InMemoryCluster::start();
        let pod = tempfile::tempdir().unwrap();
        std::fs::write(pod.path().join("token"), TOKEN_OF_POD).unwrap();
        let shard = InMemoryShard::start(&format!(
            "[kubernetes]\nreview = true\nreview_grace = \"60s\"\napi_server = \"http://{}\"\ntoken_file = \"{}\"\n\
             [callers.billing]\nservice_account = \"billing/app\"\n\
             [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nkind = \"forward\"\ncallers = [\"billing\"]\n{listener}\n\
             {rest}",
            InMemoryCluster::address(),
            pod.path().join("token").display(),
        ));
        Self {
            cluster,
            shard,
            _pod: pod,
        }
    }

    /// What a CONNECT with a token of `billing/app` has opened.
    async fn connect(&self, target: &str) -> DuplexStream {
        let token = self.cluster.token();
        let connect = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
        );
        let mut client = self.shard.connect();
        client.write_all(connect.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        client
    }

    /// Asks for `/` of `host` inside of it while the API server changes its mind.
    async fn asks_inside<S>(&self, mut client: S, host: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let get = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut inside = async || {
            let (head, _) = exchange(&mut client, get.as_bytes()).await;
            head[9..12].to_owned()
        };
        let cluster = &self.cluster;
        let reviews = || cluster.reviews.get();

        // What the API server has said is known for ten seconds.
        assert_eq!(inside().await, "200");
        assert_eq!(reviews(), 1);
        sleep(secs(11)).await;
        assert_eq!(inside().await, "200");
        assert_eq!(reviews(), 2);

        // While it is away its last word counts, for the grace.
        cluster.mood.set(Mood::IsAway);
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
        cluster.mood.set(Mood::Knows);
        sleep(secs(12)).await;
        assert_eq!(inside().await, "200");
        cluster.mood.set(Mood::Denies);
        sleep(secs(12)).await;
        assert_eq!(inside().await, "407");
    }
}

#[test]
fn each_request_inside_of_a_connect_is_of_whom_the_api_server_knows_at_that_moment() {
    on_paused_time(async {
        serve_ok();
        let target = api().to_string();
        let reviewed =
            ReviewedListener::start("", &format!("[upstreams.api]\nurl = \"http://{target}\"\n"));
        let client = reviewed.connect(&target).await;
        reviewed.asks_inside(client, &target).await;
    });
}

#[test]
fn each_request_inside_of_an_intercepted_connect_is_of_whom_the_api_server_knows_too() {
    on_paused_time(async {
        let name = "api.example.com";
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        serve(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                while !read_head(&mut stream).await.is_empty() {
                    stream.write_all(OK).await.unwrap();
                }
            }
        });
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name).display().to_string();
        std::fs::write(path("api.pem"), own.cert.pem()).unwrap();
        let reviewed = ReviewedListener::start(
            "intercept = true",
            &format!(
                "[interception]\nkey_directory = \"{}\"\ntrust_directory = \"{}\"\nroots_file = \"{ca}\"\n\
                 domains = [\"example.com\", \"127.0.0.1\"]\n\
                 [upstreams.api]\nurl = \"https://{}\"\nhosts = [\"{name}:443\"]\n\
                 tls = {{ ca_file = \"{ca}\", server_name = \"{name}\" }}\n",
                path("ca"),
                path("trust"),
                api(),
                ca = path("api.pem"),
            ),
        );
        let client = reviewed.connect(&format!("{name}:443")).await;
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_file(path("trust/ca.pem")).unwrap();
        roots.add(trusted).unwrap();
        let trusting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(trusting));
        let server_name = ServerName::try_from(name).unwrap();
        let client = connector.connect(server_name, client).await.unwrap();
        reviewed.asks_inside(client, name).await;
    });
}
