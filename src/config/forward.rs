//! Forward listeners: which destinations lead where by themselves.

use std::collections::HashMap;
use std::fmt;

use super::address::{host_name, is_loopback_ip};
use super::draft::{Draft, NameUse};
use super::keys::{LISTENER, UPSTREAM};
use super::only_with;
use super::read::Section;
use super::report::{Expected, QuotedWord, Report};
use super::{ListenAddress, Upstream};

/// The scheme that a client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `http`, and `ws`.
    Http,
    /// `https`, and `wss`.
    Https,
}

/// A host name or IP literal in lower case, without trailing dot, and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// IPv6 in brackets.
    pub host: String,
    /// `None`: the ports of the URL that it stands beside.
    pub port: Option<u16>,
}

/// Stands for every upstream.
pub(super) const EVERY_UPSTREAM: &str = "*";

/// How requests name where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerKind {
    /// By their path and `Host`.
    Reverse,
    /// By an absolute URL.
    Forward,
}

/// What becomes of a request for a destination that no route matches: it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denied;

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deny")
    }
}

pub(super) fn unmatched(text: &str) -> Result<Denied, Expected> {
    match text {
        "deny" => Ok(Denied),
        "pass" => Err("\"pass\" is not available in this version: expected \"deny\"".into()),
        _ => Err("expected \"deny\"".into()),
    }
}

/// A host name or IP address, with or without a port.
pub(super) fn host_and_port(text: &str) -> Result<HostPort, Expected> {
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
        } else if port.is_some() {
            EXPECTED.into()
        } else {
            error
        }
    })?;
    Ok(HostPort { host, port })
}

/// Reads what only a forward listener has: whom it leads to. `None` for a reverse listener.
pub(super) fn read(
    section: &Section<'_>,
    address: Option<&ListenAddress>,
    draft: &mut Draft,
) -> Option<Vec<String>> {
    let (word, kind) = section.choose(&LISTENER.kind, |_| true).unzip();
    only_with::check(section, &LISTENER.kind, word);
    let upstreams = section.read(&LISTENER.upstreams);
    let _denied = section.read(&LISTENER.unmatched);
    if kind != Some(ListenerKind::Forward) {
        return None;
    }
    let Some(value) = section.written(&LISTENER.upstreams) else {
        if let Some(ListenAddress::Tcp(address)) = address
            && !is_loopback_ip(address.ip())
        {
            let expected = "the names of upstreams, since the network can reach the listener; \
                            [\"*\"] is all of them";
            section.report_missing(LISTENER.upstreams.name, expected);
        }
        return Some(vec![EVERY_UPSTREAM.to_owned()]);
    };
    let named: Vec<String> = upstreams.into_iter().flatten().collect();
    let every = named.iter().any(|name| name == EVERY_UPSTREAM);
    if every && named.len() > 1 {
        value.error(
            "names upstreams beside \"*\"",
            "\"*\" stands for all of them",
        );
    }
    let single = named.iter().filter(|name| *name != EVERY_UPSTREAM);
    let uses = single.map(|name| NameUse::new(name, &value));
    draft.references.upstreams.extend(uses);
    Some(named)
}

/// Reports `hosts` of an upstream that no request can ask for.
pub(super) fn check_hosts(section: &Section<'_>, scheme: &str, hosts: &[HostPort]) {
    let https_only = |host: &&HostPort| scheme == "http" && host.port == Some(443);
    if let Some(host) = hosts.iter().find(https_only)
        && let Some(value) = section.written(&UPSTREAM.hosts)
    {
        let message = format!("names {host}, the port of https");
        let help = "an https destination never leads to an http:// upstream";
        value.error(&message, help);
    }
}

/// Reports what does not fit together about forward listeners.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let mut used = false;
    for (listener, place) in &draft.forward_listeners {
        used = true;
        let mut seen: HashMap<(Scheme, String, u16, &str), &str> = HashMap::new();
        for (name, slot) in &draft.upstreams {
            let Some((Some(upstream), _)) = slot else {
                continue;
            };
            if !leads_to(&listener.1, name) {
                continue;
            }
            for destination in upstream.destinations() {
                let (scheme, host, port) = destination;
                let place_of = (scheme, host, port, upstream.base_path());
                let (host, path) = (place_of.1.clone(), place_of.3);
                if let Some(first) = seen.insert(place_of, name) {
                    let message = format!(
                        "listener {} cannot tell upstream {} from {}: both are {scheme}://{host}:{port}{path}",
                        QuotedWord(&listener.0),
                        QuotedWord(name),
                        QuotedWord(first),
                    );
                    let help = "name one of them in `upstreams`, or give them different `hosts`";
                    report.error(place, message, help);
                    break;
                }
            }
        }
    }
    for (name, slot) in &draft.upstreams {
        if let Some((Some(upstream), place)) = slot
            && !upstream.hosts.is_empty()
            && !used
        {
            let message = format!("`hosts` of upstream {} has no effect", QuotedWord(name));
            let help = "it is for listeners of `kind` \"forward\", and there is none";
            report.warning(place, message, help);
        }
    }
}

/// Whether `upstreams` of a forward listener names this one.
pub(super) fn leads_to(upstreams: &[String], name: &str) -> bool {
    upstreams
        .iter()
        .any(|named| named == EVERY_UPSTREAM || named == name)
}

impl Upstream {
    /// The path that a request begins with which names this upstream: that of `url`.
    pub fn base_path(&self) -> &str {
        match self.url.path().trim_end_matches('/') {
            "" => "/",
            path => path,
        }
    }

    /// Every destination (scheme, host, port) that is this upstream to a forward listener. A client's `http`
    /// is an `https` upstream too, on port 80 or that of the URL; `https` is never an `http` upstream.
    pub fn destinations(&self) -> impl Iterator<Item = (Scheme, String, u16)> {
        let host = self.url.host_str().unwrap_or_default();
        let own = HostPort {
            host: host.trim_end_matches('.').to_owned(),
            port: None,
        };
        let is_https = self.url.scheme() == "https";
        let of_url = self.url.port_or_known_default().unwrap_or_default();
        let mut destinations = Vec::new();
        for HostPort { host, port } in [own].into_iter().chain(self.hosts.iter().cloned()) {
            destinations.push((Scheme::Http, host.clone(), port.unwrap_or(of_url)));
            if is_https {
                destinations.push((Scheme::Https, host.clone(), port.unwrap_or(of_url)));
                if port.is_none() {
                    destinations.push((Scheme::Http, host, 80));
                }
            }
        }
        destinations.sort_unstable();
        destinations.dedup();
        destinations.into_iter()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}
