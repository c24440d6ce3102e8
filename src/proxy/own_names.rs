//! The names that count as one: those of an upstream, and the one that a client knows it by.

use super::request;
use crate::config::{Scheme, Upstream};
use crate::host::canonical_host;

/// Whether a host and port are the `host` of an upstream, which without a port stands for these two.
pub fn is_sent_host(upstream: &Upstream, host: &str, port: u16, either: [u16; 2]) -> bool {
    let sent = upstream.host.as_deref().unwrap_or_default();
    let (name, sent_port) = match sent.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (sent, None),
    };
    canonical_host(name).eq_ignore_ascii_case(host)
        && sent_port.map_or(either.contains(&port), |sent: u16| sent == port)
}

/// Whether an `https` URL with the authority `named` leads to the API that a client has asked for as `http` with the
/// authority `client`: by a name of the upstream, or by the one that the client knows, be it that of a route. Where the
/// client has named no port, the usual ones of the two schemes stand for each other.
pub fn is_same_api(upstream: &Upstream, client: &str, named: &str) -> bool {
    let (http, https) = (Scheme::Http.usual_port(), Scheme::Https.usual_port());
    let Ok((host, port)) = request::host_and_port(named) else {
        return false;
    };
    let port = port.unwrap_or(https);
    let of_url = upstream.url.port_or_known_default().unwrap_or(https);
    let is_of_client = || {
        let asked = request::host_and_port(client);
        asked.is_ok_and(|(asked, at)| {
            let at = at.filter(|at| *at != http).unwrap_or(https);
            asked == host && [at, of_url].contains(&port)
        })
    };
    upstream.has_destination(Scheme::Https, &host, port)
        || is_sent_host(upstream, &host, port, [of_url, https])
        || is_of_client()
}
