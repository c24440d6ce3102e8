//! Which route a request takes: pure matching, which knows neither tokens nor pools.
//!
//! The most specific route wins, whatever the order: exact host over wildcard over any, then the
//! longest path, then a named method, then a named listener. A host whose routes match neither
//! path nor method gives way to the less specific ones.
//!
//! All prefixes of all hosts live in one hash table, which is asked only for prefixes as long as
//! some configured one, so that a lookup takes as many steps for ten routes as for 100,000, however
//! long a path a client invents.

mod allowed_hosts;
mod by_host;
mod implied;
mod label;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use compact_str::{CompactString, format_compact};
use foldhash::fast::{FixedState, FoldHasher};
use hashbrown::HashTable;
use http::Method;

use crate::config::HostPattern;

pub use allowed_hosts::{AllowedAddresses, AllowedHosts, is_address, is_loopback_host};
pub use by_host::HostIndex;
pub use implied::{Destination, ImpliedRoute, ImpliedRoutes};
pub use label::RouteLabel;

#[cfg(test)]
mod tests;

/// Which requests a route matches.
#[derive(Debug, Clone, Copy)]
pub struct RoutePattern<'a> {
    /// The index of the listener it is limited to.
    pub listener: Option<usize>,
    /// Which host it matches.
    pub host: &'a HostPattern,
    /// A canonical path prefix that begins with `/`; it matches on segment boundaries, and one
    /// that ends in `/` only below.
    pub path: &'a str,
    /// The methods it is limited to; any when empty.
    pub methods: &'a [Method],
}

/// Routes of which [`find`](Self::find) picks the most specific.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: HashTable<PrefixEntry<T>>,
    exact: Lengths,
    wildcard: Lengths,
    any: Lengths,
}

/// The route that a request takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'t, T> {
    /// What the route was built with.
    pub value: &'t T,
    /// How many bytes of the request's path its prefix covers.
    pub prefix_len: usize,
}

impl<T> RouteTable<T> {
    /// Builds the table. Of routes that can tie, which a valid configuration has not, the first
    /// wins.
    pub fn build<'a>(routes: impl IntoIterator<Item = (RoutePattern<'a>, T)>) -> Self {
        // A configuration chooses no keys so that they collide.
        let mut gathered: HashMap<(&HostPattern, &str), Vec<Candidate<T>>, FixedState> =
            HashMap::default();
        for (pattern, value) in routes {
            let candidates = gathered.entry((pattern.host, pattern.path));
            // Nearly always it is the only one.
            let candidates = candidates.or_insert_with(|| Vec::with_capacity(1));
            candidates.push(Candidate {
                listener: pattern.listener.map(narrow),
                methods: pattern.methods.into(),
                value,
            });
        }
        let mut entries = HashTable::with_capacity(gathered.len());
        let [mut exact, mut wildcard, mut any] = [const { Lengths(Vec::new()) }; 3];
        for ((host, path), candidates) in gathered {
            let (host, lengths) = match host {
                HostPattern::Exact(name) => (name.clone(), &mut exact),
                HostPattern::Wildcard(parent) => (format_compact!(".{parent}"), &mut wildcard),
                HostPattern::Any => (CompactString::const_new(ANY), &mut any),
            };
            lengths.insert(path.len());
            let entry = PrefixEntry::new(host, path, candidates.into());
            entries.insert_unique(entry.hash(), entry, PrefixEntry::hash);
        }
        Self {
            entries,
            exact,
            wildcard,
            any,
        }
    }

    /// The most specific route of a request.
    ///
    /// `host` is in lower case, without port and trailing dot; empty when the request has none.
    /// `path` is canonical, without query.
    pub fn find(
        &self,
        listener: usize,
        host: &str,
        path: &str,
        method: &Method,
    ) -> Option<Match<'_, T>> {
        self.find_where(listener, host, path, method, |_| true)
    }

    /// The most specific of the routes of a request whose value is one of those that count.
    pub fn find_where(
        &self,
        listener: usize,
        host: &str,
        path: &str,
        method: &Method,
        counts: impl Fn(&T) -> bool,
    ) -> Option<Match<'_, T>> {
        let parent = match host.find('.') {
            Some(0) | None => None,
            Some(dot) => Some(&host[dot..]),
        };
        // A name begins with no dot, or it would be taken for a wildcard.
        let exact = Some(host).filter(|host| !host.starts_with('.'));
        [
            (exact, &self.exact),
            (parent, &self.wildcard),
            (Some(ANY), &self.any),
        ]
        .into_iter()
        .filter_map(|(host, lengths)| Some((host?, lengths)))
        .find_map(|(host, lengths)| self.longest(host, lengths, listener, path, method, &counts))
    }

    /// The same of the routes that name the very host.
    pub fn find_by_name_where(
        &self,
        listener: usize,
        host: &str,
        path: &str,
        method: &Method,
        counts: impl Fn(&T) -> bool,
    ) -> Option<Match<'_, T>> {
        if host.starts_with('.') {
            return None;
        }
        self.longest(host, &self.exact, listener, path, method, &counts)
    }

    fn longest(
        &self,
        host: &str,
        lengths: &Lengths,
        listener: usize,
        path: &str,
        method: &Method,
        counts: &impl Fn(&T) -> bool,
    ) -> Option<Match<'_, T>> {
        if lengths.0.is_empty() {
            return None;
        }
        let hasher = hasher_of(host);
        let at = |prefix_len: usize| {
            let prefix = &path[..prefix_len];
            let is_it = |entry: &PrefixEntry<T>| entry.parts() == (host, prefix);
            let entry = self.entries.find(hash(hasher.clone(), prefix), is_it)?;
            let value = entry.candidates.pick(listener, method, counts)?;
            Some(Match { value, prefix_len })
        };
        lengths.boundaries_of(path).find_map(at)
    }
}

/// Appends the request-target that an upstream is sent: its own path (`base`), the request's
/// with the matched prefix replaced if `replace` holds its length and what takes its place, and
/// the query as it came.
///
/// `"/v2"` and `"/x"` make `"/v2/x"`, `"/v2"` and `"/"` make `"/v2/"`.
pub fn write_target(
    base: &str,
    path: &str,
    replace: Option<(usize, &str)>,
    query: Option<&str>,
    out: &mut String,
) {
    out.push_str(base.strip_suffix('/').unwrap_or(base));
    match replace {
        Some((prefix_len, replacement)) => replace_prefix(path, prefix_len, replacement, out),
        None => out.push_str(path),
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
}

/// Appends `path` with its first `prefix_len` bytes replaced, never doubling a slash: with `"/"`,
/// `"/crm/x"` becomes `"/x"` and `"/crm"` becomes `"/"`.
pub fn replace_prefix(path: &str, prefix_len: usize, replacement: &str, out: &mut String) {
    if !replacement.starts_with('/') {
        out.push('/');
    }
    out.push_str(replacement);
    let rest = path.get(prefix_len..).unwrap_or_default();
    match (out.ends_with('/'), rest.strip_prefix('/')) {
        (true, Some(rest)) => out.push_str(rest),
        (false, None) if !rest.is_empty() => {
            out.push('/');
            out.push_str(rest);
        }
        _ => out.push_str(rest),
    }
}

/// Which lengths the prefixes of some hosts have, one bit each.
#[derive(Debug)]
struct Lengths(Vec<u64>);

impl Lengths {
    fn insert(&mut self, length: usize) {
        let word = length / 64;
        self.0.resize(self.0.len().max(word + 1), 0);
        self.0[word] |= 1 << (length % 64);
    }

    /// The lengths at which a prefix of `path` may end, longest first: at its end, before a slash
    /// and after one.
    fn boundaries_of(&self, path: &str) -> impl Iterator<Item = usize> {
        let path = path.as_bytes();
        let shorter = |length: &usize| self.up_to(length.checked_sub(1)?);
        std::iter::successors(self.up_to(path.len()), shorter).filter(|&length| {
            let after_slash = length > 0 && path[length - 1] == b'/';
            after_slash || path.get(length).is_none_or(|next| *next == b'/')
        })
    }

    fn up_to(&self, max: usize) -> Option<usize> {
        let last = max / 64;
        if let Some(word) = self.0.get(last) {
            let bits = word & (u64::MAX >> (63 - max % 64));
            if bits != 0 {
                return Some(last * 64 + bits.ilog2() as usize);
            }
        }
        let before = &self.0[..last.min(self.0.len())];
        let index = before.iter().rposition(|word| *word != 0)?;
        Some(index * 64 + before[index].ilog2() as usize)
    }
}

/// A host and a prefix, in the table itself where both are short: one cache miss less. It begins
/// at a line of the cache, and is not to be larger than that with what routes lead to.
#[derive(Debug)]
#[repr(align(64))]
struct PrefixEntry<T> {
    /// The host, which is a name, the parent of a wildcard with its dot, or [`ANY`]; and the prefix.
    text: CompactString,
    host_len: u32,
    candidates: Candidates<T>,
}

/// Stands for any host. The host of a request is never equal to it: the caller has checked that it is a name. (The
/// empty string would be slow to compare: its pointer is dangling, and a masked read through it traps.)
const ANY: &str = "*";

impl<T> PrefixEntry<T> {
    fn new(mut host: CompactString, path: &str, candidates: Candidates<T>) -> Self {
        let host_len = narrow(host.len());
        host.push_str(path);
        Self {
            text: host,
            host_len,
            candidates,
        }
    }

    fn parts(&self) -> (&str, &str) {
        self.text.split_at(self.host_len as usize)
    }

    fn hash(&self) -> u64 {
        let (host, path) = self.parts();
        hash(hasher_of(host), path)
    }
}

/// The routes of one host and prefix.
#[derive(Debug)]
enum Candidates<T> {
    /// Nearly always it is one, for every listener and method: kept in the table, it is found
    /// without another cache miss.
    One(T),
    /// Sorted by listener (those for every listener first) and then by whether they name methods
    /// (those that do first).
    Several(Box<[Candidate<T>]>),
}

#[derive(Debug)]
struct Candidate<T> {
    listener: Option<u32>,
    methods: Box<[Method]>,
    value: T,
}

impl<T> From<Vec<Candidate<T>>> for Candidates<T> {
    fn from(mut candidates: Vec<Candidate<T>>) -> Self {
        let matches_all = |c: &mut Candidate<T>| c.listener.is_none() && c.any_method();
        if candidates.len() == 1
            && let Some(only) = candidates.pop_if(matches_all)
        {
            return Self::One(only.value);
        }
        // A stable sort: of equals the first stays first.
        candidates.sort_by_key(|c| (c.listener, c.any_method()));
        Self::Several(candidates.into())
    }
}

impl<T> Candidates<T> {
    fn pick(&self, listener: usize, method: &Method, counts: impl Fn(&T) -> bool) -> Option<&T> {
        let sorted = match self {
            Self::One(value) => return Some(value).filter(|value| counts(value)),
            Self::Several(sorted) => sorted,
        };
        let pick_of = |listener| {
            let first = sorted.partition_point(|c| c.listener < listener);
            sorted[first..]
                .iter()
                .take_while(|c| c.listener == listener)
                .find(|c| (c.any_method() || c.methods.contains(method)) && counts(&c.value))
        };
        let best = match (pick_of(Some(narrow(listener))), pick_of(None)) {
            (Some(named), Some(default)) if named.any_method() && !default.any_method() => default,
            (Some(only), _) | (None, Some(only)) => only,
            (None, None) => return None,
        };
        Some(&best.value)
    }
}

impl<T> Candidate<T> {
    fn any_method(&self) -> bool {
        self.methods.is_empty()
    }
}

/// What the prefixes of a host are hashed with. Not keyed: what the table holds comes from the
/// configuration alone, and requests add nothing to it.
fn hasher_of(host: &str) -> FoldHasher<'static> {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(host.as_bytes());
    hasher
}

fn hash(mut hasher: FoldHasher<'_>, path: &str) -> u64 {
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// Lengths and listeners are half as wide here as elsewhere: more of the table fits the cache.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("a configuration has fewer than 2^32 listeners and bytes")
}
