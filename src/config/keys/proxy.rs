//! What every table that names a proxy has: `proxy`, `proxy_tls` and `proxy_authorization`.

use super::super::kinds::{IfAbsent, Raw, SecretText, SubTable};
use super::super::parse::proxy::{PROXY, TLS_PROXY};
use super::super::rules::Condition::{All, Matches, Not, Says, Written};
use super::super::rules::Rule;
use super::tls::TLS_TABLE;

/// `proxy`; `without`: what holds without it.
pub(super) const fn proxy(without: &'static str) -> Raw {
    Raw::new(
        "URL of a proxy, `\"environment\"` or `\"none\"`",
        IfAbsent::Words(without),
    )
    .matching(PROXY)
}

/// `proxy_tls`
pub(super) const fn proxy_tls() -> SubTable {
    SubTable(&TLS_TABLE)
}

/// `proxy_authorization`
pub(super) const fn proxy_authorization() -> SecretText {
    SecretText::secret("`{ file = \"PATH\" }` of `user:password`", "none")
}

/// What a table that names a proxy is held to.
pub(super) const PROXY_RULES: &[Rule] = &[
    Rule {
        says: "`proxy_tls` belongs to an `https://` proxy, or to `\"environment\"`.",
        when: Written("proxy_tls"),
        then: Matches("proxy", TLS_PROXY),
    },
    Rule {
        says: "`proxy_authorization` belongs to a `proxy`.",
        when: Written("proxy_authorization"),
        then: All(&[Says("proxy"), Not(&Matches("proxy", Some("none")))]),
    },
];
