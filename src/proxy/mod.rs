//! The path of a request: check, identify, match, permit, admit, scrub, token, send, judge, reply.

mod admission;
mod audited;
mod browser_guard;
mod caller_rule;
mod client_connection;
mod connect;
mod decide;
mod destination;
mod error;
mod exchange;
mod explain;
mod failure;
mod headers;
mod identify;
mod intercept;
mod interim;
mod max_forwards;
mod open_tunnels;
mod outgoing;
mod own_names;
mod passing;
mod permit;
mod reception;
mod redirected;
mod renewal;
mod reply;
mod reply_body;
mod request;
mod request_id;
mod response;
mod response_body;
mod role;
mod route_taken;
mod scrub;
mod send;
mod send_record;
mod shard_snapshot;
mod target;
mod token_echo;
mod token_verdict;
mod traced;
mod tunnel;
mod tunnel_record;
mod undecided;
mod upgrade;
mod upload;

use std::future::Future;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};

pub use client_connection::{ClientConnection, ConnectionTarget, InFlight};
pub use error::{Blame, CallerChallenge, ErrorKind, PLAIN_HTTP_INSIDE, ProxyError};
pub use explain::{ExplainState, explain};
pub use headers::{OwnHeaders, scrub_request, scrub_response};
pub use intercept::{
    NamedDestination, NotIntercepted, PendingInterception, is_still_intercepted, name_inside,
};
pub use interim::InterimSink;
pub use redirected::{RedirectedAs, lead_redirected};
pub use reply::problem_bytes_http1;
pub use reply_body::{Reply, ReplyError, Successor};
pub use shard_snapshot::{CurrentSnapshot, ShardSnapshot};
pub use tunnel::{FirstToSpeak, UpstreamTunnel};
pub use upload::ClientBody;

use crate::config::Scheme;
use crate::egress::Reach;
use crate::http1::ReasonPhrase;
use crate::policy::RequestKind;
use crate::route::{AllowedAddresses, AllowedHosts};
use crate::snapshot::{BrowserGuard, BuiltUpstream, Injection, Snapshot};
use browser_guard::BrowserRefusal;
use destination::Way;
use exchange::Exchange;
use outgoing::{OutgoingRequest, ReceivedRequest};
use request::Checked;
use response::UpstreamResponse;
use role::ProxyRole;
use send::RequestSender;
use send_record::SendRecord;
use upgrade::RequestedUpgrade;
use upload::Upload;

/// Answers one request of the listener with this index. Never fails: an error of ours is a
/// response too.
pub fn handle(
    shard: Rc<ShardSnapshot>,
    listener: usize,
    in_flight: InFlight,
    head: Parts,
    body: Option<ClientBody>,
    interim: InterimSink,
) -> impl Future<Output = Response<Reply>> {
    let mut exchange = Exchange::begin(shard, listener, in_flight, &head);
    let mut request = ReceivedRequest {
        head,
        upload: body.map(Upload::new),
        interim,
    };
    // The steps borrow what this block owns, so that it is in the future once, and is not moved again while the
    // request waits.
    async move {
        if exchange.is_forward() && connect::is_connect(&request.head) {
            return Box::pin(answer_connect(exchange, request.head)).await;
        }
        match answer(&mut exchange, &mut request).await {
            Ok((response, tunnel)) => {
                exchange.record_status(response.status());
                response.map(|body| Reply::of_upstream(body, tunnel, exchange))
            }
            Err(error) => refuse(&error, exchange),
        }
    }
}

/// Answers CONNECT on a forward listener: with 200, behind which a tunnel or plain HTTP follows, or with an error.
async fn answer_connect(mut exchange: Box<Exchange>, head: Parts) -> Response<Reply> {
    match connect::answer(&mut exchange, &head).await {
        Ok(successor) => {
            if !exchange.is_recorded_elsewhere() {
                exchange.record_status(StatusCode::OK);
            }
            Response::new(Reply::connected(successor, exchange))
        }
        Err(error) => {
            let mut response = refuse(&error, exchange);
            // Clients drop the body of a refused CONNECT, and some show the reason phrase.
            let reason = format!("sidebearer {}", error.kind.code());
            response.extensions_mut().insert(ReasonPhrase::new(reason));
            response
        }
    }
}

/// The steps of a request, in their order; any of them may wait.
async fn answer(
    exchange: &mut Exchange,
    request: &mut ReceivedRequest,
) -> Result<(UpstreamResponse, Option<Box<UpstreamTunnel>>), ProxyError> {
    let shard = Rc::clone(&exchange.shard);
    let snapshot = &*shard.snapshot;

    // A block of its own: what was read of the head takes no room while the upstream is waited for.
    let passed;
    let (outgoing, pool, passage, upgrade) = {
        let checked = check(exchange, request)?;
        identify::identify(exchange, &request.head.headers).await?;
        permit::permit_listener(exchange)?;
        let way = decide::lead(&exchange.reception(snapshot), &checked, &request.head)?;
        let tunnel = request::tunnel_request(&request.head, checked.seen);
        let (upstream, pool, target, role, passage) = match way {
            Way::Routed(taken, role) => {
                let at = taken.upstream as usize;
                let upstream = &*snapshot.upstreams[at];
                let target = target::write(&request.head, &checked, Some((&taken, upstream)))?;
                exchange.set_route(&taken);
                permit::permit_route(exchange, taken.route)?;
                (upstream, shard.pool(at), target, role, None)
            }
            Way::Passed(origin, passage) => {
                let target = target::write(&request.head, &checked, None)?;
                exchange.set_passage(passage);
                exchange.report(passage.reported);
                passed =
                    shard.passed_origin(&origin, passage.way(&origin, request.head.version))?;
                exchange.set_passed_upstream(&passed.upstream);
                let (upstream, pool) = (&*passed.upstream, &passed.pool);
                let role = if passage.reach == Reach::Redirected {
                    ProxyRole::Transparent
                } else {
                    ProxyRole::Forward
                };
                (upstream, pool, target, role, Some(passage))
            }
        };
        let injection = choose_injection(exchange, upstream)?;
        let upgrade = tunnel.is_some().then(|| {
            let routed = passage.is_none().then_some(upstream);
            Box::new(RequestedUpgrade::new(exchange, &request.head, routed))
        });
        exchange.admit(if tunnel.is_some() {
            RequestKind::Tunnel
        } else {
            RequestKind::Response
        })?;
        if max_forwards::ends_here(&mut request.head)? {
            return Ok((max_forwards::answer(), None));
        }
        let judged = exchange.caller_header_judged();
        let rules = &snapshot.listeners[exchange.listener];
        let own = scrub::own_headers(snapshot, rules, judged, upstream);
        if request.upload.is_none() && request::expects_continue(&request.head) {
            // Only a body can be waited with (RFC 9110 section 10.1.1).
            request.head.headers.remove(header::EXPECT);
        }
        if exchange.keeps_authorization() {
            request.head.headers.remove(header::AUTHORIZATION);
        }
        let id = snapshot.config.server.request_id;
        let id = id.then(|| exchange.id().clone());
        let caller = exchange.caller_index();
        scrub::scrub(snapshot, caller, id, upstream, own, &mut request.head);
        exchange.trace.scrub(&mut request.head.headers);
        let outgoing =
            OutgoingRequest::new(upstream, injection, own, request, target, tunnel, role);
        (outgoing, pool, passage, upgrade)
    };
    exchange.set_upload(outgoing.upload);
    let sender = RequestSender {
        request: &outgoing,
        pool,
        record: &exchange.sent,
        trace: &exchange.trace,
    };
    if let Some(injection) = outgoing.injection {
        sender.take_token(injection).await?;
    }
    let answer = {
        // A block of its own: what was borrowed takes room in every wait that follows.
        let judged = {
            let answer = sender.send().await;
            if let Some(passage) = passage {
                passing::record(snapshot, exchange.listener, passage, answer.as_ref().err());
            }
            match outgoing.injection {
                Some(injection) => renewal::judge(injection, &sender, answer?),
                None => Ok(answer?),
            }
        };
        match judged {
            Ok(answer) => answer,
            Err(renewal) => renewal.await?,
        }
    };
    let (answer, tunnel) = tunnel::take_tunnel(answer, &outgoing, exchange, upgrade)?;
    Ok((reply(answer, &outgoing, &exchange.sent, snapshot), tunnel))
}

/// Refuses what is malformed, ambiguous, too large or in a loop.
fn check<'r>(
    exchange: &mut Exchange,
    request: &'r ReceivedRequest,
) -> Result<Checked<'r>, ProxyError> {
    let head = &request.head;
    let checked = decide::check_head(&exchange.shard.snapshot, head).inspect_err(|_| {
        exchange.grpc = request::is_grpc(&head.headers);
    })?;
    exchange.grpc = checked.seen.grpc;
    Ok(checked)
}

/// Whose token goes with the request, if one does.
fn choose_injection<'u>(
    exchange: &mut Exchange,
    upstream: &'u BuiltUpstream,
) -> Result<Option<&'u Injection>, ProxyError> {
    permit::judge_credentials(upstream, exchange.caller_index())
}

/// Makes the answer fit for the client.
fn reply(
    mut answer: UpstreamResponse,
    request: &OutgoingRequest<'_>,
    sent: &SendRecord,
    snapshot: &Snapshot,
) -> UpstreamResponse {
    token_echo::mask_response(request.upstream, sent, &mut answer);
    let (mut head, mut incoming) = answer.into_parts();
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        headers::scrub_response(&mut head.headers, head.status);
    }
    request.scrub_response(&mut head.headers);
    // A gateway need not name itself to its clients (RFC 9110 section 7.6.3).
    if request.is_by_proxy()
        && let Some(via) = &snapshot.via
    {
        headers::append_via(&mut head.headers, via.entry(head.version));
    }
    if let Some(upload) = request.upload
        && upload.decline_body()
    {
        incoming.abandon();
        // Else what comes next could be the body, or another request. HTTP/2 has no such header:
        // it is left out there.
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // With how the upstream spelled the names of its headers, and its reason phrase.
    Response::from_parts(head, incoming)
}

#[cold]
fn refuse(error: &ProxyError, mut exchange: Box<Exchange>) -> Response<Reply> {
    let mut response = reply::problem_response(error, exchange.grpc);
    let connects = exchange.method.as_str().eq_ignore_ascii_case("CONNECT");
    // A client that is asked who it is asks again on the same connection.
    let asks_again = error.challenge.is_some();
    if error.kind == ErrorKind::BadRequest || connects && !asks_again {
        // A reader that understood the request differently sees the next one elsewhere, and what follows a CONNECT
        // may be meant for the tunnel. HTTP/2 has no such header: it is left out there.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if exchange.method == Method::HEAD {
        // No content follows (RFC 9110 section 9.3.2). HTTP/2 would send it.
        response.body_mut().clear();
    }
    exchange.record_error(error);
    exchange.record_status(response.status());
    exchange.set_upload(None);
    response.map(|body| Reply::of_proxy(body, exchange))
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
        guards_only_tokens: false,
    };
    browser_guard::admit(&browser_guard, Scheme::Http, &checked, &head.headers)
        .map_err(BrowserRefusal::to_admin_error)
}
