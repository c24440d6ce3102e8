//! Reading what follows the last chunk.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::head::parse_trailers;
use super::syntax::{HeadError, HeadLimits, Strictness};

/// A trailer section (RFC 9112 section 7.1.2) as it arrives.
#[derive(Debug)]
pub(super) struct TrailerReader {
    /// What has come so far.
    before: BytesMut,
    /// Where its last line begins.
    line: usize,
    limits: HeadLimits,
    strictness: Strictness,
}

impl TrailerReader {
    pub(super) fn new(limits: HeadLimits, strictness: Strictness) -> Self {
        Self {
            before: BytesMut::new(),
            line: 0,
            limits,
            strictness,
        }
    }

    /// Takes what has come next. Returns the section once it is complete, and leaves in `received` what stands
    /// behind it.
    pub(super) fn read(&mut self, received: &mut Bytes) -> Result<Option<HeaderMap>, HeadError> {
        while let Some(at) = memchr(b'\n', received) {
            self.take(received, at + 1)?;
            let line = &self.before[self.line..];
            if !line.ends_with(b"\r\n") {
                return Err(HeadError::Malformed("a line ends without CR"));
            }
            if line.len() > 2 {
                self.line = self.before.len();
                continue;
            }
            let section = std::mem::take(&mut self.before).freeze();
            if section.len() == 2 {
                return Ok(Some(HeaderMap::new()));
            }
            return parse_trailers(&section, self.limits.fields, self.strictness).map(Some);
        }
        self.take(received, received.len())?;
        Ok(None)
    }

    fn take(&mut self, received: &mut Bytes, length: usize) -> Result<(), HeadError> {
        if self.before.len() + length > self.limits.bytes {
            return Err(HeadError::TooLarge);
        }
        self.before.extend_from_slice(&received.split_to(length));
        Ok(())
    }
}
