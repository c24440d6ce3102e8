//! The client of an authorization server over real sockets: the bytes it sends, and what it makes
//! of servers that misbehave.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sidebearer::config::{BasicEncoding, ClientAuth, Credential, Tls};
use sidebearer::oauth::{Client, TokenEndpoint, TokenError, TokenErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::PATIENCE;
use crate::support::scripted::{GOOD, Server, basic, credential, fetch, http, literal, ok};
use crate::support::server::Silent;
use crate::support::tls::Ca;

/// Holds everything that one encoding or another treats specially.
const AWKWARD: &str = "a:b@c%d+e/f&g=h i~";
const AWKWARD_FORM: &str = "a%3Ab%40c%25d%2Be%2Ff%26g%3Dh%20i~";

/// Why a server that answers with these bytes gives no token.
async fn failure(answer: impl Into<Vec<u8>>) -> TokenError {
    let server = Server::always(answer).await;
    let error = fetch(&credential(&server.url("/token"))).await.unwrap_err();
    assert_eq!(server.requests().len(), 1, "nothing is asked twice");
    error
}

#[tokio::test]
async fn a_basic_request_is_these_bytes() {
    let server = Server::always(ok(GOOD)).await;
    let token = fetch(&credential(&server.url("/oauth/token?tenant=1"))).await;
    let token = token.unwrap();
    assert_eq!(token.access_token.expose(), "tok");
    assert_eq!(token.expires_in, Some(Duration::from_secs(60)));
    let expected = format!(
        "POST /oauth/token?tenant=1 HTTP/1.1\r\n\
         user-agent: sidebearer/{}\r\n\
         accept: application/json\r\n\
         content-type: application/x-www-form-urlencoded\r\n\
         authorization: Basic {}\r\n\
         host: {}\r\n\
         connection: close\r\n\
         content-length: 29\r\n\
         \r\n\
         grant_type=client_credentials",
        env!("CARGO_PKG_VERSION"),
        STANDARD.encode("billing:s3cret"),
        server.address,
    );
    assert_eq!(server.requests(), [expected]);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_to_be_packed_is_unpacked() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(GOOD.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let marked = [b"\xef\xbb\xbf", GOOD.as_bytes()].concat();
    for (coding, body) in [("GZIP", &packed), ("Identity", &marked), ("", &marked)] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncontent-encoding: {coding}\r\n\r\n",
            body.len()
        );
        let server = Server::always([head.as_bytes(), body].concat()).await;
        let token = fetch(&credential(&server.url("/token"))).await.unwrap();
        assert_eq!(token.access_token.expose(), "tok", "{coding}");
    }
}

#[tokio::test]
async fn a_post_request_carries_everything_in_the_form() {
    let server = Server::always(ok(GOOD)).await;
    let extra = [("z", "1 2"), ("k&", AWKWARD)].map(|(k, v)| (k.to_owned(), literal(v)));
    let credential = Credential {
        client_id: Some(literal(AWKWARD)),
        auth: ClientAuth::SecretPost {
            secret: literal(AWKWARD),
        },
        scopes: vec!["a:read".to_owned(), "b".to_owned()],
        audience: Some("https://api.example/".to_owned()),
        resources: vec!["urn:x".to_owned(), "urn:y".to_owned()],
        extra_parameters: extra.into(),
        token_headers: vec![
            ("x-api-key".parse().unwrap(), literal("k3y \u{e9}")),
            ("user-agent".parse().unwrap(), literal("mine")),
            ("host".parse().unwrap(), literal("elsewhere")),
            ("content-length".parse().unwrap(), literal("3")),
            ("transfer-encoding".parse().unwrap(), literal("chunked")),
        ],
        ..credential(&server.url("/token"))
    };
    fetch(&credential).await.unwrap();
    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        format!(
            "grant_type=client_credentials&scope=a%3Aread%20b\
             &audience=https%3A%2F%2Fapi.example%2F&resource=urn%3Ax&resource=urn%3Ay\
             &k%26={AWKWARD_FORM}&z=1%202\
             &client_id={AWKWARD_FORM}&client_secret={AWKWARD_FORM}"
        )
    );
    assert!(!head.contains("authorization"), "{head}");
    assert!(head.contains("\r\nx-api-key: k3y \u{e9}\r\n"), "{head}");
    assert!(head.contains("\r\nuser-agent: mine\r\n"), "{head}");
    let host = format!("\r\nhost: {}\r\n", server.address);
    assert!(
        head.contains(&host) && !head.contains("elsewhere"),
        "{head}"
    );
}

#[tokio::test]
async fn both_basic_encodings_reach_the_wire() {
    for (encoding, id, pair) in [
        (
            BasicEncoding::Form,
            AWKWARD,
            format!("{AWKWARD_FORM}:{AWKWARD_FORM}"),
        ),
        (BasicEncoding::Raw, "b@c%d", format!("b@c%d:{AWKWARD}")),
    ] {
        let server = Server::always(ok(GOOD)).await;
        let credential = Credential {
            client_id: Some(literal(id)),
            auth: basic(AWKWARD, encoding),
            ..credential(&server.url("/token"))
        };
        fetch(&credential).await.unwrap();
        let header = format!("\r\nauthorization: Basic {}\r\n", STANDARD.encode(pair));
        assert!(server.requests()[0].contains(&header), "{encoding:?}");
    }
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_max_response_bytes() {
    let body = format!("{GOOD}{}", " ".repeat(10_000));
    let head = http("200 OK", &format!("x: {}\r\n", "y".repeat(10_000)), GOOD);
    for answer in [ok(&body), head] {
        let server = Server::always(answer).await;
        let roomy = credential(&server.url("/token"));
        fetch(&roomy).await.unwrap();
        let tight = Credential {
            max_response_bytes: 8 << 10,
            ..roomy
        };
        let error = fetch(&tight).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::BadResponse, "{error}");
    }
}

#[tokio::test]
async fn a_token_may_be_as_long_as_max_token_bytes() {
    for (bytes, max, good) in [
        (1024, 1 << 10, true),
        (1025, 1 << 10, false),
        (50_000, 64 << 10, true),
    ] {
        let token = "x".repeat(bytes);
        let answer = ok(&GOOD.replace("\"tok\"", &format!("\"{token}\"")));
        let server = Server::always(answer).await;
        let credential = Credential {
            max_token_bytes: max,
            ..credential(&server.url("/token"))
        };
        match fetch(&credential).await {
            Ok(fetched) => assert!(good && fetched.access_token.expose() == token),
            Err(error) => {
                assert_eq!(error.kind, TokenErrorKind::BadResponse);
                assert!(error.message.contains("max_token_bytes"), "{error}");
                assert!(!good, "{bytes} of {max}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn answers_that_break_the_rules_are_no_tokens() {
    let big = format!("{{\"access_token\":\"{}\"", "x".repeat(70_000));
    for (answer, kind, what) in [
        (
            http("302 Found", "location: https://evil.example/\r\n", GOOD),
            TokenErrorKind::BadResponse,
            "redirects (302)",
        ),
        (
            ok("<html>"),
            TokenErrorKind::BadResponse,
            "answered 200 with HTML or XML instead of JSON",
        ),
        (
            ok(&big),
            TokenErrorKind::BadResponse,
            "answered 200 with more than max_response_bytes",
        ),
        (
            http("503 Busy", "retry-after: 7\r\n", &big),
            TokenErrorKind::ServerError,
            "answered 503 with more than max_response_bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"access_token\":\"tok\"".to_vec(),
            TokenErrorKind::Unreachable,
            "before its answer was complete",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"acc\r\n".to_vec(),
            TokenErrorKind::Unreachable,
            "before its answer was complete",
        ),
        (
            b"".to_vec(),
            TokenErrorKind::Unreachable,
            "before its answer was complete",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
            TokenErrorKind::BadResponse,
            "is not HTTP/1.1",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(400_000)).into_bytes(),
            TokenErrorKind::BadResponse,
            "max_response_bytes",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000),
            TokenErrorKind::BadResponse,
            "interim responses without end",
        ),
    ] {
        let error = failure(answer).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(what), "{error}");
        assert!(!error.message.contains("evil"), "{error}");
        let delay = error.retry_after;
        let expected = (kind == TokenErrorKind::ServerError).then(|| Duration::from_secs(7));
        assert_eq!(delay, expected, "{error}");
    }
}

#[tokio::test]
async fn an_answer_with_folded_lines_and_white_space_before_a_colon_is_read() {
    let length = GOOD.len();
    let lines = format!("x: a\r\n b\r\nContent-Length : \r\n {length}\r\n");
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(3);
    let answer = format!("{interim}HTTP/1.1 200 OK\r\n{lines}\r\n{GOOD}");
    let server = Server::always(answer).await;
    let token = fetch(&credential(&server.url("/token"))).await.unwrap();
    assert_eq!(token.access_token.expose(), "tok");
}

#[tokio::test]
async fn a_body_in_pieces_or_until_the_end_of_the_connection_is_read() {
    let chunks = GOOD.as_bytes().chunks(7);
    let chunked: String = chunks
        .map(|c| format!("{:x}\r\n{}\r\n", c.len(), std::str::from_utf8(c).unwrap()))
        .collect();
    for answer in [
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"),
        format!("HTTP/1.0 200 OK\r\n\r\n{GOOD}"),
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{GOOD}"),
    ] {
        let server = Server::always(answer).await;
        let token = fetch(&credential(&server.url("/token"))).await.unwrap();
        assert_eq!(token.access_token.expose(), "tok");
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_is_waited_for() {
    let server = Silent::start();
    let url = format!("http://{}/token", server.address());
    let trickle = async {
        let mut tcp = server.connection().await;
        for byte in ok(GOOD) {
            tcp.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        tcp
    };
    let credential = credential(&url);
    let (token, _open) = tokio::join!(fetch(&credential), trickle);
    assert_eq!(token.unwrap().access_token.expose(), "tok");
}

#[tokio::test]
async fn a_request_that_is_dropped_closes_its_connection() {
    let server = Silent::start();
    let url = format!("http://{}/token", server.address());
    let client = Client::new(&credential(&url)).unwrap();
    let request = tokio::spawn(async move { client.request().await });
    let mut tcp = server.connection().await;
    // A body that has begun and never ends.
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{";
    tcp.write_all(begun).await.unwrap();
    let mut request_bytes = vec![0; 4096];
    assert!(tcp.read(&mut request_bytes).await.unwrap() > 0);
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut rest));
    let _ = closed.await.expect("the connection ends with the request");
}

#[tokio::test]
async fn an_echoed_secret_reaches_no_message() {
    let header = STANDARD.encode(format!("billing:{AWKWARD_FORM}"));
    let plus = AWKWARD_FORM.replace("%20", "+").replace('~', "%7e");
    let echoes = [
        AWKWARD,
        AWKWARD_FORM,
        &AWKWARD_FORM.to_lowercase(),
        &plus,
        &STANDARD.encode(AWKWARD),
        &header,
        "k3y-of-header",
        "extra-value",
    ];
    for echo in echoes {
        let body = serde_json::json!({
            "error": "invalid_client", "error_description": format!("got {echo}!"),
        });
        let server = Server::always(http("401 No", "", &body.to_string())).await;
        let credential = Credential {
            auth: basic(AWKWARD, BasicEncoding::Form),
            extra_parameters: [("x".to_owned(), literal("extra-value"))].into(),
            token_headers: vec![("x-api-key".parse().unwrap(), literal("k3y-of-header"))],
            ..credential(&server.url("/token"))
        };
        let error = fetch(&credential).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Refused);
        assert!(!error.message.contains(echo), "{error}");
        assert!(error.message.contains("[redacted]"), "{error}");
        assert!(error.message.contains("basic_encoding"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_that_does_not_fit_is_our_fault() {
    let server = Server::always(ok(GOOD)).await;
    let headers = vec![("x-api-key".parse().unwrap(), literal("a\nb"))];
    let bad_header = Credential {
        token_headers: headers,
        ..credential(&server.url("/token"))
    };
    let bad_id = Credential {
        client_id: Some(literal("a:b")),
        auth: basic("s", BasicEncoding::Raw),
        ..credential(&server.url("/token"))
    };
    for (credential, named) in [(bad_header, "x-api-key"), (bad_id, "client_id")] {
        let error = fetch(&credential).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Local);
        assert!(error.message.contains(named), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn https_needs_a_certificate_of_the_right_ca_and_name() {
    let (ca, other) = (Ca::new(), Ca::new());
    let certified_key = || ca.certificate(&["localhost"]).server(&["http/1.1"]);
    let server = Server::with_tls(Some(certified_key()), |_| ok(GOOD)).await;
    let trusting = |ca: &Ca, host: &str| Credential {
        tls: Tls {
            ca_file: Some(ca.file().into()),
            ..Tls::default()
        },
        ..credential(&format!("https://{host}:{}/token", server.address.port()))
    };
    fetch(&trusting(&ca, "localhost")).await.unwrap();

    let unknown = fetch(&trusting(&other, "localhost")).await.unwrap_err();
    assert_eq!(unknown.kind, TokenErrorKind::Unreachable);
    let file = other.file().display().to_string();
    assert!(unknown.message.contains(&file), "{unknown}");
    let name = fetch(&trusting(&ca, "127.0.0.1")).await.unwrap_err();
    assert_eq!(name.kind, TokenErrorKind::Unreachable);
    assert!(
        name.message.contains("for localhost, not for 127.0.0.1"),
        "{name}"
    );
    assert_eq!(server.requests().len(), 1, "the secret went out once");

    let mut absent = trusting(&ca, "localhost");
    absent.tls.ca_file = Some("/nonexistent/ca.pem".into());
    let error = Client::new(&absent).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/ca.pem: "), "{error}");
}
