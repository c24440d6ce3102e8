//! What it costs to tell a caller by its token: one that is known, and one that is new, by the algorithm of its issuer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use serde_json::{Value, json};
use sidebearer::caller::token::{
    NetworkEndpoints, TokenCallers, TokenVerifier, Verification, VerifierContext,
};
use sidebearer::caller::{Callers, PresentedSecret};
use sidebearer::config::{self, Caller, CallerToken, IssuerKeys, Limits, ProxyChoice, TokenIssuer};
use sidebearer::jose::{Algorithm, JwsHeader, KeySet, SigningKey, UnverifiedJwt, sign};
use sidebearer::metrics::Metrics;
use sidebearer::token::SystemClock;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

fn key(algorithm: &str) -> SigningKey {
    let found = Algorithm::ASYMMETRIC.into_iter();
    let algorithm = { found }.find(|known| known.name() == algorithm);
    let text = match algorithm {
        Some(Algorithm::ES256) => include_str!("../tests/keys/p256.pkcs8.pem"),
        Some(Algorithm::ES384) => include_str!("../tests/keys/p384.pkcs8.pem"),
        Some(Algorithm::EdDSA) => include_str!("../tests/keys/ed25519.pkcs8.pem"),
        _ => include_str!("../tests/keys/rsa.pkcs8.pem"),
    };
    SigningKey::read(text, algorithm).expect("a key")
}

fn set(key: &SigningKey) -> Value {
    let mut jwk = serde_json::to_value(key.public_jwk()).expect("a public key");
    jwk["kid"] = json!("k");
    json!({ "keys": [jwk] })
}

/// Some 700 bytes, as access tokens are.
fn token(key: &SigningKey, subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let claims = json!({
        "iss": "https://login.example.com", "aud": "sidebearer", "sub": subject,
        "exp": now.expect("after 1970").as_secs() + 3600, "padding": "x".repeat(200),
    });
    let header = JwsHeader {
        typ: "at+jwt",
        kid: Some("k"),
        x5t_s256: None,
    };
    sign(key, header, &claims).to_string()
}

/// A verifier of so many callers, on a runtime that has to live as long.
fn verifier(key: &SigningKey, callers: usize) -> (Runtime, TokenVerifier) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), set(key).to_string()).expect("it is written");
    let issuer = Arc::new(TokenIssuer {
        name: "https://login.example.com".to_owned(),
        keys: IssuerKeys::File(file.path().into()),
    });
    let caller = |n: usize| Caller {
        name: format!("caller-{n}"),
        spiffe_id: None,
        certificate_name: None,
        service_account: None,
        token: Some(Box::new(CallerToken {
            issuer: Arc::clone(&issuer),
            audience: "sidebearer".into(),
            claims: [("sub".into(), format!("caller-{n}").into())].into(),
        })),
        user: None,
        key: None,
        limits: Limits::default(),
    };
    let named = (0..callers).map(caller);
    let named: BTreeMap<_, _> = named.map(|one| (one.name.clone(), one)).collect();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let verifier = runtime.block_on(async {
        let endpoints = NetworkEndpoints {
            proxy: ProxyChoice::default(),
            own_sockets: Arc::default(),
        };
        let context = VerifierContext {
            clock: Arc::new(SystemClock),
            metrics: &Metrics::new(),
            endpoints: &endpoints,
            proxy: &endpoints.proxy,
        };
        let of = TokenCallers {
            callers: &named,
            kubernetes: None,
        };
        let verifier = TokenVerifier::build(of, None, &context);
        for source in verifier.sources_not_in(&TokenVerifier::default()) {
            source.wait_for_first_attempt().await;
        }
        verifier
    });
    (runtime, verifier)
}

/// So many callers that are known by a key of 43 characters.
fn callers_with_keys(count: usize) -> (TempDir, Callers) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut text = "[[listeners]]\naddress = \"127.0.0.1:7080\"\nupstream = \"crm\"\n\
                    [upstreams.crm]\nurl = \"http://localhost:1\"\n"
        .to_owned();
    for n in 0..count {
        let key = directory.path().join(format!("key-{n}"));
        std::fs::write(&key, format!("{n:0>43}")).expect("it is written");
        text += &format!("[callers.c{n}]\nkey = {{ file = {key:?} }}\n");
    }
    let file = directory.path().join("sidebearer.toml");
    std::fs::write(&file, text).expect("it is written");
    let loaded = config::load(&file).expect("a configuration");
    let callers = Callers::build(&loaded.config, None);
    (directory, callers)
}

/// A token that was presented before: no lock, no memory.
#[divan::bench(args = [1, 10_000])]
fn known(bencher: divan::Bencher<'_, '_>, callers: usize) {
    let key = key("ES256");
    let (_runtime, verifier) = verifier(&key, callers);
    let token = token(&key, "caller-0");
    bencher.bench_local(|| match verifier.verify(&token) {
        Verification::Caller(identified) => identified,
        _ => panic!("nobody"),
    });
}

/// The same with the header that it is in, where other callers have keys: no lock, no memory.
#[divan::bench]
fn shown(bencher: divan::Bencher<'_, '_>) {
    let key = key("ES256");
    let (_runtime, verifier) = verifier(&key, 1);
    let header = format!("Bearer {}", token(&key, "caller-0"));
    let header = HeaderValue::from_str(&header).expect("a header");
    let (_directory, callers) = callers_with_keys(1_000);
    bencher.bench_local(|| {
        let shown = PresentedSecret::read(&header, false).expect("a secret");
        match callers.by_secret(shown.expose().expect("text"), &verifier) {
            Verification::Caller(identified) => identified,
            _ => panic!("nobody"),
        }
    });
}

/// A token that is new, of one of many callers.
#[divan::bench(args = [1, 10_000], sample_count = 50, sample_size = 10)]
fn new(bencher: divan::Bencher<'_, '_>, callers: usize) {
    let key = key("ES256");
    let (_runtime, verifier) = verifier(&key, callers);
    bencher
        // Each is another one: ECDSA signs differently each time.
        .with_inputs(|| token(&key, "caller-0"))
        .bench_local_values(|token| match verifier.verify(&token) {
            Verification::Caller(identified) => identified,
            _ => panic!("nobody"),
        });
}

/// Reading a token and verifying its signature.
#[divan::bench(args = ALGORITHMS)]
fn verify(bencher: divan::Bencher<'_, '_>, algorithm: &str) {
    let key = key(algorithm);
    let set = KeySet::read(set(&key).to_string().as_bytes()).expect("a set");
    let token = token(&key, "caller-0");
    bencher.bench_local(|| {
        let jwt = UnverifiedJwt::parse(&token).expect("a JWT");
        assert!(set.keys[0].verifies(&jwt));
    });
}

/// What is refused before its signature is looked at.
#[divan::bench]
fn expired(bencher: divan::Bencher<'_, '_>) {
    let key = key("ES256");
    let (_runtime, verifier) = verifier(&key, 1);
    let token = {
        let header = JwsHeader::default();
        let claims = json!({ "iss": "https://login.example.com", "exp": 1 });
        sign(&key, header, &claims).to_string()
    };
    bencher.bench_local(|| match verifier.verify(&token) {
        Verification::Unknown(reason) | Verification::Unproven(reason) => reason,
        _ => panic!("it has expired"),
    });
}
