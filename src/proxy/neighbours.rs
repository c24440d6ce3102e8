//! Who may use a loopback listener: it can be reached by every web page that is open on the
//! machine, directly or through a name of its own that resolves to loopback (DNS rebinding).

use std::collections::HashSet;
use std::net::Ipv4Addr;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName};

use super::error::{ErrorKind, ProxyError};
use super::request::Checked;
use crate::config::HostPattern;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What one loopback listener accepts, besides IP literals and `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbours {
    any_host: bool,
    exact: HashSet<Box<str>>,
    /// By the part after `*.`.
    wildcard: HashSet<Box<str>>,
    allow_browsers: bool,
}

impl Neighbours {
    /// `hosts` are the listener's own `hosts` and the hosts of its upstreams, in lower case without
    /// port, `*` for any; `patterns` are the hosts of its routes.
    pub fn new<'a>(
        hosts: impl IntoIterator<Item = &'a str>,
        patterns: impl IntoIterator<Item = &'a HostPattern>,
        allow_browsers: bool,
    ) -> Self {
        let mut neighbours = Self {
            any_host: false,
            exact: HashSet::from(["localhost".into()]),
            wildcard: HashSet::new(),
            allow_browsers,
        };
        for host in hosts {
            match host.strip_prefix("*.") {
                Some(parent) => neighbours.wildcard.insert(parent.into()),
                None if host == "*" => std::mem::replace(&mut neighbours.any_host, true),
                None => neighbours.exact.insert(host.trim_end_matches('.').into()),
            };
        }
        for pattern in patterns {
            match pattern {
                // A route for any host does not say which names are ours.
                HostPattern::Any => false,
                HostPattern::Wildcard(parent) => neighbours.wildcard.insert(parent.as_str().into()),
                HostPattern::Exact(name) => neighbours.exact.insert(name.as_str().into()),
            };
        }
        neighbours
    }

    /// Refuses what a foreign web page may have caused.
    ///
    /// # Errors
    ///
    /// `no_route` for a foreign `Host`, `browser_request` for a cross-site request.
    pub fn admit(&self, checked: &Checked<'_>, headers: &HeaderMap) -> Result<(), ProxyError> {
        // Consent to browsers is not consent to rebinding: such a page passes for same-origin.
        if !self.accepts(&checked.host) {
            let detail = format!(
                "the host \"{}\" is not one of this listener's: if it should be, \
                 add it to `hosts` of the listener",
                checked.host
            );
            return Err(ProxyError::new(ErrorKind::NoRoute, detail));
        }
        if !self.allow_browsers && is_cross_site(checked.authority, headers) {
            let detail = "a web page of another site made this request: if it should be able to, \
                          set `allow_browsers` of the listener";
            return Err(ProxyError::new(ErrorKind::BrowserRequest, detail));
        }
        Ok(())
    }

    fn accepts(&self, host: &str) -> bool {
        let wildcard = || {
            let (label, parent) = host.split_once('.')?;
            (!label.is_empty() && self.wildcard.contains(parent)).then_some(())
        };
        self.any_host
            || is_ip_literal(host)
            // Only HTTP/1.0 may lack a host, and no browser can be made to leave it out.
            || host.is_empty()
            || self.exact.contains(host)
            || wildcard().is_some()
    }
}

fn is_ip_literal(host: &str) -> bool {
    host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()
}

/// What the browser says about where a request comes from (Fetch Metadata). Programs that send
/// `Origin` on their own do not send `Sec-Fetch-Mode`; pages cannot forge or leave out either.
fn is_cross_site(authority: &str, headers: &HeaderMap) -> bool {
    let foreign_site = headers.get_all(SEC_FETCH_SITE).iter().any(|site| {
        let site = site.as_bytes().trim_ascii();
        site.eq_ignore_ascii_case(b"cross-site") || site.eq_ignore_ascii_case(b"same-site")
    });
    let foreign_origin = || {
        let is_foreign = |origin: &[u8]| {
            let start = origin.windows(3).position(|window| window == b"://");
            let host = start.map(|start| &origin[start + 3..]);
            // `null` has no host, and is nobody's own.
            !host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
        };
        let mut origins = headers.get_all(ORIGIN).iter();
        headers.contains_key(SEC_FETCH_MODE) && origins.any(|o| is_foreign(o.as_bytes()))
    };
    foreign_site || foreign_origin()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(authority: &str) -> Checked<'_> {
        let host = match authority.rfind(':') {
            Some(index) if !authority.ends_with(']') => &authority[..index],
            _ => authority,
        };
        Checked {
            host: host.to_ascii_lowercase().into(),
            authority,
            path: "/".into(),
            query: None,
            grpc: false,
        }
    }

    fn neighbours(allow_browsers: bool) -> Neighbours {
        let patterns = [
            HostPattern::Any,
            HostPattern::Exact("crm.local".to_owned()),
            HostPattern::Wildcard("example.com".to_owned()),
        ];
        Neighbours::new(
            ["extra.local", "*.wild.local", "api.upstream.net."],
            &patterns,
            allow_browsers,
        )
    }

    fn refusal(
        who: &Neighbours,
        authority: &str,
        headers: &[(HeaderName, &str)],
    ) -> Option<ErrorKind> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        who.admit(&checked(authority), &map)
            .err()
            .map(|error| error.kind)
    }

    #[test]
    fn own_names_and_addresses_are_admitted() {
        for host in [
            "localhost",
            "LOCALHOST:7080",
            "127.0.0.1:7080",
            "[::1]:7080",
            "[::1]",
            "10.1.2.3",
            "crm.local",
            "a.example.com",
            "extra.local:1",
            "a.wild.local",
            "api.upstream.net",
            "",
        ] {
            assert_eq!(refusal(&neighbours(false), host, &[]), None, "{host}");
        }
    }

    #[test]
    fn a_foreign_host_is_refused_even_when_browsers_are_allowed() {
        for host in [
            "attacker.example",
            "localhost.attacker.example",
            "crm.local.attacker.example",
            "example.com",
            "a.b.example.com",
            ".example.com",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "127.0.0.1.nip.example",
            "xlocalhost",
            "wild.local",
        ] {
            for allow_browsers in [false, true] {
                let refused = refusal(&neighbours(allow_browsers), host, &[]);
                assert_eq!(refused, Some(ErrorKind::NoRoute), "{host}");
            }
        }
    }

    #[test]
    fn the_refusal_says_which_key_would_admit_the_host() {
        let refused = neighbours(false).admit(&checked("other.local"), &HeaderMap::new());
        let detail = refused.unwrap_err().detail;
        assert!(
            detail.contains("\"other.local\"") && detail.contains("`hosts`"),
            "{detail}"
        );
    }

    #[test]
    fn a_star_admits_every_host_but_no_foreign_page() {
        let star = Neighbours::new(["*"], &[], false);
        assert_eq!(refusal(&star, "anything.example", &[]), None);
        let page = [(SEC_FETCH_SITE, "cross-site")];
        let refused = refusal(&star, "anything.example", &page);
        assert_eq!(refused, Some(ErrorKind::BrowserRequest));
    }

    #[test]
    fn pages_of_other_sites_are_refused_unless_browsers_are_allowed() {
        let mode = || (SEC_FETCH_MODE, "cors");
        for headers in [
            vec![(SEC_FETCH_SITE, "cross-site")],
            vec![(SEC_FETCH_SITE, "same-site")],
            vec![(SEC_FETCH_SITE, "Cross-Site")],
            vec![(SEC_FETCH_SITE, "none"), (SEC_FETCH_SITE, "cross-site")],
            vec![(ORIGIN, "https://attacker.example"), mode()],
            vec![(ORIGIN, "http://localhost:3000"), mode()],
            vec![(ORIGIN, "http://localhost"), mode()],
            vec![(ORIGIN, "http://localhost:7080.attacker.example"), mode()],
            vec![
                (ORIGIN, "http://attacker.example/://localhost:7080"),
                mode(),
            ],
            vec![(ORIGIN, "null"), mode()],
            vec![(ORIGIN, ""), mode()],
            vec![(ORIGIN, "http://localhost:7080"), (ORIGIN, "null"), mode()],
            vec![(SEC_FETCH_SITE, "same-origin"), (ORIGIN, "null"), mode()],
        ] {
            let refused = refusal(&neighbours(false), "localhost:7080", &headers);
            assert_eq!(refused, Some(ErrorKind::BrowserRequest), "{headers:?}");
            assert_eq!(refusal(&neighbours(true), "localhost:7080", &headers), None);
        }
    }

    #[test]
    fn programs_and_own_pages_are_admitted() {
        for headers in [
            vec![],
            vec![(ORIGIN, "https://elsewhere.example")],
            vec![(ORIGIN, "http://LOCALHOST:7080"), (SEC_FETCH_MODE, "cors")],
            vec![(SEC_FETCH_SITE, "none"), (SEC_FETCH_MODE, "navigate")],
            vec![(SEC_FETCH_SITE, "same-origin"), (SEC_FETCH_MODE, "cors")],
        ] {
            let refused = refusal(&neighbours(false), "localhost:7080", &headers);
            assert_eq!(refused, None, "{headers:?}");
        }
    }
}
