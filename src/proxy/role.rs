//! In which role requests are passed on, and what that role makes of their responses.

use http::header::{ALT_SVC, CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Position;

use crate::snapshot::BuiltUpstream;

/// The role in which a request is passed on (RFC 9110 section 3.7), as far as it decides about headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyRole {
    /// A gateway: the request came by a reverse listener.
    Reverse,
    /// A proxy that the client knows of, or an interception proxy: to the server that the client names, in the scheme
    /// that it names.
    Forward,
    /// The same, over TLS where the client names `http`.
    ForwardOverTls,
    /// An interception proxy: to the very address that the client was connecting to, under the host that it names.
    Transparent,
}

/// Makes the headers of a response fit for the client. That of a proxy gets no other ways to the API, which would
/// pass by this one, and `Location` on the way that it takes, whose authority is `client`.
pub fn scrub_response<'c>(
    headers: &mut HeaderMap,
    role: ProxyRole,
    upstream: &BuiltUpstream,
    client: impl FnOnce() -> Option<&'c str>,
) {
    // Few responses have one of them: one look at all names takes less than three searches.
    let is_judged = |name: &HeaderName| matches!(*name, ALT_SVC | LOCATION | CONTENT_LOCATION);
    if role == ProxyRole::Reverse || !headers.keys().any(is_judged) {
        return;
    }
    headers.remove(ALT_SVC);
    if role == ProxyRole::ForwardOverTls
        && let Some(client) = client()
    {
        let url = &upstream.config.url[Position::BeforeHost..Position::AfterPort];
        let own = [upstream.authority.as_str(), url];
        for name in [LOCATION, CONTENT_LOCATION] {
            if let Some(value) = headers.get_mut(name)
                && let Some(named) = as_http(value, own, client)
            {
                *value = named;
            }
        }
    }
}

/// As [`scrub_response`], for the trailers.
pub fn scrub_trailers(trailers: &mut HeaderMap) {
    trailers.remove(ALT_SVC);
}

/// A URL of the API as its client names it; `None` if it is not one. `own` are the authorities of the API.
fn as_http(url: &HeaderValue, own: [&str; 2], client: &str) -> Option<HeaderValue> {
    const SCHEME: &[u8] = b"https://";
    let (scheme, rest) = url.as_bytes().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    let without_port = |authority: &[u8]| {
        let bare = authority.strip_suffix(b":443").unwrap_or(authority);
        bare.to_ascii_lowercase()
    };
    let authority = without_port(authority);
    if !own
        .iter()
        .any(|own| without_port(own.as_bytes()) == authority)
    {
        return None;
    }
    HeaderValue::from_bytes(&[b"http://", client.as_bytes(), path].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_api_go_back_as_http() {
        let own = ["api.internal", "crm.example.com"];
        let go_back = |url: &str| {
            let value = HeaderValue::from_str(url).unwrap();
            as_http(&value, own, "crm.old").map(|value| value.to_str().unwrap().to_owned())
        };
        for (url, named) in [
            ("https://crm.example.com/a?b#c", "http://crm.old/a?b#c"),
            ("HTTPS://CRM.Example.com:443/", "http://crm.old/"),
            ("https://api.internal", "http://crm.old"),
            ("https://api.internal?x", "http://crm.old?x"),
        ] {
            assert_eq!(go_back(url).as_deref(), Some(named), "{url}");
        }
        for url in [
            "http://crm.example.com/",
            "https://crm.example.com:8443/",
            "https://crm.example.com.evil.example/",
            "https://user@crm.example.com/",
            "https://evil.example/https://crm.example.com/",
            "//crm.example.com/",
            "/a",
            "https:",
            "",
        ] {
            assert_eq!(go_back(url), None, "{url}");
        }
    }
}
