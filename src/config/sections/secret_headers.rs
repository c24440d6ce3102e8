//! Reads headers of requests of ours whose values may be secrets.

use http::{HeaderName, HeaderValue};

use super::super::file_rules::FileRules;
use super::super::parse::http::header;
use super::super::read::Section;
use super::super::settings::SecretSource;
use super::secret_source::read_secret;
use crate::header_names::are_equivalent;

/// The headers of a table whose keys are their names. Those in `set` are always sent, and cannot be named.
pub(super) fn read(
    entries: Option<Section<'_>>,
    set: &[&str],
    files: &FileRules<'_>,
) -> Vec<(HeaderName, SecretSource)> {
    let mut headers: Vec<(HeaderName, SecretSource)> = Vec::new();
    let Some(entries) = entries else {
        return headers;
    };
    let report = entries.report;
    for (name, place, value) in entries.entries() {
        let is = |ours: &&str| are_equivalent(name.as_bytes(), ours.as_bytes());
        let parsed = header(name).and_then(|name| {
            if set.iter().any(is) {
                Err("sidebearer sets this header itself".into())
            } else if headers.iter().any(|(other, _)| *other == name) {
                Err("header names differ by more than case".into())
            } else {
                Ok(name)
            }
        });
        let found = read_secret(&value, files);
        if let Some((_, secret)) = &found
            && HeaderValue::from_str(secret.expose()).is_err()
        {
            value.error(
                "cannot be a header's value",
                "expected visible characters and spaces",
            );
        }
        match (parsed, found) {
            (Ok(name), Some((source, _))) => headers.push((name, source)),
            (Ok(_), None) => {}
            (Err(help), _) => {
                let message = format!("invalid header {}", value.name());
                report.error(&place, message, help);
            }
        }
    }
    headers
}
