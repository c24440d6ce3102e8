mod framing;
mod host;

use http::Request;
use proptest::prelude::*;

use super::*;

/// The value of `Upgrade`, if it counts.
fn upgrade(parts: &Parts) -> Option<&HeaderValue> {
    upgrade_of(parts.version, &parts.headers)
}

/// A valid request, for a test to change.
fn request(target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn with_version(mut parts: Parts, version: Version) -> Parts {
    parts.version = version;
    parts
}

fn http2(target: &str, headers: &[(&str, &str)]) -> Parts {
    with_version(request(target, headers), Version::HTTP_2)
}

fn http10(target: &str, headers: &[(&str, &str)]) -> Parts {
    with_version(request(target, headers), Version::HTTP_10)
}

fn refusal(parts: &Parts) -> Option<ErrorKind> {
    check(parts).err().map(|error| error.kind)
}

#[track_caller]
fn assert_refused(parts: &Parts) {
    assert_eq!(refusal(parts), Some(ErrorKind::BadRequest), "{parts:?}");
}

#[test]
fn an_ordinary_request_is_borrowed_whole() {
    let parts = request("/crm/x?a=b", &[("host", "crm.local:7080")]);
    let checked = check(&parts).unwrap();
    let expected = Checked {
        host: "crm.local".into(),
        authority: "crm.local:7080",
        path: Path::read("/crm/x").unwrap(),
        query: Some("a=b"),
        seen: Seen::default(),
    };
    assert_eq!(checked, expected);
    assert!(matches!(checked.host, Cow::Borrowed(_)));
    assert!(matches!(checked.path.written, Cow::Borrowed(_)));
    assert!(matches!(checked.path.canonical, Cow::Borrowed(_)));
}

#[test]
fn other_forms_of_target_are_refused() {
    for target in [
        "*",
        "crm.local:80",
        "crm.local",
        "ftp://crm.local/",
        "file://crm.local/x",
    ] {
        assert_refused(&request(target, &[("host", "crm.local")]));
        assert_refused(&http10(target, &[]));
    }
    assert_refused(&http2("*", &[("host", "crm.local")]));
    assert_refused(&http2("crm.local", &[]));
}

#[test]
fn a_target_that_two_parsers_could_read_differently_is_refused() {
    for target in [
        "/a\\b",
        "/a/../b",
        "/%2e%2e/b",
        "/a/..;/b",
        "/a/..%2fb",
        "/\u{e9}",
        "/a?\u{e9}",
        "/a%5Cb",
        "/a%00",
        "/a%0d%0a",
        "/a%7F",
        "/%zz",
        "/%",
        "/a?x\\y",
        "/a?x=%00",
    ] {
        assert_refused(&request(target, &[("host", "crm.local")]));
        assert_refused(&http2(&format!("http://crm.local{target}"), &[]));
    }
    for target in ["/a b", "/a\tb", "/a\u{7f}b", "/a?b c", "/a?b\u{1}"] {
        let refused_by_the_library = Uri::try_from(target).is_err();
        assert!(refused_by_the_library, "{target:?}");
    }
}

#[test]
fn the_library_drops_fragments_so_that_none_is_forwarded() {
    let parts = request("/a?b#c/../d", &[("host", "crm.local")]);
    let checked = check(&parts).unwrap();
    assert_eq!((&*checked.path.written, checked.query), ("/a", Some("b")));
}

#[test]
fn a_path_is_matched_in_its_canonical_form_and_sent_as_it_came() {
    let parts = request("/%63rm%2fx?%63", &[("host", "crm.local")]);
    let checked = check(&parts).unwrap();
    assert_eq!(checked.path.canonical, "/crm%2Fx");
    assert_eq!(checked.path.written, "/%63rm%2fx");
    assert_eq!(checked.query, Some("%63"));
}

#[test]
fn only_options_asks_a_server_as_a_whole() {
    let asks = |method: Method, target: &str| {
        let mut parts = request(target, &[("host", "crm.local")]);
        parts.method = method;
        check(&parts).map(|checked| checked.path.is_asterisk())
    };
    assert!(asks(Method::OPTIONS, "*").unwrap());
    assert!(!asks(Method::OPTIONS, "/*").unwrap());
    for method in [Method::GET, Method::POST, Method::HEAD] {
        let refused = asks(method, "*").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::BadRequest);
    }
}

#[test]
fn what_is_malformed_is_judged_before_the_method() {
    for target in ["/a/../b", "/%C0%AE", "/\u{e9}", "*"] {
        let mut parts = request(target, &[("host", "crm.local")]);
        parts.method = Method::TRACE;
        assert_refused(&parts);
    }

    for (name, value) in [("content-length", "x"), ("transfer-encoding", "gzip")] {
        let mut parts = request("/", &[("host", "crm.local"), (name, value)]);
        parts.method = Method::TRACE;
        assert_refused(&parts);
    }
}

#[test]
fn trace_and_connect_are_not_allowed_in_any_spelling() {
    for method in ["TRACE", "CONNECT", "trace", "Connect"] {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let mut parts = with_version(request("/", &[("host", "h")]), version);
            parts.method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                refusal(&parts),
                Some(ErrorKind::MethodNotAllowed),
                "{method}"
            );
        }
    }
    let mut tunnel = request("crm.local:443", &[("host", "crm.local:443")]);
    tunnel.method = Method::CONNECT;
    assert_eq!(refusal(&tunnel), Some(ErrorKind::MethodNotAllowed));
}

#[test]
fn grpc_is_told_by_its_content_type() {
    for (value, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("Application/GRPC; x", true),
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpcx", false),
        ("application/json", false),
        ("", false),
    ] {
        let parts = request("/", &[("host", "h"), ("content-type", value)]);
        assert_eq!(check(&parts).unwrap().seen.grpc, grpc, "{value}");
    }
}

#[test]
fn an_upgrade_needs_both_headers_and_http11() {
    let websocket = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
    ];
    assert_eq!(upgrade(&request("/", &websocket)).unwrap(), "websocket");
    let two_lines = [
        ("connection", "x"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
    ];
    assert!(upgrade(&request("/", &two_lines)).is_some());
    assert!(upgrade(&request("/", &websocket[..1])).is_none());
    assert!(upgrade(&request("/", &websocket[1..])).is_none());
    assert!(upgrade(&http10("/", &websocket)).is_none());
    assert!(upgrade(&http2("/", &websocket)).is_none());
    let twice = [websocket[0], websocket[1], ("upgrade", "x")];
    assert!(upgrade(&request("/", &twice)).is_none());
}

#[test]
fn extended_connect_alone_is_a_connect_that_passes() {
    let mut connect = http2("http://h/chat", &[]);
    connect.method = Method::CONNECT;
    assert_eq!(refusal(&connect), Some(ErrorKind::MethodNotAllowed));
    assert_eq!(tunnel_request(&connect, Seen::default()), None);
    let websocket = Protocol::from_static("websocket");
    connect.extensions.insert(websocket.clone());
    assert_eq!(check(&connect).unwrap().path.canonical, "/chat");
    assert_eq!(
        tunnel_request(&connect, Seen::default()),
        Some(TunnelRequest::ExtendedConnect(websocket))
    );
    connect.uri = Uri::from_static("http://h/../chat");
    assert_refused(&connect);
}

#[test]
fn an_upgrade_to_cleartext_http2_is_ignored() {
    for value in ["h2c", "H2C", "websocket, h2c", "h2c , websocket", "h2c/2.0"] {
        let headers = [
            ("connection", "upgrade, http2-settings"),
            ("upgrade", value),
        ];
        assert!(upgrade(&request("/", &headers)).is_none(), "{value}");
    }
}

#[test]
fn a_client_that_waits_for_100_is_recognised() {
    let waits = [("expect", "100-Continue")];
    assert!(expects_continue(&request("/", &waits)));
    assert!(expects_continue(&http2("/", &waits)));
    assert!(!expects_continue(&http10("/", &waits)));
    assert!(!expects_continue(&request("/", &[("expect", "x")])));
    assert!(!expects_continue(&request("/", &[])));
}

#[test]
fn a_loop_is_found_by_our_own_pseudonym_alone() {
    let ours = "sidebearer-0a1b";
    for (via, passed) in [
        ("1.1 sidebearer-0a1b", true),
        ("1.1 a, 1.1 sidebearer-0a1b (x), 2 b", true),
        ("1.1 SIDEBEARER-0A1B", true),
        ("1.1 sidebearer-0a1bc", false),
        ("1.1 sidebearer-ffff", false),
        ("1.1 xsidebearer-0a1b", false),
        ("", false),
    ] {
        let parts = request("/", &[("via", "1.0 other"), ("via", via)]);
        assert_eq!(has_passed_through(&parts.headers, ours), passed, "{via}");
    }
    assert!(!has_passed_through(&HeaderMap::new(), ours));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_was_checked_once_checks_the_same_again(target in "/[a-z%0-9./;?]{0,16}") {
        let Ok(uri) = Uri::try_from(&target) else {
            return Ok(());
        };
        let parts = request(&uri.to_string(), &[("host", "h")]);
        if let Ok(checked) = check(&parts) {
            let query = checked.query.map(|query| format!("?{query}")).unwrap_or_default();
            let again = request(&format!("{}{query}", checked.path.written), &[("host", "h")]);
            prop_assert_eq!(check(&again).unwrap(), checked);
        }
    }
}

#[test]
fn what_few_requests_have_is_seen_in_passing() {
    let none = Seen::default();
    for (name, expected) in [
        ("accept", none),
        ("sec-ch-ua", none),
        (
            "upgrade",
            Seen {
                upgrade: true,
                ..none
            },
        ),
        ("via", Seen { via: true, ..none }),
        (
            "origin",
            Seen {
                browser: true,
                ..none
            },
        ),
        (
            "sec-fetch-site",
            Seen {
                browser: true,
                ..none
            },
        ),
        (
            "sec-fetch-mode",
            Seen {
                browser: true,
                ..none
            },
        ),
    ] {
        let parts = request("/", &[("host", "h"), (name, "x")]);
        assert_eq!(check(&parts).unwrap().seen, expected, "{name}");
    }
}
