//! Putting a head together as it arrives.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::syntax::{HeadError, Strictness};

/// What the head of a response begins with.
const RESPONSE_START: &[u8] = b"HTTP/";

/// A head of which not all has come. No byte is examined twice before the head is complete.
#[derive(Debug, Default)]
pub(super) struct PartialHead {
    /// What has come so far; empty while nothing is incomplete.
    before: BytesMut,
    /// How many bytes of empty lines stand in front of the head.
    empty: usize,
    /// Where the line begins that is being examined.
    line: usize,
    /// Up to where everything has been examined.
    examined: usize,
}

impl PartialHead {
    /// Whether a part of a head has come. Empty lines do not count, since some clients end a body with one.
    pub(super) fn has_begun(&self) -> bool {
        self.before.len() > self.empty
    }

    /// Takes what has come next. Returns the head once it is complete, and leaves in `received` what stands
    /// behind it. The head may have `max` bytes.
    pub(super) fn gather(
        &mut self,
        received: &mut Bytes,
        strictness: Strictness,
        max: usize,
    ) -> Result<Option<Bytes>, HeadError> {
        if self.before.is_empty() {
            let Some(end) = self.end(received, strictness, max)? else {
                self.before.extend_from_slice(&std::mem::take(received));
                return Ok(None);
            };
            let head = received.split_to(end).slice(self.empty..);
            *self = Self::default();
            return Ok(Some(head));
        }
        let before_len = self.before.len();
        self.before.extend_from_slice(received);
        let mut before = std::mem::take(&mut self.before);
        let end = self.end(&before, strictness, max);
        let Some(end) = end? else {
            self.before = before;
            *received = Bytes::new();
            return Ok(None);
        };
        let _ = received.split_to(end - before_len);
        before.truncate(end);
        let head = before.freeze().slice(self.empty..);
        *self = Self::default();
        Ok(Some(head))
    }

    fn end(
        &mut self,
        bytes: &[u8],
        strictness: Strictness,
        max: usize,
    ) -> Result<Option<usize>, HeadError> {
        // Bytes behind the limit must not decide anything: otherwise the verdict would depend on how many
        // come at once.
        let (too_large, bytes) = match bytes.get(..max) {
            Some(within) => (bytes.len() > max, within),
            None => (false, bytes),
        };
        while let Some(at) = memchr(b'\n', &bytes[self.examined..]) {
            let end = self.examined + at;
            let cr = end > self.line && bytes[end - 1] == b'\r';
            if !cr && strictness == Strictness::Strict {
                return Err(HeadError::Malformed("a line ends without CR"));
            }
            let empty = end - self.line == usize::from(cr);
            let first = self.line == self.empty;
            if first && !empty && !could_begin(&bytes[self.empty..end], strictness) {
                return Err(HeadError::Malformed(
                    "it does not begin like a message of HTTP/1.1",
                ));
            }
            (self.line, self.examined) = (end + 1, end + 1);
            match (empty, first) {
                // Empty lines before a message do no harm (RFC 9112 section 2.2).
                (true, true) => self.empty = end + 1,
                (true, false) => return Ok(Some(end + 1)),
                _ => {}
            }
        }
        if self.line == self.empty {
            let from = match strictness {
                // It was not known before whether a CR at the very end is the last byte of its line.
                Strictness::Strict => self.examined.saturating_sub(1).max(self.empty),
                Strictness::Lenient => self.empty,
            };
            if !could_begin(&bytes[from..], strictness) {
                return Err(HeadError::Malformed(
                    "it does not begin like a message of HTTP/1.1",
                ));
            }
        }
        self.examined = bytes.len();
        if too_large {
            Err(HeadError::TooLarge)
        } else {
            Ok(None)
        }
    }
}

/// Whether a first line may begin like this. It is refused before its end: a client of another protocol may
/// never send the end of a line, and waits for an answer.
fn could_begin(line: &[u8], strictness: Strictness) -> bool {
    // A CR may belong to the end of the line.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match strictness {
        Strictness::Strict => !line.iter().any(u8::is_ascii_control),
        Strictness::Lenient => {
            let begun = line.len().min(RESPONSE_START.len());
            line[..begun] == RESPONSE_START[..begun]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(
        pieces: &[&[u8]],
        strictness: Strictness,
    ) -> Result<Option<(Bytes, Bytes)>, HeadError> {
        let mut gathered = PartialHead::default();
        for piece in pieces {
            let mut received = Bytes::copy_from_slice(piece);
            if let Some(head) = gathered.gather(&mut received, strictness, 100)? {
                return Ok(Some((head, received)));
            }
            assert!(received.is_empty());
        }
        Ok(None)
    }

    #[test]
    fn empty_lines_alone_do_not_begin_a_head_in_pieces_of_any_size() {
        for size in 1..=2 {
            let mut gathered = PartialHead::default();
            for piece in b"\r\n\r\n".chunks(size) {
                let mut received = Bytes::copy_from_slice(piece);
                let head = gathered.gather(&mut received, Strictness::Lenient, 100);
                assert_eq!(head, Ok(None));
            }
            assert!(!gathered.has_begun());
            let mut received = Bytes::from_static(b"HTTP/1.1 200 OK\r\n");
            let head = gathered.gather(&mut received, Strictness::Lenient, 100);
            assert!(head == Ok(None) && gathered.has_begun());
        }
    }

    #[test]
    fn a_head_is_complete_at_its_empty_line_in_pieces_of_any_size() {
        let all = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nbehind";
        let head = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..];
        for size in 1..=all.len() {
            let pieces: Vec<_> = all.chunks(size).collect();
            let (found, rest) = gather(&pieces, Strictness::Strict).unwrap().unwrap();
            assert_eq!(found, head);
            assert!(b"behind".starts_with(&rest[..]), "{rest:?}");
        }
        assert_eq!(gather(&[&all[..30]], Strictness::Strict), Ok(None));
    }

    #[test]
    fn a_lone_lf_ends_a_line_only_of_an_upstream() {
        let head = b"HTTP/1.1 200 OK\nA: b\r\n\n";
        assert!(gather(&[head], Strictness::Lenient).unwrap().is_some());
        for head in [&head[..], b"\nGET /", b"GET / HTTP/1.1\r\nA: b\n"] {
            let refused = gather(&[head], Strictness::Strict).unwrap_err();
            assert_eq!(refused, HeadError::Malformed("a line ends without CR"));
        }
    }

    #[test]
    fn a_head_is_refused_as_soon_as_it_is_too_large() {
        let line = [b'a'; 98];
        let fits = [&line[..96], b"\r\n\r\n"].concat();
        assert!(gather(&[&fits], Strictness::Strict).unwrap().is_some());
        for long in [
            [&line[..97], b"\r\n\r\n"].concat(),
            [b'a'; 101].to_vec(),
            b"\r\n".repeat(51),
            // Whatever stands behind the limit.
            [&line[..], b"aaaa\n"].concat(),
            [&line[..], b"aa\x01"].concat(),
            [b"\r\n", &line[..96], b"\r\n\r\n"].concat(),
        ] {
            for size in [1, 7, long.len()] {
                let pieces: Vec<_> = long.chunks(size).collect();
                assert_eq!(
                    gather(&pieces, Strictness::Strict),
                    Err(HeadError::TooLarge)
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_a_head_is_refused_before_its_first_line_ends() {
        for (begun, strictness) in [
            (&b"\x16\x03\x01hello"[..], Strictness::Strict),
            (b"GET /\x7f", Strictness::Strict),
            (b"SSH-2.0", Strictness::Lenient),
            (b"SSH-2.0\r\n", Strictness::Lenient),
            (b"\r\n\r\nHTTQ", Strictness::Lenient),
            (b"GE\rT", Strictness::Strict),
            (b"GET /\x01 HTTP/1.1\r\n", Strictness::Strict),
        ] {
            let pieces: Vec<_> = begun.chunks(3).collect();
            for pieces in [&[begun][..], &pieces] {
                let refused = gather(pieces, strictness).unwrap_err();
                assert_eq!(
                    refused,
                    HeadError::Malformed("it does not begin like a message of HTTP/1.1")
                );
            }
        }
        for (begun, strictness) in [
            (&b"GET /\r"[..], Strictness::Strict),
            (b"HT", Strictness::Lenient),
            (b"\r\n\r\nHTTP/1.1 200 OK\r\n", Strictness::Lenient),
        ] {
            for size in [1, begun.len()] {
                let pieces: Vec<_> = begun.chunks(size).collect();
                assert_eq!(gather(&pieces, strictness), Ok(None));
            }
        }
    }
}
