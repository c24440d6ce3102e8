//! What lists of callers say about a request.

use super::caller_rule::CallerRule;
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::identify;
use super::open_tunnels::{REMOVED, Revocation, TunnelGrant};
use crate::caller::Claim;
use crate::policy::CallerIndex;
use crate::snapshot::{BuiltUpstream, Injection, NoCredential, Snapshot};

/// What refuses a caller that an upstream has no credential for, as the log names it.
const NO_CREDENTIAL: &str = "`credentials` of the upstream";

/// Refuses a request whose caller may not use the listener.
///
/// # Errors
/// `not_permitted`.
pub fn permit_listener(exchange: &mut Exchange) -> Result<(), ProxyError> {
    let (snapshot, caller) = (&exchange.shard.snapshot, exchange.caller_index());
    let reported = judge_listener(snapshot, exchange.listener, caller)?;
    exchange.report(reported);
    Ok(())
}

/// Refuses a request whose caller may not take the route with this index.
///
/// # Errors
/// `not_permitted`.
pub fn permit_route(exchange: &mut Exchange, route: u32) -> Result<(), ProxyError> {
    let (snapshot, caller) = (&exchange.shard.snapshot, exchange.caller_index());
    let reported = judge_route(snapshot, exchange.listener, route, caller)?;
    exchange.report(reported);
    Ok(())
}

/// Judges the caller of an open tunnel by another snapshot, and finds its index there; `None` where nobody has to be
/// known. Whose the key or token is now that it was opened by is another question.
///
/// # Errors
/// It is another one now, or may not use the listener any more.
pub fn judge_tunnel(
    snapshot: &Snapshot,
    listener: usize,
    tunnel: &TunnelGrant,
) -> Result<Option<CallerIndex>, Revocation> {
    let rules = &snapshot.listeners[listener];
    let of_connection = identify::by_connection(snapshot, rules, &tunnel.client)?;
    if !snapshot.permits.identifies(listener) {
        return Ok(None);
    }
    let Some(opener) = &tunnel.caller else {
        return Err(
            "its listener has to know its callers now, and did not when it was opened".into(),
        );
    };
    let caller = snapshot.callers.names.index(&opener.name);
    let caller = caller.ok_or(REMOVED)?;
    match of_connection {
        Claim::Of(known) if known.caller == caller => {}
        Claim::Nobody if opener.shown.is_some() => {}
        Claim::Nobody => return Err("its caller is not known any more".into()),
        Claim::Of(_) | Claim::Several => {
            return Err("its connection shows another caller now".into());
        }
    }
    judge_listener(snapshot, listener, Some(caller))
        .map_err(|_| "its caller may not use the listener any more")?;
    Ok(Some(caller))
}

/// Judges the list of the listener.
///
/// # Errors
/// `not_permitted`, unless the listener only reports: then the list is returned.
pub fn judge_listener(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
) -> Result<Option<CallerRule>, ProxyError> {
    let may = snapshot.permits.may_use_listener(listener, caller);
    refuse_unless(may, snapshot, listener, CallerRule::Listener)
}

/// Judges the list of the route with this index.
///
/// # Errors
/// As [`judge_listener`].
pub fn judge_route(
    snapshot: &Snapshot,
    listener: usize,
    route: u32,
    caller: Option<CallerIndex>,
) -> Result<Option<CallerRule>, ProxyError> {
    let may = snapshot.permits.may_take_route(route, caller);
    refuse_unless(may, snapshot, listener, CallerRule::Route)
}

/// Chooses whose token goes with a request of this caller, if one does. It is no matter of lists, so that it is never only
/// reported.
///
/// # Errors
/// `not_permitted` if the upstream has credentials, and none of them is for the caller.
pub fn judge_credentials(
    upstream: &BuiltUpstream,
    caller: Option<CallerIndex>,
) -> Result<Option<&Injection>, ProxyError> {
    let chosen = upstream.injection_for(caller);
    chosen.map_err(|NoCredential| not_permitted(NO_CREDENTIAL))
}

fn refuse_unless(
    may: bool,
    snapshot: &Snapshot,
    listener: usize,
    rule: CallerRule,
) -> Result<Option<CallerRule>, ProxyError> {
    if may {
        Ok(None)
    } else if snapshot.listeners[listener].only_reports {
        Ok(Some(rule))
    } else {
        Err(not_permitted(rule.as_str()))
    }
}

/// The caller is known, and what it asks for is not for it. Only the log is told by what.
#[cold]
pub fn not_permitted(rule: &'static str) -> ProxyError {
    let detail = "the caller may not use this listener or route, or has no credential there";
    ProxyError {
        rule: Some(rule),
        ..ProxyError::new(ErrorKind::NotPermitted, detail).caused_by(rule)
    }
}
