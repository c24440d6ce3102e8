//! Errors of the system and of libraries, in words alone.

use std::io;

/// An I/O error in words alone: no error numbers, no prefixes that repeat what the caller says.
pub fn reason(error: &io::Error) -> String {
    let text = without_documentation_link(error.to_string());
    let text = text
        .split_once(" (os error")
        .map_or(&*text, |(words, _)| words);
    text.trim_start_matches("failed to lookup address information: ")
        .to_owned()
}

/// The text of a library without the address of its documentation, which explains the use of the library.
pub fn without_documentation_link(mut text: String) -> String {
    if let Some(at) = text.find(": https://docs.rs/") {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_sends_people_to_the_documentation_of_a_library() {
        let text = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        let expected = "peer closed connection without sending TLS close_notify";
        assert_eq!(reason(&error), expected);
        assert_eq!(
            without_documentation_link("a: https://x".to_owned()),
            "a: https://x"
        );
    }
}
