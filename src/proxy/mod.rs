//! The path of a request: check, caller, match, scrub, token, send, judge, reply.

mod browser_guard;
mod client_connection;
mod download;
mod error;
mod exchange;
mod failure;
mod forward;
mod headers;
mod interim;
mod reply;
mod request;
mod request_id;
mod response;
mod shard_snapshot;
mod token_verdict;
mod tunnel;
mod tunnel_record;
mod upload;

use std::borrow::Cow;
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, header};

pub use client_connection::{ClientConnection, InFlight};
pub use download::{DownloadError, Reply};
pub use error::{Blame, ErrorKind, ProxyError};
pub use headers::{scrub_request, scrub_response};
pub use interim::InterimSink;
pub use reply::problem_bytes_http1;
pub use shard_snapshot::{CurrentSnapshot, ShardSnapshot};
pub use tunnel::UpstreamTunnel;
pub use upload::ClientBody;

use crate::route::{self, AllowedAddresses, AllowedHosts, Match};
use crate::snapshot::{BrowserGuard, Injection, Target, Upstream};
use crate::token::Token;
use browser_guard::Foreign;
use download::Download;
use exchange::Exchange;
use forward::{Answer, Forward};

/// Answers one request of the listener with this index. Never fails: an error of ours is a
/// response too.
///
/// What needs no waiting is done at once, so that the future holds no more than what it waits with.
pub fn handle(
    shard: Rc<ShardSnapshot>,
    listener: usize,
    in_flight: InFlight,
    head: Parts,
    body: Option<ClientBody>,
    informed: InterimSink,
) -> impl Future<Output = Response<Reply>> {
    let mut exchange = Exchange::begin(shard, listener, in_flight, &head);
    let mut planned = plan(&mut exchange, head, body, informed);
    async move {
        let served = match &mut planned {
            Ok(plan) => plan.carry_out(&mut exchange).await,
            Err(error) => return refuse(error, exchange),
        };
        match served {
            Ok((response, switched)) => {
                exchange.answered(response.status());
                response.map(|download| Reply::theirs(download, switched, exchange))
            }
            Err(error) => refuse(&error, exchange),
        }
    }
}

/// A request that may pass, on its way to its upstream.
struct Plan {
    forward: Forward,
}

/// Checks a request, finds its upstream, and makes it fit for that.
fn plan(
    exchange: &mut Exchange,
    mut head: Parts,
    body: Option<ClientBody>,
    informed: InterimSink,
) -> Result<Plan, ProxyError> {
    let shard = Rc::clone(&exchange.shard);
    let snapshot = &shard.snapshot;

    let checked = match request::check(&head) {
        Ok(checked) => checked,
        Err(refused) => {
            exchange.grpc = request::is_grpc(&head.headers);
            return Err(refused);
        }
    };
    let seen = checked.seen;
    exchange.grpc = seen.grpc;
    if head.headers.len() > snapshot.config.server.max_headers {
        // Over HTTP/1.1 they have been counted.
        return Err(ProxyError::new(
            ErrorKind::HeaderTooLarge,
            "the request has too many headers; send fewer, or raise max_headers",
        ));
    }
    if seen.via
        && snapshot.via.is_some()
        && request::passed_through(&head.headers, &snapshot.instance)
    {
        return Err(ProxyError::new(
            ErrorKind::Loop,
            "the request already passed through this instance; look for an upstream whose url leads back here",
        ));
    }

    let policy = &snapshot.listeners[exchange.listener];
    if let Some(browser_guard) = &policy.browser_guard {
        browser_guard::admit(browser_guard, &checked, &head.headers)
            .map_err(Foreign::at_listener)?;
    }

    let route = snapshot.routes.find(
        exchange.listener,
        &checked.host,
        &checked.path.canonical,
        &head.method,
    );
    let route = route.ok_or_else(no_route)?;
    let upstream = &snapshot.upstreams[route.value.upstream as usize];
    let target = target(&head, &checked, &route, upstream)?;
    exchange.matched(route.value);

    let asked = request::tunnel(&head, seen);
    let injection = upstream.injection.as_ref();
    headers::scrub_request(
        &mut head.headers,
        injection.map(|injection| &injection.header),
    );
    if snapshot.config.server.request_id {
        exchange.identify(&mut head.headers);
    }
    if let Some(via) = &snapshot.via {
        headers::append_via(&mut head.headers, via);
    }
    let forward = Forward::new(
        Arc::clone(upstream),
        Rc::clone(shard.pool(route.value.upstream as usize)),
        target,
        asked,
        head,
        body,
        informed,
    );
    exchange.uploads(forward.upload.as_ref());
    Ok(Plan { forward })
}

impl Plan {
    async fn carry_out(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<(Response<Download>, Option<Box<UpstreamTunnel>>), ProxyError> {
        let forward = &self.forward;
        let upstream = &forward.upstream;
        let injection = upstream.injection.as_ref();
        let mut token = match injection {
            Some(injection) => Some(injection.token().await.map_err(failure::token)?),
            None => None,
        };
        exchange.carries(token.as_ref());
        let answer = forward.send(&mut token, &exchange.attempts).await?;
        let answer = match (injection, &token) {
            (Some(injection), Some(sent)) if forward.was_rejected(&answer, sent) => {
                let sent = Arc::clone(sent);
                let attempts = &exchange.attempts;
                Box::pin(heal(injection, forward, answer, sent, &mut token, attempts)).await?
            }
            (Some(injection), Some(sent)) => {
                forward.note_accepted(injection, &answer, sent);
                answer
            }
            _ => answer,
        };
        exchange.carries(token.as_ref());
        let connects = forward.connects();
        let (answer, switched) = tunnel::switched(answer, connects, exchange, upstream);
        Ok((reply(answer, forward), switched))
    }
}

/// Replaces a rejected token and sends the request once more, or lets the 401 through.
async fn heal(
    injection: &Injection,
    forward: &Forward,
    rejection: Answer,
    rejected: Arc<Token>,
    token: &mut Option<Arc<Token>>,
    attempts: &Cell<u32>,
) -> Result<Answer, ProxyError> {
    if !forward.upstream.config.retry_on_401 {
        forward.note_rejected(injection, &rejection, &rejected);
        return Ok(rejection);
    }
    if !forward.can_replay() {
        // Too late for this request, not for the next one.
        injection.rejections.reject(&injection.source, &rejected);
        forward.note_rejected(injection, &rejection, &rejected);
        return Ok(rejection);
    }
    let Some(newer) = injection
        .rejections
        .heal(&injection.source, &rejected)
        .await
    else {
        forward.note_rejected(injection, &rejection, &rejected);
        return Ok(rejection);
    };
    drop(rejection);
    let replayed = token.insert(newer).clone();
    let answer = forward.send(token, attempts).await?;
    let accepted = !forward.was_rejected(&answer, &replayed);
    let rejections = &injection.rejections;
    rejections.replayed(&injection.source, &replayed, accepted);
    if !accepted {
        forward.note_rejected(injection, &answer, &replayed);
    } else if token_verdict::accepts(&answer) {
        injection.fresh.healed(&replayed);
    }
    Ok(answer)
}

/// The path and query to send: what was matched, byte for byte as it came, rewritten as the route and
/// upstream say.
fn target(
    head: &Parts,
    checked: &request::Checked<'_>,
    route: &Match<'_, Target>,
    upstream: &Upstream,
) -> Result<PathAndQuery, ProxyError> {
    let path = &checked.path;
    if path.is_asterisk() {
        return Ok(PathAndQuery::from_static("*"));
    }
    let replacement = route.value.replace_prefix.as_deref();
    let unchanged = matches!(path.written, Cow::Borrowed(_))
        && replacement.is_none()
        && upstream.base_path.is_empty();
    if unchanged
        && let Some(target) = head.uri.path_and_query()
        // An absolute target may leave an empty path out, and it was matched as "/".
        && target.as_str().starts_with('/')
    {
        return Ok(target.clone());
    }
    let replace = replacement.map(|replacement| (path.written_len(route.prefix_len), replacement));
    let mut target = String::with_capacity(upstream.base_path.len() + path.written.len() + 64);
    route::write_target(
        &upstream.base_path,
        &path.written,
        replace,
        checked.query,
        &mut target,
    );
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| {
        ProxyError::new(
            ErrorKind::BadRequest,
            "the target is not a valid path and query",
        )
    })
}

fn reply(answer: Answer, forward: &Forward) -> Response<Download> {
    let (mut head, mut incoming) = answer.into_parts();
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        headers::scrub_response(&mut head.headers, head.status);
    }
    if let Some(upload) = &forward.upload
        && upload.never_ask()
    {
        incoming.abandon();
        // Else what comes next could be the body, or another request. HTTP/2 has no such header:
        // it is left out there.
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let injected = forward
        .upstream
        .injection
        .as_ref()
        .map(|injection| injection.header.clone());
    let idle = forward.upstream.config.stream_idle_timeout;
    let download = Download::new(incoming, forward.upload.clone(), idle, injected);
    // With how the upstream spelled the names of its headers, and its reason phrase.
    Response::from_parts(head, download)
}

#[cold]
fn refuse(error: &ProxyError, mut exchange: Exchange) -> Response<Reply> {
    let mut response = reply::problem(error, exchange.grpc);
    let connects = exchange.method.as_str().eq_ignore_ascii_case("CONNECT");
    if error.kind == ErrorKind::BadRequest || connects {
        // Whoever read it differently takes something else for the next request, and what follows a
        // CONNECT may be meant for the tunnel. In HTTP/2 it is left out.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.failed(error);
    exchange.answered(response.status());
    exchange.uploads(None);
    response.map(|body| Reply::ours(body, exchange))
}

/// Whether a request may see the admin pages: anyone who can reach them, but no web page. `addresses`
/// are the ones that their socket is called by.
///
/// # Errors
///
/// As a listener without hosts of its own.
pub fn admit_to_admin(head: &Parts, addresses: AllowedAddresses) -> Result<(), ProxyError> {
    let checked = request::check(head)?;
    let browser_guard = BrowserGuard {
        allowed_hosts: AllowedHosts::new(addresses, [], []),
        allow_browsers: false,
        allow_origins: Vec::new(),
        refuse_unmarked: false,
    };
    browser_guard::admit(&browser_guard, &checked, &head.headers).map_err(Foreign::at_admin)
}

#[cold]
fn no_route() -> ProxyError {
    ProxyError::new(
        ErrorKind::NoRoute,
        "no route matches this host, path and method; add one to [[routes]], or an upstream to the listener",
    )
}
