//! What every reader of this module keeps to: how large a head may be, how strictly it is read, and
//! why one is refused.

/// How large a head or a trailer section may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes, the empty line at its end included.
    pub bytes: usize,
    /// Header lines.
    pub fields: usize,
}

/// Why a head or a trailer section is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is not a head of HTTP/1.1, or two parsers could read it differently.
    #[error("invalid HTTP head: {0}")]
    Malformed(&'static str),
    /// It exceeds [`HeadLimits`].
    #[error("the head is too large")]
    TooLarge,
    /// Its request-target is longer than any that can be handled.
    #[error("the request-target is too long")]
    TargetTooLong,
}

/// How strictly the lines of a head are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// For clients: a line ends with CRLF only. A strict reader sees a lone LF inside a value, a lenient
    /// one the end of a line, so that one of the two would see a header, or a request, that the other
    /// does not.
    Strict,
    /// For upstreams, whose heads are written again: a lone LF ends a line, too (RFC 9112 section 2.2).
    Lenient,
}
