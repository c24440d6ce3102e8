//! An authorization server that can be told to misbehave.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::loopback;
use super::server::{self, Body, response};

/// What it does with the next token requests.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Behaviour {
    /// Gives a new token, `token-N`, to who knows the secret.
    Healthy,
    /// Gives the last token again.
    SameAgain,
    /// Answers with this status and body.
    Answers(u16, String),
    /// Holds each answer back until [`Idp::let_go`].
    Holds,
}

/// `POST /token`, with client_secret_basic or client_secret_post.
#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    secret: Mutex<String>,
    lifetime: AtomicU64,
    requests: AtomicUsize,
    issued: AtomicUsize,
    valid: Mutex<HashSet<String>>,
    prefix: Mutex<String>,
    gate: Semaphore,
}

impl Idp {
    /// A healthy one with the secret `s3cret`, whose tokens live for an hour.
    pub(crate) fn start() -> Self {
        Self::on(std::net::TcpListener::bind(loopback()).unwrap())
    }

    /// The same on a socket that a test has made.
    pub(crate) fn on(socket: std::net::TcpListener) -> Self {
        let state = Arc::new(State {
            behaviour: Mutex::new(Behaviour::Healthy),
            secret: Mutex::new("s3cret".to_owned()),
            lifetime: AtomicU64::new(3600),
            requests: AtomicUsize::new(0),
            issued: AtomicUsize::new(0),
            valid: Mutex::default(),
            prefix: Mutex::new("token".to_owned()),
            gate: Semaphore::new(0),
        });
        let serving = Arc::clone(&state);
        let address = server::serve_on(socket, None, move |request| {
            let state = Arc::clone(&serving);
            async move { state.answer(request).await }
        });
        Self { address, state }
    }

    /// For `token_endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/token", self.address)
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    /// From now on only this secret is good.
    pub(crate) fn rotate_secret(&self, secret: &str) {
        secret.clone_into(&mut self.state.secret.lock().unwrap());
    }

    /// Tokens issued from now on live this many seconds, as they say.
    pub(crate) fn set_lifetime(&self, seconds: u64) {
        self.state.lifetime.store(seconds, Ordering::SeqCst);
    }

    /// Tokens issued from now on are `PREFIX-N`.
    pub(crate) fn set_prefix(&self, prefix: &str) {
        prefix.clone_into(&mut self.state.prefix.lock().unwrap());
    }

    /// Lets this many held answers go.
    pub(crate) fn let_go(&self, answers: usize) {
        self.state.gate.add_permits(answers);
    }

    /// Token requests that arrived.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Revokes every token issued so far.
    pub(crate) fn revoke_all(&self) {
        self.state.valid.lock().unwrap().clear();
    }

    /// Whether an `Authorization` value carries a token that is valid here.
    pub(crate) fn accepts(&self, authorization: &str) -> bool {
        let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
        self.state.valid.lock().unwrap().contains(token)
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let basic = request.headers().get("authorization").and_then(|value| {
            let encoded = value.to_str().ok()?.strip_prefix("Basic ")?.to_owned();
            String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
        });
        let form = request.into_body().collect().await.unwrap().to_bytes();
        self.requests.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.behaviour.lock().unwrap().clone();
        if behaviour == Behaviour::Holds {
            self.gate.acquire().await.unwrap().forget();
        }
        if let Behaviour::Answers(status, body) = behaviour {
            return response(status, body);
        }
        let secret = self.secret.lock().unwrap().clone();
        let posted = url::form_urlencoded::parse(&form)
            .any(|(name, value)| name == "client_secret" && value == secret);
        if !posted && basic.is_none_or(|pair| !pair.ends_with(&format!(":{secret}"))) {
            return response(401, r#"{"error":"invalid_client"}"#);
        }
        let number = match behaviour {
            Behaviour::SameAgain => self.issued.load(Ordering::SeqCst),
            _ => self.issued.fetch_add(1, Ordering::SeqCst) + 1,
        };
        let token = format!("{}-{number}", self.prefix.lock().unwrap());
        self.valid.lock().unwrap().insert(token.clone());
        let lifetime = self.lifetime.load(Ordering::SeqCst);
        let body = format!(
            r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{lifetime}}}"#
        );
        response(200, body)
    }
}
