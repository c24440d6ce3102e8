//! The target of a request as the upstream gets it.

use std::borrow::Cow;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::error::{ErrorKind, ProxyError};
use super::request::Checked;
use super::route_taken::RouteTaken;
use crate::route;
use crate::snapshot::BuiltUpstream;

/// The path and query to send: what was matched, byte for byte as it came, rewritten as the route and
/// upstream say.
///
/// # Errors
/// `bad_request` if that makes no path and query.
pub fn write(
    head: &Parts,
    checked: &Checked<'_>,
    route: Option<(&RouteTaken<'_>, &BuiltUpstream)>,
) -> Result<PathAndQuery, ProxyError> {
    let path = &checked.path;
    if path.is_asterisk() {
        return Ok(PathAndQuery::from_static("*"));
    }
    let base_path = match route {
        Some((taken, upstream)) if !taken.has_base_path => upstream.base_path.as_str(),
        _ => "",
    };
    let replacement = route.and_then(|(taken, _)| taken.replace_prefix);
    let unchanged =
        matches!(path.written, Cow::Borrowed(_)) && replacement.is_none() && base_path.is_empty();
    if unchanged
        && let Some(target) = head.uri.path_and_query()
        // An absolute target may leave an empty path out, and it was matched as "/".
        && target.as_str().starts_with('/')
    {
        return Ok(target.clone());
    }
    let replace = replacement.map(|(prefix_len, with)| (path.written_len(prefix_len), with));
    let mut target = String::with_capacity(base_path.len() + path.written.len() + 64);
    route::write_target(
        base_path,
        &path.written,
        replace,
        checked.query,
        &mut target,
    );
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| {
        ProxyError::new(
            ErrorKind::BadRequest,
            "the target is not a valid path and query",
        )
    })
}
