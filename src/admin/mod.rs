//! What an operator asks of a running process: health, metrics, status, reload.

mod io;
mod status;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

use self::io::WriteTimeout;
pub use self::status::Reload;

use crate::config::{self, Config, Diagnostics};
use crate::metrics::{Metrics, ProcessState};
use crate::process;
use crate::proxy::admit_to_admin;
use crate::route::AllowedAddresses;
use crate::server::{Acceptor, Shards};
use crate::snapshot::Snapshot;
use crate::telemetry;

/// A thread that does not answer within this is stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the admin pages are made from.
#[derive(Debug)]
pub struct Admin {
    /// What is being served.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// Who serves it.
    pub shards: Arc<Shards>,
    /// Who hands connections to them.
    pub acceptor: Acceptor,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Asks for a reload.
    pub reloads: mpsc::Sender<ReloadRequest>,
    draining: AtomicBool,
    /// `/startupz` stays good once it was.
    was_ready: AtomicBool,
    last_reload: Mutex<Reload>,
}

/// Someone wants the configuration read again, and to know how that went.
pub type ReloadRequest = oneshot::Sender<Result<(), Diagnostics>>;

/// Which pages a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything, for programs on this machine.
    All,
    /// Health and metrics, for everyone who can connect.
    Health,
}

impl Admin {
    /// For a process that has loaded its first configuration.
    pub fn new(
        snapshots: Arc<ArcSwap<Snapshot>>,
        shards: Arc<Shards>,
        acceptor: Acceptor,
        metrics: Arc<Metrics>,
        reloads: mpsc::Sender<ReloadRequest>,
        warnings: Diagnostics,
    ) -> Arc<Self> {
        Arc::new(Self {
            snapshots,
            shards,
            acceptor,
            metrics,
            reloads,
            draining: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            last_reload: Mutex::new(Reload {
                at: SystemTime::now(),
                refused: None,
                warnings,
            }),
        })
    }

    /// Whether every thread that serves answers; that this returns says the same of the one that
    /// asks.
    pub async fn is_alive(&self) -> bool {
        let (shards, acceptor) = tokio::join!(
            self.shards.are_responding(PATIENCE),
            self.acceptor.is_responding(PATIENCE)
        );
        shards && acceptor
    }

    /// From now on not ready: the process is about to end.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// How the last reload ended.
    pub fn last_reload(&self) -> MutexGuard<'_, Reload> {
        self.last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests can be served: listeners bound, and every required credential has a token.
    pub fn is_ready(&self) -> bool {
        let ready = !self.is_draining() && status::credentials_ready(&self.snapshots.load());
        if ready {
            self.was_ready.store(true, Relaxed);
        }
        ready
    }

    /// Waits for the end of the first attempt of every credential that readiness waits for.
    pub async fn wait_for_first_attempts(&self) {
        let snapshot = self.snapshots.load_full();
        for credential in status::required_credentials(&snapshot) {
            credential.source.wait_for_first_attempt().await;
        }
    }

    /// Why requests cannot be served: a sentence for each credential that readiness waits for.
    pub fn obstacles(&self) -> Vec<String> {
        status::obstacles(&self.snapshots.load())
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

impl Scope {
    /// Its section; `None` for a socket that is just being taken away.
    fn page(self, config: &Config) -> Option<&config::OperatorListener> {
        match self {
            Self::All => config.admin.as_ref(),
            Self::Health => config.health.as_ref(),
        }
    }
}

/// Serves on a bound socket until the handle is aborted. A client that comes when all places are taken
/// ends the connection that has been open for longest: a probe takes a millisecond.
pub fn serve(listener: TcpListener, admin: Arc<Admin>, scope: Scope) -> JoinHandle<()> {
    let guard = admin.acceptor.supervisor().guard("the admin pages");
    tokio::spawn(async move {
        let _guard = guard;
        // In the order in which they came.
        let mut open = VecDeque::<AbortHandle>::new();
        let on_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let addresses = match listener.local_addr().map(on_loopback) {
            Ok(false) => AllowedAddresses::All,
            _ => AllowedAddresses::Loopback,
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: the next probe comes soon enough.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            open.retain(|connection| !connection.is_finished());
            let snapshot = admin.snapshots.load();
            let Some(page) = scope.page(&snapshot.config) else {
                continue;
            };
            while open.len() >= page.max_connections
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            let connection = tokio::spawn(serve_connection(
                stream,
                Arc::clone(&admin),
                scope,
                addresses,
            ));
            open.push_back(connection.abort_handle());
        }
    })
}

async fn serve_connection(
    stream: TcpStream,
    admin: Arc<Admin>,
    scope: Scope,
    addresses: AllowedAddresses,
) {
    let timeout = scope
        .page(&admin.snapshots.load().config)
        .map(|page| page.header_timeout);
    let Some(timeout) = timeout else {
        return;
    };
    let service = service_fn(|request| {
        let admin = Arc::clone(&admin);
        async move {
            // One page a turn: who asks for many at once must not keep the others waiting.
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(answer(&admin, scope, addresses, request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, timeout)), service);
    // Probes hang up as they like.
    let _ = connection.await;
}

async fn answer(
    admin: &Admin,
    scope: Scope,
    addresses: AllowedAddresses,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, _) = request.into_parts();
    let mut response = respond(admin, scope, addresses, &head).await;
    let refused = [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED];
    if has_body(&head.headers) || refused.contains(&response.status()) {
        // No page takes a body. Where another reader sees its end elsewhere, nothing may follow it.
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
    admin: &Admin,
    scope: Scope,
    addresses: AllowedAddresses,
    head: &Parts,
) -> Response<Full<Bytes>> {
    if scope == Scope::All
        && let Err(error) = admit_to_admin(head, addresses)
    {
        let refusal = json!({ "error": error.kind.code(), "detail": error.detail });
        return page(error.kind.status(), &refusal);
    }
    let get = head.method == Method::GET || head.method == Method::HEAD;
    match (head.uri.path(), scope) {
        ("/livez", _) if get => {
            let alive = admin.is_alive().await;
            health(
                alive,
                &json!({ "threads": if alive { "responding" } else { "stuck" } }),
            )
        }
        ("/readyz", _) if get => {
            let ready = admin.is_ready();
            health(
                ready,
                &status::readiness(&admin.snapshots.load(), ready, admin.is_draining()),
            )
        }
        ("/startupz", _) if get => {
            let ready = admin.is_ready();
            let started = ready || admin.was_ready.load(Relaxed);
            health(
                started,
                &status::readiness(&admin.snapshots.load(), ready, admin.is_draining()),
            )
        }
        ("/metrics", _) if get => metrics(admin).await,
        ("/status", Scope::All) if get => page(StatusCode::OK, &full_status(admin)),
        ("/reload", Scope::All) if head.method == Method::POST => reload(admin).await,
        ("/livez" | "/readyz" | "/startupz" | "/metrics", _)
        | ("/status" | "/reload", Scope::All) => {
            let allowed = if head.uri.path() == "/reload" {
                "POST"
            } else {
                "GET, HEAD"
            };
            let mut response = page(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!({ "error": "method_not_allowed" }),
            );
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(allowed));
            response
        }
        _ => {
            let pages: &[&str] = match scope {
                Scope::All => &[
                    "/livez",
                    "/readyz",
                    "/startupz",
                    "/metrics",
                    "/status",
                    "POST /reload",
                ],
                Scope::Health => &["/livez", "/readyz", "/startupz", "/metrics"],
            };
            page(
                StatusCode::NOT_FOUND,
                &json!({ "error": "not_found", "pages": pages }),
            )
        }
    }
}

fn full_status(admin: &Admin) -> serde_json::Value {
    status::full(&status::Process {
        snapshot: &admin.snapshots.load(),
        reload: admin.last_reload().clone(),
        ready: admin.is_ready(),
        draining: admin.is_draining(),
        connections: admin.shards.connection_count(),
        tunnels: admin.metrics.open_tunnels(),
        requests: admin.metrics.requests_by_caller(),
    })
}

fn health(good: bool, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    page(status, body)
}

async fn metrics(admin: &Admin) -> Response<Full<Bytes>> {
    let usage = tokio::task::spawn_blocking(process::usage);
    let (responding, usage) = tokio::join!(admin.is_alive(), usage);
    admin.metrics.show_process(&ProcessState {
        // An error only says that the process is ending.
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
            page(
                StatusCode::OK,
                &json!({ "reloaded": true, "generation": generation }),
            )
        }
        Ok(Err(diagnostics)) => {
            let text = diagnostics.to_string();
            let body = json!({ "reloaded": false, "diagnostics": diagnostics, "text": text });
            page(StatusCode::UNPROCESSABLE_ENTITY, &body)
        }
        Err(_) => {
            debug_assert!(
                !asked || admin.is_draining(),
                "reloads are answered until the end"
            );
            page(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({ "reloaded": false, "reason": "the process is ending" }),
            )
        }
    }
}

fn page(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
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
