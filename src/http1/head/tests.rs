use super::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1000,
    fields: 10,
};

fn request(head: &'static str) -> Result<(Request<()>, MessageFraming), HeadError> {
    parse_request(&head.into(), &LIMITS)
}

#[test]
fn a_request_head_is_read_with_the_spelling_of_its_names() {
    let head = "POST /a?b HTTP/1.1\r\nHost: x\r\nSOAPAction: \t y \r\nX-\u{e9}: z\r\n\r\n";
    assert_eq!(
        request(head).unwrap_err(),
        HeadError::Malformed("a header name is not valid")
    );
    let head = "POST /a?b HTTP/1.1\r\nHost: x\r\nSOAPAction: \t y \r\nX: \u{e9}\r\n\r\n";
    let (request, framing) = request(head).unwrap();
    assert_eq!(
        (request.method(), request.uri()),
        (&Method::POST, &Uri::from_static("/a?b"))
    );
    assert_eq!(request.headers()["soapaction"], "y");
    assert_eq!(request.headers()["x"].as_bytes(), "\u{e9}".as_bytes());
    assert!(request.extensions().get::<HeaderCase>().is_some());
    assert!(framing.keep_alive && framing.is_http11);
}

#[test]
fn what_is_no_request_is_refused() {
    for (head, wrong) in [
        (
            "GET /#a HTTP/1.1\r\n\r\n",
            "its request-target has a fragment",
        ),
        (
            "GET  / HTTP/1.1\r\n\r\n",
            "it does not begin with a method and a request-target",
        ),
        (
            "GET / HTTP/2.0\r\n\r\n",
            "its version is neither HTTP/1.1 nor HTTP/1.0",
        ),
        (
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "a header name is not valid",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "a header name is not valid",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
            "a header value is not valid",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "a header value is not valid",
        ),
    ] {
        assert_eq!(
            request(head).unwrap_err(),
            HeadError::Malformed(wrong),
            "{head:?}"
        );
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(11));
    for fields in [10, 120] {
        let many = Bytes::from(many.replace("A: b\r\n", &"A: b\r\n".repeat(fields / 10)));
        let limits = HeadLimits { fields, ..LIMITS };
        assert_eq!(
            parse_request(&many, &limits).unwrap_err(),
            HeadError::TooLarge
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(65_534));
    let refused = parse_request(&long.into(), &LIMITS).unwrap_err();
    assert_eq!(refused, HeadError::TargetTooLong);
}

#[test]
fn one_length_is_left_and_where_there_were_more_framings_nothing_follows() {
    let five = Some("5");
    for (lines, expected, keep_alive) in [
        ("", None, true),
        ("Content-Length: 5\r\n", five, true),
        ("Content-Length: 005\r\n", five, true),
        ("Content-Length: 0\r\n", Some("0"), true),
        ("Transfer-Encoding: Chunked\r\n", None, true),
        ("Content-Length: 5\r\nContent-Length: 05\r\n", five, false),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            None,
            false,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
            None,
            false,
        ),
    ] {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let (request, framing) = parse_request(&head.into(), &LIMITS).unwrap();
        let left: Vec<_> = request.headers().get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(left, Vec::from_iter(expected), "{lines}");
        assert_eq!(framing.keep_alive, keep_alive, "{lines}");
        assert_eq!(
            framing.has_transfer_coding,
            lines.contains("Transfer-Encoding")
        );
    }
}

#[test]
fn framing_that_is_not_sound_is_refused_whatever_the_method() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for lines in [
        "Content-Length: 43\r\nContent-Length: 1\r\n",
        "Content-Length: 5\r\nContent-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5, 5\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 18446744073709551617\r\n",
        "Content-Length: -1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding:\r\n",
        &chunked.repeat(2),
        &format!("{chunked}Transfer-Encoding: identity\r\n"),
        &format!("Transfer-Encoding: identity\r\n{chunked}"),
        &format!("{chunked}Content-Length: x\r\n"),
        &format!("{chunked}Content-Length: 5\r\nContent-Length: 6\r\n"),
    ] {
        for method in ["GET", "POST", "TRACE", "CONNECT", "BREW"] {
            let head = format!("{method} / HTTP/1.1\r\n{lines}\r\n");
            let refused = parse_request(&head.into(), &LIMITS);
            let is_refused = matches!(refused, Err(HeadError::Malformed(_)));
            assert!(is_refused, "{method} {lines}: {refused:?}");
        }
    }
    let old = format!("GET / HTTP/1.0\r\n{chunked}\r\n");
    assert!(parse_request(&old.into(), &LIMITS).is_err());
}

#[test]
fn a_target_without_a_path_asks_the_server_as_a_whole() {
    for (method, target, path) in [
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "http://a", "*"),
        ("OPTIONS", "http://a:80", "*"),
        ("OPTIONS", "http://a/", "/"),
        ("OPTIONS", "http://a?b", "/"),
        ("OPTIONS", "http://a?", "/"),
        ("OPTIONS", "/", "/"),
        ("GET", "http://a", "/"),
    ] {
        let head = format!("{method} {target} HTTP/1.1\r\n\r\n");
        let (request, _) = parse_request(&head.into(), &LIMITS).unwrap();
        assert_eq!(request.uri().path(), path, "{method} {target}");
    }
}

#[test]
fn a_connection_persists_as_its_version_and_any_of_its_lines_say() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        (
            "1.1",
            "Connection: x, CLOSE\r\nConnection: keep-alive\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        (
            "1.0",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
    ] {
        let head = format!("GET / HTTP/{version}\r\n{lines}\r\n");
        let (_, framing) = parse_request(&head.into(), &LIMITS).unwrap();
        assert_eq!(framing.keep_alive, expected, "{version} {lines}");
    }
}

#[test]
fn a_response_head_is_read_with_its_reason() {
    let parse = |head: &'static str| parse_response(&head.into(), &LIMITS);
    let (response, _) = parse("HTTP/1.1 200 Fine\r\nA: b\r\n\r\n").unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let reason = response.extensions().get::<ReasonPhrase>();
    assert_eq!(reason.map(|reason| &reason.0[..]), Some(&b"Fine"[..]));
    let (response, framing) = parse("HTTP/1.0 200 OK\r\n\r\n").unwrap();
    assert!(response.extensions().get::<ReasonPhrase>().is_none());
    assert!(!framing.keep_alive && !framing.is_http11);
    for bad in [
        "HTTP/1.1 099 x\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_response_says_its_length_once_if_it_can() {
    for (lines, expected) in [
        ("Content-Length: 05\r\n", &["05"][..]),
        ("Content-Length: 5, 5\r\n", &["5"]),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", &["5"]),
        ("Content-Length: 5, 6\r\n", &["5, 6"]),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let (response, _) = parse_response(&head.into(), &LIMITS).unwrap();
        let left: Vec<_> = response.headers().get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(left, expected);
    }
}

#[test]
fn a_response_may_fold_its_lines_and_put_white_space_before_a_colon() {
    for (lines, name, expected) in [
        ("A: b\r\n c\r\n", "a", "b c"),
        ("A: b \t\r\n \t c\r\n\td\r\n", "a", "b c d"),
        ("A:\r\n b\r\n", "a", "b"),
        ("A: b\r\n \r\n c\r\n", "a", "b c"),
        ("A: b\n c\n", "a", "b c"),
        ("A:\r\n \r\n", "a", ""),
        ("A \t: b\r\n", "a", "b"),
        ("Content-Length : 5\r\n", "content-length", "5"),
        ("Content-Length:\r\n 5\r\n", "content-length", "5"),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}X: y\r\n\r\n");
        let (response, framing) = parse_response(&head.into(), &LIMITS).unwrap();
        assert_eq!(response.headers()[name], expected, "{lines:?}");
        assert_eq!(response.headers()["x"], "y", "{lines:?}");
        assert_eq!(framing.length, (expected == "5").then_some(5), "{lines:?}");
    }
    for lines in [
        " A: b\r\n",
        "A\r\n: b\r\n",
        "A: b\0\r\n c\r\n",
        "A: b\rc\r\n d\r\n",
        "A b: c\r\n",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        assert!(parse_response(&head.into(), &LIMITS).is_err(), "{lines:?}");
    }
}

#[test]
fn a_folded_line_frames_a_response_as_an_unfolded_one_does() {
    let parse = |lines: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        parse_response(&head.into(), &LIMITS).unwrap().1
    };
    assert!(parse("Transfer-Encoding:\r\n\tchunked\r\n").has_transfer_coding);
    assert!(!parse("Connection: x,\r\n close\r\n").keep_alive);
    let two = parse("Content-Length: 5\r\n 6\r\n");
    assert_eq!((two.length_count, two.length), (1, None));
}

#[test]
fn a_trailer_section_is_read_to_its_empty_line() {
    let section = Bytes::from_static(b"A: b\r\nC: d\r\n\r\n");
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let parse = |most| parse_trailers(&section, most, strictness);
        assert_eq!(parse(2).unwrap()["c"], "d");
        assert_eq!(parse(1), Err(HeadError::TooLarge));
    }
}
