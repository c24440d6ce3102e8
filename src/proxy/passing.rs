//! What becomes of a destination that no route leads to: refused, or on its way without a token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::Version;
use http::uri::Scheme as UriScheme;
use tokio::time::Instant;

use super::caller_rule::CallerRule;
use super::error::{DeniedBy, EgressDenial, ErrorKind, ProxyError};
use crate::config::{EgressAction, HttpVersion};
use crate::egress::{EgressDecision, Reach};
use crate::policy::CallerIndex;
use crate::route::Destination;
use crate::snapshot::{BuiltUpstream, Passing, PassingError, PassingWay, Snapshot};
use crate::upstream::{Origin, OriginPoolError, OriginPools, Pool, TlsError};

/// Origins that no route leads to and that each shard keeps connections to, for listeners of each reach. More than
/// that may not be in use at the same time.
const MOST_ORIGINS: usize = 1024;

/// A destination that no route leads to may pass, as far as its host and port say. Its address is judged when it
/// is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The index of the rule that says so (see [`EgressPolicy::rules`](crate::egress::EgressPolicy::rules)).
    pub rule: usize,
    /// Who can reach the listener.
    pub reach: Reach,
    /// It is not in the list of callers of the rule that lets it pass, and the listener only reports that.
    pub reported: Option<CallerRule>,
}

impl Passage {
    /// How a request passes to an origin that came by this version of HTTP. What is redirected is spoken on in the version that
    /// its client chose for the very server: without TLS, nothing tells which ones that server knows.
    pub fn way(&self, origin: &Origin, version: Version) -> PassingWay {
        let reach = self.reach;
        let is_redirected = reach == Reach::Redirected && origin.scheme == UriScheme::HTTP;
        let http = if is_redirected && version == Version::HTTP_2 {
            HttpVersion::Http2
        } else {
            HttpVersion::Auto
        };
        PassingWay { reach, http }
    }
}

/// Judges a destination that no route leads to, by its host and port.
///
/// # Errors
/// `loop` if it is written as a socket of this process; else `destination_denied`, with the rule that decided.
pub fn judge(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    destination: Destination<'_>,
) -> Result<Passage, ProxyError> {
    let decided = decide(snapshot, listener, caller, destination.host, passes);
    conclude(snapshot, listener, destination, decided)
}

/// The same by a rule that names the very host; `None` if none of them lets it pass.
///
/// # Errors
/// As [`judge`].
pub fn judge_by_exact_host(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    destination: Destination<'_>,
) -> Option<Result<Passage, ProxyError>> {
    let passes_exactly = |decision: &EgressDecision| decision.by_exact_host && passes(decision);
    let decided = decide(snapshot, listener, caller, destination.host, passes_exactly);
    passes_exactly(&decided.0).then(|| conclude(snapshot, listener, destination, decided))
}

/// Judges a destination that may pass by the rules about its host; `None` if they deny it, since something
/// else may lead there.
pub fn judge_if_host_passes(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    destination: Destination<'_>,
) -> Option<Result<Passage, ProxyError>> {
    let decided = decide(snapshot, listener, caller, destination.host, passes);
    passes(&decided.0).then(|| conclude(snapshot, listener, destination, decided))
}

fn passes(decision: &EgressDecision) -> bool {
    decision.action == EgressAction::Pass
}

/// What the rules say about a host. If that is not what is `wanted`, and the listener only reports what lists of callers
/// refuse: what they say where everyone is listed, if that is wanted.
fn decide(
    snapshot: &Snapshot,
    listener: usize,
    caller: Option<CallerIndex>,
    host: &str,
    wanted: impl Fn(&EgressDecision) -> bool,
) -> (EgressDecision, Option<CallerRule>) {
    let policy = &snapshot.egress;
    let decision = policy.decide(listener, host, |callers| callers.has(caller));
    if !wanted(&decision) && snapshot.listeners[listener].only_reports {
        let of_all = policy.decide(listener, host, |_| true);
        if wanted(&of_all) {
            return (of_all, Some(CallerRule::Egress));
        }
    }
    (decision, None)
}

fn conclude(
    snapshot: &Snapshot,
    listener: usize,
    destination: Destination<'_>,
    (decision, reported): (EgressDecision, Option<CallerRule>),
) -> Result<Passage, ProxyError> {
    let Destination { host, port, .. } = destination;
    if is_own_socket(snapshot, host, port) {
        return Err(ProxyError::new(
            ErrorKind::Loop,
            "the destination is this process itself; leave its addresses to no_proxy",
        ));
    }
    let refusal = if !passes(&decision) {
        Some((DeniedBy::Host, denied_by_host(snapshot, decision.rule)))
    } else if is_unusual_ipv4(host) {
        let detail = "an IPv4 address is written as four decimal numbers";
        let error = ProxyError::new(ErrorKind::DestinationDenied, detail);
        Some((DeniedBy::Address, error))
    } else if !snapshot.egress.allows_port(listener, port) {
        let detail = format!("port {port} is none of `ports` of [egress]");
        let error = ProxyError::new(ErrorKind::DestinationDenied, detail);
        Some((DeniedBy::Port, error))
    } else {
        None
    };
    if let Some((by, mut error)) = refusal {
        let rule = decision.rule;
        error.egress = Some(EgressDenial { rule, by });
        return Err(error);
    }
    Ok(Passage {
        rule: decision.rule,
        reach: snapshot.egress.reach(listener),
        reported,
    })
}

/// Counts a request that was refused by its host and port.
pub fn count_denial(snapshot: &Snapshot, listener: usize, denial: EgressDenial) {
    let metrics = snapshot.egress_metrics(listener, denial.rule);
    match denial.by {
        DeniedBy::Host => metrics.denied.inc(),
        DeniedBy::Address => metrics.denied_address.inc(),
        DeniedBy::Port => metrics.denied_port.inc(),
    }
}

/// Counts a request that passed, or that was refused when its address was judged.
pub fn record(snapshot: &Snapshot, listener: usize, passage: Passage, error: Option<&ProxyError>) {
    let metrics = snapshot.egress_metrics(listener, passage.rule);
    if error.is_some_and(|error| error.kind == ErrorKind::DestinationDenied) {
        metrics.denied_address.inc();
    } else {
        metrics.passed.inc();
    }
}

#[cold]
fn denied_by_host(snapshot: &Snapshot, rule: usize) -> ProxyError {
    let Some(host) = rule
        .checked_sub(1)
        .and_then(|at| snapshot.egress.rules().nth(at + 1))
    else {
        return ProxyError::new(
            ErrorKind::DestinationDenied,
            "no route leads to this scheme, host, port and path, and `unmatched` of the listener is \"deny\": use those \
             of an upstream's `url`, or add the name to its `hosts`",
        );
    };
    let detail = format!("the rule for {host:?} in [[egress.rules]] is \"deny\"");
    ProxyError::new(ErrorKind::DestinationDenied, detail)
}

/// Whether it is a socket of this process, as far as that shows without the DNS.
fn is_own_socket(snapshot: &Snapshot, host: &str, port: u16) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ips: &[IpAddr] = match bare.parse() {
        Ok(ip) => &[ip],
        Err(_) if host == "localhost" => &[
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
        Err(_) => &[],
    };
    let own = &snapshot.own_sockets;
    ips.iter().any(|ip| own.contain(SocketAddr::new(*ip, port)))
}

/// Whether resolvers take the host for an IPv4 address though it is not written as one (`0x7f.1`, `2130706433`).
/// Its rules would be those of a name.
fn is_unusual_ipv4(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    (hexadecimal || decimal) && host.parse::<Ipv4Addr>().is_err()
}

/// An origin that requests pass to, with one shard's connections to it.
pub struct PassedOrigin {
    /// As an upstream, without a token.
    pub upstream: Arc<BuiltUpstream>,
    /// The connections.
    pub pool: Rc<Pool>,
}

/// The origins that requests of one shard pass to. Listeners that the network reaches share no connection with
/// those that it does not: other addresses may be dialled for each.
pub struct PassedOrigins {
    of_machine: OriginPools<Arc<BuiltUpstream>>,
    of_network: OriginPools<Arc<BuiltUpstream>>,
    /// Where the system had found them on their way to, over HTTP/1.1.
    redirected: OriginPools<Arc<BuiltUpstream>>,
    /// The same over HTTP/2.
    redirected_http2: OriginPools<Arc<BuiltUpstream>>,
}

impl PassedOrigins {
    /// None yet.
    pub fn new() -> Self {
        Self {
            of_machine: OriginPools::new(MOST_ORIGINS),
            of_network: OriginPools::new(MOST_ORIGINS),
            redirected: OriginPools::new(MOST_ORIGINS),
            redirected_http2: OriginPools::new(MOST_ORIGINS),
        }
    }

    /// One of them, made when it is first asked for.
    ///
    /// # Errors
    /// `overloaded` if as many as may be are in use; `upstream_tls` if there can be no TLS with it;
    /// `destination_denied` if it has no URL.
    pub fn get(
        &self,
        passing: &Passing,
        origin: &Origin,
        way: PassingWay,
    ) -> Result<PassedOrigin, ProxyError> {
        let pools = match (way.reach, way.http) {
            (Reach::Machine, _) => &self.of_machine,
            (Reach::Network, _) => &self.of_network,
            (Reach::Redirected, HttpVersion::Http2) => &self.redirected_http2,
            (Reach::Redirected, _) => &self.redirected,
        };
        let make = || {
            let upstream = passing.upstream(origin, way)?;
            Ok((Arc::clone(&upstream.endpoint), upstream))
        };
        let found = pools.pool(origin, Instant::now(), make);
        let (pool, upstream) = found.map_err(no_pool)?;
        Ok(PassedOrigin { upstream, pool })
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self, now: Instant) {
        for pools in [
            &self.of_machine,
            &self.of_network,
            &self.redirected,
            &self.redirected_http2,
        ] {
            pools.sweep(now);
        }
    }
}

/// The answer where there is no upstream for an origin.
#[cold]
pub fn no_pool(error: OriginPoolError<PassingError>) -> ProxyError {
    let (kind, detail) = match &error {
        OriginPoolError::Full { .. } => (
            ErrorKind::Overloaded,
            "requests to as many hosts are in progress as may be; try again later",
        ),
        OriginPoolError::Endpoint(PassingError::Host(_)) => (
            ErrorKind::DestinationDenied,
            "this is no name that a host can have",
        ),
        OriginPoolError::Endpoint(PassingError::Tls(TlsError::NoRoots(_))) => (
            ErrorKind::UpstreamTls,
            "there are no CA certificates to verify the host with (the log says more)",
        ),
        OriginPoolError::Endpoint(PassingError::Tls(_)) => (
            ErrorKind::UpstreamTls,
            "no certificate can carry the name of this host",
        ),
    };
    ProxyError::new(kind, detail).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resolvers_take_for_an_ipv4_address_has_to_be_written_as_one() {
        for host in [
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.256",
            "1.2.3.4.5",
            "foo.0x1",
            "foo.1",
            "0x",
        ] {
            assert!(is_unusual_ipv4(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "1a",
            "a.1b",
            "0xg",
            "1.example",
            "0x1.example",
            "[::1]",
            "",
        ] {
            assert!(!is_unusual_ipv4(host), "{host}");
        }
    }
}
