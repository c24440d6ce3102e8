//! Routes that nobody wrote: the own names of upstreams, which clients of forward listeners use.

use http::Method;

use super::by_host::short_hash;
use super::{Match, RoutePattern, RouteTable, narrow};
use crate::config::{HostPattern, Scheme};

/// What a client of a forward listener asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'r> {
    /// Its scheme.
    pub scheme: Scheme,
    /// The host in lower case, without port and trailing dot; IPv6 in brackets and its shortest form.
    pub host: &'r str,
    /// The port, or that of the scheme.
    pub port: u16,
}

/// The upstreams by the destinations that are their own names, for each forward listener.
#[derive(Debug)]
pub struct ImpliedRoutes {
    /// Their listeners, schemes and ports, in order.
    ways: Vec<WayIn>,
    /// By hosts and paths. In the place of listeners there are indices of `ways`.
    hosts: RouteTable<u32>,
    /// By hosts alone: indices of `ways`, hashes of hosts, and upstreams, sorted.
    any_path: Box<[(u32, u32, u32)]>,
}

/// A listener, a scheme and a port.
type WayIn = (usize, Scheme, u16);

/// One such destination.
#[derive(Debug)]
pub struct ImpliedRoute<'c> {
    /// The index of the listener that leads there.
    pub listener: usize,
    /// Scheme, host and port.
    pub destination: (Scheme, String, u16),
    /// The path that requests begin with, `/` for any.
    pub path: &'c str,
    /// The index of the upstream.
    pub upstream: u32,
}

impl ImpliedRoutes {
    /// Builds the table.
    pub fn build<'c>(routes: impl IntoIterator<Item = ImpliedRoute<'c>>) -> Self {
        let routes: Vec<_> = routes
            .into_iter()
            .map(|route| {
                let (scheme, host, port) = &route.destination;
                let way = (route.listener, *scheme, *port);
                (way, HostPattern::Exact(host.as_str().into()), route)
            })
            .collect();
        let mut ways: Vec<_> = routes.iter().map(|(way, ..)| *way).collect();
        ways.sort_unstable();
        ways.dedup();
        let patterns = routes.iter().map(|(way, host, route)| {
            let pattern = RoutePattern {
                listener: ways.binary_search(way).ok(),
                host,
                path: route.path,
                methods: &[],
            };
            (pattern, route.upstream)
        });
        let hosts = RouteTable::build(patterns);
        let any_path = routes.iter().filter_map(|(way, _, route)| {
            let way = ways.binary_search(way).ok()?;
            let (_, host, _) = &route.destination;
            Some((narrow(way), short_hash(host), route.upstream))
        });
        let mut any_path: Box<[_]> = any_path.collect();
        any_path.sort_unstable();
        Self {
            ways,
            hosts,
            any_path,
        }
    }

    /// The indices of the upstreams that may have a destination as an own name, whatever the path. A few may have
    /// another host.
    pub fn at(
        &self,
        listener: usize,
        destination: Destination<'_>,
    ) -> impl Iterator<Item = u32> + use<'_> {
        let Destination { scheme, host, port } = destination;
        let way = self.ways.binary_search(&(listener, scheme, port));
        let hash = short_hash(host);
        let alike = way.ok().map(|way| {
            let of = move |entry: &(u32, u32, u32)| (entry.0, entry.1);
            let wanted = (narrow(way), hash);
            let first = self.any_path.partition_point(|entry| of(entry) < wanted);
            let alike = self.any_path[first..].iter();
            alike.take_while(move |entry| of(entry) == wanted)
        });
        alike.into_iter().flatten().map(|(.., upstream)| *upstream)
    }

    /// Whether any upstream has an own name of this scheme and port.
    pub fn has_port(&self, listener: usize, scheme: Scheme, port: u16) -> bool {
        self.ways.binary_search(&(listener, scheme, port)).is_ok()
    }

    /// The index of the upstream that the destination and the canonical path lead to, and how many bytes of the
    /// path its own path covers.
    pub fn find(
        &self,
        listener: usize,
        destination: Destination<'_>,
        path: &str,
    ) -> Option<Match<'_, u32>> {
        self.find_where(listener, destination, path, |_| true)
    }

    /// The same of the upstreams that count.
    pub fn find_where(
        &self,
        listener: usize,
        destination: Destination<'_>,
        path: &str,
        counts: impl Fn(u32) -> bool,
    ) -> Option<Match<'_, u32>> {
        let Destination { scheme, host, port } = destination;
        let way = self.ways.binary_search(&(listener, scheme, port)).ok()?;
        let counts = |upstream: &u32| counts(*upstream);
        self.hosts
            .find_by_name_where(way, host, path, &Method::GET, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ImpliedRoutes {
        let route = |listener, scheme, host: &str, port, path, upstream| ImpliedRoute {
            listener,
            destination: (scheme, host.to_owned(), port),
            path,
            upstream,
        };
        ImpliedRoutes::build([
            route(0, Scheme::Http, "crm.example.com", 80, "/", 0),
            route(0, Scheme::Http, "crm.example.com", 80, "/v2", 1),
            route(0, Scheme::Https, "crm.example.com", 443, "/", 0),
            route(1, Scheme::Http, "[::1]", 8080, "/", 2),
        ])
    }

    fn found(listener: usize, scheme: Scheme, host: &str, port: u16, path: &str) -> Option<u32> {
        let table = table();
        let found = table.find(listener, Destination { scheme, host, port }, path);
        found.map(|found| *found.value)
    }

    #[test]
    fn scheme_host_port_and_listener_have_to_be_the_same() {
        let (http, https) = (Scheme::Http, Scheme::Https);
        assert_eq!(found(0, http, "crm.example.com", 80, "/x"), Some(0));
        assert_eq!(found(0, https, "crm.example.com", 443, "/x"), Some(0));
        assert_eq!(found(1, http, "[::1]", 8080, "/x"), Some(2));
        for (listener, scheme, host, port) in [
            (0, https, "crm.example.com", 80),
            (0, http, "crm.example.com", 443),
            (0, http, "crm.example.com", 8080),
            (0, http, "example.com", 80),
            (0, http, "x.crm.example.com", 80),
            (1, http, "crm.example.com", 80),
            (0, http, "[::1]", 8080),
        ] {
            let found = found(listener, scheme, host, port, "/x");
            assert_eq!(found, None, "{scheme}://{host}:{port}");
        }
    }

    #[test]
    fn all_upstreams_of_a_destination_are_found_whatever_their_paths() {
        let table = table();
        let at = |listener, scheme, host, port| {
            let found = table.at(listener, Destination { scheme, host, port });
            found.collect::<Vec<_>>()
        };
        assert_eq!(at(0, Scheme::Http, "crm.example.com", 80), [0, 1]);
        assert_eq!(at(0, Scheme::Https, "crm.example.com", 443), [0]);
        assert_eq!(at(1, Scheme::Http, "[::1]", 8080), [2]);
        assert_eq!(at(1, Scheme::Http, "crm.example.com", 80), [0; 0]);
        assert_eq!(at(0, Scheme::Http, "crm.example.com", 8080), [0; 0]);
        assert_eq!(at(0, Scheme::Http, "x.example.com", 80), [0; 0]);
        assert!(table.has_port(0, Scheme::Https, 443));
        assert!(!table.has_port(1, Scheme::Https, 443));
    }

    #[test]
    fn the_longest_path_wins_on_segment_boundaries() {
        let at = |path| found(0, Scheme::Http, "crm.example.com", 80, path);
        assert_eq!(at("/v2"), Some(1));
        assert_eq!(at("/v2/x"), Some(1));
        assert_eq!(at("/v22"), Some(0));
    }
}
