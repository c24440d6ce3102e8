//! The hosts of requests, rules, routes and URLs. A host has one form in which it is compared, whoever has written it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// The form in which a host is compared that is in lower case, without port and trailing dot: each address has one
/// spelling, and one of IPv4 within IPv6 (`[::ffff:192.0.2.1]`), which systems take for the IPv4 address, is that one.
pub fn canonical_host(host: &str) -> Cow<'_, str> {
    if !host.starts_with('[') {
        return Cow::Borrowed(host);
    }
    match written_address(host) {
        Some(ip) => Cow::Owned(host_of_address(ip)),
        None => Cow::Borrowed(host),
    }
}

/// The host of a URL, in the same form. It is not how the URL is written, nor what is sent as `Host`.
pub fn canonical_host_of(url: &Url) -> Cow<'_, str> {
    canonical_host(url.host_str().unwrap_or_default().trim_end_matches('.'))
}

/// The host that an address is, in the same form.
pub fn host_of_address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The address that a host is written as, IPv6 in brackets.
pub fn written_address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(ip) => ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_however_it_is_written() {
        for (written, canonical) in [
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("[::FFFF:c000:201]", "192.0.2.1"),
            ("[0:0:0:0:0:ffff:c000:0201]", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            // These embed IPv4 too, and are other hosts to the system.
            ("[::192.0.2.1]", "[::c000:201]"),
            ("[64:ff9b::192.0.2.1]", "[64:ff9b::c000:201]"),
            ("crm.example.com", "crm.example.com"),
            ("[::1", "[::1"),
            ("", ""),
        ] {
            assert_eq!(canonical_host(written), canonical, "{written}");
            assert_eq!(canonical_host(canonical), canonical, "{written}");
        }
    }

    #[test]
    fn the_host_of_a_url_has_the_form_of_one_that_is_asked_for() {
        for (url, canonical) in [
            ("http://[::ffff:127.0.0.1]:19080/", "127.0.0.1"),
            ("http://[::ffff:7f00:1]/", "127.0.0.1"),
            ("https://[2001:DB8::1]/v2", "[2001:db8::1]"),
            ("https://CRM.example.com./", "crm.example.com"),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(canonical_host_of(&url), canonical, "{url}");
        }
    }
}
