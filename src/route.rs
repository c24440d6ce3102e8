//! Which route a request takes: pure matching, which knows neither tokens nor pools.
//!
//! The most specific route wins, whatever the order: exact host over wildcard over any, then the
//! longest path, then a named method, then a named listener. A host whose routes match neither
//! path nor method gives way to the less specific ones.
//!
//! Paths live in a trie of segments, one for each host. A lookup walks down the request's path
//! only as far as configured routes go, so that its cost depends neither on the number of routes
//! nor on how long a path a client invents.

mod hosts;

use std::collections::HashMap;

use http::Method;

use crate::config::HostPattern;

pub use hosts::OwnHosts;

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
    exact: HashMap<Box<str>, NodeId>,
    /// By the part after `*.`.
    wildcard: HashMap<Box<str>, NodeId>,
    any: NodeId,
    /// An arena, because tries of owned nodes are dropped recursively.
    nodes: Vec<Node<T>>,
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
        let mut table = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: 0,
            nodes: vec![Node::default()],
        };
        for (pattern, value) in routes {
            table.insert(&pattern, value);
        }
        table
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
        let path = path.strip_prefix('/')?;
        let wildcard = || {
            let (label, parent) = host.split_once('.')?;
            self.wildcard.get(parent).filter(|_| !label.is_empty())
        };
        let descend = |root: &NodeId| self.descend(*root, listener, path, method);
        (self.exact.get(host).and_then(descend))
            .or_else(|| wildcard().and_then(descend))
            .or_else(|| descend(&self.any))
    }

    fn insert(&mut self, pattern: &RoutePattern<'_>, value: T) {
        let next = self.nodes.len();
        let root = match pattern.host {
            HostPattern::Any => self.any,
            HostPattern::Wildcard(name) => *self.wildcard.entry(key(name)).or_insert(next),
            HostPattern::Exact(name) => *self.exact.entry(key(name)).or_insert(next),
        };
        let mut node = self.existing(root);
        let mut segments = pattern.path.strip_prefix('/').unwrap_or_default();
        while let Some((segment, rest)) = segments.split_once('/') {
            node = self.child(node, segment);
            segments = rest;
        }
        // Only a prefix that ends in a slash leaves nothing: it matches below alone.
        let candidates = if segments.is_empty() {
            &mut self.nodes[node].below
        } else {
            node = self.child(node, segments);
            &mut self.nodes[node].at
        };
        candidates.insert(pattern, value);
    }

    fn child(&mut self, parent: NodeId, segment: &str) -> NodeId {
        let next = self.nodes.len();
        let children = &mut self.nodes[parent].children;
        let id = *children.entry(key(segment)).or_insert(next);
        self.existing(id)
    }

    /// Makes the node if its id was just given out.
    fn existing(&mut self, id: NodeId) -> NodeId {
        if id == self.nodes.len() {
            self.nodes.push(Node::default());
        }
        id
    }

    /// The deepest match in one host's trie; `path` is without its first slash.
    fn descend(
        &self,
        root: NodeId,
        listener: usize,
        path: &str,
        method: &Method,
    ) -> Option<Match<'_, T>> {
        let mut node = &self.nodes[root];
        let mut best = node.below.pick(listener, method).map(|value| (value, 1));
        let mut start = 0;
        loop {
            let slash = path[start..].find('/').map(|length| start + length);
            let end = slash.unwrap_or(path.len());
            let Some(id) = node.children.get(&path[start..end]) else {
                break;
            };
            node = &self.nodes[*id];
            if let Some(value) = node.at.pick(listener, method) {
                best = Some((value, 1 + end));
            }
            let Some(slash) = slash else {
                break;
            };
            if let Some(value) = node.below.pick(listener, method) {
                best = Some((value, 1 + slash + 1));
            }
            start = slash + 1;
        }
        best.map(|(value, prefix_len)| Match { value, prefix_len })
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

type NodeId = usize;

/// One segment of a path; its children are the segments that may follow.
#[derive(Debug)]
struct Node<T> {
    /// Routes whose prefix ends here: they match here and below.
    at: Candidates<T>,
    /// Routes whose prefix ends with the slash after this segment.
    below: Candidates<T>,
    children: HashMap<Box<str>, NodeId>,
}

/// Routes of the same host and path, by listener (those for every listener first) and then with
/// named methods first.
#[derive(Debug)]
struct Candidates<T>(Vec<Candidate<T>>);

#[derive(Debug)]
struct Candidate<T> {
    listener: Option<usize>,
    methods: Box<[Method]>,
    value: T,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            at: Candidates(Vec::new()),
            below: Candidates(Vec::new()),
            children: HashMap::new(),
        }
    }
}

impl<T> Candidates<T> {
    fn insert(&mut self, pattern: &RoutePattern<'_>, value: T) {
        let key = (pattern.listener, pattern.methods.is_empty());
        let index = self.0.partition_point(|c| c.key() <= key);
        let candidate = Candidate {
            listener: pattern.listener,
            methods: pattern.methods.into(),
            value,
        };
        self.0.insert(index, candidate);
    }

    fn pick(&self, listener: usize, method: &Method) -> Option<&T> {
        if self.0.is_empty() {
            return None;
        }
        let named = self.pick_of(Some(listener), method);
        let default = self.pick_of(None, method);
        let best = match (named, default) {
            (Some(named), Some(default)) if named.any_method() && !default.any_method() => default,
            (Some(only), _) | (None, Some(only)) => only,
            (None, None) => return None,
        };
        Some(&best.value)
    }

    fn pick_of(&self, listener: Option<usize>, method: &Method) -> Option<&Candidate<T>> {
        let first = self.0.partition_point(|c| c.listener < listener);
        let mut same = self.0[first..].iter();
        same.by_ref()
            .take_while(|c| c.listener == listener)
            .find(|c| c.any_method() || c.methods.contains(method))
    }
}

impl<T> Candidate<T> {
    fn key(&self) -> (Option<usize>, bool) {
        (self.listener, self.any_method())
    }

    fn any_method(&self) -> bool {
        self.methods.is_empty()
    }
}

fn key(name: &str) -> Box<str> {
    name.into()
}
