//! In which role requests are passed on, and what that role makes of their responses.

use http::header::{ALT_SVC, CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::own_names;
use crate::config::Upstream;
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
        for name in [LOCATION, CONTENT_LOCATION] {
            if let Some(value) = headers.get_mut(name)
                && let Some(named) = as_http(value, &upstream.config, client)
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

/// A URL of the API as its client names it; `None` if it is not one.
fn as_http(url: &HeaderValue, upstream: &Upstream, client: &str) -> Option<HeaderValue> {
    const SCHEME: &[u8] = b"https://";
    let (scheme, rest) = url.as_bytes().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    if !own_names::is_same_api(upstream, client, str::from_utf8(authority).ok()?) {
        return None;
    }
    HeaderValue::from_bytes(&[b"http://", client.as_bytes(), path].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPort;

    /// How `url` goes back to a client that has asked for the upstream under the name `client`.
    fn go_back(upstream: &Upstream, client: &str, url: &str) -> Option<String> {
        let named = as_http(&HeaderValue::from_str(url).unwrap(), upstream, client);
        named.map(|value| value.to_str().unwrap().to_owned())
    }

    fn at(url: &str, hosts: &[(&str, Option<u16>)]) -> Upstream {
        let named = hosts.iter().map(|(host, port)| HostPort {
            host: (*host).to_owned(),
            port: *port,
        });
        Upstream {
            url: url.parse().unwrap(),
            host: Some("api.internal".to_owned()),
            hosts: named.collect(),
            ..Upstream::unconfigured()
        }
    }

    #[test]
    fn only_urls_of_the_api_go_back_as_http() {
        let crm = at("https://crm.example.com", &[]);
        for (url, named) in [
            ("https://crm.example.com/a?b#c", "http://crm.old/a?b#c"),
            ("HTTPS://CRM.Example.com:443/", "http://crm.old/"),
            ("https://crm.example.com./", "http://crm.old/"),
            ("https://api.internal", "http://crm.old"),
            ("https://api.internal?x", "http://crm.old?x"),
            ("https://crm.old/a", "http://crm.old/a"),
        ] {
            assert_eq!(
                go_back(&crm, "crm.old", url).as_deref(),
                Some(named),
                "{url}"
            );
        }
        for url in [
            "http://crm.example.com/",
            "https://crm.example.com:8443/",
            "https://crm.old:8443/",
            "https://crm.example.com.evil.example/",
            "https://user@crm.example.com/",
            "https://user@crm.old/",
            "https://evil.example/https://crm.example.com/",
            "//crm.example.com/",
            "/a",
            "https:",
            "https://",
            "",
        ] {
            assert_eq!(go_back(&crm, "crm.old", url), None, "{url}");
        }
    }

    #[test]
    fn all_names_of_the_api_go_back_as_the_one_that_the_client_has_asked_for() {
        let named = [
            ("crm.old", None),
            ("legacy", Some(9443)),
            ("[2001:db8::1]", None),
        ];
        let crm = at("https://crm.example.com:8443/v2", &named);
        for (client, authority) in [
            ("crm.old", "crm.old"),
            ("crm.old", "crm.old:443"),
            ("crm.old:80", "crm.old"),
            ("CRM.old.", "crm.OLD:443"),
            ("crm.old", "crm.old:8443"),
            ("crm.old", "crm.example.com:8443"),
            ("crm.old:8443", "crm.old:8443"),
            ("crm.old", "legacy:9443"),
            ("legacy:9443", "legacy:9443"),
            ("legacy:9443", "crm.old:8443"),
            ("legacy:9443", "[2001:DB8:0::1]:8443"),
            ("[2001:db8:0::1]", "[2001:db8::1]"),
            // By a route.
            ("a.tenants.example", "a.tenants.example"),
            ("a.tenants.example", "a.tenants.example:8443"),
            ("a.tenants.example:8443", "a.tenants.example:8443"),
            ("a.tenants.example", "api.internal"),
            ("a.tenants.example", "api.internal:8443"),
        ] {
            let back = go_back(&crm, client, &format!("https://{authority}/x"));
            let expected = format!("http://{client}/x");
            assert_eq!(back, Some(expected), "{client} {authority}");
        }
        // Another server may be there.
        for (client, authority) in [
            ("crm.old", "crm.old:9443"),
            ("crm.old", "crm.example.com"),
            ("crm.old:8443", "crm.old"),
            ("legacy:9443", "legacy"),
            ("crm.old", "legacy"),
            ("a.tenants.example", "b.tenants.example"),
            ("a.tenants.example:8443", "a.tenants.example"),
            ("a.tenants.example", "api.internal:9443"),
        ] {
            let back = go_back(&crm, client, &format!("https://{authority}/x"));
            assert_eq!(back, None, "{client} {authority}");
        }
    }
}
