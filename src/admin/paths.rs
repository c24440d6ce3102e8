//! Which path answers what, and to whom.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::events::EventStream;
use super::live::MOST_WATCHERS;
use super::{Admin, Scope, explain, page, status};
use crate::blocking;
use crate::metrics::ProcessState;
use crate::process;
use crate::proxy::admit_to_admin;
use crate::route::AllowedAddresses;
use crate::telemetry;

/// A page, or what has no end yet.
type AnswerBody = Either<Full<Bytes>, EventStream>;

/// The socket that a request came by.
#[derive(Debug, Clone)]
pub(super) struct PageSocket {
    pub(super) scope: Scope,
    pub(super) addresses: AllowedAddresses,
    /// Its other end is gone once the socket is closed.
    pub(super) closed: watch::Receiver<()>,
}

/// One path.
struct KnownPath {
    path: &'static str,
    /// Asked for by POST, and not by GET or HEAD.
    by_post: bool,
    /// Whether everyone may ask for it who reaches `[health]`.
    health: bool,
}

/// All paths, as an answer about an unknown one lists them.
const PATHS: [KnownPath; 9] = [
    KnownPath::shown("/", false),
    KnownPath::shown("/livez", true),
    KnownPath::shown("/readyz", true),
    KnownPath::shown("/startupz", true),
    KnownPath::shown("/metrics", true),
    KnownPath::shown("/status", false),
    KnownPath::shown("/events", false),
    KnownPath::asked("/explain"),
    KnownPath::asked("/reload"),
];

impl KnownPath {
    const fn shown(path: &'static str, health: bool) -> Self {
        Self {
            path,
            by_post: false,
            health,
        }
    }

    const fn asked(path: &'static str) -> Self {
        Self {
            path,
            by_post: true,
            health: false,
        }
    }

    fn is_in(&self, scope: Scope) -> bool {
        self.health || scope == Scope::All
    }

    fn takes(&self, method: &Method) -> bool {
        if self.by_post {
            method == Method::POST
        } else {
            method == Method::GET || method == Method::HEAD
        }
    }
}

impl fmt::Display for KnownPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = if self.by_post { "POST " } else { "" };
        write!(f, "{method}{}", self.path)
    }
}

pub(super) async fn answer(
    admin: &Arc<Admin>,
    socket: &PageSocket,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let mut response = respond(admin, socket, &head, body).await;
    let refused = [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED];
    if has_body(&head.headers) || refused.contains(&response.status()) {
        // Hardly any page takes a body. Where another reader sees its end elsewhere, nothing may follow it.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Whether a request says that it has a body, however it says so.
fn has_body(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    headers.contains_key(header::TRANSFER_ENCODING)
        || lengths.into_iter().any(|length| length != "0")
}

async fn respond(
    admin: &Arc<Admin>,
    socket: &PageSocket,
    head: &Parts,
    body: Incoming,
) -> Response<AnswerBody> {
    let scope = socket.scope;
    let path = head.uri.path();
    let paths = || PATHS.iter().filter(|known| known.is_in(scope));
    let known = paths().find(|known| known.path == path);
    if scope == Scope::All
        && let Err(error) = admit_to_admin(head, socket.addresses)
    {
        let refusal = json!({ "error": error.kind.code(), "detail": error.detail });
        let mut response = json_answer(error.kind.status(), &refusal);
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            allow(&mut response, known);
        }
        return response.map(Either::Left);
    }
    let Some(known) = known else {
        let pages: Vec<String> = paths().map(|known| known.to_string()).collect();
        let body = json!({ "error": "not_found", "pages": pages });
        return json_answer(StatusCode::NOT_FOUND, &body).map(Either::Left);
    };
    if !known.takes(&head.method) {
        return method_not_allowed(known).map(Either::Left);
    }
    let answer = match path {
        "/" => page::answer(),
        "/events" => return events(admin, socket, &head.method),
        "/livez" => {
            let alive = admin.is_alive().await;
            let threads = if alive { "responding" } else { "stuck" };
            health(alive, &json!({ "threads": threads }))
        }
        "/metrics" => metrics(admin).await,
        "/status" => json_answer(StatusCode::OK, &admin.status()),
        "/explain" => {
            let (status, body) = explain::answer(admin, body).await;
            json_answer(status, &body)
        }
        "/reload" => reload(admin).await,
        // `/readyz` and `/startupz`.
        _ => {
            let ready = admin.is_ready();
            let good = ready || path == "/startupz" && admin.was_ready.load(Relaxed);
            let snapshot = admin.snapshots.load();
            let body = status::readiness(&snapshot, ready, admin.is_draining());
            health(good, &body)
        }
    };
    answer.map(Either::Left)
}

/// The status as it changes.
fn events(admin: &Arc<Admin>, socket: &PageSocket, method: &Method) -> Response<AnswerBody> {
    let body = if method == Method::HEAD {
        Either::Left(Full::default())
    } else {
        let Some(stream) = EventStream::begin(admin, socket.closed.clone()) else {
            let detail =
                format!("{MOST_WATCHERS} streams of events are open already: close one of them");
            let body = json!({ "error": "too_many_streams", "detail": detail });
            return json_answer(StatusCode::SERVICE_UNAVAILABLE, &body).map(Either::Left);
        };
        Either::Right(stream)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    let fresh = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, fresh);
    response
}

fn method_not_allowed(known: &KnownPath) -> Response<Full<Bytes>> {
    let body = json!({ "error": "method_not_allowed" });
    let mut response = json_answer(StatusCode::METHOD_NOT_ALLOWED, &body);
    allow(&mut response, Some(known));
    response
}

/// A 405 names what is allowed (RFC 9110 section 15.5.6): for this path, or for one that is not there.
fn allow(response: &mut Response<Full<Bytes>>, known: Option<&KnownPath>) {
    let allowed = match known {
        Some(known) if known.by_post => "POST",
        Some(_) => "GET, HEAD",
        None => "",
    };
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
}

fn health(good: bool, body: &Value) -> Response<Full<Bytes>> {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, body)
}

async fn metrics(admin: &Admin) -> Response<Full<Bytes>> {
    let usage = blocking::run(process::usage);
    let (responding, usage) = tokio::join!(admin.is_alive(), usage);
    admin.metrics.show_process(&ProcessState {
        // Without a thread to read it on, all that the process has counted itself is shown still.
        usage: usage.ok().flatten(),
        responding,
        client_connections: admin.shards.connection_count(),
        client_connections_limit: admin.snapshots.load().config.server.max_connections,
    });
    for credential in admin.snapshots.load().credentials.values() {
        credential.source.report();
    }
    admin
        .metrics
        .set_log_lines_dropped(telemetry::dropped_lines());
    let mut response = Response::new(Full::from(admin.metrics.render()));
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    response
}

async fn reload(admin: &Admin) -> Response<Full<Bytes>> {
    let (answer, answered) = oneshot::channel();
    let asked = admin.reloads.send(answer).await.is_ok();
    match answered.await {
        Ok(Ok(())) => {
            let generation = admin.snapshots.load().generation;
            json_answer(
                StatusCode::OK,
                &json!({ "reloaded": true, "generation": generation }),
            )
        }
        Ok(Err(diagnostics)) => {
            let text = diagnostics.to_string();
            let body = json!({ "reloaded": false, "diagnostics": diagnostics, "text": text });
            json_answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
        }
        Err(_) => {
            debug_assert!(
                !asked || admin.is_draining(),
                "reloads are answered until the end"
            );
            json_answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({ "reloaded": false, "reason": "the process is ending" }),
            )
        }
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{body:#}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
