//! Tunnels that a request has asked for where no route leads: a reload may end their permission, as that of a CONNECT.

use std::sync::Arc;

use http::uri::Scheme as UriScheme;

use super::destination::{self, Way};
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::open_tunnels::{OpenTunnel, PassedUpgrade, Revocation, TunnelAsked};
use super::permit;
use super::tunnel::UpstreamTunnel;
use crate::config::Scheme;
use crate::route::Destination;
use crate::snapshot::{BuiltUpstream, Snapshot};

/// The tunnel is open that `asked` has asked for, to `upstream`.
///
/// # Errors
/// `destination_denied` if a reload has ended its permission meanwhile.
pub fn open(
    asked: PassedUpgrade,
    tunnel: &mut UpstreamTunnel,
    exchange: &Exchange,
    upstream: &BuiltUpstream,
) -> Result<(), ProxyError> {
    let is_proxied = upstream.endpoint.connector.is_proxied();
    let peer = tunnel.peer().filter(|_| !is_proxied);
    let leads_to = format!("{}:{}", asked.origin.host, asked.origin.port).into();
    let (client, shard) = (Arc::clone(exchange.client()), &exchange.shard);
    let open = OpenTunnel::new(client, TunnelAsked::Upgrade(asked), leads_to, peer);
    let open = open.of_caller(exchange.named_caller());
    let newest = shard.tunnels.newest();
    if let TunnelAsked::Upgrade(asked) = &open.asked
        && !Arc::ptr_eq(&newest, &shard.snapshot)
    {
        judge_again(&newest, &open, asked)
            .map_err(|reason| ProxyError::new(ErrorKind::DestinationDenied, reason))?;
    }
    tunnel.set_revocable(shard.tunnels.add(open));
    Ok(())
}

/// Judges such a tunnel by another snapshot than the one it was opened with.
///
/// # Errors
/// Why its request would not take the same way any more.
pub fn judge_again(
    snapshot: &Snapshot,
    tunnel: &OpenTunnel,
    asked: &PassedUpgrade,
) -> Result<(), Revocation> {
    let listener = tunnel.listener_in(snapshot)?;
    let caller = permit::judge_tunnel(snapshot, listener, tunnel)?;
    let origin = &asked.origin;
    let destination = Destination {
        scheme: if origin.scheme == UriScheme::HTTPS {
            Scheme::Https
        } else {
            Scheme::Http
        },
        host: &origin.host.to_string(),
        port: origin.port,
    };
    let (path, method) = (&asked.path, &asked.method);
    match destination::way_to(snapshot, listener, caller, destination, path, method) {
        Ok(Way::Passed(_, passage)) => tunnel.judge_address(snapshot, passage.reach),
        Ok(Way::Routed(..)) => Err("a route leads to the destination now".into()),
        Err(error) => Err(error.detail),
    }
}
