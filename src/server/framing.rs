//! Where the heads of requests begin and end in the bytes of an HTTP/1.1 client.
//!
//! The library takes a lone LF for the end of a line (RFC 9112 section 2.2 allows it). Who reads
//! strictly sees it inside a value, so that one of both sees a header, or a request, that the other
//! does not. It also drops a fragment from the target, which has none (section 3.2), and which others
//! take for a part of the path. The bytes are followed here to find both; how long a body is says
//! the library.

use memchr::{memchr, memchr2};

#[cfg(test)]
mod tests;

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
