//! Reading bodies (RFC 9112 sections 6 and 7).

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::framing::MessageFraming;
use super::syntax::{HeadError, HeadLimits, Strictness};
use super::trailers::Trailers;

/// Bytes of the extensions of all chunks of one body; nobody has a use for them.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Bytes of white space behind the size of one chunk: some servers make all sizes equally wide with it.
const MAX_PADDING: usize = 32;

/// How the rest of a body is read.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunked>),
    /// Until the connection ends.
    UntilClose,
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some of it.
    Data(Bytes),
    /// Its trailers. Nothing follows.
    Trailers(HeaderMap),
}

/// The bytes are no body of the kind that its head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is malformed: {0}")]
pub struct Malformed(&'static str);

impl Decoder {
    /// The body of a request, whose framing is sound: else its head was refused (RFC 9112 section 6.3).
    pub(super) fn of_request(framing: &MessageFraming, limits: HeadLimits) -> Self {
        match framing.has_transfer_coding {
            true => Self::chunked(limits, Strictness::Strict),
            false => Self::Length(framing.length.unwrap_or(0)),
        }
    }

    /// The body of a response to a request with this method.
    ///
    /// # Errors
    /// Its length is no number, or there are several; also where it has no body, since it is passed on.
    pub(super) fn of_response(
        method: &Method,
        status: StatusCode,
        framing: &MessageFraming,
        limits: HeadLimits,
    ) -> Result<Self, HeadError> {
        let bodiless = status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        if framing.length_count > 0 && framing.length.is_none() && !framing.has_transfer_coding {
            return Err(HeadError::Malformed("its Content-Length is none"));
        }
        match framing.length {
            _ if bodiless || *method == Method::HEAD => Ok(Self::Length(0)),
            _ if framing.has_transfer_coding => Ok(Self::chunked(limits, Strictness::Lenient)),
            None => Ok(Self::UntilClose),
            Some(length) => Ok(Self::Length(length)),
        }
    }

    fn chunked(limits: HeadLimits, strictness: Strictness) -> Self {
        Self::Chunked(Box::new(Chunked {
            state: State::Size { size: 0, digits: 0 },
            extensions: 0,
            padding: 0,
            trailers: Trailers::new(limits, strictness),
            malformed: None,
        }))
    }

    /// Whether all of it has been read.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.state == State::Done,
            Self::UntilClose => false,
        }
    }

    /// The connection has ended. Tells whether the body may end with it.
    pub(super) fn ends_here(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Length(0);
        }
        self.is_done()
    }

    /// How much is left, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ => self.is_done().then_some(0),
        }
    }

    /// The next piece of what has been received; `None`: more is needed, or it is done.
    pub(super) fn decode(&mut self, received: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        if received.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Length(0) => Ok(None),
            Self::Length(left) => Ok(Some(Piece::Data(take(received, left)))),
            Self::UntilClose => Ok(Some(Piece::Data(std::mem::take(received)))),
            Self::Chunked(chunked) => chunked.decode(received),
        }
    }
}

/// As many of the `left` bytes as have come.
fn take(received: &mut Bytes, left: &mut u64) -> Bytes {
    let length = received
        .len()
        .min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= length as u64;
    match length == received.len() {
        true => std::mem::take(received),
        false => received.split_to(length),
    }
}

/// A chunked body. Line ends are CRLF and nothing else: who takes less sees chunks elsewhere.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Bytes of white space behind the size of this chunk.
    padding: usize,
    trailers: Trailers,
    /// Nothing good follows.
    malformed: Option<Malformed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The size of a chunk, as far as it was read.
    Size {
        size: u64,
        digits: u8,
    },
    /// What follows its digits.
    Extension {
        size: u64,
        begun: bool,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
    Done,
}

impl Chunked {
    fn decode(&mut self, received: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        self.read(received)
            .inspect_err(|malformed| self.malformed = Some(*malformed))
    }

    fn read(&mut self, received: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Data(left) => {
                    if received.is_empty() {
                        return Ok(None);
                    }
                    let data = take(received, left);
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Some(Piece::Data(data)));
                }
                State::Trailers => {
                    let Some(trailers) = self.trailers.read(received).map_err(trailing)? else {
                        return Ok(None);
                    };
                    self.state = State::Done;
                    let any = !trailers.is_empty();
                    return Ok(any.then_some(Piece::Trailers(trailers)));
                }
                _ => {}
            }
            let mut at = 0;
            while let Some(&byte) = received.get(at) {
                if matches!(self.state, State::Data(_) | State::Trailers) {
                    break;
                }
                self.state = self.next(byte)?;
                at += 1;
            }
            bytes::Buf::advance(received, at);
            if !matches!(self.state, State::Data(_) | State::Trailers) {
                return Ok(None);
            }
        }
    }

    /// One byte of what stands around the data.
    fn next(&mut self, byte: u8) -> Result<State, Malformed> {
        match self.state {
            State::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == 16 => Err(Malformed("the size of a chunk is too large")),
                (Some(digit), _) => Ok(State::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }),
                _ if digits == 0 => Err(Malformed("a chunk has no size")),
                (None, b'\r') => Ok(State::SizeLf(size)),
                (None, b';' | b' ' | b'\t') => {
                    self.padding = 0;
                    let begun = byte == b';';
                    Ok(State::Extension { size, begun })
                }
                _ => Err(Malformed("the size of a chunk is no number")),
            },
            State::Extension { size, begun } => {
                let (length, most) = match begun {
                    true => (&mut self.extensions, MAX_EXTENSIONS),
                    false => (&mut self.padding, MAX_PADDING),
                };
                *length += 1;
                match byte {
                    b'\r' => Ok(State::SizeLf(size)),
                    _ if *length > most => Err(Malformed("its chunk extensions are too long")),
                    b' ' | b'\t' if !begun => Ok(State::Extension { size, begun }),
                    b';' => Ok(State::Extension { size, begun: true }),
                    _ if !begun => Err(Malformed("the size of a chunk is no number")),
                    b'\n' | b'\0' => Err(Malformed("a chunk extension holds a control character")),
                    _ => Ok(State::Extension { size, begun }),
                }
            }
            State::SizeLf(size) => match (byte, size) {
                (b'\n', 0) => Ok(State::Trailers),
                (b'\n', size) => Ok(State::Data(size)),
                _ => Err(Malformed("a line ends without LF")),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size { size: 0, digits: 0 }),
            State::DataCr | State::DataLf => Err(Malformed("a chunk does not end where it should")),
            state @ (State::Data(_) | State::Trailers | State::Done) => Ok(state),
        }
    }
}

fn trailing(error: HeadError) -> Malformed {
    Malformed(match error {
        HeadError::Malformed(what) => what,
        HeadError::TooLarge | HeadError::TargetTooLong => "the trailers are too large",
    })
}

#[cfg(test)]
mod tests {
    use super::super::head::parse_response;
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 100,
        fields: 3,
    };

    /// All data, the trailers, and what is left behind the body.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, Malformed> {
        let mut decoder = Decoder::chunked(LIMITS, Strictness::Strict);
        let (mut data, mut trailers) = (Vec::new(), None);
        for piece in pieces {
            let mut received = Bytes::copy_from_slice(piece);
            while let Some(piece) = decoder.decode(&mut received).inspect_err(|malformed| {
                let again = decoder.decode(&mut Bytes::from_static(b"0\r\n\r\n"));
                assert_eq!(again, Err(*malformed));
            })? {
                match piece {
                    Piece::Data(more) => data.extend_from_slice(&more),
                    Piece::Trailers(found) => trailers = Some(found),
                }
            }
            if decoder.is_done() {
                return Ok(Some((data, trailers, received.to_vec())));
            }
            assert!(received.is_empty());
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_read_in_pieces_of_any_size() {
        let all = b"5;a=\"b\"\r\nhello\r\n00A \t;x\r\n, world...\r\n0\r\nA: b\r\n\r\nGET";
        for size in 1..=all.len() {
            let pieces: Vec<_> = all.chunks(size).collect();
            let (data, trailers, rest) = decode(&pieces).unwrap().unwrap();
            assert_eq!(data, b"hello, world...");
            assert_eq!(trailers.unwrap()["a"], "b");
            assert!(b"GET".starts_with(&rest[..]));
        }
        let (_, trailers, rest) = decode(&[b"0\r\n\r\n0\r\n"]).unwrap().unwrap();
        assert_eq!((trailers, &rest[..]), (None, &b"0\r\n"[..]));
        assert_eq!(decode(&[b"5\r\nhello\r\n0\r\n"]), Ok(None));
    }

    #[test]
    fn chunks_that_another_could_read_differently_are_refused() {
        for bad in [
            &b"\r\n"[..],
            b";a\r\n",
            b" 5\r\nhello\r\n",
            b"0x5\r\n",
            b"-1\r\n",
            b"5\nhello\r\n",
            b"5\r\rhello\r\n",
            b"5 5\r\nhello",
            b"5;a\nb\r\nhello",
            b"5;a\0\r\n",
            b"5\r\nhello5\r\n",
            b"5\r\nhello\n",
            b"11111111111111111\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\n\r\n",
        ] {
            for size in [1, bad.len()] {
                let pieces: Vec<_> = bad.chunks(size).collect();
                let shown = String::from_utf8_lossy(bad);
                assert!(decode(&pieces).is_err(), "{shown:?} in pieces of {size}");
            }
        }
        for filler in [b'a', b';', b' '] {
            let long = [b"5 ;".to_vec(), vec![filler; MAX_EXTENSIONS + 1]].concat();
            assert!(decode(&[&long]).is_err());
        }
        let long = [b"5".to_vec(), vec![b' '; MAX_EXTENSIONS + 2]].concat();
        assert!(decode(&[&long]).is_err());
        let long = [b"0\r\nA: ".to_vec(), vec![b'a'; LIMITS.bytes]].concat();
        assert!(decode(&[&long]).is_err());
    }

    #[test]
    fn the_extensions_of_all_chunks_of_a_body_have_one_bound() {
        // With its CR each of them counts a tenth of what is allowed.
        let chunk = [&b"1;"[..], &[b'a'; MAX_EXTENSIONS / 10 - 1], b"\r\nx\r\n"].concat();
        let end = &b"0\r\n\r\n"[..];
        let body = |chunks| [&chunk.repeat(chunks), end].concat();
        let (data, ..) = decode(&[&body(10)]).unwrap().unwrap();
        assert_eq!(data, [b'x'; 10]);
        let refused = decode(&[&body(11)]).unwrap_err();
        assert_eq!(refused, Malformed("its chunk extensions are too long"));
    }

    #[test]
    fn sizes_that_are_padded_with_white_space_are_no_extensions() {
        let body = [
            b"1    \r\nx\r\n".repeat(MAX_EXTENSIONS),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat();
        let (data, ..) = decode(&[&body]).unwrap().unwrap();
        assert_eq!(data.len(), MAX_EXTENSIONS);
        let wide = [b"1".to_vec(), vec![b' '; MAX_PADDING + 2]].concat();
        assert!(decode(&[&wide]).is_err());
    }

    #[test]
    fn a_folded_trailer_is_read_in_a_response_alone() {
        let chunks = b"0\r\nA: b\r\n  c\r\n\r\n";
        for (strictness, expected) in [
            (Strictness::Lenient, Some("b c")),
            (Strictness::Strict, None),
        ] {
            let mut decoder = Decoder::chunked(LIMITS, strictness);
            let decoded = decoder.decode(&mut Bytes::from_static(chunks));
            let trailers = decoded.ok().flatten().map(|piece| match piece {
                Piece::Trailers(trailers) => trailers["a"].clone(),
                Piece::Data(data) => panic!("{data:?}"),
            });
            assert_eq!(trailers, expected.map(http::HeaderValue::from_static));
        }
    }

    /// What is known of the length of a body; `None`: the head is refused.
    fn response(method: Method, status: u16, lines: &str) -> Option<Option<u64>> {
        let head = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let (response, framing) = parse_response(&head.into(), &LIMITS).unwrap();
        let decoder = Decoder::of_response(&method, response.status(), &framing, LIMITS).ok()?;
        Some(decoder.left())
    }

    #[test]
    fn a_response_body_is_as_long_as_its_head_says() {
        let five = "Content-Length: 5\r\n";
        let known = |length| Some(Some(length));
        assert_eq!(response(Method::GET, 200, five), known(5));
        assert_eq!(response(Method::GET, 200, &five.repeat(2)), known(5));
        let list = "Content-Length: 5, 5\r\n";
        assert_eq!(response(Method::GET, 200, list), known(5));
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
            assert_eq!(response(method, status, five), known(0));
        }
        let unknown = Some(None);
        assert_eq!(response(Method::GET, 200, ""), unknown);
        let both = format!("{five}Transfer-Encoding: chunked\r\n");
        assert_eq!(response(Method::GET, 200, &both), unknown);
        for bad in [
            "",
            "+5",
            "5 5",
            "5,6",
            "5,",
            "9223372036854775808",
            "x\r\nContent-Length: 5",
        ] {
            let line = format!("Content-Length: {bad}\r\n");
            assert_eq!(response(Method::GET, 200, &line), None, "{bad}");
        }
    }
}
