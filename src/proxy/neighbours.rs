//! Who may use a loopback listener: it can be reached by every web page that is open on the
//! machine, directly or through a name of its own that resolves to loopback (DNS rebinding).

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName};

use super::error::{ErrorKind, ProxyError};
use super::request::Checked;
use crate::route::OwnHosts;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Refuses what a foreign web page may have caused.
///
/// # Errors
///
/// `no_route` for a foreign `Host`, `browser_request` for a cross-site request.
pub fn admit(
    own: &OwnHosts,
    allow_browsers: bool,
    checked: &Checked<'_>,
    headers: &HeaderMap,
) -> Result<(), ProxyError> {
    // Consent to browsers is not consent to rebinding: such a page passes for same-origin.
    if !own.contains(&checked.host) {
        let detail = format!(
            "the host \"{}\" is not one of this listener's: if it should be, \
             add it to `hosts` of the listener",
            checked.host
        );
        return Err(ProxyError::new(ErrorKind::NoRoute, detail));
    }
    let marked = checked.seen.browser && !allow_browsers;
    if marked && is_cross_site(checked.authority, headers) {
        let detail = "a web page of another site made this request: if it should be able to, \
                      set `allow_browsers` of the listener";
        return Err(ProxyError::new(ErrorKind::BrowserRequest, detail));
    }
    Ok(())
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

    use super::super::request::Seen;
    use super::*;
    use crate::config::HostPattern;

    fn checked(authority: &str) -> Checked<'_> {
        let host = match authority.rfind(':') {
            Some(index) if !authority.ends_with(']') => &authority[..index],
            _ => authority,
        };
        Checked {
            host: host.to_ascii_lowercase().into(),
            authority,
            path: crate::path::Path::read("/").unwrap(),
            query: None,
            seen: Seen {
                browser: true,
                ..Seen::default()
            },
        }
    }

    fn neighbours() -> OwnHosts {
        let patterns = [
            HostPattern::Any,
            HostPattern::Exact("crm.local".to_owned()),
            HostPattern::Wildcard("example.com".to_owned()),
        ];
        OwnHosts::new(
            ["extra.local", "*.wild.local", "api.upstream.net."],
            &patterns,
        )
    }

    fn refusal(
        own: &OwnHosts,
        allow_browsers: bool,
        authority: &str,
        headers: &[(HeaderName, &str)],
    ) -> Option<ErrorKind> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        admit(own, allow_browsers, &checked(authority), &map)
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
            assert_eq!(refusal(&neighbours(), false, host, &[]), None, "{host}");
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
                let refused = refusal(&neighbours(), allow_browsers, host, &[]);
                assert_eq!(refused, Some(ErrorKind::NoRoute), "{host}");
            }
        }
    }

    #[test]
    fn the_refusal_says_which_key_would_admit_the_host() {
        let refused = admit(
            &neighbours(),
            false,
            &checked("other.local"),
            &HeaderMap::new(),
        );
        let detail = refused.unwrap_err().detail;
        assert!(
            detail.contains("\"other.local\"") && detail.contains("`hosts`"),
            "{detail}"
        );
    }

    #[test]
    fn a_star_admits_every_host_but_no_foreign_page() {
        let star = OwnHosts::new(["*"], &[]);
        assert_eq!(refusal(&star, false, "anything.example", &[]), None);
        let page = [(SEC_FETCH_SITE, "cross-site")];
        let refused = refusal(&star, false, "anything.example", &page);
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
            let refused = refusal(&neighbours(), false, "localhost:7080", &headers);
            assert_eq!(refused, Some(ErrorKind::BrowserRequest), "{headers:?}");
            assert_eq!(
                refusal(&neighbours(), true, "localhost:7080", &headers),
                None
            );
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
            let refused = refusal(&neighbours(), false, "localhost:7080", &headers);
            assert_eq!(refused, None, "{headers:?}");
        }
    }
}
