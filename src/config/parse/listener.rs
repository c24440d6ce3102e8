//! Names, and the permissions of a unix socket.

use std::fmt;
use std::net::IpAddr;

use super::super::report::Expected;
use super::address::host_name;
use super::syntax::Syntax;
use crate::host::written_address;

/// A name.
pub(in crate::config) const NAME: Syntax<String> = Syntax::new(r"[^\x00-\x1F\x7F-\x9F]+", name);

/// A name as it stands in logs, metrics and other sections.
pub(in crate::config) fn name(text: &str) -> Result<String, Expected> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a name without control characters".into());
    }
    Ok(text.to_owned())
}

/// Stands for every value of `Host`.
pub(in crate::config) const EVERY_HOST: &str = "*";

/// A value of `Host` that a listener accepts.
pub(in crate::config) const ACCEPTED_HOST: Syntax<String> =
    Syntax::new(concat!(r"(?:\*|", pattern!(host), ")"), accepted_host).address();

/// A host name or IP address, or `*` for any. One of IPv4 within IPv6 stays what it is: on loopback only who writes it so
/// means it.
fn accepted_host(text: &str) -> Result<String, Expected> {
    if text == EVERY_HOST {
        return Ok(text.to_owned());
    }
    let host = host_name(text)?;
    Ok(match written_address(text) {
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host,
    })
}

/// The permissions of a unix socket.
#[derive(Clone, Copy)]
pub(in crate::config) struct Mode(pub(in crate::config) u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// The permissions of a unix socket.
pub(in crate::config) const OCTAL: Syntax<Mode> = Syntax::new("0*[0-7]{1,3}", octal);

pub(in crate::config) fn octal(text: &str) -> Result<Mode, Expected> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
        .map(Mode)
        .ok_or("expected an octal string such as \"0660\"".into())
}
