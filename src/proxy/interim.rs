//! Interim responses (RFC 9110 section 15.2), such as 103 Early Hints. hyper's server sends none
//! but its own 100, and its HTTP/2 client hides them; so they pass where both sides speak HTTP/1.1,
//! as bytes that go out before the response.

use std::fmt::Write as _;

use http::{HeaderMap, StatusCode};

use super::headers;

/// An interim response of the upstream as the client gets it; `None` for those that are not for
/// passing on: 100 is asked for and given on each side by itself, and 101 is none.
pub fn passed_on(status: StatusCode, upstream: &HeaderMap) -> Option<Vec<u8>> {
    if [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&status) {
        return None;
    }
    let mut headers = upstream.clone();
    headers::scrub_response(&mut headers, status);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = write!(line, "HTTP/1.1 {} {reason}\r\n", status.as_str());
    let mut bytes = line.into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_pass_without_what_is_the_connections() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("link", "</style.css>; rel=preload"),
            ("link", "</script.js>; rel=preload"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let bytes = passed_on(StatusCode::EARLY_HINTS, &headers).unwrap();
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nlink: </script.js>; rel=preload\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(passed_on(StatusCode::CONTINUE, &headers), None);
        assert_eq!(passed_on(StatusCode::SWITCHING_PROTOCOLS, &headers), None);
    }
}
