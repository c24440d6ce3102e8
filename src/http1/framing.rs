//! How a message ends, and whether another may follow it, as the lines of its head say (RFC 9112
//! sections 6 and 9.3).

use http::HeaderName;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING};

use super::syntax::HeadError;

/// The framing of a message and of its connection, noted while the lines of its head are read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MessageFraming {
    /// The message is of HTTP/1.1; else of HTTP/1.0.
    pub(super) is_http11: bool,
    /// Another message may follow this one.
    pub(super) keep_alive: bool,
    /// There is a `Transfer-Encoding`.
    pub(super) has_transfer_coding: bool,
    /// There is another transfer coding than `chunked`, or more than one.
    has_unknown_coding: bool,
    /// How many values `Content-Length` has, in all of its lines.
    pub(super) length_count: usize,
    /// The number that all of these values agree on.
    pub(super) length: Option<u64>,
    /// A length begins with a zero that it does not need.
    has_padded_length: bool,
    /// `Expect: 100-continue`.
    pub(super) expects_continue: bool,
    /// `TE: trailers`.
    pub(super) accepts_trailers: bool,
    /// `Connection: close`.
    has_close: bool,
    /// `Connection: keep-alive`.
    has_keep_alive: bool,
}

/// What is to become of the lines of `Content-Length` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LengthLines {
    /// They stay as they are.
    Keep,
    /// They are void and are removed.
    Remove,
    /// One line with this number stands in their place.
    Replace(u64),
}

const ONE_LENGTH: &str = "Content-Length must be one number below 2^63";

impl MessageFraming {
    /// Notes one line of the head.
    pub(super) fn note(&mut self, name: &HeaderName, value: &[u8]) {
        let list = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match *name {
            CONNECTION => {
                self.has_close |= list().any(|o| o.eq_ignore_ascii_case(b"close"));
                self.has_keep_alive |= list().any(|o| o.eq_ignore_ascii_case(b"keep-alive"));
            }
            CONTENT_LENGTH => {
                // Some readers take a number that begins with zeros for an octal one.
                self.has_padded_length |= value.len() > 1 && value.starts_with(b"0");
                for length in list().map(parse_length) {
                    self.length = if self.length_count == 0 {
                        length
                    } else {
                        self.length.filter(|agreed| Some(*agreed) == length)
                    };
                    self.length_count += 1;
                }
            }
            EXPECT => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            TE => self.accepts_trailers |= list().any(|o| o.eq_ignore_ascii_case(b"trailers")),
            TRANSFER_ENCODING => {
                self.has_unknown_coding |=
                    self.has_transfer_coding || !value.eq_ignore_ascii_case(b"chunked");
                self.has_transfer_coding = true;
            }
            _ => {}
        }
    }

    /// Concludes from the version and from all lines whether the connection stays open (RFC 9112
    /// section 9.3).
    pub(super) fn finish(&mut self, is_http11: bool) {
        self.is_http11 = is_http11;
        self.keep_alive = !self.has_close && (is_http11 || self.has_keep_alive);
    }

    /// Refuses a request whose end two readers could see in different places. This comes before every
    /// other decision: whatever answers such a request, the connection ends behind it.
    /// Where the end is certain but written in a doubtful way, the lengths are put right and the connection
    /// ends behind this request (RFC 9112 section 6.3). `has_list` tells whether one line holds several
    /// lengths.
    pub(super) fn check_request(
        &mut self,
        has_list: impl FnOnce() -> bool,
    ) -> Result<LengthLines, HeadError> {
        if self.has_unknown_coding || self.has_transfer_coding && !self.is_http11 {
            return Err(HeadError::Malformed(
                "Transfer-Encoding must be exactly one \"chunked\", and in HTTP/1.1 alone",
            ));
        }
        let Some(length) = self.length else {
            return if self.length_count == 0 {
                Ok(LengthLines::Keep)
            } else {
                Err(HeadError::Malformed(ONE_LENGTH))
            };
        };
        if self.length_count > 1 && has_list() {
            return Err(HeadError::Malformed(ONE_LENGTH));
        }
        if self.has_transfer_coding {
            self.keep_alive = false;
            return Ok(LengthLines::Remove);
        }
        if self.length_count > 1 || self.has_padded_length {
            self.keep_alive &= self.length_count == 1;
            return Ok(LengthLines::Replace(length));
        }
        Ok(LengthLines::Keep)
    }

    /// The length of a response, if it has several values that agree. A client may take only a single one
    /// (RFC 9110 section 8.6).
    pub(super) fn repeated_length(&self) -> Option<u64> {
        self.length.filter(|_| self.length_count > 1)
    }
}

/// A length in decimal digits. It is below 2^63, since other implementations count in signed numbers.
fn parse_length(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length: i64 = std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()?;
    Some(length.unsigned_abs())
}
