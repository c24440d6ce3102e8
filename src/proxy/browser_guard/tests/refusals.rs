//! What a refusal says.

use super::*;

#[test]
fn the_refusal_says_which_key_would_admit_the_host() {
    let (_, detail) = refusal(&careful(), "other.local", &[]).unwrap();
    assert!(
        detail.contains("\"other.local\"") && detail.contains("`hosts`"),
        "{detail}"
    );
}

#[test]
fn the_refusal_names_the_origin_and_the_key() {
    let detail_of = |origin: &str| {
        let headers = [(ORIGIN, origin)];
        refusal(&careful(), "localhost:7080", &headers).unwrap().1
    };
    let detail = detail_of("https://app.example.com");
    for part in ["\"https://app.example.com\"", "`allow_origins`"] {
        assert!(detail.contains(part), "{detail}");
    }
    let detail = detail_of("null");
    assert!(
        detail.contains("`allow_browsers`") && !detail.contains("allow_origins"),
        "{detail}"
    );
    let long = detail_of(&"a".repeat(1000));
    assert!(long.len() < 600 && long.contains("aaa...\""), "{long}");

    let mut headers = HeaderMap::new();
    headers.insert(
        ORIGIN,
        HeaderValue::from_bytes(b"http://\"\xFF\t\xE2\x80\xAE").unwrap(),
    );
    let checked = checked("localhost:7080");
    for error in [
        BrowserRefusal::to_listener_error,
        BrowserRefusal::to_admin_error,
    ] {
        let detail = error(admit(&careful(), Scheme::Http, &checked, &headers).unwrap_err()).detail;
        assert!(
            detail.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{detail}"
        );
        assert!(detail.contains(r#""http://\"\xff\t"#), "{detail}");
    }
}

#[test]
fn a_refusal_names_the_header_that_decided() {
    let mode = (SEC_FETCH_MODE, "no-cors");
    for (headers, named) in [
        (
            vec![(SEC_FETCH_SITE, "cross-site"), mode.clone()],
            "Sec-Fetch-Site \"cross-site\"",
        ),
        (
            vec![(SEC_FETCH_SITE, "none"), mode],
            "Sec-Fetch-Mode \"no-cors\"",
        ),
        (
            vec![(ORIGIN, "https://a.example")],
            "Origin \"https://a.example\"",
        ),
    ] {
        let (kind, detail) = refusal(&careful(), "localhost", &headers).unwrap();
        assert_eq!(kind, ErrorKind::BrowserRequest);
        assert!(detail.contains(named), "{detail}");
        let is_named = |header: &&str| detail.contains(*header);
        let all = ["Sec-Fetch-Site", "Sec-Fetch-Mode", "Origin"];
        assert_eq!(all.into_iter().filter(is_named).count(), 1, "{detail}");
        let (checked, headers) = (checked("localhost"), map(&headers));
        let refused = admit(&careful(), Scheme::Http, &checked, &headers)
            .unwrap_err()
            .to_admin_error();
        let (name, value) = named.split_once(' ').unwrap();
        assert!(
            refused.detail.contains(name) && refused.detail.contains(value),
            "{refused}"
        );
    }
}
