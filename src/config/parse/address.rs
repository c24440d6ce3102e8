//! Socket addresses, host names and URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustls::pki_types::ServerName;
use url::{Host, Url};

use super::super::report::Expected;
use super::super::settings::HostPattern;
use super::syntax::Syntax;
use crate::host::host_of_address;
use crate::path::canonical_path;

/// Whether a URL stays on this machine: an IP literal of it, or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(ip)) => is_loopback_ip(ip.into()),
        Some(Host::Ipv6(ip)) => is_loopback_ip(ip.into()),
        None => false,
    }
}

/// Whether an address stays on this machine, IPv4 within IPv6 included.
pub(in crate::config) fn is_loopback_ip(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// An IP address and a port.
pub(in crate::config) const SOCKET: Syntax<SocketAddr> =
    Syntax::new(pattern!(socket), socket).address();

/// `IP:port`
pub(in crate::config) fn socket(text: &str) -> Result<SocketAddr, Expected> {
    const EXPECTED: &str = "expected an IP address and a port, such as \"127.0.0.1:7080\"";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let local = host.is_empty() || host.eq_ignore_ascii_case("localhost");
    match port.parse::<u16>() {
        Ok(port) if local => Err(format!("did you mean \"127.0.0.1:{port}\"?").into()),
        _ => Err(EXPECTED.into()),
    }
}

/// A host name or IP address.
pub(in crate::config) const HOST_NAME: Syntax<String> =
    Syntax::new(pattern!(host), host_name).address();

/// What is expected in place of what is no host.
pub(super) const HOST_EXPECTED: &str = "expected a host name or IP address, without port";

/// A host name or IP literal as requests are compared with it: lower case, without trailing dot, and an address in its
/// canonical form.
pub(in crate::config) fn host_name(text: &str) -> Result<String, Expected> {
    const EXPECTED: &str = HOST_EXPECTED;
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Err(format!("write an IPv6 address in brackets: \"[{ip}]\"").into());
    }
    if let Some(ip) = text.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        let ip: Ipv6Addr = ip.parse().map_err(|_| EXPECTED)?;
        return Ok(host_of_address(ip.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !name.is_ascii() {
        return Err(match Host::parse(&name) {
            Ok(ascii) => format!("write the name in its ASCII form: \"{ascii}\"").into(),
            Err(_) => EXPECTED.into(),
        });
    }
    let in_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(in_label);
    let labels_fit = name.len() <= 253 && name.split('.').all(is_label);
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = name.rsplit('.').next().is_some_and(numeric);
    if !labels_fit || (is_number && name.parse::<Ipv4Addr>().is_err()) {
        return Err(EXPECTED.into());
    }
    Ok(name)
}

/// A host name or IP address, or `*.` and a host name.
pub(in crate::config) const HOST_PATTERN: Syntax<HostPattern> = Syntax::new(
    concat!("(?:", pattern!(host), r"|\*\.", pattern!(domain), ")"),
    host_pattern,
)
.address();

/// A host name, IP literal, or `*.` and a host name.
pub(in crate::config) fn host_pattern(text: &str) -> Result<HostPattern, Expected> {
    if text == "*" {
        return Err("leave `host` out to match any host".into());
    }
    let host_name = |text: &str| {
        host_name(text).map_err(|error| {
            if text.contains('*') {
                "\"*\" stands only for the whole first label: \"*.example.com\"".into()
            } else {
                error
            }
        })
    };
    let Some(parent) = text.strip_prefix("*.") else {
        return Ok(HostPattern::Exact(host_name(text)?.into()));
    };
    let parent = host_name(parent)?;
    if parent.starts_with('[') || parent.parse::<Ipv4Addr>().is_ok() {
        return Err("an IP address has no subdomains".into());
    }
    Ok(HostPattern::Wildcard(parent.into()))
}

macro_rules! http_url {
    () => {
        r"[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#@\\]+(?:/[^\s?#\\]*)?"
    };
}

/// What the whole of every good URL matches.
pub(in crate::config) const HTTP_URL: Option<&str> = Some(http_url!());

/// The same of a URL that may have a query.
pub(in crate::config) const HTTP_URL_WITH_QUERY: Option<&str> =
    Some(concat!(http_url!(), r"(?:\?[^\s#]*)?"));

/// What the whole of every address of a unix socket matches, and of no other.
pub(in crate::config) const UNIX_SOCKET: Option<&str> = Some(r"unix:[\s\S]*");

/// What the whole of every good address of a listener matches.
pub(in crate::config) const LISTEN_ADDRESS: Option<&str> = Some(concat!(
    r"(?:unix:(?:[^@/]|[^@][\s\S]*[^/])|",
    pattern!(socket),
    ")"
));

/// An absolute `http` or `https` URL with a canonical path, as it was written: what the URL
/// parser would mend is refused.
pub(in crate::config) fn http_url(text: &str, query: bool) -> Result<Url, Expected> {
    const EXPECTED: &str = "expected a URL such as \"https://api.example.com/v2\"";
    let split = text.split_once("://");
    let (scheme, rest) = split.ok_or(EXPECTED)?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err("expected a URL that begins with http:// or https://".into());
    }
    if rest.contains('#') {
        return Err("a fragment (\"#\") is not allowed here".into());
    }
    let (rest, after) = match rest.split_once('?') {
        Some((rest, after)) if query => (rest, format!("?{after}")),
        Some(_) => return Err("a query (\"?\") is not allowed here".into()),
        None => (rest, String::new()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("a user name or password is not allowed in a URL".into());
    }
    let visible = |part: &str| part.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
    if authority.is_empty() || authority.contains('\\') || !visible(authority) || !visible(&after) {
        return Err(EXPECTED.into());
    }
    let path = if path.is_empty() { "/" } else { path };
    let path = canonical_path(path).map_err(|error| error.to_string())?;
    let url = Url::parse(&format!("{scheme}://{authority}{path}{after}"))
        .map_err(|error| format!("{EXPECTED}; {error}"))?;
    match url.port() {
        Some(0) => Err("port 0 cannot be connected to".into()),
        _ => Ok(url),
    }
}

/// An origin.
pub(in crate::config) const ORIGIN: Syntax<String> =
    Syntax::new(concat!(pattern!(scheme), r"://[^\s/?#@\\]+"), origin).address();

/// A scheme, host and port as browsers spell them in `Origin` (RFC 6454 section 6.2).
pub(in crate::config) fn origin(text: &str) -> Result<String, Expected> {
    const EXPECTED: &str = "expected an origin such as \"https://app.example.com\"";
    match text {
        "*" => return Err("write `allow_browsers = true` to let every page in".into()),
        "null" => {
            let help = "\"null\" can be any web page; `allow_browsers = true` lets every page in";
            return Err(help.into());
        }
        _ => {}
    }
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
        let url = http_url(text, false)?;
        host_name(url.host_str().unwrap_or_default()).map_err(|_| EXPECTED)?;
        let origin = url.origin().ascii_serialization();
        return if rest.contains('/') {
            Err(format!("an origin has no path; did you mean \"{origin}\"?").into())
        } else {
            Ok(origin)
        };
    }
    // Those of apps and extensions, such as "tauri://localhost".
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let is_origin = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme)
        && !rest.is_empty()
        && rest.bytes().all(in_host);
    is_origin
        .then(|| text.to_ascii_lowercase())
        .ok_or(EXPECTED.into())
}

/// A host name or IP address, the latter without brackets.
pub(in crate::config) const SERVER_NAME: Syntax<String> =
    Syntax::new("[0-9A-Za-z._:][0-9A-Za-z._:-]*", server_name).address();

/// The name that the certificate of a server must carry.
pub(in crate::config) fn server_name(text: &str) -> Result<String, Expected> {
    let is_name = ServerName::try_from(text).is_ok();
    let name = is_name.then(|| text.to_owned());
    name.ok_or("expected a host name or IP address".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_in_every_form() {
        let loopback = |text| is_loopback(&Url::parse(text).unwrap());
        for url in [
            "http://127.0.0.1:80",
            "http://127.9.9.9",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
            "http://LOCALHOST:1/x",
            "http://localhost.",
        ] {
            assert!(loopback(url), "{url}");
        }
        for url in [
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://xlocalhost",
        ] {
            assert!(!loopback(url), "{url}");
        }
    }

    #[test]
    fn host_patterns_have_one_form() {
        let exact = |name: &str| Ok(HostPattern::Exact(name.into()));
        assert_eq!(host_pattern("CRM.Local."), exact("crm.local"));
        assert_eq!(host_pattern("10.0.0.1"), exact("10.0.0.1"));
        assert_eq!(host_pattern("[0:0::1]"), exact("[::1]"));
        assert_eq!(host_pattern("[::FFFF:10.0.0.1]"), exact("10.0.0.1"));
        assert_eq!(host_pattern("[::ffff:a00:1]"), exact("10.0.0.1"));
        assert_eq!(host_pattern("a_b.svc"), exact("a_b.svc"));
        assert_eq!(
            host_pattern("*.Example.com"),
            Ok(HostPattern::Wildcard("example.com".into()))
        );
    }

    #[test]
    fn hosts_that_could_never_match_are_refused() {
        for bad in [
            "*",
            "**.a",
            "*.",
            "a.*.b",
            "x*.a",
            "*.*.a",
            "*.10.0.0.1",
            "*.[::1]",
            "*.[::ffff:10.0.0.1]",
            "crm:80",
            "[::1]:80",
            "::1",
            "[::1",
            "a..b",
            ".",
            "..",
            "a b",
            "a/b",
            "http://a",
            "bücher.example",
            "127.1",
            "1",
            "a\u{7f}",
            "[v1.x]",
        ] {
            assert!(host_pattern(bad).is_err(), "{bad:?}");
        }
        let of_the_star = host_pattern("**.a");
        for bad in ["a.*.b", "x*.a", "*.*.a"] {
            assert_eq!(host_pattern(bad), of_the_star, "{bad:?}");
        }
        assert!(host_name(&"a".repeat(64)).is_err());
        let help = host_name("bücher.example").unwrap_err();
        assert!(help.contains("xn--bcher-kva.example"), "{help}");
    }

    #[test]
    fn sockets_are_ip_and_port() {
        assert!(socket("127.0.0.1:0").is_ok());
        assert!(socket("[::1]:7080").is_ok());
        for bad in ["localhost:7080", ":7080", "7080"] {
            let help = socket(bad).unwrap_err();
            assert!(help.contains("did you mean \"127.0.0.1:7080\""), "{help}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "::1:7080x",
            "example.com:80",
            "127.0.0.1:70800",
            "tcp:a",
        ] {
            assert!(!socket(bad).unwrap_err().contains("did you mean"), "{bad}");
        }
    }

    #[test]
    fn origins_are_spelled_as_browsers_do() {
        for (written, spelled) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://APP.example.com:443", "https://app.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:443", "http://localhost:443"),
            ("http://[0::1]:3000", "http://[::1]:3000"),
            ("Tauri://localhost", "tauri://localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(origin(written), Ok(spelled.to_owned()), "{written}");
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://",
            "https://*.example.com",
            "https://a/",
            "https://a/path",
            "https://u@a",
            "https://a?b",
            "https://a, https://b",
            "file://",
            "app://a/b",
            "1app://a",
            "://a",
            "https://\u{e4}",
        ] {
            assert!(origin(bad).is_err(), "{bad:?}");
        }
        let help = origin("https://A:443/x").unwrap_err();
        assert!(help.contains("did you mean \"https://a\"?"), "{help}");
    }

    #[test]
    fn urls_are_taken_as_written_or_refused() {
        let url = |text| http_url(text, false).map(String::from);
        assert_eq!(
            url("https://API.example.com"),
            Ok("https://api.example.com/".into())
        );
        assert_eq!(
            url("HTTP://a:8080/v%41%2f"),
            Ok("http://a:8080/vA%2F".into())
        );
        for bad in [
            "",
            "a",
            "a.example",
            "ftp://a",
            "https:a",
            "https:/a",
            "https://",
            "https:///a",
            "https://u@a",
            "https://u:p@a/",
            "https://a?",
            "https://a/?q",
            "https://a/#",
            "https://a\\b",
            "https://a/\\b",
            "https://a/../b",
            "https://a/%2e%2e/b",
            "https://a b",
            " https://a",
            "https://a\n",
            "https://a:0",
            "https://a:x",
            "https://a:70000",
            "https://[::1",
            "https://a/%zz",
            "https://\u{e4}",
        ] {
            assert!(http_url(bad, false).is_err(), "{bad:?}");
        }
        assert!(http_url("https://a/t?v=1", true).is_ok());
        assert!(http_url("https://a/t?v=1#", true).is_err());
        assert!(http_url("https://u@a/t?v=1", true).is_err());
    }
}
