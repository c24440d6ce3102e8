//! Routes: what the table finds is what comparing every route would find, and the canonical form of what
//! is sent is what was matched.

#![no_main]

use arbitrary::Arbitrary;
use http::Method;
use libfuzzer_sys::fuzz_target;
use sidebearer::config::HostPattern;
use sidebearer::path::{self, canonical_path};
use sidebearer::route::{RoutePattern, RouteTable, write_target};

/// Few words, so that routes and requests meet.
const HOSTS: [&str; 8] = [
    "",
    "a",
    "a.b",
    "b",
    "x.a.b",
    "y.x.a.b",
    "127.0.0.1",
    "[::1]",
];
const PIECES: [&str; 16] = [
    "/", "/a", "/b", "/aa", "/%2F", "/a%2Fb", "/;", "/a;v=1", "/.a", "/..a", "/%61", "/%c3%a9",
    "/.", "/%2e", "/%41%2f", "/%e4",
];

#[derive(Debug, Arbitrary)]
struct Input {
    routes: Vec<Route>,
    requests: Vec<Request>,
    /// Of the upstream's URL.
    base: Path,
    replacement: Option<Path>,
    query: Option<String>,
}

#[derive(Debug, Arbitrary)]
struct Route {
    listener: Option<u8>,
    host: Host,
    path: Path,
    methods: Vec<u8>,
}

#[derive(Debug, Arbitrary)]
enum Host {
    Any,
    Wildcard(u8),
    Exact(u8),
}

#[derive(Debug, Arbitrary)]
struct Path {
    pieces: Vec<u8>,
    /// So that lengths go beyond the words of a bit set.
    padding: u8,
    rest: String,
}

#[derive(Debug, Arbitrary)]
struct Request {
    listener: u8,
    host: u8,
    path: Path,
    method: u8,
}

struct Pattern {
    listener: Option<usize>,
    host: HostPattern,
    path: String,
    methods: Vec<Method>,
}

fuzz_target!(|input: Input| {
    let routes: Vec<_> = input.routes.iter().filter_map(Pattern::of).collect();
    let patterns = routes.iter().enumerate().map(|(index, route)| {
        let pattern = RoutePattern {
            listener: route.listener,
            host: &route.host,
            path: &route.path,
            methods: &route.methods,
        };
        (pattern, index)
    });
    let table = RouteTable::build(patterns);
    let base = input.base.canonical().unwrap_or_else(|| "/".to_owned());
    for request in &input.requests {
        let text = request.path.text();
        let Ok(read) = path::Path::read(&text) else {
            continue;
        };
        let path = read.canonical.as_ref();
        let (listener, host) = (
            request.listener.into(),
            HOSTS[usize::from(request.host) % HOSTS.len()],
        );
        let method = method(request.method);
        let mut best: Option<(usize, &Pattern)> = None;
        for (index, route) in routes.iter().enumerate() {
            let better = best.is_none_or(|(_, best)| route.rank() > best.rank());
            if route.matches(listener, host, path, &method) && better {
                best = Some((index, route));
            }
        }
        let found = table.find(listener, host, path, &method);
        let found = found.map(|found| (*found.value, found.prefix_len));
        let expected = best.map(|(index, route)| (index, route.path.len()));
        assert_eq!(found, expected, "{host:?} {path} {method} at {listener}");
        if let Some((index, prefix_len)) = found {
            assert_eq!(path[..prefix_len], routes[index].path);
            let query = input.query.as_deref();
            let replacement = input.replacement.as_ref().and_then(Path::canonical);
            let replacement = replacement.as_deref();
            let target = forwarded(&base, path, prefix_len, replacement, query);
            sent(&base, &read, prefix_len, replacement, &target);
        }
    }
});

/// What is sent keeps every byte that is not replaced, and its canonical form is `matched`.
fn sent(
    base: &str,
    read: &path::Path<'_>,
    prefix_len: usize,
    replacement: Option<&str>,
    matched: &str,
) {
    let written_len = read.written_len(prefix_len);
    let replace = replacement.map(|replacement| (written_len, replacement));
    let mut target = String::new();
    write_target(base, &read.written, replace, None, &mut target);
    assert_eq!(canonical_path(&target).as_deref(), Ok(matched), "{read:?}");
    let kept = match replacement {
        Some(_) => &read.written[written_len..],
        None => &read.written,
    };
    let kept = kept.strip_prefix('/').unwrap_or(kept);
    assert!(target.ends_with(kept), "{target}, {read:?}");
}

/// What would go out in canonical form is what was matched, on the upstream's own path and nowhere
/// else. Its path.
fn forwarded(
    base: &str,
    path: &str,
    prefix_len: usize,
    replacement: Option<&str>,
    query: Option<&str>,
) -> String {
    let replace = replacement.map(|replacement| (prefix_len, replacement));
    let mut target = String::new();
    write_target(base, path, replace, query, &mut target);
    let mut sent = match query {
        Some(query) => target
            .strip_suffix(query)
            .and_then(|rest| rest.strip_suffix('?'))
            .unwrap(),
        None => &target,
    };
    // Joining canonical paths makes no other spelling, and no way up.
    assert_eq!(
        canonical_path(sent).as_deref(),
        Ok(sent),
        "{base} {path} {replacement:?}"
    );
    let whole = sent.to_owned();
    sent = sent
        .strip_prefix(base.strip_suffix('/').unwrap_or(base))
        .unwrap();
    let Some(replacement) = replacement else {
        assert_eq!(sent, path);
        return whole;
    };
    let rest = sent.strip_prefix(replacement).unwrap();
    let kept = &path[prefix_len..];
    assert_eq!(
        rest.trim_start_matches('/'),
        kept.trim_start_matches('/'),
        "{sent}"
    );
    // One slash between them, or none where nothing follows.
    let between =
        replacement.ends_with('/') as usize + (rest.len() - rest.trim_start_matches('/').len());
    let extra = kept.len() - kept.trim_start_matches('/').len();
    let expected = if kept.is_empty() {
        replacement.ends_with('/').into()
    } else {
        extra.max(1)
    };
    assert_eq!(between, expected, "{replacement} + {kept} = {sent}");
    whole
}

impl Pattern {
    fn of(route: &Route) -> Option<Self> {
        let name = |index: &u8| {
            Some(HOSTS[usize::from(*index) % HOSTS.len()]).filter(|name| !name.is_empty())
        };
        Some(Self {
            listener: route.listener.map(|listener| usize::from(listener % 3)),
            host: match &route.host {
                Host::Any => HostPattern::Any,
                Host::Wildcard(index) => HostPattern::Wildcard(name(index)?.into()),
                Host::Exact(index) => HostPattern::Exact(name(index)?.into()),
            },
            path: route.path.canonical()?,
            methods: route.methods.iter().copied().map(method).collect(),
        })
    }

    fn matches(&self, listener: usize, host: &str, path: &str, method: &Method) -> bool {
        let host = match &self.host {
            HostPattern::Any => true,
            HostPattern::Exact(name) => name == host,
            HostPattern::Wildcard(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        };
        let path = path.strip_prefix(&self.path).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
        });
        let listener = self.listener.is_none_or(|own| own == listener);
        host && path && listener && (self.methods.is_empty() || self.methods.contains(method))
    }

    /// Of routes that match, the highest wins.
    fn rank(&self) -> (u8, usize, bool, bool) {
        let host = match self.host {
            HostPattern::Any => 0,
            HostPattern::Wildcard(_) => 1,
            HostPattern::Exact(_) => 2,
        };
        (
            host,
            self.path.len(),
            !self.methods.is_empty(),
            self.listener.is_some(),
        )
    }
}

impl Path {
    fn canonical(&self) -> Option<String> {
        let canonical = canonical_path(&self.text()).map(|path| path.into_owned());
        canonical.ok()
    }

    fn text(&self) -> String {
        let pieces = self
            .pieces
            .iter()
            .map(|piece| PIECES[usize::from(*piece) % PIECES.len()]);
        let mut path: String = pieces.collect();
        path.push_str(&"/pad".repeat(usize::from(self.padding % 64)));
        path.push_str(&self.rest);
        path
    }
}

fn method(index: u8) -> Method {
    [Method::GET, Method::POST, Method::PUT][usize::from(index) % 3].clone()
}
