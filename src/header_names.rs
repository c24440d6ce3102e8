//! Header names that some servers take for one another.
//!
//! CGI and its descendants replace every `-` of a name by `_`. Some do the same with `.`, `~` and the other
//! marks that a name may hold (RFC 9110 section 5.6.2). An application behind such a server cannot tell
//! `X.Api.Key` from `X-Api-Key`: where one of them must not pass, the other must not either.

use std::hash::{Hash, Hasher};

/// Whether two names are the same name to some server: case does not matter, and all bytes that are neither
/// letters nor digits count as the same.
pub fn are_equivalent(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one == other || one.iter().map(fold).eq(other.iter().map(fold)))
}

/// The headers that end at this connection, but for `Proxy` and `Proxy-*`.
pub const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "te",
    "upgrade",
    "keep-alive",
    "http2-settings",
    "transfer-encoding",
];

/// Whether a header ends at this connection (RFC 9110 section 7.6.1): `Connection`, `Transfer-Encoding`, `Proxy`, `Proxy-*`
/// and the like, and every equivalent name. `name` is in lower case, as [`HeaderName`](http::HeaderName) has it.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    if let [b'p', ..] = name {
        return is_proxy_header(name);
    }
    match name.len() {
        2 => name == b"te",
        7 => name == b"upgrade",
        10 => name == b"connection" || are_equivalent(name, b"keep-alive"),
        14 => are_equivalent(name, b"http2-settings"),
        17 => are_equivalent(name, b"transfer-encoding"),
        _ => false,
    }
}

/// Whether a name in lower case is equivalent to `Content-Length` without being it: this proxy does not read it as a length,
/// though some server does.
pub fn is_mistaken_for_content_length(name: &[u8]) -> bool {
    const LENGTH: &[u8] = b"content-length";
    name.len() == LENGTH.len() && name != LENGTH && are_equivalent(name, LENGTH)
}

/// How many bytes of a name are hashed at once: most names have fewer.
const PIECE: usize = 64;

/// A name that equals every equivalent one.
#[derive(Debug, Clone, Copy)]
pub struct EquivalentName<'n>(pub &'n [u8]);

impl PartialEq for EquivalentName<'_> {
    fn eq(&self, other: &Self) -> bool {
        are_equivalent(self.0, other.0)
    }
}

impl Eq for EquivalentName<'_> {}

impl Hash for EquivalentName<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Hashers are slow at single bytes.
        for piece in self.0.chunks(PIECE) {
            let mut folded = [0; PIECE];
            for (folded, byte) in folded.iter_mut().zip(piece) {
                *folded = fold(byte);
            }
            state.write(&folded[..piece.len()]);
        }
    }
}

/// `Proxy` and `Proxy-*`. CGI makes the variable `HTTP_PROXY` of the bare name, and programs take it for the
/// proxy that they have to use.
fn is_proxy_header(name: &[u8]) -> bool {
    name.strip_prefix(b"proxy").is_some_and(|rest| {
        rest.first()
            .is_none_or(|byte| !byte.is_ascii_alphanumeric())
    })
}

fn fold(byte: &u8) -> u8 {
    FOLDED[usize::from(*byte)]
}

/// What each byte counts as.
const FOLDED: [u8; 256] = {
    let mut folded = [b'-'; 256];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            folded[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::HeaderName;

    use super::*;

    /// Every byte that a name may hold, other than letters and digits.
    const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";

    fn with_marks(name: &str) -> impl Iterator<Item = HeaderName> {
        MARKS.iter().map(|mark| {
            let spelled = name.replace('-', &char::from(*mark).to_string());
            spelled.parse().unwrap()
        })
    }

    #[test]
    fn the_marks_are_all_there_are() {
        let is_mark = |byte: &u8| {
            !byte.is_ascii_alphanumeric() && HeaderName::from_bytes(&[b'a', *byte]).is_ok()
        };
        let marks: Vec<_> = (0..=255).filter(is_mark).collect();
        assert_eq!(marks, MARKS);
    }

    #[test]
    fn every_byte_but_letters_and_digits_counts_alike() {
        for byte in 0..=255u8 {
            let name = [b"x".as_slice(), &[byte], b"api-KEY"].concat();
            let is_mark = !byte.is_ascii_alphanumeric();
            assert_eq!(are_equivalent(&name, b"X-Api_Key"), is_mark, "{byte:#x}");
            let set = HashSet::from([EquivalentName(b"X-Api_Key")]);
            assert_eq!(set.contains(&EquivalentName(&name)), is_mark, "{byte:#x}");
        }
    }

    #[test]
    fn letters_digits_and_length_tell_names_apart() {
        for other in [
            "xapikey",
            "x-api-keys",
            "x--api-key",
            "x-api-kez",
            "x-api-key-",
            "x-ap1-key",
        ] {
            assert!(!are_equivalent(b"x-api-key", other.as_bytes()), "{other}");
        }
        assert!(are_equivalent(b"X-API-KEY", b"x-api-key"));
    }

    #[test]
    fn hop_by_hop_headers_are_known_with_every_mark() {
        let of_proxies = ["proxy-authorization", "proxy-connection", "proxy-", "proxy"];
        for name in HOP_BY_HOP.into_iter().chain(of_proxies) {
            for spelled in with_marks(name) {
                assert!(is_hop_by_hop(spelled.as_ref()), "{spelled}");
            }
        }
        for name in [
            "proxyauthorization",
            "proxy1",
            "x-proxy",
            "keepalive",
            "transfer-encodings",
            "content-length",
            "trailer",
            "host",
            "user-agent",
        ] {
            assert!(!is_hop_by_hop(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn only_the_one_spelling_is_a_length() {
        for spelled in with_marks("content-length") {
            assert_eq!(
                is_mistaken_for_content_length(spelled.as_ref()),
                spelled != http::header::CONTENT_LENGTH,
                "{spelled}"
            );
        }
        for name in ["contentlength", "content-lengths", "accept-charset"] {
            let name = name.as_bytes();
            assert!(!is_mistaken_for_content_length(name), "{name:?}");
        }
    }
}
