//! Interim responses (RFC 9110 section 15.2), such as 103 Early Hints.

use std::rc::Rc;
use std::sync::Arc;

use http::{Response, StatusCode, Version};

use super::client_connection::ClientConnection;
use super::headers;
use crate::http1;
use crate::http2::server::Responder;

/// Who gets the interim responses of the upstream.
pub enum InterimSink {
    /// A client of HTTP/1.0, which knows of none.
    Nobody,
    /// The connection of one of HTTP/1.1.
    Connection(Arc<ClientConnection>),
    /// The stream of one of HTTP/2.
    Stream(Rc<Responder>),
}

impl InterimSink {
    /// A client that asked with this version of HTTP/1.
    pub fn over_http1(version: Version, client: &Arc<ClientConnection>) -> Self {
        match version {
            Version::HTTP_11 => Self::Connection(Arc::clone(client)),
            _ => Self::Nobody,
        }
    }

    /// Passes an interim response of the upstream on.
    pub fn send(&self, interim: Response<()>) {
        let Some(interim) = passed_on(interim) else {
            return;
        };
        match self {
            Self::Nobody => {}
            Self::Connection(client) => {
                let (head, ()) = interim.into_parts();
                client.queue_interim(&http1::encode_interim(&head));
            }
            Self::Stream(responder) => responder.send_interim(interim),
        }
    }
}

/// An interim response of the upstream as the client gets it; `None` for those that are not for
/// passing on: 100 is asked for and given on each side by itself, and 101 is not passed on.
fn passed_on(upstream: Response<()>) -> Option<Response<()>> {
    let (mut head, ()) = upstream.into_parts();
    if [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&head.status) {
        return None;
    }
    headers::scrub_response(&mut head.headers, head.status);
    Some(Response::from_parts(head, ()))
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
        let (head, ()) = passed_on(response.clone()).unwrap().into_parts();
        let bytes = http1::encode_interim(&head);
        let expected = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nLink: </script.js>; rel=preload\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        for other in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS] {
            *response.status_mut() = other;
            assert!(passed_on(response.clone()).is_none());
        }
    }
}
