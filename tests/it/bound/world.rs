//! An authorization server that binds its tokens, and APIs that look at what they are bound to.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use http::{Request, Response};
use hyper::body::Incoming;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::client::Connection;
use crate::support::eventually;
use crate::support::server::{self, Body, Peer, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey, thumbprint};

/// Everything that one credential meets.
pub(super) struct World {
    ca: Ca,
    clients: Ca,
    pub(super) server: AuthorizationServer,
    pub(super) http1: Api,
    pub(super) http2: Api,
}

impl World {
    pub(super) fn new() -> Self {
        let (ca, clients) = (Ca::new(), Ca::new());
        let certified_key = || ca.own_certificate();
        let server = certified_key().demanding(&clients, &["http/1.1"]);
        let server = AuthorizationServer::start(server);
        let (old, new) = (
            certified_key().demanding_in_tls12(&clients, &["http/1.1"]),
            certified_key().demanding(&clients, &["h2"]),
        );
        Self {
            http1: Api::start(old, &server),
            http2: Api::start(new, &server),
            server,
            ca,
            clients,
        }
    }

    /// One whose server knows the first of two certificates, which sidebearer has and has used.
    pub(super) async fn serving() -> (Self, CertificateAndKey, CertificateAndKey, Sidebearer) {
        let world = Self::new();
        let (first, second) = (world.certificate(), world.certificate());
        world.server.knows(&first);
        let sidebearer = world.start(&first);
        get(&sidebearer, "/http1").await;
        (world, first, second, sidebearer)
    }

    /// A new certificate for the client, with a key of its own.
    pub(super) fn certificate(&self) -> CertificateAndKey {
        self.clients.certificate(&["billing"])
    }

    /// A credential whose two upstreams are bound to it.
    pub(super) fn config(&self, more: &str) -> String {
        let upstream = |name: &str, api: &Api| {
            format!(
                r#"
[[routes]]
path = "/{name}"
upstream = "{name}"

[upstreams.{name}]
url = "https://{}"
credential = "bound"
tls = {{ ca_file = "ca.pem", certificate_from = "bound" }}
"#,
                api.address
            )
        };
        let (http1, http2) = (
            upstream("http1", &self.http1),
            upstream("http2", &self.http2),
        );
        format!(
            r#"
[[listeners]]
name = "app"
address = "127.0.0.1:0"
{http1}{http2}
[credentials.bound]
token_endpoint = "https://{}/token"
client_id = "billing"
auth_method = "tls_client_auth"
tls = {{ ca_file = "ca.pem", certificate_file = "client.pem", key_file = "client.key" }}
{more}"#,
            self.server.address
        )
    }

    /// Starts with this certificate.
    pub(super) fn start(&self, certified_key: &CertificateAndKey) -> Sidebearer {
        self.start_with(certified_key, "")
    }

    /// The same, with more keys for the credential.
    pub(super) fn start_with(&self, certified_key: &CertificateAndKey, more: &str) -> Sidebearer {
        Sidebearer::start_in(self.files(certified_key), &self.config(more))
    }

    /// A directory with what the configuration names.
    pub(super) fn files(&self, certified_key: &CertificateAndKey) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("ca.pem", &self.ca.pem),
            ("client.pem", &certified_key.certificate_pem),
            ("client.key", &certified_key.key_pem),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    /// What was shown with each request to an API, as thumbprints; no token came with another
    /// certificate than its own.
    pub(super) fn shown(&self) -> Vec<String> {
        assert_eq!(
            self.http1.foreign() + self.http2.foreign(),
            0,
            "foreign tokens"
        );
        [self.http1.shown(), self.http2.shown()].concat()
    }

    /// Waits until requests to both APIs come with this certificate, and no connection with another
    /// is open.
    pub(super) async fn only(&self, sidebearer: &Sidebearer, certified_key: &CertificateAndKey) {
        let expected = certified_key.thumbprint();
        for (path, api) in [("/http1", &self.http1), ("/http2", &self.http2)] {
            eventually("requests come with the new certificate", async || {
                get(sidebearer, path).await;
                api.shown().last() == Some(&expected)
            })
            .await;
            eventually("connections with the old one are closed", async || {
                get(sidebearer, path).await;
                api.open().iter().all(|thumbprint| *thumbprint == expected)
            })
            .await;
        }
    }
}

/// Puts a certificate and its key where the configuration says, one after the other.
pub(super) fn write(sidebearer: &Sidebearer, certified_key: &CertificateAndKey) {
    sidebearer.write("client.key", &certified_key.key_pem);
    sidebearer.write("client.pem", &certified_key.certificate_pem);
}

/// A request that must succeed.
pub(super) async fn get(sidebearer: &Sidebearer, path: &str) {
    let mut connection = Connection::open(sidebearer.address()).await;
    let answer = connection.get(path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

/// What `/status` says of the credential.
pub(super) async fn status(sidebearer: &Sidebearer) -> serde_json::Value {
    sidebearer.status().await["credentials"]["bound"].clone()
}

/// Binds each token to the certificate that its request came with, if it knows that.
#[derive(Clone)]
pub(super) struct AuthorizationServer {
    pub(super) address: SocketAddr,
    state: Arc<Issued>,
}

struct Issued {
    known: Mutex<HashSet<String>>,
    /// The certificate of each token.
    tokens: Mutex<HashMap<String, String>>,
    lifetime: AtomicU64,
    requests: AtomicUsize,
    holds: AtomicBool,
    gate: Semaphore,
}

impl AuthorizationServer {
    fn start(tls: ServerConfig) -> Self {
        let state = Arc::new(Issued {
            known: Mutex::default(),
            tokens: Mutex::default(),
            lifetime: AtomicU64::new(3600),
            requests: AtomicUsize::new(0),
            holds: AtomicBool::new(false),
            gate: Semaphore::new(0),
        });
        let serving = Arc::clone(&state);
        let address = server::serve(Some(tls), move |request| {
            let state = Arc::clone(&serving);
            async move { state.answer(&request).await }
        });
        Self { address, state }
    }

    /// From now on holders of this certificate are served.
    pub(super) fn knows(&self, certified_key: &CertificateAndKey) {
        self.state
            .known
            .lock()
            .unwrap()
            .insert(certified_key.thumbprint());
    }

    /// From now on nobody is served.
    pub(super) fn knows_nobody(&self) {
        self.state.known.lock().unwrap().clear();
    }

    /// Tokens issued from now on live this many seconds.
    pub(super) fn set_lifetime(&self, seconds: u64) {
        self.state.lifetime.store(seconds, Ordering::SeqCst);
    }

    /// From now on answers are held back, until [`let_go`](Self::let_go).
    pub(super) fn hold(&self) {
        self.state.holds.store(true, Ordering::SeqCst);
    }

    pub(super) fn let_go(&self) {
        self.state.holds.store(false, Ordering::SeqCst);
        self.state.gate.add_permits(100);
    }

    pub(super) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// The certificate that a token is bound to.
    fn bound_to(&self, authorization: &str) -> Option<String> {
        let token = authorization.strip_prefix("Bearer ")?;
        self.state.tokens.lock().unwrap().get(token).cloned()
    }
}

impl Issued {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if self.holds.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        let shown = certificate_of(request).1;
        if !self.known.lock().unwrap().contains(&shown) {
            return response(401, r#"{"error":"invalid_client"}"#);
        }
        let token = format!("token-{number}");
        self.tokens.lock().unwrap().insert(token.clone(), shown);
        let lifetime = self.lifetime.load(Ordering::SeqCst);
        let body = format!(
            r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{lifetime}}}"#
        );
        response(200, body)
    }
}

type Certificate = Option<CertificateDer<'static>>;

/// Answers 200 to a token that is bound to the certificate of the connection it came on, else 401.
pub(super) struct Api {
    pub(super) address: SocketAddr,
    state: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    shown: Mutex<Vec<String>>,
    /// Alive as long as the connection is open.
    connections: Mutex<Vec<(Weak<Certificate>, String)>>,
    foreign: AtomicUsize,
    slow: AtomicBool,
    /// Requests to slow paths that wait for a permit.
    waiting: AtomicUsize,
    gate: Semaphores,
}

struct Semaphores(Semaphore);

impl Default for Semaphores {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Api {
    fn start(tls: ServerConfig, issuer: &AuthorizationServer) -> Self {
        let state = Arc::<Seen>::default();
        let (serving, issuer) = (Arc::clone(&state), issuer.clone());
        let address = server::serve(Some(tls), move |request| {
            let (state, issuer) = (Arc::clone(&serving), issuer.clone());
            async move { state.answer(&request, &issuer).await }
        });
        Self { address, state }
    }

    /// The certificates that requests came with, as thumbprints.
    pub(super) fn shown(&self) -> Vec<String> {
        self.state.shown.lock().unwrap().clone()
    }

    /// Requests whose token was bound to another certificate, or to none.
    pub(super) fn foreign(&self) -> usize {
        self.state.foreign.load(Ordering::SeqCst)
    }

    /// The certificates of the connections that are open.
    pub(super) fn open(&self) -> Vec<String> {
        let mut connections = self.state.connections.lock().unwrap();
        connections.retain(|(alive, _)| alive.strong_count() > 0);
        connections.iter().map(|(_, shown)| shown.clone()).collect()
    }

    /// Holds back what it answers from now on, until [`let_go`](Self::let_go).
    pub(super) fn hold(&self) {
        self.state.slow.store(true, Ordering::SeqCst);
    }

    pub(super) fn let_go(&self) {
        self.state.slow.store(false, Ordering::SeqCst);
        self.state.gate.0.add_permits(100);
    }

    /// Requests held back so far.
    pub(super) fn held(&self) -> usize {
        self.state.waiting.load(Ordering::SeqCst)
    }
}

impl Seen {
    async fn answer(
        &self,
        request: &Request<Incoming>,
        issuer: &AuthorizationServer,
    ) -> Response<Body> {
        let (peer, shown) = certificate_of(request);
        self.shown.lock().unwrap().push(shown.clone());
        {
            let mut connections = self.connections.lock().unwrap();
            if !connections.iter().any(|(known, _)| known.ptr_eq(&peer)) {
                connections.push((peer, shown.clone()));
            }
        }
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map_or("", |value| value.to_str().unwrap());
        let good = issuer.bound_to(authorization) == Some(shown);
        if self.slow.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.0.acquire().await.unwrap().forget();
        }
        if good {
            return response(200, "ok");
        }
        self.foreign.fetch_add(1, Ordering::SeqCst);
        let mut refused = response(401, "no");
        let challenge = "Bearer error=\"invalid_token\"".parse().unwrap();
        refused.headers_mut().insert("www-authenticate", challenge);
        refused
    }
}

fn certificate_of(request: &Request<Incoming>) -> (Weak<Certificate>, String) {
    let Peer(peer) = request.extensions().get().unwrap();
    let shown = peer.as_ref().as_ref().map(|shown| thumbprint(shown));
    (Arc::downgrade(peer), shown.unwrap_or_default())
}
