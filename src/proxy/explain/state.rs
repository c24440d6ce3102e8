//! How what a request needs is now, in a process that runs.

use serde_json::json;

use crate::explanation::{ExplainedLimit, LiveState, LiveToken, LiveUpstream};
use crate::policy::LimitState;
use crate::snapshot::{BuiltUpstream, Injection, Snapshot};

/// What is told beyond what the configuration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainState {
    /// Nothing: nobody runs.
    Left,
    /// How it is now, in this process.
    Shown,
}

/// The token and the upstream that a request would get. Nothing is asked for.
pub(super) fn now(
    snapshot: &Snapshot,
    upstream: Option<&BuiltUpstream>,
    injection: Option<&Injection>,
) -> LiveState {
    LiveState {
        generation: snapshot.generation,
        token: injection.map(token),
        upstream: upstream.map(live_upstream),
    }
}

fn token(injection: &Injection) -> LiveToken {
    let status = injection.status();
    let now = injection.now();
    let held = injection.last_token();
    let usable = held.filter(|token| token.is_usable(now));
    let until = usable.as_ref().map(|token| token.usable_until().wall);
    LiveToken {
        phase: json!(status.state).as_str().unwrap_or_default().to_owned(),
        usable: usable.is_some(),
        usable_for: until.map(|until| until.saturating_sub(now.wall).as_secs()),
        quarantined: injection.rejections.is_quarantined(&injection.source),
        last_error: status.last_error.map(|error| error.message),
    }
}

fn live_upstream(upstream: &BuiltUpstream) -> LiveUpstream {
    let endpoint = &upstream.endpoint;
    let mut injections = upstream.injections();
    LiveUpstream {
        connections: endpoint.permits.taken(),
        max_connections: endpoint.permits.max(),
        reachable: endpoint.history.last_connect_succeeded(),
        rejects_fresh_tokens: injections.any(|injection| injection.fresh.rejected().is_some()),
    }
}

/// The limits of a caller or a route, of which so many requests are asked, and what of them is used now if that is to be shown.
pub(super) fn limits(
    of: &str,
    state: &LimitState,
    shows_use: bool,
    requests: u32,
) -> Vec<ExplainedLimit> {
    let (limits, used) = (state.limits(), state.in_use());
    // As many as the burst are there at most, and without one as many as the rate.
    let left = |is_of_this: bool| state.left().filter(|_| is_of_this);
    let has_burst = limits.burst.is_some();
    let rate = limits.requests_per_second;
    // The place of a CONNECT is free again when it has been answered.
    let all = [
        (
            "requests_per_second",
            rate,
            None,
            left(!has_burst),
            requests,
        ),
        ("burst", limits.burst, None, left(has_burst), requests),
        (
            "concurrent",
            limits.concurrent,
            Some(used.requests),
            None,
            1,
        ),
        ("tunnels", limits.tunnels, Some(used.tunnels), None, 1),
    ];
    let written = all
        .into_iter()
        .filter_map(|(key, limit, used, left, takes)| {
            Some(ExplainedLimit {
                of: of.to_owned(),
                key: key.to_owned(),
                limit: limit?,
                takes: Some(takes).filter(|takes| *takes > 1),
                in_use: used.filter(|_| shows_use),
                left: left.filter(|_| shows_use),
            })
        });
    written.collect()
}
