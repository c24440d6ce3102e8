//! Reading chunked bodies (RFC 9112 section 7.1).

use bytes::Bytes;
use http_body::Frame;

use super::syntax::{HeadError, HeadLimits, Strictness};
use super::trailers::TrailerReader;

/// Bytes of the extensions of all chunks of one body. Nobody uses them.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Bytes of white space behind the size of one chunk. Some servers pad all sizes to the same width.
const MAX_PADDING: usize = 32;

/// The bytes of a body do not follow the framing that its head told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is malformed: {0}")]
pub struct MalformedBody(&'static str);

/// Takes as many of the `left` bytes as have come.
pub(super) fn take(received: &mut Bytes, left: &mut u64) -> Bytes {
    let length = received
        .len()
        .min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= length as u64;
    if length == received.len() {
        std::mem::take(received)
    } else {
        received.split_to(length)
    }
}

/// Reads a chunked body. A line ends with CRLF and with nothing else: a reader that takes less would see
/// the chunks in other places.
#[derive(Debug)]
pub(super) struct ChunkedDecoder {
    state: ChunkState,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Bytes of white space behind the size of this chunk.
    padding: usize,
    trailers: TrailerReader,
    /// Set once the body was found to be malformed: nothing behind that can be trusted.
    malformed: Option<MalformedBody>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
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

impl ChunkedDecoder {
    pub(super) fn new(limits: HeadLimits, strictness: Strictness) -> Self {
        Self {
            state: ChunkState::Size { size: 0, digits: 0 },
            extensions: 0,
            padding: 0,
            trailers: TrailerReader::new(limits, strictness),
            malformed: None,
        }
    }

    /// Whether the end of the body has been read, its trailers included.
    pub(super) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// The next piece of what has been received: data, or the trailers. `None`: more is needed, or the
    /// body has ended.
    pub(super) fn decode(
        &mut self,
        received: &mut Bytes,
    ) -> Result<Option<Frame<Bytes>>, MalformedBody> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        self.read(received)
            .inspect_err(|malformed| self.malformed = Some(*malformed))
    }

    fn read(&mut self, received: &mut Bytes) -> Result<Option<Frame<Bytes>>, MalformedBody> {
        loop {
            match &mut self.state {
                ChunkState::Done => return Ok(None),
                ChunkState::Data(left) => {
                    if received.is_empty() {
                        return Ok(None);
                    }
                    let data = take(received, left);
                    if *left == 0 {
                        self.state = ChunkState::DataCr;
                    }
                    return Ok(Some(Frame::data(data)));
                }
                ChunkState::Trailers => {
                    let Some(trailers) =
                        self.trailers.read(received).map_err(malformed_trailers)?
                    else {
                        return Ok(None);
                    };
                    self.state = ChunkState::Done;
                    let any = !trailers.is_empty();
                    return Ok(any.then(|| Frame::trailers(trailers)));
                }
                _ => {}
            }
            let mut at = 0;
            while let Some(&byte) = received.get(at) {
                if matches!(self.state, ChunkState::Data(_) | ChunkState::Trailers) {
                    break;
                }
                self.state = self.next(byte)?;
                at += 1;
            }
            bytes::Buf::advance(received, at);
            if !matches!(self.state, ChunkState::Data(_) | ChunkState::Trailers) {
                return Ok(None);
            }
        }
    }

    /// Takes one byte of what stands around the data.
    fn next(&mut self, byte: u8) -> Result<ChunkState, MalformedBody> {
        match self.state {
            ChunkState::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == 16 => {
                    Err(MalformedBody("the size of a chunk is too large"))
                }
                (Some(digit), _) => Ok(ChunkState::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }),
                _ if digits == 0 => Err(MalformedBody("a chunk has no size")),
                (None, b'\r') => Ok(ChunkState::SizeLf(size)),
                (None, b';' | b' ' | b'\t') => {
                    self.padding = 0;
                    let begun = byte == b';';
                    Ok(ChunkState::Extension { size, begun })
                }
                _ => Err(MalformedBody("the size of a chunk is not a number")),
            },
            ChunkState::Extension { size, begun } => {
                let (length, max) = if begun {
                    (&mut self.extensions, MAX_EXTENSIONS)
                } else {
                    (&mut self.padding, MAX_PADDING)
                };
                *length += 1;
                match byte {
                    b'\r' => Ok(ChunkState::SizeLf(size)),
                    _ if *length > max => Err(MalformedBody("its chunk extensions are too long")),
                    b' ' | b'\t' if !begun => Ok(ChunkState::Extension { size, begun }),
                    b';' => Ok(ChunkState::Extension { size, begun: true }),
                    _ if !begun => Err(MalformedBody("the size of a chunk is not a number")),
                    b'\n' | b'\0' => {
                        Err(MalformedBody("a chunk extension holds a control character"))
                    }
                    _ => Ok(ChunkState::Extension { size, begun }),
                }
            }
            ChunkState::SizeLf(size) => match (byte, size) {
                (b'\n', 0) => Ok(ChunkState::Trailers),
                (b'\n', size) => Ok(ChunkState::Data(size)),
                _ => Err(MalformedBody("a line ends without LF")),
            },
            ChunkState::DataCr if byte == b'\r' => Ok(ChunkState::DataLf),
            ChunkState::DataLf if byte == b'\n' => Ok(ChunkState::Size { size: 0, digits: 0 }),
            ChunkState::DataCr | ChunkState::DataLf => {
                Err(MalformedBody("a chunk does not end where it should"))
            }
            state @ (ChunkState::Data(_) | ChunkState::Trailers | ChunkState::Done) => Ok(state),
        }
    }
}

fn malformed_trailers(error: HeadError) -> MalformedBody {
    MalformedBody(match error {
        HeadError::Malformed(what) => what,
        HeadError::TooLarge | HeadError::TargetTooLong => "the trailers are too large",
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 100,
        fields: 3,
    };

    /// All data, the trailers, and what is left behind the body.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, MalformedBody> {
        let mut decoder = ChunkedDecoder::new(LIMITS, Strictness::Strict);
        let (mut data, mut trailers) = (Vec::new(), None);
        for piece in pieces {
            let mut received = Bytes::copy_from_slice(piece);
            while let Some(piece) = decoder.decode(&mut received).inspect_err(|malformed| {
                let again = decoder.decode(&mut Bytes::from_static(b"0\r\n\r\n"));
                assert_eq!(again.err(), Some(*malformed));
            })? {
                match piece.into_data() {
                    Ok(more) => data.extend_from_slice(&more),
                    Err(found) => trailers = found.into_trailers().ok(),
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
        assert_eq!(refused, MalformedBody("its chunk extensions are too long"));
    }

    #[test]
    fn white_space_behind_a_chunk_size_does_not_count_as_an_extension() {
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
            let mut decoder = ChunkedDecoder::new(LIMITS, strictness);
            let decoded = decoder.decode(&mut Bytes::from_static(chunks));
            let trailers = decoded.ok().flatten().map(|frame| {
                let trailers = frame.into_trailers().expect("there is no data");
                trailers["a"].clone()
            });
            assert_eq!(trailers, expected.map(http::HeaderValue::from_static));
        }
    }
}
