//! Where a request of a forward listener goes: what its client names, and what that is here.

use std::net::{IpAddr, SocketAddr};

use http::header::{CONTENT_LOCATION, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Position;

use super::client_connection::ConnectTarget;
use super::error::{ErrorKind, ProxyError};
use super::exchange::Exchange;
use super::request::Checked;
use super::route_taken::RouteTaken;
use crate::config::{HostPattern, Scheme};
use crate::route::{self, Destination};
use crate::snapshot::{BuiltUpstream, RouteTarget, Snapshot};

const ALT_SVC: HeaderName = HeaderName::from_static("alt-svc");

/// How a request came to its upstream, as far as it decides about headers of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// By a reverse listener.
    No,
    /// By a forward listener, in the scheme that the client names.
    AsNamed,
    /// By a forward listener, over TLS where the client names `http`.
    OverTls,
}

/// The route that a request of a forward listener takes: one that was written, or one that the own names of an
/// upstream imply. Of two that name the very host, the one with the longer path wins, and a written one if both are
/// equal; routes for a wildcard or any host come behind.
///
/// # Errors
///
/// `bad_request` if the target is not absolute and not inside of a CONNECT; `misdirected` if that is for another
/// host; `loop` if it is a socket of this process; else
/// `destination_denied` if no route leads there.
pub fn find_route<'s>(
    exchange: &Exchange,
    snapshot: &'s Snapshot,
    checked: &Checked<'_>,
    head: &Parts,
) -> Result<(RouteTaken<'s>, Forwarded), ProxyError> {
    let host = route::canonical(&checked.host);
    let listener = exchange.listener;
    let destination = match exchange.client().connect_target() {
        Some(opened) => inside(opened, &host, checked.authority, head)?,
        None => named(head, &host)?,
    };
    let (path, method) = (&*checked.path.canonical, &head.method);

    let fits = |target: &RouteTarget| {
        let (upstream, route) = (target.upstream as usize, target.route as usize);
        leads_there(snapshot, upstream, route, destination)
    };
    let by_name = snapshot.routes.find_by_name(listener, &host, path, method);
    let by_name = by_name.filter(|found| fits(found.value));
    let implied = snapshot.implied_routes.find(listener, destination, path);
    let taken = match (by_name, implied) {
        (Some(written), Some(implied)) if written.prefix_len < implied.prefix_len => {
            RouteTaken::implied(snapshot, *implied.value)
        }
        (Some(written), _) => RouteTaken::written(&written),
        (None, Some(implied)) => RouteTaken::implied(snapshot, *implied.value),
        (None, None) => {
            let written = snapshot.routes.find(listener, &host, path, method);
            let written = written.filter(|found| fits(found.value));
            let written = written.ok_or_else(|| denied(snapshot, destination))?;
            RouteTaken::written(&written)
        }
    };
    let upstream = &snapshot.upstreams[taken.upstream as usize];
    let forwarded = if destination.scheme == Scheme::Http && is_https(upstream) {
        Forwarded::OverTls
    } else {
        Forwarded::AsNamed
    };
    Ok((taken, forwarded))
}

/// What the target names, whose host is given in its canonical form.
fn named<'r>(head: &Parts, host: &'r str) -> Result<Destination<'r>, ProxyError> {
    let uri = &head.uri;
    let (Some(scheme), Some(authority)) = (scheme_of(head), uri.authority()) else {
        return Err(ProxyError::bad_request(
            "this is a forward proxy, which takes whole URLs: set http_proxy to its address, or call a reverse listener",
        ));
    };
    let usual_port = match scheme {
        Scheme::Https => 443,
        Scheme::Http => 80,
    };
    Ok(Destination {
        scheme,
        host,
        port: authority.port_u16().unwrap_or(usual_port),
    })
}

fn scheme_of(head: &Parts) -> Option<Scheme> {
    let scheme = head.uri.scheme_str()?;
    let is = |secure: &str| scheme.eq_ignore_ascii_case(secure);
    Some(if is("https") || is("wss") {
        Scheme::Https
    } else {
        Scheme::Http
    })
}

/// What a request inside of a CONNECT names: the same as that, or nothing.
fn inside<'r>(
    opened: &ConnectTarget,
    host: &'r str,
    authority: &str,
    head: &Parts,
) -> Result<Destination<'r>, ProxyError> {
    let port = authority.rsplit_once(':').map(|(_, port)| port.parse());
    let port = match port {
        Some(Ok(port)) => port,
        // What stands behind the last colon belongs to an IPv6 address.
        Some(Err(_)) | None => 80,
    };
    if *host != *opened.host || port != opened.port || scheme_of(head) == Some(Scheme::Https) {
        return Err(ProxyError::new(
            ErrorKind::Misdirected,
            "the request is not for the host and port of the CONNECT that it stands in: open another connection",
        ));
    }
    Ok(Destination {
        scheme: Scheme::Http,
        host,
        port,
    })
}

/// The routes that a destination has, whatever the path.
pub fn routes_to<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'s>,
) -> impl Iterator<Item = RouteTaken<'s>> {
    let config = &snapshot.config;
    let listener = &config.listeners[listener];
    let Destination { scheme, host, port } = destination;
    let by_own_name = config.forwarded_by(listener).filter_map(move |upstream| {
        let mut own = upstream.destinations();
        let names_it = own.any(|own| (own.0, &*own.1, own.2) == (scheme, host, port));
        let upstream = snapshot
            .upstream_index(&upstream.name)
            .filter(|_| names_it)?;
        Some(RouteTaken::implied(snapshot, upstream as u32))
    });
    let routes = config.routes.iter().zip(0..).filter(move |(route, _)| {
        let is_for = |name: &String| *name == listener.name;
        let host_fits = match &route.host {
            HostPattern::Any => true,
            HostPattern::Exact(name) => name == host,
            HostPattern::Wildcard(parent) => {
                let rest = host.split_once('.');
                rest.is_some_and(|(_, rest)| rest == parent)
            }
        };
        host_fits && route.listener.as_ref().is_none_or(is_for)
    });
    let by_route = routes.filter_map(move |(route, at)| {
        let upstream = snapshot.upstream_index(&route.upstream)?;
        let leads = leads_there(snapshot, upstream, at, destination);
        leads.then(|| RouteTaken::to(upstream as u32, at as u32))
    });
    by_own_name.chain(by_route)
}

/// Whether a written route, which knows no schemes and no ports, leads there: never from `https` to an `http`
/// upstream, nor from a port that neither the scheme nor the upstream has. A route for any host does so only if it
/// is for this listener alone: else each request for any other host would be taken for it.
fn leads_there(
    snapshot: &Snapshot,
    upstream: usize,
    route: usize,
    destination: Destination<'_>,
) -> bool {
    let route = &snapshot.config.routes[route];
    if route.host == HostPattern::Any && route.listener.is_none() {
        return false;
    }
    let upstream = &snapshot.upstreams[upstream];
    let usual_port = match destination.scheme {
        Scheme::Https if !is_https(upstream) => return false,
        Scheme::Https => 443,
        Scheme::Http => 80,
    };
    let is_named = || {
        let mut hosts = upstream.config.hosts.iter();
        hosts.any(|named| named.host == destination.host && named.port == Some(destination.port))
    };
    destination.port == usual_port
        || upstream.config.url.port_or_known_default() == Some(destination.port)
        || is_named()
}

fn is_https(upstream: &BuiltUpstream) -> bool {
    upstream.config.url.scheme() == "https"
}

/// Why nothing leads there.
#[cold]
pub fn denied(snapshot: &Snapshot, destination: Destination<'_>) -> ProxyError {
    if is_own_socket(snapshot, destination) {
        return ProxyError::new(
            ErrorKind::Loop,
            "the destination is this process itself; leave its addresses to no_proxy",
        );
    }
    ProxyError::new(
        ErrorKind::DestinationDenied,
        "no route leads to this scheme, host, port and path, and `unmatched` of the listener is \"deny\": use those of \
         an upstream's `url`, or add the name to its `hosts`",
    )
}

/// Whether it is a socket of this process, as far as that shows without the DNS.
fn is_own_socket(snapshot: &Snapshot, destination: Destination<'_>) -> bool {
    let Destination { host, port, .. } = destination;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ips: &[IpAddr] = match bare.parse() {
        Ok(ip) => &[ip],
        Err(_) if host == "localhost" => &[
            IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ],
        Err(_) => &[],
    };
    let own = &snapshot.own_sockets;
    ips.iter().any(|ip| own.contain(SocketAddr::new(*ip, port)))
}

/// Makes the headers of a response fit for a client of a forward listener: without other ways to the API, which would
/// pass by this one, and with `Location` on the way that the client takes, whose authority is `client`.
pub fn scrub_response(
    headers: &mut HeaderMap,
    forwarded: Forwarded,
    upstream: &BuiltUpstream,
    client: Option<&str>,
) {
    if forwarded == Forwarded::No {
        return;
    }
    headers.remove(ALT_SVC);
    if forwarded == Forwarded::OverTls
        && let Some(client) = client
    {
        let url = &upstream.config.url[Position::BeforeHost..Position::AfterPort];
        let own = [upstream.authority.as_str(), url];
        for name in [LOCATION, CONTENT_LOCATION] {
            if let Some(value) = headers.get_mut(name)
                && let Some(named) = as_http(value, own, client)
            {
                *value = named;
            }
        }
    }
}

/// As [`scrub_response`], for the trailers.
pub fn scrub_trailers(trailers: &mut HeaderMap) {
    trailers.remove(ALT_SVC);
}

/// A URL of the API as its client names it; `None` if it is not one. `own` are the authorities of the API.
fn as_http(url: &HeaderValue, own: [&str; 2], client: &str) -> Option<HeaderValue> {
    const SCHEME: &[u8] = b"https://";
    let (scheme, rest) = url.as_bytes().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    let without_port = |authority: &[u8]| {
        let bare = authority.strip_suffix(b":443").unwrap_or(authority);
        bare.to_ascii_lowercase()
    };
    let authority = without_port(authority);
    if !own
        .iter()
        .any(|own| without_port(own.as_bytes()) == authority)
    {
        return None;
    }
    HeaderValue::from_bytes(&[b"http://", client.as_bytes(), path].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_api_go_back_as_http() {
        let own = ["api.internal", "crm.example.com"];
        let go_back = |url: &str| {
            let value = HeaderValue::from_str(url).unwrap();
            as_http(&value, own, "crm.old").map(|value| value.to_str().unwrap().to_owned())
        };
        for (url, named) in [
            ("https://crm.example.com/a?b#c", "http://crm.old/a?b#c"),
            ("HTTPS://CRM.Example.com:443/", "http://crm.old/"),
            ("https://api.internal", "http://crm.old"),
            ("https://api.internal?x", "http://crm.old?x"),
        ] {
            assert_eq!(go_back(url).as_deref(), Some(named), "{url}");
        }
        for url in [
            "http://crm.example.com/",
            "https://crm.example.com:8443/",
            "https://crm.example.com.evil.example/",
            "https://user@crm.example.com/",
            "https://evil.example/https://crm.example.com/",
            "//crm.example.com/",
            "/a",
            "https:",
            "",
        ] {
            assert_eq!(go_back(url), None, "{url}");
        }
    }
}
