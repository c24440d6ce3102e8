//! Protected APIs that can be told to misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;

use super::idp::Idp;
use super::loopback;
use super::server::{self, Body, response};

/// A request that arrived whole.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// `Host`, or `:authority` of HTTP/2.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn authorization(&self) -> &str {
        self.header("authorization")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// An API that keeps what it saw.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Api {
    /// Answers what `answer` makes of each request.
    pub(crate) fn start(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::with_tls(None, answer)
    }

    pub(crate) fn with_tls(
        tls: Option<rustls::ServerConfig>,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        Self::on(
            std::net::TcpListener::bind(loopback()).unwrap(),
            tls,
            answer,
        )
    }

    /// The same on a socket that a test has made.
    pub(crate) fn on(
        socket: std::net::TcpListener,
        tls: Option<rustls::ServerConfig>,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (keep, answer) = (Arc::clone(&seen), Arc::new(answer));
        let address = server::serve_on(socket, tls, move |request| {
            let (keep, answer) = (Arc::clone(&keep), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else {
                    return response(400, "the body broke off");
                };
                let authority = head.uri.authority().map(ToString::to_string);
                let host = head.headers.get("host").map(|host| host.to_str().unwrap());
                let seen = Seen {
                    method: head.method.to_string(),
                    host: authority.or(host.map(str::to_owned)).unwrap_or_default(),
                    target: head.uri.path_and_query().unwrap().to_string(),
                    headers: head.headers,
                    body: body.to_bytes(),
                };
                keep.lock().unwrap().push(seen.clone());
                answer(&seen)
            }
        });
        Self { address, seen }
    }

    /// 200 with the body `ok` to everything.
    pub(crate) fn open() -> Self {
        Self::start(|_| response(200, "ok"))
    }

    /// 200 to who brings a token that is valid at `idp`, else 401 with a Bearer challenge.
    pub(crate) fn protected_by(idp: &Idp) -> Self {
        let idp = idp.clone();
        Self::start(move |seen| {
            if idp.accepts(seen.authorization()) {
                response(200, "ok")
            } else {
                unauthorized("Bearer realm=\"api\", error=\"invalid_token\"")
            }
        })
    }

    /// For `url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A 401 with this challenge.
pub(crate) fn unauthorized(challenge: &str) -> Response<Body> {
    let mut response = response(401, "no");
    response
        .headers_mut()
        .insert("www-authenticate", challenge.parse().unwrap());
    response
}
