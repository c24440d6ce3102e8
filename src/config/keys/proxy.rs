//! What every table that names a proxy has: `proxy`, `proxy_tls` and `proxy_authorization`.

use super::super::kinds::{IfAbsent, Raw, SecretText, SubTable};
use super::tls::TLS_TABLE;

/// `proxy`; `without`: what holds without it.
pub(super) const fn proxy(without: &'static str) -> Raw {
    Raw::new(
        "URL of a proxy, `\"environment\"` or `\"none\"`",
        IfAbsent::Words(without),
    )
}

/// `proxy_tls`
pub(super) const fn proxy_tls() -> SubTable {
    SubTable(&TLS_TABLE)
}

/// `proxy_authorization`
pub(super) const fn proxy_authorization() -> SecretText {
    SecretText::secret("`{ file = \"PATH\" }` of `user:password`", "none")
}
