//! Keys and reviews over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use sidebearer::caller::token::{
    NetworkEndpoints, TokenCallers, TokenVerifier, Verification, Verified, VerifierContext,
};
use sidebearer::config::{Caller, IssuerKeys, Kubernetes, ProxyChoice};
use sidebearer::metrics::Metrics;
use sidebearer::token::SystemClock;

use super::fakes::{AUDIENCE, billing, by_account, issuer, kubernetes};
use crate::support::eventually;
use crate::support::jwt::{Signer, set};
use crate::support::server::{self, Body, response};

fn build(caller: &Caller, kubernetes: Option<&Kubernetes>) -> TokenVerifier {
    let callers = BTreeMap::from([(caller.name.clone(), caller.clone())]);
    let endpoints = NetworkEndpoints {
        proxy: ProxyChoice::default(),
        own_sockets: Arc::default(),
    };
    let metrics = Metrics::new();
    let context = VerifierContext {
        clock: Arc::new(SystemClock),
        metrics: &metrics,
        endpoints: &endpoints,
        proxy: &endpoints.proxy,
    };
    let of = TokenCallers {
        callers: &callers,
        kubernetes,
    };
    TokenVerifier::build(of, None, &context)
}

async fn is_known(verifier: &TokenVerifier, token: &str) -> bool {
    match verifier.verify(token) {
        Verification::Caller(_) => true,
        Verification::Pending(pending) => matches!(pending.await, Ok(Verified::Caller(_))),
        _ => false,
    }
}

/// Why the keys could not be read.
async fn key_error(verifier: &TokenVerifier) -> String {
    let mut message = String::new();
    eventually("an attempt fails", async || {
        let status = verifier.status().unwrap();
        let error = status.keys[0].last_error.clone();
        message = error.map_or_else(String::new, |error| error.message);
        !message.is_empty()
    })
    .await;
    message
}

fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs() + 3600
}

/// `billing` by the tokens of the issuer at this URL.
fn caller_of(url: &str) -> Caller {
    let mut caller = billing();
    let token = caller.token.as_mut().unwrap();
    token.issuer = issuer(url, IssuerKeys::Discovery(Box::default()));
    caller
}

fn claims(issuer: &str) -> Value {
    json!({ "iss": issuer, "aud": AUDIENCE, "sub": "billing", "exp": in_an_hour() })
}

/// Answers each path as `pages` say, whose `HOST` is its own address.
fn site(pages: &[(&'static str, u16, String)]) -> SocketAddr {
    let pages = Arc::new(pages.to_vec());
    let own = Arc::new(Mutex::new(String::new()));
    let host = Arc::clone(&own);
    let address = server::serve(None, move |request: Request<Incoming>| {
        let (pages, host) = (Arc::clone(&pages), host.lock().unwrap().clone());
        async move {
            let page = pages
                .iter()
                .find(|(path, ..)| *path == request.uri().path());
            match page {
                Some((_, status, body)) => response(*status, body.replace("HOST", &host)),
                None => response(404, "not here"),
            }
        }
    });
    *own.lock().unwrap() = address.to_string();
    address
}

const OPENID: &str = "/.well-known/openid-configuration";

fn metadata(issuer: &str, keys: &str) -> String {
    json!({ "issuer": issuer, "jwks_uri": keys }).to_string()
}

#[tokio::test]
async fn keys_are_found_by_discovery() {
    let signer = Signer::new("a");
    let document = metadata("http://HOST", "http://HOST/keys?v=1");
    let address = site(&[
        (OPENID, 200, document),
        ("/keys", 200, set([&signer]).to_string()),
    ]);
    let issuer = format!("http://{address}");
    let verifier = build(&caller_of(&issuer), None);
    assert!(is_known(&verifier, &signer.sign(&claims(&issuer))).await);
    assert!(!is_known(&verifier, &Signer::new("a").sign(&claims(&issuer))).await);
    assert!(!is_known(&verifier, &signer.sign(&claims(&format!("{issuer}/")))).await);
}

#[tokio::test]
async fn what_an_issuer_says_wrong_is_named_and_nothing_of_it_is_taken() {
    let signer = Signer::new("a");
    let keys = set([&signer]).to_string();
    let good = metadata("http://HOST", "http://HOST/keys");
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let cases = [
        (
            metadata("http://other.example", "http://HOST/keys"),
            keys.clone(),
            "its issuer is",
        ),
        (
            metadata("http://HOST/", "http://HOST/keys"),
            keys.clone(),
            "differ only in the last /",
        ),
        (
            metadata("http://HOST", "http://10.1.2.3/keys"),
            keys.clone(),
            "is not https",
        ),
        (
            metadata("http://HOST", "https://10.1.2.3/keys"),
            keys.clone(),
            "is a private address",
        ),
        (
            metadata("http://HOST", "file:///keys"),
            keys.clone(),
            "is no usable URL",
        ),
        (
            metadata("http://HOST", "http://HOST/elsewhere"),
            keys.clone(),
            "answered 404",
        ),
        (
            json!({ "issuer": "http://HOST" }).to_string(),
            keys.clone(),
            "names no jwks_uri",
        ),
        ("[]".to_owned(), keys.clone(), "jwks_file can name its keys"),
        (good.clone(), "<html>".to_owned(), "is no JSON object"),
        (good.clone(), "{\"keys\":{}}".to_owned(), "is no JWK set"),
        (good.clone(), "{\"keys\":[]}".to_owned(), "has no keys"),
        (good.clone(), huge, "it is too large"),
    ];
    for (document, keys, expected) in cases {
        let address = site(&[(OPENID, 200, document.clone()), ("/keys", 200, keys)]);
        let issuer = format!("http://{address}");
        let verifier = build(&caller_of(&issuer), None);
        let message = key_error(&verifier).await;
        assert!(message.contains(expected), "{document}: {message}");
        assert!(!is_known(&verifier, &signer.sign(&claims(&issuer))).await);
    }
    // A redirect leads nowhere.
    for status in [302, 307] {
        let address = site(&[(OPENID, status, good.clone())]);
        let verifier = build(&caller_of(&format!("http://{address}")), None);
        let message = key_error(&verifier).await;
        assert!(message.contains(&status.to_string()), "{message}");
    }
}

/// What an API server of Kubernetes says to who shows the token of a pod: its keys, and reviews of tokens.
struct ApiServer {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    keys: String,
    /// The token of the pod that it takes now.
    pod: Mutex<&'static str>,
    reviews: AtomicUsize,
    refused: AtomicUsize,
    away: Mutex<bool>,
}

const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

impl ApiServer {
    fn start(signer: &Signer) -> Self {
        let state = Arc::new(State {
            keys: set([signer]).to_string(),
            pod: Mutex::new("pod-1"),
            reviews: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            away: Mutex::new(false),
        });
        let serving = Arc::clone(&state);
        let address = server::serve(None, move |request| {
            let state = Arc::clone(&serving);
            async move { state.answer(request).await }
        });
        Self { address, state }
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let pod = *self.pod.lock().unwrap();
        let shown = request.headers().get("authorization").cloned();
        if shown.is_none_or(|shown| shown != format!("Bearer {pod}")) {
            self.refused.fetch_add(1, SeqCst);
            return response(401, r#"{"kind":"Status","code":401}"#);
        }
        let (head, body) = request.into_parts();
        match (head.method.as_str(), head.uri.path()) {
            // What it names elsewhere is out of reach.
            ("GET", OPENID) => response(
                200,
                metadata(CLUSTER, "https://10.0.0.1:6443/openid/v1/jwks"),
            ),
            ("GET", "/openid/v1/jwks") => response(200, self.keys.clone()),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews") => {
                self.reviews.fetch_add(1, SeqCst);
                if *self.away.lock().unwrap() {
                    return response(503, "away");
                }
                let body = body.collect().await.unwrap().to_bytes();
                let asked: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(asked["apiVersion"], "authentication.k8s.io/v1");
                assert_eq!(asked["kind"], "TokenReview");
                let token = asked["spec"]["token"].as_str().unwrap();
                let username = crate::support::keys::part(token, 1)["sub"].clone();
                let status = json!({
                    "authenticated": true,
                    "user": { "username": username, "uid": "1", "groups": ["system:serviceaccounts"] },
                    "audiences": asked["spec"]["audiences"],
                });
                response(
                    201,
                    json!({ "kind": "TokenReview", "metadata": {}, "status": status }).to_string(),
                )
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn service_accounts_are_checked_with_the_token_of_the_pod_as_it_rotates() {
    let signer = Signer::new("a");
    let server = ApiServer::start(&signer);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let write = |token: &str| std::fs::write(&file, token).unwrap();
    write("pod-1\n");
    let mut kubernetes = kubernetes(true);
    kubernetes.api_server = Some(format!("http://{}", server.address).parse().unwrap());
    kubernetes.token_file = file.clone().into();
    let caller = by_account("billing", "billing", "app");
    let verifier = build(&caller, Some(&kubernetes));
    let token = |jti: u64| {
        let mut claims = json!({
            "iss": CLUSTER, "aud": [AUDIENCE], "sub": "system:serviceaccount:billing:app",
            "exp": in_an_hour(), "jti": jti,
        });
        claims["kubernetes.io"] =
            json!({ "namespace": "billing", "serviceaccount": { "name": "app" } });
        signer.sign(&claims)
    };
    let first = token(1);
    assert!(is_known(&verifier, &first).await);
    assert!(is_known(&verifier, &first).await);
    assert_eq!(server.state.reviews.load(SeqCst), 1, "it is remembered");
    *server.state.pod.lock().unwrap() = "pod-2";
    write("pod-2\n");
    let second = token(2);
    assert!(is_known(&verifier, &second).await);
    assert_eq!(
        server.state.refused.load(SeqCst),
        0,
        "the new token of the pod is used at once"
    );
    // Away: what was reviewed serves, what was not does not, and the error shows no token.
    *server.state.away.lock().unwrap() = true;
    assert!(is_known(&verifier, &second).await);
    let Verification::Pending(pending) = verifier.verify(&token(3)) else {
        panic!("it is reviewed")
    };
    let unavailable = pending.await.unwrap_err();
    assert!(unavailable.reason.contains("503"), "{unavailable}");
    let status = serde_json::to_string(&verifier.status().unwrap()).unwrap();
    assert!(
        status.contains("503") && !status.contains("pod-") && !status.contains("eyJ"),
        "{status}"
    );
}

#[tokio::test]
async fn an_api_server_of_another_cluster_is_not_believed() {
    let signer = Signer::new("a");
    let server = ApiServer::start(&signer);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "pod-1").unwrap();
    let mut kubernetes = kubernetes(false);
    kubernetes.api_server = Some(format!("http://{}", server.address).parse().unwrap());
    kubernetes.token_file = file.clone().into();
    kubernetes.issuer = Some("https://another.cluster".to_owned());
    let caller = by_account("billing", "billing", "app");
    let message = key_error(&build(&caller, Some(&kubernetes))).await;
    assert!(
        message.contains(CLUSTER) && message.contains("https://another.cluster"),
        "{message}"
    );
    // Without the token of the pod nothing is asked.
    std::fs::remove_file(&file).unwrap();
    let message = key_error(&build(&caller, Some(&kubernetes))).await;
    assert!(message.contains("cannot read"), "{message}");
}
