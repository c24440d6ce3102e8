//! Names, and the permissions of a unix socket.

use std::fmt;

use super::super::report::Expected;

/// A name as it stands in logs, metrics and other sections.
pub(in crate::config) fn name(text: &str) -> Result<String, Expected> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a name without control characters".into());
    }
    Ok(text.to_owned())
}

/// The permissions of a unix socket.
#[derive(Clone, Copy)]
pub(in crate::config) struct Mode(pub(in crate::config) u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

pub(in crate::config) fn octal(text: &str) -> Result<Mode, Expected> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
        .map(Mode)
        .ok_or("expected an octal string such as \"0660\"".into())
}
