use super::super::request::Seen;
use super::*;
use crate::config::HostPattern;
use crate::route::{AllowedAddresses, AllowedHosts};

mod refusals;

const PAGE: &str = "http://localhost:7080";
const MOZILLA: (HeaderName, &str) = (USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64)");

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

fn with_hosts(hosts: &[&str]) -> BrowserGuard {
    let patterns = [
        HostPattern::Any,
        HostPattern::Exact("crm.local".into()),
        HostPattern::Exact("[fd00::1]".into()),
        HostPattern::Wildcard("example.com".into()),
    ];
    BrowserGuard {
        allowed_hosts: AllowedHosts::new(
            AllowedAddresses::Loopback,
            hosts.iter().copied(),
            &patterns,
        ),
        allow_browsers: false,
        allow_origins: Vec::new(),
        refuse_unmarked: true,
        guards_only_tokens: false,
    }
}

fn careful() -> BrowserGuard {
    with_hosts(&[
        "extra.local",
        "*.wild.local",
        "api.upstream.net.",
        "10.9.8.7",
    ])
}

fn open() -> BrowserGuard {
    BrowserGuard {
        allow_browsers: true,
        ..careful()
    }
}

fn listing(origins: &[&str]) -> BrowserGuard {
    BrowserGuard {
        allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        ..careful()
    }
}

fn map(headers: &[(HeaderName, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

/// The error of a listener, its kind first.
fn refusal(
    browser_guard: &BrowserGuard,
    authority: &str,
    headers: &[(HeaderName, &str)],
) -> Option<(ErrorKind, String)> {
    let (checked, headers) = (checked(authority), map(headers));
    let refused = admit(browser_guard, Scheme::Http, &checked, &headers).err()?;
    let error = refused.to_listener_error();
    Some((error.kind, error.detail.into_owned()))
}

fn kind(
    browser_guard: &BrowserGuard,
    authority: &str,
    headers: &[(HeaderName, &str)],
) -> Option<ErrorKind> {
    refusal(browser_guard, authority, headers).map(|(kind, _)| kind)
}

#[test]
fn own_names_and_addresses_are_admitted() {
    for host in [
        "localhost",
        "LOCALHOST:7080",
        "127.0.0.1:7080",
        "127.9.8.7",
        "[::1]:7080",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "crm.local",
        "a.example.com",
        "extra.local:1",
        "a.wild.local",
        "api.upstream.net",
        "10.9.8.7",
        "[fd00::1]",
        "[FD00:0::0:1]:7080",
        "",
    ] {
        assert_eq!(kind(&careful(), host, &[]), None, "{host}");
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
        "0.0.0.0",
        "0.0.0.0:7080",
        "10.1.2.3",
        "128.0.0.1",
        "126.255.255.255",
        "[::]",
        "[::2]",
        "[fd00::2]",
        "[::ffff:127.0.0.1]:7080",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
    ] {
        for browser_guard in [careful(), open(), listing(&["http://attacker.example"])] {
            let refused = kind(&browser_guard, host, &[]);
            assert_eq!(refused, Some(ErrorKind::NoRoute), "{host}");
        }
    }
}

#[test]
fn a_socket_on_the_network_goes_by_every_address() {
    let browser_guard = BrowserGuard {
        allowed_hosts: AllowedHosts::new(AllowedAddresses::All, [], []),
        ..careful()
    };
    for host in ["10.1.2.3:7090", "[fd00::7]", "0.0.0.0", "127.0.0.1"] {
        assert_eq!(kind(&browser_guard, host, &[]), None, "{host}");
    }
    assert_eq!(
        kind(&browser_guard, "crm.local", &[]),
        Some(ErrorKind::NoRoute)
    );
}

#[test]
fn a_star_admits_every_host_but_no_foreign_page() {
    let star = with_hosts(&["*"]);
    assert_eq!(kind(&star, "anything.example", &[]), None);
    for page in [(SEC_FETCH_SITE, "cross-site"), (ORIGIN, "http://a")] {
        let refused = kind(&star, "anything.example", &[page]);
        assert_eq!(refused, Some(ErrorKind::BrowserRequest));
    }
}

#[test]
fn a_foreign_origin_is_refused_whatever_else_is_sent() {
    let beside: [&[(HeaderName, &str)]; 5] = [
        &[],
        &[(SEC_FETCH_MODE, "cors")],
        &[(SEC_FETCH_SITE, "same-origin")],
        &[(SEC_FETCH_SITE, "none"), (SEC_FETCH_MODE, "navigate")],
        &[(ORIGIN, PAGE)],
    ];
    for origin in [
        "https://attacker.example",
        "http://attacker.example:7080",
        "null",
        "NULL",
        "",
        "localhost:7080",
        "//localhost:7080",
        "http:",
        "http://",
        "http:///",
        "https://localhost:7080",
        "http://localhost:3000",
        "http://localhost",
        "http://localhost:80",
        "http://localhost:70800",
        "http://localhost:7080/",
        "http://localhost:7080.attacker.example",
        "http://localhost:7080@attacker.example",
        "http://attacker.example/://localhost:7080",
        "http://127.0.0.1:7080",
        "http://[::1]:7080",
        "http://localhost.:7080",
        "http://localhost:7080 http://attacker.example",
        "http://localhost:7080, null",
        "chrome-extension://abcdef",
    ] {
        for beside in beside {
            for headers in [
                [&[(ORIGIN, origin)], beside].concat(),
                [beside, &[(ORIGIN, origin)]].concat(),
            ] {
                let refused = kind(&careful(), "localhost:7080", &headers);
                assert_eq!(refused, Some(ErrorKind::BrowserRequest), "{headers:?}");
                assert_eq!(kind(&open(), "localhost:7080", &headers), None);
            }
        }
    }
}

#[test]
fn without_a_host_no_origin_is_our_own() {
    for origin in ["http://", "http://:80", "http://localhost"] {
        let refused = kind(&careful(), "", &[(ORIGIN, origin)]);
        assert_eq!(refused, Some(ErrorKind::BrowserRequest), "{origin}");
    }
}

#[test]
fn the_origin_of_the_very_listener_is_its_own() {
    for (authority, origin) in [
        ("localhost:7080", PAGE),
        ("localhost:7080", "HTTP://LocalHost:7080"),
        ("LOCALHOST:7080", PAGE),
        ("127.0.0.1:7080", "http://127.0.0.1:7080"),
        ("[::1]:7080", "http://[::1]:7080"),
        ("crm.local", "http://crm.local"),
        ("crm.local:80", "http://crm.local"),
        ("crm.local", "http://crm.local:80"),
    ] {
        for beside in [&[][..], &[(SEC_FETCH_SITE, "same-origin")], &[MOZILLA]] {
            let headers = [&[(ORIGIN, origin)], beside].concat();
            assert_eq!(kind(&careful(), authority, &headers), None, "{origin}");
        }
    }
}

#[test]
fn a_listed_origin_is_let_in_and_no_other() {
    let listing = listing(&[
        "https://app.example.com",
        "http://localhost:3000",
        "tauri://localhost",
    ]);
    let site = (SEC_FETCH_SITE, "cross-site");
    for origin in [
        "https://app.example.com",
        "https://app.example.com:443",
        "HTTPS://App.Example.com",
        "http://localhost:3000",
        "tauri://localhost",
        PAGE,
    ] {
        let alone = [(ORIGIN, origin)];
        assert_eq!(kind(&listing, "localhost:7080", &alone), None);
        let cross_site = [(ORIGIN, origin), site.clone()];
        let refused = kind(&listing, "localhost:7080", &cross_site).is_some();
        assert_eq!(refused, origin == PAGE, "{origin}");
    }
    for origin in [
        "http://app.example.com",
        "http://app.example.com:443",
        "https://app.example.com:80",
        "https://app.example.com:8443",
        "https://app.example.com.attacker.example",
        "https://sub.app.example.com",
        "http://localhost:3001",
        "tauri://localhost:80",
        "null",
    ] {
        let refused = kind(&listing, "localhost:7080", &[(ORIGIN, origin)]);
        assert_eq!(refused, Some(ErrorKind::BrowserRequest), "{origin}");
    }
    // What a page of a listed origin does without saying so cannot be told from another page's.
    let unsaid = kind(&listing, "localhost:7080", &[site]);
    assert_eq!(unsaid, Some(ErrorKind::BrowserRequest));
    let both = [
        (ORIGIN, "https://app.example.com"),
        (ORIGIN, "https://a.example"),
    ];
    assert!(kind(&listing, "localhost:7080", &both).is_some());
}

#[test]
fn what_browsers_mark_as_anothers_is_refused() {
    for headers in [
        vec![(SEC_FETCH_SITE, "cross-site")],
        vec![(SEC_FETCH_SITE, "same-site")],
        vec![(SEC_FETCH_SITE, "Cross-Site")],
        vec![(SEC_FETCH_SITE, "none"), (SEC_FETCH_SITE, "cross-site")],
        vec![(SEC_FETCH_SITE, "none, same-origin")],
        vec![(SEC_FETCH_SITE, "something-new")],
        vec![(SEC_FETCH_SITE, "")],
        vec![(SEC_FETCH_SITE, "none"), (SEC_FETCH_MODE, "no-cors")],
        vec![(SEC_FETCH_SITE, "cross-site"), (ORIGIN, PAGE)],
    ] {
        for authority in ["localhost:7080", "127.0.0.1:7080", "[::1]:7080"] {
            let refused = kind(&careful(), authority, &headers);
            assert_eq!(refused, Some(ErrorKind::BrowserRequest), "{headers:?}");
            assert_eq!(kind(&open(), authority, &headers), None);
        }
    }
}

#[test]
fn a_browser_that_asks_by_name_and_says_nothing_is_refused() {
    let signs = [
        (ACCEPT_LANGUAGE, "en"),
        (ACCEPT_LANGUAGE, ""),
        (UPGRADE_INSECURE_REQUESTS, "1"),
        (ACCEPT, "application/xml, Text/HTML;q=0.9"),
    ];
    for sign in signs {
        let headers = [MOZILLA, sign.clone()];
        for name in ["crm.local:7080", "a.example.com", "extra.local", "10.9.8.7"] {
            let (refused, detail) = refusal(&careful(), name, &headers).unwrap();
            assert_eq!(refused, ErrorKind::BrowserRequest, "{name} {sign:?}");
            assert!(detail.contains("`allow_browsers`"), "{detail}");
            assert_eq!(kind(&open(), name, &headers), None);
        }
        // Towards these, browsers do say.
        for trusted in ["localhost:7080", "127.0.0.1:7080", "[::1]:7080"] {
            assert_eq!(
                kind(&careful(), trusted, &headers),
                None,
                "{trusted} {sign:?}"
            );
        }
        // Other signs, or programs: one alone is not enough.
        let others = [
            [(USER_AGENT, "curl/8.5.0"), sign.clone()],
            [MOZILLA, (ACCEPT, "application/json")],
            [sign.clone(), sign.clone()],
        ];
        for headers in others {
            assert_eq!(kind(&careful(), "crm.local", &headers), None, "{headers:?}");
        }
        let own = [MOZILLA, sign, (ORIGIN, "http://crm.local")];
        assert_eq!(kind(&careful(), "crm.local", &own), None);
    }
}

#[test]
fn programs_and_the_user_are_admitted() {
    for headers in [
        vec![],
        vec![(SEC_FETCH_SITE, "none"), (SEC_FETCH_MODE, "navigate")],
        vec![(SEC_FETCH_SITE, "none")],
        vec![(SEC_FETCH_SITE, "same-origin"), (SEC_FETCH_MODE, "cors")],
        // Node.js sends it on its own.
        vec![(SEC_FETCH_MODE, "cors")],
        vec![MOZILLA],
    ] {
        let refused = kind(&careful(), "localhost:7080", &headers);
        assert_eq!(refused, None, "{headers:?}");
    }
}

#[test]
fn the_own_pages_of_a_listener_with_tls_came_over_tls() {
    for (authority, origin, is_own) in [
        ("localhost:7080", "https://localhost:7080", true),
        ("localhost", "https://localhost", true),
        ("localhost:443", "https://localhost", true),
        ("localhost", "https://localhost:443", true),
        ("localhost:7080", PAGE, false),
        ("localhost", "http://localhost", false),
        ("localhost", "https://localhost:80", false),
    ] {
        let (checked, headers) = (checked(authority), map(&[(ORIGIN, origin)]));
        let admitted = admit(&careful(), Scheme::Https, &checked, &headers);
        assert_eq!(admitted.is_ok(), is_own, "{authority} {origin}");
    }
}
