//! What only forward listeners, and the upstreams that they lead to, have.

use super::super::report::Expected;
use super::super::settings::HostPort;
use super::address::{HOST_EXPECTED, host_name};
use super::syntax::Syntax;

/// A host name or IP address, with or without a port.
pub(in crate::config) const HOST_AND_PORT: Syntax<HostPort> = Syntax::new(
    concat!(pattern!(host), "(?::", pattern!(port), ")?"),
    host_and_port,
)
.address();

/// A host name or IP address, with or without a port.
pub(in crate::config) fn host_and_port(text: &str) -> Result<HostPort, Expected> {
    const EXPECTED: &str = "expected a host name with or without a port, such as \
                            \"crm.internal\" or \"crm.internal:8443\"";
    let is_port_at = |at: &usize| text[*at..].starts_with(':');
    let (host, port) = match text.rfind([':', ']']).filter(is_port_at) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        // An IPv6 address without brackets.
        return Err(host_name(text).err().unwrap_or(EXPECTED.into()));
    }
    let port = match port {
        Some(port) => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| is_number && *port != 0);
            Some(port.ok_or(EXPECTED)?)
        }
        None => None,
    };
    let host = host_name(host).map_err(|error| {
        if text.contains('*') {
            "wildcards are not possible here: name each host".into()
        } else if port.is_none() && error != HOST_EXPECTED {
            error
        } else {
            EXPECTED.into()
        }
    })?;
    Ok(HostPort { host, port })
}
