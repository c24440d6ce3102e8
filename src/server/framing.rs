//! Where the heads of requests begin and end in the bytes of an HTTP/1.1 client.
//!
//! The library takes a lone LF for the end of a line (RFC 9112 section 2.2 allows it). Who reads
//! strictly sees it inside a value, so that one of both sees a header, or a request, that the other
//! does not. It also drops a fragment from the target, which has none (section 3.2), and which others
//! take for a part of the path. The bytes are followed here to find both; how long a body is says
//! the library.

use memchr::{memchr, memchr2};

/// The library refuses this wherever it can stand: NUL in a head, in the size of a chunk and in
/// trailers, LF in the extension of a chunk, whose other bytes it does not look at. Then comes the end
/// of a head, so that it looks.
pub const POISON: &[u8] = b"\0\n\r\n\r\n";

/// Follows the requests on one connection.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    line: Line,
    head: Head,
    /// Bytes passed that were not looked at.
    blind: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a request, or in its first line.
    #[default]
    Head,
    /// In a head, behind its first line.
    Fields,
    /// A head has ended: what follows it is to be told.
    Ended,
    /// So many bytes of a body.
    Body(u64),
    /// So many of a chunk, its line end included.
    Chunk(u64),
    /// The size of a chunk, as far as it was read.
    Size(u64),
    /// What follows its digits.
    Extension(u64),
    Trailers,
    /// Not HTTP/1.1, or not for long.
    Opaque,
}

/// As much of a head as has come.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    lines: usize,
    whole: bool,
    /// A name is spelled in another way than `Content-Type`.
    unusual: bool,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// A body of this length, then the next request.
    Length(u64),
    /// A chunked body, then the next request.
    Chunks,
    /// Whatever the protocol says that is asked for.
    Anything,
}

/// How far bytes may be passed on.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned {
    /// So many of them; the rest when it is known what they are.
    Pass(usize),
    /// So many of them, and in place of the rest [`POISON`].
    Poison(usize),
}

impl Framing {
    /// Bytes that are nothing to look at.
    pub fn opaque() -> Self {
        Self {
            state: State::Opaque,
            ..Self::default()
        }
    }

    /// Whether some of a head has come, and not all.
    pub fn in_head(&self) -> bool {
        self.state == State::Fields || self.state == State::Head && self.line.length > 0
    }

    /// Whether each name of the head that has just ended is spelled in the customary way: a capital
    /// letter at the beginning and behind each `-`, and no others. Whoever writes names in this way
    /// need not remember how they came.
    pub fn names_are_usual(&self) -> bool {
        self.state == State::Ended && !self.head.unusual
    }

    /// Whether a head has come whole, of at most so many bytes and fields: no reason to refuse it.
    pub fn head_fits(&self, bytes: usize, fields: usize) -> bool {
        // Beside its fields it has a first and an empty line.
        self.head.whole && self.head.bytes <= bytes && self.head.lines <= fields + 2
    }

    /// The library has read a head.
    pub fn head_read(&mut self, follows: Follows) {
        self.head = Head::default();
        self.state = match follows {
            Follows::Length(0) => State::Head,
            Follows::Length(length) => State::Body(length),
            Follows::Chunks => State::Size(0),
            Follows::Anything => State::Opaque,
        };
    }

    /// What was asked for did not come about. Tells whether it is known where the next request
    /// begins.
    pub fn resume(&mut self) -> bool {
        if self.blind {
            return false;
        }
        self.state = State::Head;
        self.head = Head::default();
        true
    }

    /// Follows `bytes`, the next ones that have come.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        if self.state == State::Ended {
            // The library has refused it: nothing that follows is a request.
            self.state = State::Opaque;
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Ended => break,
                State::Opaque => {
                    self.blind = true;
                    return Scanned::Pass(bytes.len());
                }
                State::Body(left) => {
                    at += skip(rest, left);
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Chunk(left) => {
                    at += skip(rest, left);
                    if *left == 0 {
                        self.state = State::Size(0);
                    }
                }
                State::Size(size) => match char::from(rest[0]).to_digit(16) {
                    // Too large a number is an error where it is read.
                    Some(digit) => {
                        *size = size.saturating_mul(16).saturating_add(digit.into());
                        at += 1;
                    }
                    None => self.state = State::Extension(*size),
                },
                State::Head | State::Fields | State::Extension(_) | State::Trailers => {
                    let first = self.state == State::Head;
                    let begun = self.line.length > 0;
                    match self.line.read(rest, first) {
                        Read::All => {
                            self.head.bytes += rest.len();
                            return Scanned::Pass(bytes.len());
                        }
                        Read::Bad(before) => {
                            self.state = State::Opaque;
                            return Scanned::Poison(at + before);
                        }
                        Read::Line { length, empty } => {
                            at += length;
                            self.head.bytes += length;
                            self.head.lines += 1;
                            if self.state == State::Fields && !empty {
                                self.head.unusual |= begun || !is_usual(&rest[..length]);
                            }
                            self.line_ended(empty);
                        }
                    }
                }
            }
        }
        Scanned::Pass(at)
    }

    fn line_ended(&mut self, empty: bool) {
        self.head.whole = self.state == State::Fields && empty;
        self.state = match (&self.state, empty) {
            // Empty lines before a request do no harm (RFC 9112 section 2.2).
            (State::Head, true) => State::Head,
            (State::Head, false) => State::Fields,
            (State::Fields, true) => State::Ended,
            (State::Extension(0), _) => State::Trailers,
            // With the line end behind its data.
            (State::Extension(size), _) => State::Chunk(size.saturating_add(2)),
            (State::Trailers, true) => {
                self.head = Head::default();
                State::Head
            }
            _ => return,
        };
    }
}

/// How many of the `left` bytes are in `rest`.
fn skip(rest: &[u8], left: &mut u64) -> usize {
    let length = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= length as u64;
    length
}

/// Whether the name at the beginning of a line is spelled as `Content-Type` is.
fn is_usual(line: &[u8]) -> bool {
    let mut before = b'-';
    for &byte in line {
        match byte {
            b':' => return true,
            b'a'..=b'z' if before == b'-' => return false,
            b'A'..=b'Z' if before != b'-' => return false,
            _ => before = byte,
        }
    }
    false
}

/// The line that is being read.
#[derive(Debug, Default)]
struct Line {
    length: usize,
    cr: bool,
}

enum Read {
    /// It goes on behind all of these bytes.
    All,
    /// It ends with so many of them.
    Line { length: usize, empty: bool },
    /// Behind so many of them is an LF without CR, or a `#`.
    Bad(usize),
}

impl Line {
    /// Looks for its end in `bytes`; the first of a request may hold no `#`.
    fn read(&mut self, bytes: &[u8], first: bool) -> Read {
        let found = match first {
            true => memchr2(b'\n', b'#', bytes),
            false => memchr(b'\n', bytes),
        };
        let Some(at) = found else {
            self.length += bytes.len();
            self.cr = bytes.last() == Some(&b'\r');
            return Read::All;
        };
        let before = std::mem::take(self);
        let cr = match at {
            0 => before.cr,
            at => bytes[at - 1] == b'\r',
        };
        match cr && bytes[at] == b'\n' {
            true => Read::Line {
                length: at + 1,
                empty: before.length + at == 1,
            },
            false => Read::Bad(at),
        }
    }
}

#[cfg(test)]
mod tests {
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
}
