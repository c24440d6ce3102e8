//! What comes on a connection that waits for its next request.

/// What has come on a connection on which no request is under way. The next request would take it for its
/// response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsolicited {
    /// The end of the connection, or what some servers send before it: empty lines, or a 408 (RFC 9110
    /// section 15.5.9).
    End,
    /// Anything else.
    Stray,
}

/// The beginning of a 408, in which only the minor version may differ.
const TIMED_OUT: &[u8; Unsolicited::LENGTH] = b"HTTP/1.? 408";

impl Unsolicited {
    /// This many bytes tell what it is.
    pub const LENGTH: usize = 12;

    /// What begins with these bytes. No bytes mean the end.
    pub fn of(bytes: &[u8]) -> Self {
        let is_empty = bytes.iter().all(|byte| b"\r\n".contains(byte));
        let mut pairs = bytes.iter().zip(TIMED_OUT);
        if is_empty || pairs.all(|(byte, expected)| *expected == b'?' || byte == expected) {
            Self::End
        } else {
            Self::Stray
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_tells_whether_an_idle_connection_is_still_usable() {
        for (bytes, expected) in [
            (&b"x"[..], Unsolicited::Stray),
            (b"HTTP/1.1 200", Unsolicited::Stray),
            (b"HTTP/1.0 408", Unsolicited::End),
            (b"HTTP/1.1 40", Unsolicited::End),
            (b"HTTP/1.1 404", Unsolicited::Stray),
            (b"\r\n", Unsolicited::End),
            (b"\r\nHTTP/1.1 ", Unsolicited::Stray),
            (b"", Unsolicited::End),
        ] {
            assert_eq!(Unsolicited::of(bytes), expected, "{bytes:?}");
        }
    }
}
