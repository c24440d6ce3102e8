//! Headers: which pass, as what, and in which order.

use super::{answers, config, converse, world};
use crate::support::client;
use crate::support::eventually;
use crate::support::idp::Idp;
use crate::support::server::whole;
use crate::support::sidebearer::Sidebearer;
use crate::support::strict::Recorder;

const CLOSE: &str = "Connection: close\r\n\r\n";

#[tokio::test]
async fn what_any_connection_line_names_stays_behind() {
    let (recorder, sidebearer) = world("");
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\nconnection: x-ONE , ,X-Two\r\n\
                X-Two: 2\r\nX-TWO: 22\r\nKeep-Alive: timeout=5\r\nCONNECTION: x-three, close\r\nX-Three: 3\r\n\
                Connection: content-length, host, via, authorization, cookie\r\nCookie: a\r\nX-Four: 4\r\n\
                TE: gzip;q=0.5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\
                Trailer: x-sum\r\nContent-Length: 2\r\n\r\nab";
    let answer = answers(&converse(&sidebearer, head.as_bytes()).await);
    assert_eq!((answer.len(), answer[0].status), (1, 200));
    let seen = recorder.only();
    let names = [
        "Host",
        "X-Four",
        "Trailer",
        "Content-Length",
        "Via",
        "Authorization",
    ];
    assert_eq!(seen.names(), names);
    assert_eq!(
        (&seen.body[..], seen.value("host")),
        (&b"ab"[..], recorder.address.to_string())
    );
    assert!(seen.value("authorization").starts_with("Bearer token-"));
}

#[tokio::test]
async fn proxy_credentials_never_leave() {
    let (recorder, sidebearer) = world("");
    let spellings = [
        "Proxy-Authorization",
        "proxy-authorization",
        "PROXY-AUTHORIZATION",
        "Proxy_Authorization",
    ];
    let lines: String = spellings
        .map(|name| format!("{name}: Basic c2VjcmV0\r\n"))
        .concat();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{lines}Proxy: http://a\r\nProxy-Foo: 1\r\n{CLOSE}"
    );
    converse(&sidebearer, head.as_bytes()).await;
    // By HTTP/2, and as a trailer.
    let mut sender = client::http2(sidebearer.address()).await;
    let mut request = client::streaming(http::Method::GET, "/", whole(""));
    let value = http::HeaderValue::from_static("Basic c2VjcmV0");
    request.headers_mut().insert("proxy-authorization", value);
    sender.send_request(request).await.unwrap();
    let trailing = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTrailer: proxy-authorization, x-sum\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n{lines}X-Sum: 1\r\n\r\n"
    );
    converse(&sidebearer, trailing.as_bytes()).await;

    let seen = recorder.requests();
    assert_eq!(seen.len(), 3);
    for request in &seen {
        for (name, value) in request.fields.iter().chain(&request.trailers) {
            let (name, value) = (
                name.escape_ascii().to_string(),
                value.escape_ascii().to_string(),
            );
            assert!(!name.to_lowercase().starts_with("proxy"), "{name}");
            assert!(!value.contains("c2VjcmV0"), "{name}: {value}");
        }
    }
    assert_eq!(seen[2].trailers, [(b"X-Sum".to_vec(), b"1".to_vec())]);
}

#[tokio::test]
async fn the_id_of_a_request_is_sent_in_one_spelling() {
    let (recorder, idp) = (Recorder::start(), Idp::start());
    let config = config(&recorder.url(), &idp, "");
    let sidebearer =
        Sidebearer::start(&config.replacen("[server]", "[server]\nrequest_id = true", 1));
    let head =
        "GET / HTTP/1.1\r\nHost: localhost\r\nX_Request_Id: forged\r\nX.Request.Id: forged\r\n";
    converse(&sidebearer, format!("{head}{CLOSE}").as_bytes()).await;
    let seen = recorder.only();
    let names = ["Host", "X-Request-Id", "Via", "Authorization"];
    let shown = |name: &str| name.to_ascii_lowercase();
    assert_eq!(
        seen.names().into_iter().map(shown).collect::<Vec<_>>(),
        names.map(shown)
    );
    assert_ne!(seen.value("x-request-id"), "forged");
}

#[tokio::test]
async fn te_is_named_as_what_ends_at_the_next_server() {
    let (recorder, sidebearer) = world("");
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n";
    converse(&sidebearer, head.as_bytes()).await;
    let mut sender = client::http2(sidebearer.address()).await;
    let mut request = client::streaming(http::Method::GET, "/", whole(""));
    request
        .headers_mut()
        .insert("te", http::HeaderValue::from_static("trailers"));
    sender.send_request(request).await.unwrap();
    let seen = recorder.requests();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(
            (request.value("te"), request.value("connection")),
            ("trailers".into(), "TE".into())
        );
    }
}

#[tokio::test]
async fn nothing_is_expected_where_there_is_no_content() {
    let (recorder, sidebearer) = world("");
    for line in ["GET / HTTP/1.1", "POST / HTTP/1.1"] {
        let head = format!("{line}\r\nHost: localhost\r\nExpect: 100-continue\r\n{CLOSE}");
        let answer = answers(&converse(&sidebearer, head.as_bytes()).await);
        assert_eq!(
            answer.last().map(|answer| answer.status),
            Some(200),
            "{line}"
        );
    }
    let mut sender = client::http2(sidebearer.address()).await;
    let mut request = client::streaming(http::Method::POST, "/", whole(""));
    request
        .headers_mut()
        .insert("expect", http::HeaderValue::from_static("100-continue"));
    sender.send_request(request).await.unwrap();
    let seen = recorder.requests();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert!(request.values("expect").is_empty(), "{:?}", request.names());
    }
}

#[tokio::test]
async fn the_injected_header_is_always_exactly_one() {
    for (name, lines) in [
        ("Authorization", ""),
        ("X-Api-Key", "header = \"x-api-key\"\nheader_prefix = \"\""),
    ] {
        let (recorder, sidebearer) = world(lines);
        let low = name.to_lowercase();
        let spellings = [
            name.to_owned(),
            low.clone(),
            name.to_uppercase(),
            low.replace('-', "_"),
            name.replace("-A", "_a"),
            name.replace('-', "."),
            name.replace("-K", "~K"),
        ];
        for count in 0..=20 {
            let mut head = "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned();
            for number in 0..count {
                let spelling = &spellings[number % spellings.len()];
                head.push_str(&format!("{spelling}: theirs\r\nX-Between: {number}\r\n"));
            }
            if count % 3 == 0 {
                head.push_str(&format!("Connection: {name}\r\n"));
            }
            converse(&sidebearer, (head + CLOSE).as_bytes()).await;
            let seen = recorder.requests().pop().unwrap();
            let dashed = |field: &[u8]| {
                String::from_utf8_lossy(field)
                    .to_lowercase()
                    .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
            };
            let like: Vec<_> = seen
                .fields
                .iter()
                .filter(|(field, _)| dashed(field) == low)
                .collect();
            assert_eq!(like.len(), 1, "{like:?}");
            assert_eq!(like[0].0, name.as_bytes(), "of {count}");
            assert!(String::from_utf8_lossy(&like[0].1).contains("token-1"));
            assert_eq!(seen.values("x-between").len(), count);
        }
    }
}

#[tokio::test]
async fn no_spelling_of_framing_or_hop_by_hop_headers_passes() {
    let (recorder, sidebearer) = world("");
    let lines: String = "!#$%&'*+.^_`|~"
        .chars()
        .map(|mark| {
            format!(
                "Content{mark}Length: 40\r\nTransfer{mark}Encoding: chunked\r\n\
                 Keep{mark}Alive: 5\r\nProxy{mark}Connection: close\r\nHTTP2{mark}Settings: AAMA\r\n"
            )
        })
        .collect();
    let close = "Connection: close\r\n";
    for (framing, body, framed) in [
        ("", "", None),
        ("Content-Length: 2\r\n", "ab", Some("Content-Length")),
        (
            "Trailer: x-sum\r\nTransfer-Encoding: chunked\r\n",
            &format!("2\r\nab\r\n0\r\n{lines}X-Sum: 1\r\n\r\n"),
            Some("Transfer-Encoding"),
        ),
    ] {
        recorder.answer(format!(
            "HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\nX-Last: 1\r\n\r\nok"
        ));
        let head =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}{framing}X-Last: 1\r\n{close}");
        let got = converse(&sidebearer, format!("{head}\r\n{body}").as_bytes()).await;
        let text = String::from_utf8_lossy(&got);
        assert_eq!(answers(&got).len(), 1, "{text}");
        for name in ["Content-Length: 2", "X-Last: 1"] {
            assert!(text.contains(name), "{text}");
        }
        let seen = recorder.requests().pop().unwrap();
        let usual = ["Host", "Trailer", "X-Last", "Via", "Authorization"];
        for name in seen.names() {
            assert!(usual.contains(&name) || Some(name) == framed, "{name}");
        }
        assert_eq!(seen.body, &b"ab"[..seen.body.len()]);
        for marked in ["40", "chunked", "AAMA"] {
            let in_answer = text.split_whitespace().any(|word| word == marked);
            assert!(!in_answer, "{text}");
        }
        let names = seen.trailers.iter().map(|(name, _)| name.as_slice());
        assert!(names.eq(framing.starts_with("Trailer").then_some(&b"X-Sum"[..])));
    }
}

#[tokio::test]
async fn obs_text_passes_byte_for_byte_both_ways() {
    let (recorder, sidebearer) = world("");
    let text: Vec<u8> = (0x80..=0xFF).chain(*b"a\tb \"\\").chain([0xFF]).collect();
    let field = [b"X-Text: ".as_slice(), &text, b"\r\n"].concat();
    let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
    answer.extend_from_slice(&field);
    answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    recorder.answer(answer);
    let mut sent = b"GET / HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    sent.extend_from_slice(&field);
    sent.extend_from_slice(CLOSE.as_bytes());

    let got = converse(&sidebearer, &sent).await;
    assert!(
        got.windows(field.len()).any(|window| window == field),
        "{}",
        got.escape_ascii()
    );
    assert_eq!(recorder.only().values("x-text"), [&text[..]]);

    // The same by HTTP/2.
    recorder.answer(
        [
            b"HTTP/1.1 200 OK\r\n".as_slice(),
            &field,
            b"Content-Length: 0\r\n\r\n",
        ]
        .concat(),
    );
    let mut sender = client::http2(sidebearer.address()).await;
    let mut request = client::streaming(http::Method::GET, "/", whole(""));
    request
        .headers_mut()
        .insert("x-text", http::HeaderValue::from_bytes(&text).unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.headers()["x-text"].as_bytes(), text);
    assert_eq!(recorder.requests()[1].values("x-text"), [&text[..]]);
}

#[tokio::test]
async fn names_keep_their_case_and_order_both_ways() {
    let (recorder, sidebearer) = world("");
    recorder.answer(
        "HTTP/1.1 200 Fine By Me\r\nSERVER: x\r\nx-ONE: 1\r\nKeep-Alive: timeout=50\r\nX-two: 2\r\n\
         ETag: \"a\"\r\nX-One: 11\r\nSet-Cookie: a\r\nset-cookie: b\r\nCONTENT-length: 2\r\nX-Last: 3\r\n\r\nok",
    );
    let head = format!(
        "POST / HTTP/1.1\r\nX-first: 0\r\nHOST: localhost\r\nauthorization: theirs\r\nSOAPAction: \"x\"\r\n\
         x-b3-TraceId: 1\r\nAccept: a\r\nKeep-Alive: 5\r\naccept: b\r\nTE: trailers\r\nX-GUID: 2\r\nACCEPT: c\r\n\
         Content-length: 0\r\nvia: 1.0 before\r\n{CLOSE}"
    );
    let got = converse(&sidebearer, head.as_bytes()).await;

    let seen = recorder.only();
    // Lines of one name stand together, where the first was.
    let names = [
        "X-first",
        "HOST",
        "SOAPAction",
        "x-b3-TraceId",
        "Accept",
        "accept",
        "ACCEPT",
        "TE",
        "X-GUID",
        "Content-length",
        "via",
        "Via",
        "authorization",
        "Connection",
    ];
    assert_eq!(seen.names(), names);
    assert_eq!(seen.values("accept"), [b"a", b"b", b"c"]);
    let got = String::from_utf8(got).unwrap();
    let mut lines = got.lines();
    assert_eq!(lines.next(), Some("HTTP/1.1 200 Fine By Me"));
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        lines[..8],
        [
            "SERVER: x",
            "x-ONE: 1",
            "X-One: 11",
            "X-two: 2",
            "ETag: \"a\"",
            "Set-Cookie: a",
            "set-cookie: b",
            "CONTENT-length: 2",
        ]
    );
    assert_eq!(lines[8], "X-Last: 3");
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_spelled_the_same() {
    let (recorder, sidebearer) = world("");
    let head =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nX-GUID: 2\r\nContent-length: 1\r\n{CLOSE}x");
    // Just after a token has come, a 401 passes.
    eventually("sent again", async || {
        recorder.answer("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        answers(&converse(&sidebearer, head.as_bytes()).await)[0].status == 200
    })
    .await;
    let all = recorder.requests();
    let seen = &all[all.len() - 2..];
    let names = ["Host", "X-GUID", "Content-length", "Via", "Authorization"];
    assert_eq!(
        (seen[0].names(), seen[1].names()),
        (names.to_vec(), names.to_vec())
    );
    assert_ne!(
        seen[0].value("authorization"),
        seen[1].value("authorization")
    );
}

#[tokio::test]
async fn names_without_a_case_of_their_own_get_the_customary_one() {
    let (recorder, sidebearer) = world("");
    let mut sender = client::http2(sidebearer.address()).await;
    let mut request = client::streaming(http::Method::POST, "/", whole("a"));
    let value = http::HeaderValue::from_static("1");
    request.headers_mut().insert("x-request-id", value);
    sender.send_request(request).await.unwrap();
    let seen = recorder.only();
    for name in [
        "Host",
        "X-Request-Id",
        "Content-Length",
        "Via",
        "Authorization",
    ] {
        assert!(seen.names().contains(&name), "{:?}", seen.names());
    }
}
