//! `[[routes]]`

use std::fmt;

use compact_str::CompactString;
use http::Method;

use super::{CallerList, Limits};

/// `[[routes]]`, and the `upstream` shorthand of a listener. There may be 100,000 of them, so that short texts are kept in
/// place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The listener it is limited to.
    pub listener: Option<CompactString>,
    /// Which `Host` it matches.
    pub host: HostPattern,
    /// A canonical path prefix, beginning with `/`.
    pub path: CompactString,
    /// The methods it is limited to; any when empty.
    pub methods: Box<[Method]>,
    /// Where its requests go: a key of [`Config::upstreams`](super::Config::upstreams).
    pub upstream: CompactString,
    /// Replaces the matched prefix.
    pub replace_prefix: Option<CompactString>,
    /// Which of the callers of its listeners may use it.
    pub callers: CallerList,
    /// How much all of its callers together may ask for.
    pub limits: Limits,
}

/// `routes.host`; names in lower case without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// No `host` key.
    Any,
    /// `*.example.com`: exactly one more label. Holds `example.com`.
    Wildcard(CompactString),
    /// This name or IP literal.
    Exact(CompactString),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}
