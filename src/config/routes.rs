//! `[[routes]]`

use http::Method;

use super::address::host_pattern;
use super::draft::{Draft, Named};
use super::read::Section;
use super::report::Expected;
use super::{HostPattern, Route};
use crate::path::canonical_path;

/// Reads one route.
pub(super) fn read(section: Section<'_>, draft: &mut Draft) {
    section.missing("upstream", "the name of an upstream");
    let listener = section.text("listener");
    let host = section.get("host").map(|value| {
        let text = value.text("a host name or \"*.example.com\"")?;
        value.check(host_pattern(text))
    });
    let path = section.get("path").map(|value| {
        let text = value.text("a path such as \"/crm\"")?;
        value.check(route_path(text))
    });
    let replace_prefix = section.get("replace_prefix").map(|value| {
        let text = value.text("a path such as \"/\"")?;
        value.check(route_path(text))
    });
    let methods = section.strings("methods").into_iter();
    let methods: Vec<_> = methods
        .map(|(value, text)| value.check(method(text)))
        .collect();
    let upstream = section.text("upstream");
    let place = section.place.clone();
    section.finish();

    draft
        .scopes
        .push(listener.as_ref().map(|(_, name)| (*name).to_owned()));
    if let Some((value, name)) = &listener {
        draft.references.listeners.push(Named::new(name, value));
    }
    if let Some((value, name)) = &upstream {
        draft.references.upstreams.push(Named::new(name, value));
    }
    // A route with a mistake in it is left out; what it would tie with is not known.
    let route = || {
        Some(Route {
            listener: listener.map(|(_, name)| name.to_owned()),
            host: host.unwrap_or(Some(HostPattern::Any))?,
            path: path.unwrap_or_else(|| Some("/".to_owned()))?,
            methods: methods.into_iter().collect::<Option<_>>()?,
            upstream: upstream?.1.to_owned(),
            replace_prefix: replace_prefix.map_or(Some(None), |prefix| prefix.map(Some))?,
        })
    };
    if let Some(route) = route() {
        draft.routes.push((route, place));
    }
}

/// Routes match the path alone, so that a query in one could never match.
fn route_path(text: &str) -> Result<String, Expected> {
    if text.contains('?') {
        return Err("a path ends before \"?\"; queries are forwarded as they come".into());
    }
    match canonical_path(text) {
        Ok(path) => Ok(path.into_owned()),
        Err(error) => Err(error.to_string().into()),
    }
}

fn method(text: &str) -> Result<Method, Expected> {
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
