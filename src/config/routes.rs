//! `[[routes]]`

use std::fmt;

use http::Method;

use super::draft::{Draft, NameUse};
use super::keys::ROUTE;
use super::read::Section;
use super::report::Expected;
use crate::path::canonical_path;

/// `[[routes]]`, and the `upstream` shorthand of a listener
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The listener it is limited to.
    pub listener: Option<String>,
    /// Which `Host` it matches.
    pub host: HostPattern,
    /// A canonical path prefix, beginning with `/`.
    pub path: String,
    /// The methods it is limited to; any when empty.
    pub methods: Vec<Method>,
    /// Where its requests go: a key of [`Config::upstreams`](super::Config::upstreams).
    pub upstream: String,
    /// Replaces the matched prefix.
    pub replace_prefix: Option<String>,
}

/// `routes.host`; names in lower case without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// No `host` key.
    Any,
    /// `*.example.com`: exactly one more label. Holds `example.com`.
    Wildcard(String),
    /// This name or IP literal.
    Exact(String),
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

/// Reads one route.
pub(super) fn read(section: Section<'_>, draft: &mut Draft) {
    let listener = section.read(&ROUTE.listener);
    let host = section.read_written(&ROUTE.host);
    let path = section.read(&ROUTE.path);
    let replace_prefix = section.read_written(&ROUTE.replace_prefix);
    let methods = section.read(&ROUTE.methods);
    let upstream = section.read(&ROUTE.upstream);
    let place = section.place.clone();

    draft
        .route_listeners
        .push(listener.as_ref().map(|(_, name)| (*name).to_owned()));
    if let Some((value, name)) = &listener {
        draft.references.listeners.push(NameUse::new(name, value));
    }
    if let Some((value, name)) = &upstream {
        draft.references.upstreams.push(NameUse::new(name, value));
    }
    // A route with a mistake in it is left out; what it would tie with is not known.
    let route = || {
        Some(Route {
            listener: listener.map(|(_, name)| name.to_owned()),
            host: host.unwrap_or(Some(HostPattern::Any))?,
            path: path?,
            methods: methods.into_iter().collect::<Option<_>>()?,
            upstream: upstream?.1.to_owned(),
            replace_prefix: match replace_prefix {
                Some(prefix) => Some(prefix?),
                None => None,
            },
        })
    };
    if let Some(route) = route() {
        draft.routes.push((route, place));
    }
}

/// Routes match the path alone, so that a query in one could never match.
pub(super) fn route_path(text: &str) -> Result<String, Expected> {
    if text.contains('?') {
        return Err("a path ends before \"?\"; queries are forwarded as they come".into());
    }
    match canonical_path(text) {
        Ok(path) => Ok(path.into_owned()),
        Err(error) => Err(error.to_string().into()),
    }
}

pub(super) fn method(text: &str) -> Result<Method, Expected> {
    const EXPECTED: &str = "expected a method such as \"GET\"";
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| EXPECTED)?;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        return Err(format!("methods are upper case; did you mean \"{upper}\"?").into());
    }
    if method == Method::TRACE || method == Method::CONNECT {
        return Err("TRACE and CONNECT are never forwarded".into());
    }
    Ok(method)
}
