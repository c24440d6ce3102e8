//! Tunnels that a request has asked for by an upgrade or extended CONNECT. A reload ends those whose request would be
//! refused, or lead elsewhere, if it came now.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use h2::ext::Protocol;
use http::request::Parts;
use http::uri::{Parts as UriParts, PathAndQuery};
use http::{Request, Uri};

use super::browser_guard;
use super::decide;
use super::destination::{self, Way};
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::open_tunnels::{OpenTunnel, Revocation, TunnelGrant};
use super::permit;
use super::reception::Reception;
use super::request;
use crate::snapshot::{BuiltUpstream, NoCredential, Snapshot};
use crate::upstream::Origin;

/// A request that asks for a tunnel, as far as it decides where it leads and whether it may.
pub struct RequestedUpgrade {
    head: Parts,
    is_forward: bool,
    /// The name of the upstream that a route leads to; `None` if it passes because none does.
    upstream: Option<Box<str>>,
}

impl RequestedUpgrade {
    /// What a request asks for, which a route leads to the `routed` upstream, or which passes. Of its head there is kept
    /// what decides: neither the query nor what shows who is calling.
    pub fn new(exchange: &Exchange, head: &Parts, routed: Option<&BuiltUpstream>) -> Self {
        Self {
            head: kept_of(head),
            is_forward: exchange.is_forward(),
            upstream: routed.map(|upstream| upstream.config.name.as_str().into()),
        }
    }
}

fn kept_of(head: &Parts) -> Parts {
    let mut kept = Request::new(()).into_parts().0;
    kept.method = head.method.clone();
    kept.version = head.version;
    let mut uri = UriParts::from(head.uri.clone());
    // It is a path that has been read.
    uri.path_and_query = PathAndQuery::try_from(head.uri.path()).ok();
    kept.uri = Uri::from_parts(uri).unwrap_or_default();
    browser_guard::keep_judged(&head.headers, &mut kept.headers);
    if let Some(protocol) = head.extensions.get::<Protocol>() {
        kept.extensions.insert(protocol.clone());
    }
    kept
}

/// The tunnel opens that `asked` has asked for, to `upstream`, at this address.
///
/// # Errors
/// `not_permitted` or `destination_denied` if a reload has ended its permission meanwhile.
pub fn open(
    asked: Box<RequestedUpgrade>,
    peer: Option<IpAddr>,
    exchange: &Exchange,
    upstream: &BuiltUpstream,
) -> Result<Rc<OpenTunnel>, ProxyError> {
    let is_proxied = upstream.endpoint.connector.is_proxied();
    let refusal = match asked.upstream {
        Some(_) => ErrorKind::NotPermitted,
        None => ErrorKind::DestinationDenied,
    };
    let grant = TunnelGrant {
        client: Arc::clone(exchange.client()),
        caller: exchange.named_caller(),
        leads_to: destination::authority(upstream),
        peer: peer.filter(|_| !is_proxied),
        judge: Box::new(move |snapshot, tunnel| judge_again(snapshot, tunnel, &asked)),
    };
    let shard = &exchange.shard;
    let open = shard.tunnels.add(&shard.snapshot, grant);
    open.map_err(|reason| ProxyError::new(refusal, reason))
}

/// Judges such a tunnel by another snapshot than the one it was opened with.
///
/// # Errors
/// Why its request would not take the same way any more.
fn judge_again(
    snapshot: &Snapshot,
    tunnel: &TunnelGrant,
    asked: &RequestedUpgrade,
) -> Result<(), Revocation> {
    let listener = tunnel.listener_in(snapshot)?;
    if snapshot.listeners[listener].is_forward != asked.is_forward {
        return Err("its listener is of another kind now".into());
    }
    let caller = permit::judge_tunnel(snapshot, listener, tunnel)?;
    let reception = Reception {
        snapshot,
        listener,
        caller,
        client: &tunnel.client,
    };
    let checked = request::check(&asked.head).map_err(|error| error.detail)?;
    let way = decide::lead(&reception, &checked, &asked.head).map_err(|error| error.detail)?;
    match (way, &asked.upstream) {
        (Way::Passed(origin, passage), None) => {
            if authority(&origin) != *tunnel.leads_to {
                return Err(LEADS_ELSEWHERE.into());
            }
            tunnel.judge_address(snapshot, passage.reach)
        }
        (Way::Routed(taken, _), Some(name)) => {
            let upstream = &snapshot.upstreams[taken.upstream as usize];
            if upstream.config.name != **name {
                return Err("its route leads to another upstream now".into());
            }
            if destination::authority(upstream) != tunnel.leads_to {
                return Err(LEADS_ELSEWHERE.into());
            }
            permit::judge_route(snapshot, listener, taken.route, caller)
                .map_err(|_| "its caller may not take its route any more")?;
            upstream
                .injection_for(caller)
                .map_err(|NoCredential| "its caller has no credential there any more")?;
            Ok(())
        }
        (Way::Routed(..), None) => Err("a route leads to the destination now".into()),
        (Way::Passed(..), Some(_)) => Err("its route is gone".into()),
    }
}

const LEADS_ELSEWHERE: &str = "its route leads to another host or port now";

fn authority(origin: &Origin) -> String {
    format!("{}:{}", origin.host, origin.port)
}
