//! Who is asked: `Host`, `:authority` and absolute targets.

use super::*;

#[test]
fn the_host_is_compared_without_port_case_and_trailing_dot() {
    for (value, host) in [
        ("crm.local", "crm.local"),
        ("CRM.Local:80", "crm.local"),
        ("crm.local.", "crm.local"),
        ("crm.local.:8080", "crm.local"),
        ("my_service", "my_service"),
        ("127.0.0.1:7080", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:7080", "[::1]"),
        ("[FE80::1]:1", "[fe80::1]"),
        ("[0:0::1]:7080", "[::1]"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::FFFF:7f00:1]:80", "127.0.0.1"),
    ] {
        let parts = request("/", &[("host", value)]);
        let checked = check(&parts).unwrap();
        assert_eq!(checked.host, host, "{value}");
        assert_eq!(checked.authority, value);
    }
}

#[test]
fn an_address_is_shown_as_the_client_has_written_it() {
    for (value, written) in [
        ("[::FFFF:7f00:1]:80", "[::FFFF:7f00:1]"),
        ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("CRM.local.:80", "crm.local"),
    ] {
        let parts = request("/", &[("host", value)]);
        assert_eq!(check(&parts).unwrap().written_host(), written, "{value}");
    }
}

#[test]
fn an_invalid_host_is_refused() {
    for value in [
        "",
        " ",
        ".",
        "..",
        ".crm",
        "crm..local",
        "crm.local..",
        "user@crm.local",
        "a:b@crm.local",
        "@crm",
        "crm.local:",
        "crm.local:x",
        "crm.local:+80",
        "crm.local:65536",
        "crm.local:80:80",
        ":80",
        "crm local",
        "crm/local",
        "crm\\local",
        "crm?x",
        "crm#x",
        "crm%2elocal",
        "a,b",
        "a;b",
        "[::1",
        "::1",
        "::1]",
        "[]",
        "[::1]x",
        "[::1]80",
        "[::1%25lo]",
        "[v1.x]",
        "[1.2.3.4]",
        "x[::1]",
        "[[::1]]",
        "crm\tlocal",
    ] {
        assert_refused(&request("/", &[("host", value)]));
        assert_refused(&http10("/", &[("host", value)]));
        assert_refused(&http2("/", &[("host", value)]));
        // An absolute target decides, but does not excuse.
        assert_refused(&request("http://crm.local/", &[("host", value)]));
    }
    let mut latin1 = request("/", &[]);
    latin1
        .headers
        .insert(HOST, HeaderValue::from_bytes(b"caf\xe9").unwrap());
    assert_refused(&latin1);
}

#[test]
fn http11_needs_exactly_one_host() {
    assert_refused(&request("/", &[]));
    assert_refused(&request("http://crm.local/", &[]));
    let twice = [("host", "crm.local"), ("host", "crm.local")];
    assert_refused(&request("/", &twice));
    assert_refused(&http10("/", &twice));
    assert_refused(&http2("http://crm.local/", &twice));
}

#[test]
fn http10_may_come_without_a_host() {
    let parts = http10("/x", &[]);
    let checked = check(&parts).unwrap();
    assert_eq!((&*checked.host, checked.authority), ("", ""));
    let absolute = http10("http://crm.local/x", &[]);
    assert_eq!(check(&absolute).unwrap().host, "crm.local");
}

#[test]
fn an_absolute_target_decides_over_host() {
    for target in [
        "http://CRM.local:81/x?y",
        "https://CRM.local:81/x?y",
        "HTTP://CRM.local:81/x?y",
    ] {
        let parts = request(target, &[("host", "other.local")]);
        let checked = check(&parts).unwrap();
        assert_eq!(checked.host, "crm.local");
        assert_eq!(checked.authority, "CRM.local:81");
        assert_eq!(checked.path.canonical, "/x");
        assert_eq!(checked.query, Some("y"));
    }
    let bare = request("http://crm.local", &[("host", "crm.local")]);
    assert_eq!(check(&bare).unwrap().path.written, "/");
    let query = request("http://crm.local?x=1", &[("host", "crm.local")]);
    let checked = check(&query).unwrap();
    assert_eq!((&*checked.path.written, checked.query), ("/", Some("x=1")));
    // In HTTP/2 that is how a :path without its slash looks.
    assert_refused(&http2("http://crm.local?x=1", &[]));
}

#[test]
fn userinfo_in_the_target_is_refused() {
    for target in [
        "http://user@crm.local/",
        "http://user:secret@crm.local/",
        "http://a%40b@crm.local/",
    ] {
        assert_refused(&request(target, &[("host", "crm.local")]));
        assert_refused(&http2(target, &[]));
    }
}

#[test]
fn http2_authority_and_host_must_agree() {
    let good = http2("http://crm.local:80/x", &[("host", "CRM.local:80")]);
    assert_eq!(check(&good).unwrap().host, "crm.local");
    assert_eq!(
        check(&http2("https://crm.local/x", &[])).unwrap().host,
        "crm.local"
    );
    assert_eq!(
        check(&http2("/x", &[("host", "crm.local")])).unwrap().host,
        "crm.local"
    );
    for host in ["other.local", "crm.local:81", "crm.local.", ""] {
        assert_refused(&http2("http://crm.local/x", &[("host", host)]));
    }
    assert_refused(&http2("/x", &[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_accepted_host_is_a_name_or_an_address(value in "[a-zA-Z0-9.:@\\[\\]%_~ ,/-]{0,12}") {
        let parts = request("/", &[("host", &value)]);
        if let Ok(checked) = check(&parts) {
            let host = &*checked.host;
            prop_assert!(!host.is_empty() && !host.ends_with('.'));
            prop_assert!(!host.contains(['@', '%', ' ', ',', '/']));
            prop_assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase()));
            prop_assert!(!host.contains(':') || host.starts_with('['));
        }
    }
}
