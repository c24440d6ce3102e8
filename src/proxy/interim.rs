//! Interim responses (RFC 9110 section 15.2), such as 103 Early Hints. hyper's HTTP/2 server sends none,
//! and those of HTTP/2 upstreams are not listened for; so they pass where both sides speak HTTP/1.1.

use http::{Response, StatusCode};

use super::headers;
use crate::http1;

/// An interim response of the upstream as the client gets it; `None` for those that are not for
/// passing on: 100 is asked for and given on each side by itself, and 101 is none.
pub fn passed_on(upstream: Response<()>) -> Option<Vec<u8>> {
    let (mut head, ()) = upstream.into_parts();
    if [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&head.status) {
        return None;
    }
    headers::scrub_response(&mut head.headers, head.status);
    Some(http1::interim(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_pass_without_what_is_the_connections() {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::EARLY_HINTS;
        let headers = response.headers_mut();
        for (name, value) in [
            ("link", "</style.css>; rel=preload"),
            ("link", "</script.js>; rel=preload"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let bytes = passed_on(response.clone()).unwrap();
        let expected = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nLink: </script.js>; rel=preload\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        for other in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS] {
            *response.status_mut() = other;
            assert_eq!(passed_on(response.clone()), None);
        }
    }
}
