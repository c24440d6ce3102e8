mod response;

use http::header::AUTHORIZATION;
use proptest::prelude::*;

use super::*;

/// Every byte that a header name may hold, other than letters and digits.
const MARKS: [char; 15] = [
    '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~',
];

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The remaining lines, sorted.
fn scrubbed(lines: &[(&str, &str)], injected: Option<&HeaderName>) -> Vec<(String, String)> {
    let mut headers = map(lines);
    scrub_request(&mut headers, OwnHeaders::injected(injected));
    sorted(&headers)
}

fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let lines = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

fn names(lines: &[(String, String)]) -> Vec<&str> {
    lines.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn end_to_end_headers_pass() {
    let lines = [
        ("accept", "*/*"),
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("expect", "100-continue"),
        ("host", "crm.local"),
        ("trailer", "x-checksum"),
        ("via", "1.0 other"),
        ("x-proxy", "x"),
        ("x-request-id", "7"),
    ];
    let kept = scrubbed(&lines, Some(&AUTHORIZATION));
    let expected: Vec<_> = lines.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    assert_eq!(kept, expected);
}

#[test]
fn hop_by_hop_headers_are_removed() {
    for (name, value) in [
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("proxy-authorization", "Basic eDp5"),
        ("proxy-authenticate", "Basic"),
        ("proxy-anything", "x"),
        ("proxy_authorization", "Basic eDp5"),
        ("proxy", "http://attacker.example"),
    ] {
        let lines = [(name, value), ("accept", "*/*"), (name, value)];
        assert_eq!(names(&scrubbed(&lines, None)), ["accept"], "{name}");
    }
}

#[test]
fn every_header_that_any_connection_line_names_is_removed() {
    let lines = [
        ("connection", "close, X-One"),
        ("connection", "x-two ,,x-three"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-two", "2b"),
        ("x-three", "3"),
        ("x-four", "4"),
        ("x-five", "5"),
        ("connection", "x-five"),
        ("accept", "*/*"),
        ("connection", "accept, not a token, \u{7b}"),
    ];
    assert_eq!(names(&scrubbed(&lines, None)), ["x-four"]);
}

#[test]
fn connection_cannot_remove_framing_or_routing() {
    let lines = [
        ("connection", "content-length, host, Trailer, via"),
        ("content-length", "5"),
        ("host", "crm.local"),
        ("trailer", "x"),
        ("via", "1.1 a"),
    ];
    assert_eq!(
        names(&scrubbed(&lines, None)),
        ["content-length", "host", "trailer", "via"]
    );
}

#[test]
fn a_length_beside_transfer_encoding_is_dropped() {
    let lines = [
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("x", "y"),
    ];
    assert_eq!(names(&scrubbed(&lines, None)), ["x"]);
}

#[test]
fn connection_cannot_remove_what_is_injected() {
    let mut headers = map(&[
        ("connection", "authorization, x-key"),
        ("authorization", "Basic a"),
    ]);
    scrub_request(&mut headers, OwnHeaders::injected(Some(&AUTHORIZATION)));
    headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
    assert_eq!(
        sorted(&headers),
        [("authorization".to_owned(), "Bearer t".to_owned())]
    );
}

#[test]
fn every_inbound_copy_of_the_injected_header_is_removed() {
    let lines = [
        ("authorization", "Bearer a"),
        ("Authorization", "Bearer b"),
        ("x", "y"),
    ];
    assert_eq!(names(&scrubbed(&lines, Some(&AUTHORIZATION))), ["x"]);

    let copies = [
        ("x-api-key", "1"),
        ("X_Api_Key", "2"),
        ("x-api_key", "3"),
        ("x_api-key", "4"),
        ("x-api-keys", "5"),
        ("xapi-key", "6"),
        ("authorization", "Basic a"),
    ];
    for injected in ["x-api-key", "x_api_key"] {
        let injected = HeaderName::from_static(injected);
        let kept = scrubbed(&copies, Some(&injected));
        assert_eq!(names(&kept), ["authorization", "x-api-keys", "xapi-key"]);
    }
}

#[test]
fn what_some_server_takes_for_such_a_header_is_removed_too() {
    let injected = HeaderName::from_static("x-api-key");
    for mark in MARKS {
        let spelled = |name: &str| name.replace('-', &mark.to_string());
        for name in [
            "x-api-key",
            "keep-alive",
            "transfer-encoding",
            "http2-settings",
            "proxy-authorization",
        ] {
            let name = spelled(name);
            let lines = [("accept", "*/*"), (&name, "x"), ("x-last", "1")];
            let kept = scrubbed(&lines, Some(&injected));
            assert_eq!(names(&kept), ["accept", "x-last"], "{name}");
        }
    }
}

#[test]
fn what_only_looks_like_a_length_is_removed_and_the_length_stays() {
    for mark in MARKS.into_iter().filter(|mark| *mark != '-') {
        let name = format!("content{mark}length");
        for lines in [
            [(name.as_str(), "7"), ("content-length", "5")],
            [("content-length", "5"), (name.as_str(), "7")],
        ] {
            let length = [("content-length".to_owned(), "5".to_owned())];
            assert_eq!(scrubbed(&lines, None), length);
            let mut answer = map(&lines);
            scrub_response(&mut answer, StatusCode::OK);
            assert_eq!(sorted(&answer), length);
        }
        // None of these makes a length void: there is no real transfer coding with it.
        let coding = format!("transfer{mark}encoding");
        let lines = [(coding.as_str(), "chunked"), ("content-length", "5")];
        assert_eq!(names(&scrubbed(&lines, None)), ["content-length"]);
    }
}

#[test]
fn connection_names_a_header_in_every_spelling() {
    for mark in MARKS {
        let option = format!("X{mark}Hop, Content{mark}Length");
        let lines = [
            ("connection", option.as_str()),
            ("x-hop", "1"),
            ("x_hop", "2"),
            ("x.hop", "3"),
            ("xhop", "4"),
            ("content-length", "5"),
        ];
        assert_eq!(
            names(&scrubbed(&lines, None)),
            ["content-length", "xhop"],
            "{mark}"
        );
    }
}

#[test]
fn without_a_credential_the_clients_own_authorization_stays() {
    let lines = [("authorization", "Basic a")];
    assert_eq!(names(&scrubbed(&lines, None)), ["authorization"]);
}

#[test]
fn te_trailers_survives_alone() {
    let te = |value| scrubbed(&[("te", value), ("connection", "te")], None);
    let trailers = [("te".to_owned(), "trailers".to_owned())];
    for value in ["trailers", "gzip, Trailers", "gzip;q=0.5,trailers"] {
        assert_eq!(te(value), trailers, "{value}");
    }
    for value in ["gzip", "trailersx", "", "deflate;q=0"] {
        assert_eq!(te(value), [], "{value}");
    }
    let two_lines = [("te", "gzip"), ("te", "trailers")];
    assert_eq!(scrubbed(&two_lines, None), trailers);
}

#[test]
fn split_cookies_are_joined() {
    let lines = [
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
    ];
    let mut headers = map(&lines);
    scrub_request(&mut headers, OwnHeaders::injected(None));
    assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
    assert_eq!(headers[COOKIE], "a=1; b=2; c=3");
}

#[test]
fn via_grows_at_its_end() {
    let mut headers = map(&[("via", "1.0 a")]);
    append_via(&mut headers, &HeaderValue::from_static("1.1 sidebearer-1"));
    let lines: Vec<_> = headers.get_all(VIA).iter().collect();
    assert_eq!(lines, ["1.0 a", "1.1 sidebearer-1"]);
}

proptest! {
    #[test]
    fn those_that_stay_keep_their_order(
        lines in prop::collection::vec(
            (
                prop::sample::select(vec!["connection", "keep-alive", "x-a", "x-b", "x-c", "x-d"]),
                prop::sample::select(vec!["x-a", "x-b", "close", ""]),
            ),
            0..8,
        ),
    ) {
        let mut headers = map(&lines);
        let nominated = |name: &str| lines.iter().any(|(line, value)| *line == "connection" && *value == name);
        let stays = |name: &&HeaderName| name.as_str().starts_with("x-") && !nominated(name.as_str());
        let before: Vec<_> = headers.keys().filter(stays).cloned().collect();
        scrub_response(&mut headers, StatusCode::OK);
        let after: Vec<_> = headers.keys().cloned().collect();
        prop_assert_eq!(after, before);
    }

    #[test]
    fn after_scrub_and_inject_there_is_one_token_and_nothing_nominated(
        lines in prop::collection::vec((
            prop::sample::select(vec![
                "connection", "authorization", "x-key", "x_key", "x.key", "x-a", "x-b", "te", "host",
                "keep-alive", "proxy-x", "content-length", "upgrade", "cookie",
            ]),
            prop::sample::select(vec![
                "x-a", "authorization", "X-Key, x_key", "close,x-b", "host", "te, trailers", "1", "",
                "connection", "content-length",
            ]),
        ), 0..20),
    ) {
        for injected in [AUTHORIZATION, HeaderName::from_static("x-key")] {
            let mut headers = map(&lines);
            scrub_request(&mut headers, OwnHeaders::injected(Some(&injected)));
            headers.append(&injected, HeaderValue::from_static("T"));
            let copies: Vec<_> = headers.keys().filter(|name| OwnHeaders::injected(Some(&injected)).names().have(name.as_ref())).collect();
            prop_assert_eq!(copies, [&injected]);
            prop_assert_eq!(headers.get_all(&injected).iter().collect::<Vec<_>>(), ["T"]);
            for gone in ["connection", "keep-alive", "proxy-x", "upgrade"] {
                prop_assert!(!headers.contains_key(gone));
            }
            for (name, value) in &lines {
                let nominates = *name == "connection" && value.contains("x-a");
                prop_assert!(!nominates || !headers.contains_key("x-a"));
            }
            for kept in ["host", "content-length"] {
                let sent = lines.iter().filter(|(name, _)| *name == kept).count();
                prop_assert_eq!(headers.get_all(kept).iter().count(), sent);
            }
        }
    }
}
