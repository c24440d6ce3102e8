//! Heads of responses, and trailers.

use super::*;

#[test]
fn a_response_loses_hop_by_hop_headers_and_nothing_else() {
    let mut headers = map(&[
        ("connection", "close, x-internal, content-length"),
        ("connection", "x-more"),
        ("x-internal", "1"),
        ("x-more", "1"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("proxy-connection", "close"),
        ("content-length", "5"),
        ("trailer", "x-checksum"),
        ("proxy-status", "cdn; error=dns_error"),
        ("www-authenticate", "Bearer"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]);
    scrub_response(&mut headers, StatusCode::OK);
    let expected = [
        "content-length",
        "proxy-status",
        "set-cookie",
        "set-cookie",
        "trailer",
        "www-authenticate",
    ];
    assert_eq!(names(&sorted(&headers)), expected);
}

#[test]
fn a_response_loses_a_length_that_does_not_count() {
    for (status, lines, kept) in [
        (
            200,
            &[("x-a", "1"), ("content-length", "5"), ("x-b", "1")][..],
            true,
        ),
        (
            304,
            &[("x-a", "1"), ("content-length", "5"), ("x-b", "1")],
            true,
        ),
        (
            204,
            &[("x-a", "1"), ("content-length", "5"), ("x-b", "1")],
            false,
        ),
        (
            103,
            &[("x-a", "1"), ("content-length", "5"), ("x-b", "1")],
            false,
        ),
        (
            200,
            &[
                ("x-a", "1"),
                ("content-length", "5"),
                ("x-b", "1"),
                ("transfer-encoding", "chunked"),
            ],
            false,
        ),
    ] {
        let mut headers = map(lines);
        scrub_response(&mut headers, StatusCode::from_u16(status).unwrap());
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        let all = ["x-a", "content-length", "x-b"];
        let expected = all.iter().filter(|name| kept || **name != "content-length");
        assert_eq!(left, expected.copied().collect::<Vec<_>>(), "{status}");
    }
}

#[test]
fn trailers_cannot_carry_credentials_framing_or_host() {
    let injected = HeaderName::from_static("x-api-key");
    let mut trailers = map(&[
        ("grpc-status", "0"),
        ("x-checksum", "1"),
        ("authorization", "Bearer a"),
        ("proxy-authorization", "Basic a"),
        ("x-api-key", "a"),
        ("x_api_key", "a"),
        ("x.api~key", "a"),
        ("cookie", "a=1"),
        ("set-cookie", "a=1"),
        ("set_cookie", "a=1"),
        ("content-length", "5"),
        ("content_length", "5"),
        ("content.type", "text/html"),
        ("transfer_encoding", "chunked"),
        ("content-type", "text/html"),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 0-1/2"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x"),
        ("host", "h"),
        ("connection", "x-named"),
        ("x-named", "1"),
        ("keep-alive", "x"),
        ("te", "trailers"),
        ("upgrade", "x"),
    ]);
    scrub_trailers(&mut trailers, OwnHeaders::injected(Some(&injected)));
    assert_eq!(names(&sorted(&trailers)), ["grpc-status", "x-checksum"]);
}

#[test]
fn trailers_cannot_carry_what_shows_or_names_a_caller() {
    let (caller, forwarded) = ("x-caller-key", "x-caller");
    let mut trailers = map(&[
        (caller, "a"),
        ("x_caller.key", "a"),
        (forwarded, "a"),
        ("x_caller", "a"),
        ("x-caller-other", "a"),
    ]);
    let [caller, forwarded] = [caller, forwarded].map(HeaderName::from_static);
    let own = OwnHeaders {
        injected: None,
        caller: Some(&caller),
        forwarded: Some(&forwarded),
        request_id: None,
    };
    scrub_trailers(&mut trailers, own);
    assert_eq!(names(&sorted(&trailers)), ["x-caller-other"]);
}
