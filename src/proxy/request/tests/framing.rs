//! Headers that say how a message is framed, and values that would break its framing.

use super::*;

#[test]
fn content_length_is_one_number() {
    for value in ["0", "5", "9223372036854775807", "007"] {
        let parts = request("/", &[("host", "h"), ("content-length", value)]);
        assert!(check(&parts).is_ok(), "{value}");
    }
    for value in [
        "",
        "5, 6",
        "5,5",
        "5 5",
        "+5",
        "-5",
        "0x5",
        "5.0",
        "five",
        "9223372036854775808",
        "5;",
        "٥",
    ] {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let parts = request("/", &[("host", "h"), ("content-length", value)]);
            assert_refused(&with_version(parts, version));
        }
    }
    let differing = [
        ("host", "h"),
        ("content-length", "5"),
        ("content-length", "6"),
    ];
    assert_refused(&request("/", &differing));
    assert_refused(&http2("/", &differing));
}

#[test]
fn transfer_encoding_is_exactly_one_chunked() {
    for value in ["chunked", "Chunked"] {
        let parts = request("/", &[("host", "h"), ("transfer-encoding", value)]);
        assert!(check(&parts).is_ok(), "{value}");
    }
    for value in [
        "",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        ",chunked",
        "chunked,",
        "\"chunked\"",
        "gzip",
        "chunked\tx",
    ] {
        assert_refused(&request(
            "/",
            &[("host", "h"), ("transfer-encoding", value)],
        ));
    }
    for pair in [
        ["chunked", "chunked"],
        ["identity", "chunked"],
        ["chunked", "identity"],
    ] {
        let lines = pair.map(|value| ("transfer-encoding", value));
        assert_refused(&request("/", &[("host", "h"), lines[0], lines[1]]));
    }
    let chunked = [("host", "h"), ("transfer-encoding", "chunked")];
    assert_refused(&http10("/", &chunked));
    assert_refused(&http2("/", &chunked));
}

#[test]
fn http2_has_no_connection_specific_headers() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        let headers = [("host", "h"), (name, value)];
        assert_refused(&http2("/", &headers));
        assert!(check(&request("/", &headers)).is_ok(), "{name} in HTTP/1.1");
    }
    assert!(check(&http2("/", &[("host", "h"), ("te", "trailers")])).is_ok());
}

#[test]
fn http2_values_have_no_space_around_them() {
    for value in [" a", "a ", "\ta", "a\t", " ", "\t"] {
        let headers = [("host", "h"), ("x", value)];
        assert_refused(&http2("/", &headers));
        assert!(check(&request("/", &headers)).is_ok(), "HTTP/1.1 drops it");
    }
    for value in ["", "a", "a b", "a\tb"] {
        assert!(check(&http2("/", &[("host", "h"), ("x", value)])).is_ok());
    }
}

#[test]
fn header_values_cannot_hold_control_characters() {
    for byte in (0..0x20u8).filter(|byte| *byte != b'\t').chain([0x7f]) {
        assert!(HeaderValue::from_bytes(&[b'a', byte]).is_err(), "{byte}");
    }
}
