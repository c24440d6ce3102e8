//! The head of an upstream's response: what two readers could take for different things does not
//! pass.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Response};

use super::error::{ErrorKind, ProxyError};
use super::request::{is_padded, list};
use super::response_body::ResponseBody;

/// A response of the upstream, its body still to be read.
pub type UpstreamResponse = Response<ResponseBody>;

/// What the framing of a response allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is one way to read it.
    Unambiguous,
    /// There is a length although the body is chunked. It is ignored, but the sender of both may have meant something
    /// else: nothing more is read from that connection (RFC 9112 section 6.3).
    Ambiguous,
}

/// Checks the head of a response that came over HTTP/1.1. Whatever its coding is named, its body is read
/// as chunks; any other coding would be in it still, and its name lost.
///
/// # Errors
///
/// `upstream_protocol` for transfer codings other than exactly one `chunked`.
pub fn check_http1(headers: &HeaderMap) -> Result<Framing, ProxyError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(Framing::Unambiguous);
    };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(bad(
            "the upstream's Transfer-Encoding is not exactly one \"chunked\"; no other is understood",
        ));
    }
    Ok(if headers.contains_key(CONTENT_LENGTH) {
        Framing::Ambiguous
    } else {
        Framing::Unambiguous
    })
}

/// Checks the head of a response that came over HTTP/2. The library has checked the rest.
///
/// # Errors
///
/// `upstream_protocol` for a value with a space or tab at its end (RFC 9113 section 8.2.1), and for
/// several lengths, of which the client could take another than the library, or one that is not a number.
pub fn check_http2(headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut lengths = 0;
    for (name, value) in headers {
        if is_padded(value) {
            return Err(bad(
                "a header value of the upstream's HTTP/2 response begins or ends with a space or tab",
            ));
        }
        if name != CONTENT_LENGTH {
            continue;
        }
        lengths += 1;
        if lengths > 1 {
            return Err(bad(
                "the upstream's HTTP/2 response has more than one Content-Length",
            ));
        }
        let length = value.as_bytes();
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return Err(bad(
                "the Content-Length of the upstream's HTTP/2 response is no number",
            ));
        }
    }
    Ok(())
}

/// Checks that a 101 switches to what was asked for (RFC 9110 section 7.8).
///
/// # Errors
///
/// `upstream_protocol` when it names another protocol, or none.
pub fn check_switch(asked: &HeaderValue, headers: &HeaderMap) -> Result<(), ProxyError> {
    let was_asked = |protocol: &[u8]| list(asked).any(|asked| asked.eq_ignore_ascii_case(protocol));
    let mut given = headers.get_all(UPGRADE).iter().flat_map(list).peekable();
    if given.peek().is_some() && given.all(was_asked) {
        return Ok(());
    }
    Err(bad(
        "the upstream switched to a protocol that it was not asked for, or did not say to which",
    ))
}

#[cold]
fn bad(detail: &'static str) -> ProxyError {
    ProxyError::new(ErrorKind::UpstreamProtocol, detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn map(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let lines = lines.iter().cloned();
        lines
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    fn framing(lines: &[(HeaderName, &'static str)]) -> Option<Framing> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        check_http1(&headers).ok()
    }

    #[test]
    fn the_only_transfer_coding_is_chunked_and_a_length_beside_it_is_ambiguous() {
        assert_eq!(framing(&[]), Some(Framing::Unambiguous));
        assert_eq!(
            framing(&[(CONTENT_LENGTH, "5")]),
            Some(Framing::Unambiguous)
        );
        for chunked in ["chunked", "Chunked", "CHUNKED"] {
            let coding = (TRANSFER_ENCODING, chunked);
            assert_eq!(
                framing(std::slice::from_ref(&coding)),
                Some(Framing::Unambiguous)
            );
            let both = [coding, (CONTENT_LENGTH, "5")];
            assert_eq!(framing(&both), Some(Framing::Ambiguous));
        }
        for other in [
            "",
            "gzip",
            "identity",
            "xchunked",
            "gzip, chunked",
            "chunked, chunked",
            "chunked,",
            "chunked;q=1",
        ] {
            assert_eq!(framing(&[(TRANSFER_ENCODING, other)]), None, "{other}");
        }
        let chunked = (TRANSFER_ENCODING, "chunked");
        assert_eq!(framing(&[chunked.clone(), chunked]), None);
    }

    #[test]
    fn an_http2_value_has_no_space_around_it_and_a_length_is_said_once() {
        let name = HeaderName::from_static("x");
        for (value, right) in [
            ("", true),
            ("a b", true),
            (" a", false),
            ("a ", false),
            ("a\t", false),
        ] {
            let headers = map(&[(name.clone(), value)]);
            assert_eq!(check_http2(&headers).is_ok(), right, "{value:?}");
        }
        let once = (CONTENT_LENGTH, "5");
        assert!(check_http2(&map(std::slice::from_ref(&once))).is_ok());
        assert!(check_http2(&map(&[once, (CONTENT_LENGTH, "6")])).is_err());
        for none in ["", "+5", "0x5", "5,5"] {
            let length = [(CONTENT_LENGTH, none)];
            assert!(check_http2(&map(&length)).is_err(), "{none}");
        }
    }

    #[test]
    fn every_protocol_that_is_switched_to_was_asked_for() {
        let asked = HeaderValue::from_static("foo/2, bar");
        for (given, right) in [
            ("foo/2", true),
            ("FOO/2", true),
            ("bar, foo/2", true),
            ("foo", false),
            ("foo/2, evil", false),
            ("", false),
            (" , ", false),
        ] {
            let given = map(&[(UPGRADE, given)]);
            assert_eq!(check_switch(&asked, &given).is_ok(), right, "{given:?}");
        }
        assert!(check_switch(&asked, &HeaderMap::new()).is_err());
    }
}
