use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;

/// Passes a connection's bytes in pieces; what is told of each head is in `follows`.
fn pass(bytes: &[u8], size: usize, follows: &[Follows]) -> (Vec<u8>, bool) {
    let mut framing = Framing::default();
    let (mut passed, mut follows) = (Vec::new(), follows.iter());
    for piece in bytes.chunks(size) {
        let mut rest = piece;
        while !rest.is_empty() {
            match framing.scan(rest) {
                Scanned::Pass(length) => {
                    passed.extend_from_slice(&rest[..length]);
                    rest = &rest[length..];
                }
                Scanned::Poison(length) => {
                    passed.extend_from_slice(&rest[..length]);
                    return (passed, true);
                }
            }
            if framing.state == State::Ended {
                framing.head_read(*follows.next().expect("a head that was told"));
            }
        }
    }
    assert_eq!(follows.next(), None, "a head was missed");
    (passed, false)
}

#[test]
fn bodies_are_passed_over_and_every_head_is_found_however_they_are_cut() {
    use Follows::{Chunks, Length};
    let bytes = b"\r\n\r\nGET / HTTP/1.1\r\nhost: #a\r\n\r\n\
        POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n\n\r\n\r\n\n\
        POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\n\n\n\n\r\n0a ;x=y\r\nGET /\n\n\n\n\n\r\n000\r\nx: y\r\n\r\n\
        GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let follows = [Length(0), Length(6), Chunks, Length(0)];
    for size in 1..bytes.len() {
        assert_eq!(pass(bytes, size, &follows), (bytes.to_vec(), false));
    }
}

/// The bodies of the requests that the library reads to their end in `bytes`.
async fn bodies_read(bytes: &[u8]) -> Vec<Bytes> {
    let bodies = Mutex::<Vec<Bytes>>::default();
    let service = service_fn(|request: Request<Incoming>| async {
        if let Ok(body) = request.into_body().collect().await {
            bodies.lock().unwrap().push(body.to_bytes());
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let io = tokio::io::join(bytes, tokio::io::sink());
    let read = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let _ = read.await;
    bodies.into_inner().unwrap()
}

#[tokio::test]
async fn the_library_takes_no_request_with_poison_in_it_for_whole() {
    let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    // What completes a body wherever the poison would have been overlooked.
    let behind = format!("abc\r\n0\r\n\r\n{get}");
    for good in [
        "",
        "\r\n",
        "G",
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost",
        "GET / HTTP/1.1\r\nhost:",
        "GET / HTTP/1.1\r\nhost: ",
        "GET / HTTP/1.1\r\nhost: a",
        "GET / HTTP/1.1\r\nhost: a\r\n",
    ] {
        for (before, read) in [("", 0), (get, 1)] {
            let poisoned = [
                before.as_bytes(),
                good.as_bytes(),
                POISON,
                behind.as_bytes(),
            ];
            assert_eq!(
                bodies_read(&poisoned.concat()).await.len(),
                read,
                "{good:?}"
            );
        }
    }
    for good in [
        "",
        "5",
        "5 ",
        "5\t",
        "5;",
        "5 ;",
        "5;a",
        "5;a=b",
        "5;a=\"b",
        "0",
        "0 ",
        "0;",
        "0;a",
        "1\r\nx\r\n",
        "1\r\nx\r\n3;a",
        "0\r\n",
        "0\r\nx",
        "0\r\nx:",
        "0\r\nx: y",
        "0\r\nx: y\r\n",
    ] {
        let poisoned = [
            chunked.as_bytes(),
            good.as_bytes(),
            POISON,
            behind.as_bytes(),
        ];
        let read = bodies_read(&poisoned.concat()).await;
        assert!(read.is_empty(), "{good:?}: {read:?}");
    }
    assert_eq!(
        bodies_read(format!("{chunked}3\r\n{behind}").as_bytes()).await[0],
        "abc"
    );
}

#[test]
fn a_lone_lf_and_a_fragment_stop_everything_behind_them() {
    let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\n\r\n";
    for (good, bad, follows) in [
        ("", "\nGET / HTTP/1.1\r\n", &[][..]),
        ("GET / HTTP/1.1", "\n", &[]),
        ("GET /", "#f HTTP/1.1\r\n\r\n", &[]),
        (&format!("{get}GET /"), "#\r\n", &[Follows::Length(0)]),
        ("GET / HTTP/1.1\r\nhost: a", "\nx: y\r\n\r\n", &[]),
        ("GET / HTTP/1.1\r\nhost: a\r\n", "\n", &[]),
        (&format!("{get}GET / HTTP/1.1"), "\n", &[Follows::Length(0)]),
        (&format!("{chunked}3"), "\nabc", &[Follows::Chunks]),
        (&format!("{chunked}3;x"), "\nabc", &[Follows::Chunks]),
        (&format!("{chunked}3;x"), "\n\r\nabc", &[Follows::Chunks]),
        (&format!("{chunked}0\r\nx: y"), "\nabc", &[Follows::Chunks]),
        (&format!("{chunked}0\r\n"), "\n", &[Follows::Chunks]),
    ] {
        let bytes = format!("{good}{bad}");
        for size in 1..bytes.len() {
            let passed = pass(bytes.as_bytes(), size, follows);
            assert_eq!(passed, (good.as_bytes().to_vec(), true), "{bytes:?}");
        }
    }
}

#[test]
fn a_head_is_usual_if_each_of_its_names_is() {
    let usual = |lines: &str, piece: usize| {
        let mut framing = Framing::default();
        // The head before it has no say.
        for head in [
            "GET /a HTTP/1.1\r\nodd: 1\r\n\r\n",
            &format!("GET /a HTTP/1.1\r\n{lines}\r\n"),
        ] {
            framing.head_read(Follows::Length(0));
            for piece in head.as_bytes().chunks(piece) {
                assert_eq!(framing.scan(piece), Scanned::Pass(piece.len()));
            }
        }
        framing.names_are_usual()
    };
    for (lines, expected) in [
        ("", true),
        (
            "Host: a\r\nContent-Type: text/x\r\nX-1a_b: B\r\nTe: x\r\n",
            true,
        ),
        ("host: a\r\n", false),
        ("Host: a\r\nSOAPAction: a\r\n", false),
        ("TE: a\r\nHost: a\r\n", false),
        ("Content-type: a\r\n", false),
        ("X--a: 1\r\n", false),
    ] {
        assert_eq!(usual(lines, 1000), expected, "{lines}");
        // In pieces, nothing is found usual that is not.
        assert!(
            (1..50).all(|piece| expected || !usual(lines, piece)),
            "{lines}"
        );
    }
}

#[test]
fn what_comes_unseen_cannot_be_followed_by_a_request() {
    let mut framing = Framing::default();
    assert_eq!(framing.scan(b"GET / HTTP/1.1\r\n\r\nx"), Scanned::Pass(18));
    framing.head_read(Follows::Anything);
    assert!(framing.resume() && !framing.in_head());
    assert_eq!(framing.scan(b"GET / HTTP/1.1\r\n\r\n"), Scanned::Pass(18));
    framing.head_read(Follows::Anything);
    assert_eq!(framing.scan(b"a\nb"), Scanned::Pass(3));
    assert!(!framing.resume());
}

#[test]
fn behind_a_head_that_the_library_refuses_everything_passes() {
    let mut framing = Framing::default();
    assert_eq!(framing.scan(b"bad\r\n\r\nx"), Scanned::Pass(7));
    assert_eq!(framing.scan(b"x\n#\r\n\r\ny"), Scanned::Pass(8));
}

#[test]
fn what_a_head_fits_is_known_when_it_is_whole() {
    let chunked = b"POST / HTTP/1.1\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n";
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n";
    for size in 1..head.len() {
        let mut framing = Framing::default();
        framing.scan(chunked);
        framing.head_read(Follows::Chunks);
        framing.scan(&chunked[19..]);
        for piece in head.chunks(size) {
            assert!(!framing.head_fits(1000, 1000));
            framing.scan(piece);
        }
        assert!(framing.head_fits(head.len(), 2));
        assert!(!framing.head_fits(head.len() - 1, 2));
        assert!(!framing.head_fits(head.len(), 1));
        framing.head_read(Follows::Length(0));
        assert!(!framing.head_fits(1000, 1000));
    }
}

#[test]
fn a_head_begins_with_its_first_byte_and_ends_with_its_last() {
    let mut framing = Framing::default();
    assert!(!framing.in_head());
    for byte in b"GET / HTTP/1.1\r\nhost: a\r\n\r" {
        framing.scan(&[*byte]);
        assert!(framing.in_head());
    }
    framing.scan(b"\n");
    assert!(!framing.in_head());
}
