//! What a client says first on a redirected connection, as far as it decides who reads on.

use crate::server::detect::{READ_AHEAD, TLS};

/// The longest method of HTTP that is looked for.
const LONGEST_METHOD: usize = 64;

/// The methods that are registered (RFC 9110 section 16.1.1).
const METHODS: &str = "ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE \
                       MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI \
                       PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE \
                       UPDATEREDIRECTREF VERSION-CONTROL";

/// What the first bytes of a client are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstWords {
    /// A request of HTTP/1.1 in origin form (RFC 9112 section 3.2.1), or the preface of HTTP/2.
    Http,
    /// The beginning of TLS.
    Tls,
    /// Anything else, a request to a proxy included: nothing that is read here.
    Other,
}

/// What these bytes are the beginning of; `None` while that shows only with more of them. More bytes never change what has
/// been said.
pub fn first_words(bytes: &[u8]) -> Option<FirstWords> {
    if let Some(first) = bytes.first()
        && *first == TLS[0]
    {
        let version = bytes.get(1)?;
        return Some(if *version == TLS[1] {
            FirstWords::Tls
        } else {
            FirstWords::Other
        });
    }
    let is_http = request_line(bytes)?;
    Some(if is_http {
        FirstWords::Http
    } else {
        FirstWords::Other
    })
}

/// Whether what has been said may still become TLS or a request whose method is known: its rest is waited for. What else
/// is only the beginning of a line may be all that another protocol says before its server answers.
pub fn may_become_http(bytes: &[u8]) -> bool {
    if bytes.first() == Some(&TLS[0]) || !bytes.iter().all(|byte| is_token(*byte)) {
        return true;
    }
    let methods = METHODS.split_ascii_whitespace();
    { methods }.any(|method| method.as_bytes().starts_with(bytes))
}

/// Whether it is the first line of a request: a method, a path or `*`, and a version of HTTP. A line that is longer than what
/// is read ahead shows no version, and is none of another protocol either.
fn request_line(bytes: &[u8]) -> Option<bool> {
    let within = &bytes[..bytes.len().min(READ_AHEAD)];
    let length = within.iter().take_while(|byte| is_token(**byte)).count();
    if length > LONGEST_METHOD {
        return Some(false);
    }
    let behind = within.get(length..).filter(|rest| !rest.is_empty())?;
    let [b' ', target @ ..] = behind else {
        return Some(false);
    };
    if length == 0 {
        return Some(false);
    }
    if !matches!(target.first()?, b'/' | b'*') {
        return Some(false);
    }
    let line = match target.iter().position(|byte| byte.is_ascii_control()) {
        Some(end) => {
            let (line, end) = target.split_at(end);
            match end {
                [b'\r'] => return None,
                [b'\n', ..] | [b'\r', b'\n', ..] => line,
                _ => return Some(false),
            }
        }
        None if within.len() == READ_AHEAD => return Some(true),
        None => return None,
    };
    let version = line.rsplit(|byte| *byte == b' ').next();
    Some(version.is_some_and(|version| version.starts_with(b"HTTP/")))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::FirstWords::{Http, Other, Tls};
    use super::*;

    #[test]
    fn requests_and_tls_are_told_from_what_other_protocols_begin_with() {
        for (bytes, words) in [
            (&b"GET / HTTP/1.1\r\n"[..], Http),
            (b"GET / HTTP/1.0\n", Http),
            (b"PROPFIND /a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n", Http),
            (b"OPTIONS * HTTP/1.1\r\n", Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http),
            // What is wrong with it is said to its client.
            (b"GET / HTTP/9\r\n", Http),
            (b"GET /a b HTTP/1.1\r\n", Http),
            (b"\x16\x03", Tls),
            (b"\x16\x03\x01\x02\x00\x01", Tls),
            (b"\x16\x02", Other),
            // To a proxy.
            (b"CONNECT crm.example.com:443 HTTP/1.1\r\n", Other),
            (b"GET http://crm.example.com/ HTTP/1.1\r\n", Other),
            (b"GET /\r\n", Other),
            (b"OPTIONS * RTSP/1.0\r\n", Other),
            (b"REGISTER sip:example.com SIP/2.0\r\n", Other),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Other),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Other),
            (b"EHLO example.com\r\n", Other),
            (b"PING\r\n", Other),
            (b"*1\r\n$4\r\nPING\r\n", Other),
            (b"get key\r\n", Other),
            (b"CONNECT\nhost:x\n", Other),
            (b"NICK /me\r\n", Other),
            (b"AMQP\x00\x00\x09\x01", Other),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Other),
            (b"\x10\x26\x00\x04MQTT", Other),
            (b"<stream:stream>", Other),
            (b" / HTTP/1.1\r\n", Other),
            (b"GET /\x00 HTTP/1.1\r\n", Other),
            (b"\r\n", Other),
        ] {
            let shown = bytes.escape_ascii();
            assert_eq!(first_words(bytes), Some(words), "{shown}");
        }
    }

    #[test]
    fn what_may_still_become_a_request_is_waited_for() {
        for bytes in [
            &b""[..],
            b"G",
            b"SSH-2.0",
            b"GET ",
            b"GET /",
            b"GET / HTTP/1.1\r",
            b"\x16",
        ] {
            assert_eq!(first_words(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_beginning_of_another_protocol_is_told_from_that_of_a_request() {
        for bytes in [
            &b"G"[..],
            b"GET",
            b"GET ",
            b"GET /a",
            b"foo /a",
            b"PR",
            b"\x16",
            b"",
        ] {
            assert!(may_become_http(bytes), "{}", bytes.escape_ascii());
        }
        for bytes in [&b"JDWP-Handshake"[..], b"PING", b"SSH-2.0", b"get", b"GETS"] {
            assert!(!may_become_http(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_long_target_is_one_of_a_request_and_a_long_method_of_none() {
        let long = |text: &str, times: usize| format!("GET /{}", text.repeat(times));
        assert_eq!(first_words(long("a", READ_AHEAD).as_bytes()), Some(Http));
        assert_eq!(first_words(long("a", READ_AHEAD - 6).as_bytes()), None);
        assert_eq!(first_words("A".repeat(65).as_bytes()), Some(Other));
        assert_eq!(first_words("A".repeat(64).as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn more_bytes_never_change_what_has_been_said(
            bytes in "(GET|SSH|\\x16\\x03|[a-zA-Z]{0,70})?[ -~\\r\\n]{0,40}( HTTP/1.1)?\\r?\\n?.{0,20}"
        ) {
            let bytes = bytes.as_bytes();
            let mut said = None;
            for end in 0..=bytes.len() {
                let now = first_words(&bytes[..end]);
                proptest::prop_assert!(said.is_none() || now == said, "{}", bytes[..end].escape_ascii());
                said = now;
            }
        }
    }
}
