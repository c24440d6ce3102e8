//! What a CA of ours may sign for.

use super::super::report::Expected;
use super::address::host_name;
use super::syntax::Syntax;

/// A domain or an IP address.
pub(in crate::config) const DOMAIN: Syntax<String> = Syntax::new(pattern!(host), domain).address();

/// What a CA may sign for: a domain, which stands for all names below it, too, or an IP address. In the form in which
/// hosts are compared with it.
///
/// # Errors
/// What was expected in its place.
pub fn domain(text: &str) -> Result<String, Expected> {
    if let Some(parent) = text.strip_prefix("*.").or(text.strip_prefix('.')) {
        let parent = host_name(parent)?;
        return Err(
            format!("write \"{parent}\": a domain stands for all names below it, too").into(),
        );
    }
    let name = host_name(text).map_err(|error| {
        if text.contains('*') {
            "wildcards are not possible here: a domain stands for all names below it".into()
        } else {
            error
        }
    })?;
    if is_public_suffix(&name) {
        let what = format!("domains of everybody are below \"{name}\": name the one that is yours");
        return Err(what.into());
    }
    Ok(name)
}

/// Whether a registry gives the names below it to everybody. What no registry has, such as `localhost` and the names of
/// a company's own network, is not one.
pub(in crate::config) fn is_public_suffix(name: &str) -> bool {
    let suffix = psl::suffix(name.as_bytes());
    suffix.is_some_and(|suffix| {
        suffix.as_bytes() == name.as_bytes() && suffix.typ() == Some(psl::Type::Icann)
    })
}
