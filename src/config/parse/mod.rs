//! What the text of a value says. Whatever is expected in its place is an error for people; nothing is
//! reported here.

/// Patterns that others are made of.
macro_rules! pattern {
    (octet) => {
        "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
    (ipv4) => {
        concat!(pattern!(octet), r"(?:\.", pattern!(octet), "){3}")
    };
    (ipv6) => {
        "[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
    };
    (prefix) => {
        concat!(
            "(?:",
            pattern!(ipv4),
            "|",
            pattern!(ipv6),
            ")(?:/[0-9]{1,3})?"
        )
    };
    (socket) => {
        concat!(
            "(?:",
            pattern!(ipv4),
            r"|\[",
            pattern!(ipv6),
            r"(?:%[0-9]+)?\]):(?:0+|",
            pattern!(port),
            ")"
        )
    };
    (port) => {
        "0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
    (label) => {
        "[0-9A-Za-z_-]{1,63}"
    };
    // The last label of a name is no number (RFC 1123 section 2.1): that would be an address.
    (domain) => {
        concat!(
            "(?:",
            pattern!(label),
            r"\.)*[0-9]{0,62}[A-Za-z_-][0-9A-Za-z_-]{0,62}\.?"
        )
    };
    (host) => {
        concat!(
            "(?:",
            pattern!(domain),
            "|",
            pattern!(ipv4),
            r"\.?|\[",
            pattern!(ipv6),
            r"\])"
        )
    };
    (header) => {
        "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
    };
    (scheme) => {
        "[A-Za-z][0-9A-Za-z+.-]*"
    };
}

pub(super) mod address;
pub(super) mod caller;
pub(super) mod egress;
pub(super) mod forward;
pub(super) mod http;
pub(super) mod interception;
pub(super) mod listener;
pub(super) mod oauth;
pub(super) mod proxy;
pub(super) mod syntax;
pub(super) mod units;
