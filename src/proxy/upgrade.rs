//! Tunnels that a request has asked for by an upgrade or extended CONNECT. A reload may end the permission of those whose
//! caller has to be known, and of those that lead where no route leads, as it may that of a CONNECT.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::uri::Scheme as UriScheme;

use super::destination::{self, Way};
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::forwarded::Forwarded;
use super::open_tunnels::{AskedUpgrade, OpenTunnel, Revocation, TunnelAsked, UpgradeHost};
use super::permit;
use super::request::Checked;
use super::route_taken::RouteTaken;
use crate::config::Scheme;
use crate::policy::CallerIndex;
use crate::route::Destination;
use crate::snapshot::{self, BuiltUpstream, NoCredential, Snapshot};

/// What a request asks for, which a route leads to the `routed` upstream, or which passes.
///
/// # Errors
/// On a forward listener, if it is for no destination.
pub fn asked(
    exchange: &Exchange,
    checked: &Checked<'_>,
    head: &Parts,
    routed: Option<&BuiltUpstream>,
) -> Result<AskedUpgrade, ProxyError> {
    let host = if exchange.is_forward() {
        let reception = exchange.reception(&exchange.shard.snapshot);
        let host = destination::host(&reception, checked);
        let Destination { scheme, host, port } =
            destination::asked(&reception, &host, checked, head)?;
        UpgradeHost::Destination(snapshot::origin(scheme, host, port))
    } else {
        UpgradeHost::Named(checked.host.as_ref().into())
    };
    Ok(AskedUpgrade {
        host,
        path: checked.path.canonical.as_ref().into(),
        method: head.method.clone(),
        upstream: routed.map(|upstream| upstream.config.name.as_str().into()),
    })
}

/// The tunnel opens that `asked` has asked for, to `upstream`, at this address.
///
/// # Errors
/// `not_permitted` or `destination_denied` if a reload has ended its permission meanwhile.
pub fn open(
    asked: AskedUpgrade,
    peer: Option<IpAddr>,
    exchange: &Exchange,
    upstream: &BuiltUpstream,
) -> Result<Rc<OpenTunnel>, ProxyError> {
    let is_proxied = upstream.endpoint.connector.is_proxied();
    let peer = peer.filter(|_| !is_proxied);
    let leads_to = match &asked.host {
        UpgradeHost::Destination(origin) => format!("{}:{}", origin.host, origin.port).into(),
        UpgradeHost::Named(_) => upstream.config.name.as_str().into(),
    };
    let refusal = match asked.upstream {
        Some(_) => ErrorKind::NotPermitted,
        None => ErrorKind::DestinationDenied,
    };
    let (client, shard) = (Arc::clone(exchange.client()), &exchange.shard);
    let open = OpenTunnel::new(client, TunnelAsked::Upgrade(asked), leads_to, peer);
    let open = open.of_caller(exchange.named_caller());
    let newest = shard.tunnels.newest();
    if let TunnelAsked::Upgrade(asked) = &open.asked
        && !Arc::ptr_eq(&newest, &shard.snapshot)
    {
        judge_again(&newest, &open, asked).map_err(|reason| ProxyError::new(refusal, reason))?;
    }
    Ok(shard.tunnels.add(open))
}

/// Judges such a tunnel by another snapshot than the one it was opened with.
///
/// # Errors
/// Why its request would not take the same way any more.
pub fn judge_again(
    snapshot: &Snapshot,
    tunnel: &OpenTunnel,
    asked: &AskedUpgrade,
) -> Result<(), Revocation> {
    let listener = tunnel.listener_in(snapshot)?;
    let caller = permit::judge_tunnel(snapshot, listener, tunnel)?;
    match (way_to(snapshot, listener, caller, asked)?, &asked.upstream) {
        (Way::Passed(_, passage), None) => tunnel.judge_address(snapshot, passage.reach),
        (Way::Routed(taken, _), Some(name)) => {
            let upstream = &snapshot.upstreams[taken.upstream as usize];
            if upstream.config.name != **name {
                return Err("its route leads to another upstream now".into());
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

/// The way that its request would take.
fn way_to<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    asked: &AskedUpgrade,
) -> Result<Way<'s>, Revocation> {
    let is_forward = snapshot.listeners[listener].is_forward;
    let (path, method) = (&asked.path, &asked.method);
    match &asked.host {
        UpgradeHost::Destination(origin) if is_forward => {
            let destination = Destination {
                scheme: if origin.scheme == UriScheme::HTTPS {
                    Scheme::Https
                } else {
                    Scheme::Http
                },
                host: &origin.host.to_string(),
                port: origin.port,
            };
            destination::way_to(snapshot, listener, caller, destination, path, method)
                .map_err(|error| error.detail)
        }
        UpgradeHost::Destination(_) => Err("its listener is no forward proxy any more".into()),
        UpgradeHost::Named(_) if is_forward => Err("its listener is a forward proxy now".into()),
        UpgradeHost::Named(host) => {
            let found = snapshot.routes.find(listener, host, path, method);
            let found = found.ok_or("its route is gone")?;
            Ok(Way::Routed(RouteTaken::written(&found), Forwarded::No))
        }
    }
}
