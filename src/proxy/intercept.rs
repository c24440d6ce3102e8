//! TLS that is ended inside of a CONNECT: for which destinations, and that all of a connection names the same one.

use std::borrow::Cow;
use std::time::Duration;

use super::client_connection::ConnectionTarget;
use super::destination;
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::failure;
use super::passing;
use super::route_taken::RouteTaken;
use super::shard_snapshot::ShardSnapshot;
use super::undecided::Undecided;
use crate::config::Scheme;
use crate::limit::{FairPermit, Permit};
use crate::policy::CallerIndex;
use crate::route::{self, Destination};
use crate::snapshot::Snapshot;
use crate::upstream::SpokenHttp;

/// Written routes lead there from every host.
const USUAL_PORT: u16 = 443;

/// Handshakes end all the time; some place is free again soon.
const PLACES_RETURN: Duration = Duration::from_secs(1);

/// A handshake that is to follow on a connection.
pub struct PendingInterception {
    /// What the connection was opened for. Where that is an address, the client names the host in its handshake.
    pub target: ConnectionTarget,
    /// What the API speaks, which the client is offered; `None`: that is to be found out once its name is known.
    pub spoken: Option<SpokenHttp>,
    /// The place of the handshake among those of the listener.
    pub place: FairPermit,
    /// The place of the connection among all, if it is a stream of another one.
    pub place_of_stream: Option<Permit>,
    /// The CONNECT, if it becomes a tunnel where the client names nothing that a route leads to.
    pub undecided: Option<Box<Undecided>>,
}

/// Why TLS is not ended for what a client names in its handshake.
#[derive(Debug, PartialEq, Eq)]
pub struct NotIntercepted {
    /// In words for the log.
    pub reason: Cow<'static, str>,
    /// No route leads there, or a rule lets it pass all the same.
    pub is_unmatched: bool,
}

/// The destination that all of a connection names.
pub struct NamedDestination {
    /// What its requests are for.
    pub target: ConnectionTarget,
    /// The route that leads there, the first one if paths tell several apart.
    pub taken: Option<RouteTaken<'static>>,
}

/// Prepares the handshake that follows a CONNECT.
///
/// # Errors
/// `overloaded` if as many handshakes are under way as may be.
pub fn prepare(
    exchange: &Exchange,
    target: ConnectionTarget,
    place_of_stream: Option<Permit>,
) -> Result<Box<PendingInterception>, ProxyError> {
    let snapshot = &exchange.shard.snapshot;
    let handshakes = &snapshot.listeners[exchange.listener].handshakes;
    let Some(place) = handshakes.try_acquire(exchange.client().peer.ip()) else {
        snapshot.count_interception(exchange.listener, "shed");
        return Err(too_many_handshakes());
    };
    Ok(Box::new(PendingInterception {
        target: ConnectionTarget {
            scheme: Scheme::Https,
            ..target
        },
        spoken: None,
        place,
        place_of_stream,
        undecided: None,
    }))
}

/// What the upstream with this index speaks, which is connected to unless that is known. It is found out before a CONNECT is
/// answered, since only then its client can be told what goes wrong.
///
/// # Errors
/// What goes wrong while the upstream is connected to.
pub async fn spoken_by(shard: &ShardSnapshot, upstream: usize) -> Result<SpokenHttp, ProxyError> {
    let spoken = shard.pool(upstream).spoken().await;
    spoken.map_err(failure::from_connect_error)
}

#[cold]
fn too_many_handshakes() -> ProxyError {
    ProxyError::new(
        ErrorKind::Overloaded,
        "as many TLS handshakes are under way as max_handshakes of the listener allows; raise it, or keep connections open",
    )
    .retry_after(PLACES_RETURN)
}

impl NotIntercepted {
    #[cold]
    fn new(reason: String, is_unmatched: bool) -> Self {
        Self {
            reason: reason.into(),
            is_unmatched,
        }
    }
}

/// The destination that a client names in the first message of its handshake, by its server name (SNI), on a
/// connection that was opened for `target`. Without a server name it is what the connection was opened for; where
/// that is an address, the server name decides.
///
/// # Errors
/// Why it is none that TLS is ended for here: it is another one, no route leads there, or the CA may not sign for it.
pub fn name_inside(
    snapshot: &Snapshot,
    listener: usize,
    target: &ConnectionTarget,
    server_name: Option<&str>,
) -> Result<NamedDestination, NotIntercepted> {
    let opener = opener(snapshot, target);
    name_inside_for(snapshot, listener, opener, target, server_name)
}

/// The same for a caller.
///
/// # Errors
/// As [`name_inside`].
pub fn name_inside_for(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    target: &ConnectionTarget,
    server_name: Option<&str>,
) -> Result<NamedDestination, NotIntercepted> {
    let named = server_name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let host = match named {
        Some(name) if is_open_to_names(snapshot, listener, target) => name.into(),
        Some(name) if destination::is_same(snapshot, listener, target, &name, target.port) => {
            name.into()
        }
        Some(name) => {
            let reason = format!(
                "the handshake names {name:?}, and the connection was opened for {:?}",
                target.host
            );
            return Err(NotIntercepted::new(reason, false));
        }
        None => target.host.clone(),
    };
    let inside = ConnectionTarget {
        scheme: Scheme::Https,
        host,
        ..target.clone()
    };
    if passes_by_rule(snapshot, listener, caller, &inside) {
        let reason = format!("a rule of [[egress.rules]] lets https://{inside} pass as it is");
        return Err(NotIntercepted::new(reason, true));
    }
    let leads_to = destination::places_of(snapshot, listener, inside.destination()).next();
    let Some(RouteTaken {
        upstream, route, ..
    }) = leads_to
    else {
        let reason = format!("no route leads to https://{inside}");
        return Err(NotIntercepted::new(reason, true));
    };
    if !covers(snapshot, &inside.host) {
        let reason = outside_of_domains(&inside.host);
        return Err(NotIntercepted::new(reason, false));
    }
    let taken = Some(RouteTaken::to(upstream, route));
    Ok(NamedDestination {
        target: inside,
        taken,
    })
}

/// Whether a client that names a host of this port in its handshake could lead to an upstream.
pub fn has_names_at(snapshot: &Snapshot, listener: usize, port: u16) -> bool {
    let implied = &snapshot.implied_routes;
    port == USUAL_PORT || implied.has_port(listener, Scheme::Https, port)
}

/// Whether the handshake may name any host: the connection was opened for an address that no upstream has.
fn is_open_to_names(snapshot: &Snapshot, listener: usize, target: &ConnectionTarget) -> bool {
    let destination = Destination {
        scheme: Scheme::Https,
        ..target.destination()
    };
    route::is_address(&target.host) && !destination::is_own_name(snapshot, listener, destination)
}

fn is_matched(snapshot: &Snapshot, listener: usize, target: &ConnectionTarget) -> bool {
    let mut leads_to = destination::places_of(snapshot, listener, target.destination());
    leads_to.next().is_some()
}

/// Whether TLS with the target of a connection would still be ended by this snapshot.
pub fn is_still_intercepted(
    snapshot: &Snapshot,
    listener: usize,
    target: &ConnectionTarget,
) -> bool {
    snapshot.listeners[listener].intercepts
        && covers(snapshot, &target.host)
        && is_matched(snapshot, listener, target)
        && !passes_by_rule(snapshot, listener, opener(snapshot, target), target)
}

/// Whose CONNECT has opened a connection.
fn opener(snapshot: &Snapshot, target: &ConnectionTarget) -> Option<CallerIndex> {
    let opener = target.caller.as_ref()?;
    snapshot.callers.names.index(&opener.name)
}

/// Whether a rule that names the very host lets it pass. Nothing of it is read then, whatever leads there.
fn passes_by_rule(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    target: &ConnectionTarget,
) -> bool {
    passing::judge_by_exact_host(snapshot, listener, caller, target.destination()).is_some()
}

/// Whether the CA may sign for this host.
pub fn covers(snapshot: &Snapshot, host: &str) -> bool {
    let interception = snapshot.config.interception.as_ref();
    interception.is_some_and(|interception| interception.covers(host))
}

/// Why there is no certificate for it.
#[cold]
pub fn outside_of_domains(host: &str) -> String {
    format!(
        "no certificate can be made for {host:?}, which is outside of `domains` of [interception]: add its domain, or \
         call the API as http:// through this proxy"
    )
}
