//! The body of a token request, and how its values are written.

use std::fmt::Write;

use zeroize::Zeroizing;

/// An `application/x-www-form-urlencoded` body, wiped on drop.
pub(super) struct Form(Zeroizing<String>);

impl Form {
    /// Larger than common forms, so that growing leaves no unwiped copies behind.
    const CAPACITY: usize = 8 * 1024;

    /// An empty one.
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(String::with_capacity(Self::CAPACITY)))
    }

    /// Adds one field.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        form_encode(name, &mut self.0);
        self.0.push('=');
        form_encode(value, &mut self.0);
    }
}

impl AsRef<[u8]> for Form {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Form encoding (RFC 6749 appendix B). A space becomes `%20` and unreserved characters stay, which
/// every decoder of forms and of plain percent-encoding reads alike.
pub(super) fn form_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
}
