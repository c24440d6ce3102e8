//! What only shows when all sections are read: names, ties, and what nothing uses.

pub(super) mod callers;
mod dual_stack;
mod egress;
mod file_uses;
mod forward;
mod interception;
mod led_to;
mod listeners;
mod own_sockets;
mod passing;
mod proxies;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use http::header::AUTHORIZATION;

use super::draft::{Draft, NameUse, Tables};
use super::report::{Report, SourceSpan};
use super::settings::forward::{EVERY_UPSTREAM, leads_to};
use super::settings::{AuthorizationServer, Forwarding, ListenAddress, NamedFile, Route, Upstream};
use super::words::{QuotedWord, did_you_mean};
use crate::dpop;
use crate::jose::SigningKey;

/// How many names are listed when none is close.
const MOST_NAMES: usize = 8;

pub(super) use file_uses::check as check_files;

/// Reports what does not fit together.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let listeners = draft
        .listener_names
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let upstreams = draft.upstreams.keys().map(String::as_str).collect();
    let credentials = draft.credentials.keys().map(String::as_str).collect();
    let callers = draft.callers.keys().map(String::as_str).collect();
    let used = &draft.references;
    resolve(report, "listener", &used.listeners, &listeners);
    resolve(report, "upstream", &used.upstreams, &upstreams);
    resolve(report, "credential", &used.credentials, &credentials);
    resolve(report, "caller", &used.callers, &callers);
    presented_certificates(draft, report);
    listener_names(draft, report);
    sockets(draft, report);
    dual_stack::check(draft, report);
    ambiguous_routes(draft, report);
    shared_keys(draft, report);
    headers_of_bound_tokens(draft, report);
    forward::check(draft, report);
    callers::check(draft, report);
    egress::check(draft, report);
    interception::check(draft, report);
    proxies::check(draft, report);
    own_sockets::check(draft, report);
    listeners::check(draft, report);
    unused_names(draft, report);
}

fn resolve(report: &Report<'_>, what: &str, used: &[NameUse], defined: &BTreeSet<&str>) {
    for NameUse { name, place } in used {
        if defined.contains(name.as_str()) {
            continue;
        }
        let names = || {
            let names: Vec<_> = defined
                .iter()
                .take(MOST_NAMES)
                .map(|name| QuotedWord(name).to_string())
                .collect();
            match names.len() {
                0 => format!("there is no {what} at all"),
                len if len < defined.len() => format!("defined are {} and more", names.join(", ")),
                _ => format!("defined: {}", names.join(", ")),
            }
        };
        let help = did_you_mean(name, defined.iter().copied()).unwrap_or_else(names);
        report.error(place, format!("unknown {what} {}", QuotedWord(name)), help);
    }
}

/// That the credential exists is said where the upstream names it as its own.
fn presented_certificates(draft: &Draft, report: &Report<'_>) {
    for NameUse { name, place } in &draft.references.certificates {
        if let Some(Some((Some(credential), _))) = draft.credentials.get(name)
            && credential.tls.certificate_file.is_none()
        {
            let message = format!("credential {} has no certificate", QuotedWord(name));
            let help = "give it `tls.certificate_file` and `tls.key_file`";
            report.error(place, message, help);
        }
    }
}

fn listener_names(draft: &Draft, report: &Report<'_>) {
    let mut seen: BTreeMap<&str, &SourceSpan> = BTreeMap::new();
    for (name, place) in &draft.listener_names {
        if let Some(first) = seen.get(name.as_str()) {
            let message = format!("listener {} is defined twice", QuotedWord(name));
            let first = report.locate(first);
            let help = format!("already defined at {first}; give each its own `name`");
            report.error(place, message, help);
        } else {
            seen.insert(name, place);
        }
    }
}

fn sockets(draft: &Draft, report: &Report<'_>) {
    for (index, (socket, place)) in draft.sockets.iter().enumerate() {
        let text = match socket {
            // Each gets a port of its own.
            ListenAddress::Tcp(address) if address.port() == 0 => continue,
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
        };
        let same = |other: &ListenAddress| match (other, socket) {
            (ListenAddress::Unix { path: a, .. }, ListenAddress::Unix { path: b, .. }) => a == b,
            (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => overlap_as_sockets(*a, *b),
            _ => false,
        };
        let mut earlier = draft.sockets[..index].iter();
        let first = earlier.find(|(other, _)| same(other));
        let first = first.map(|(other, place)| {
            let covers = match other {
                ListenAddress::Tcp(other) if text != other.to_string() => format!(" by {other}"),
                _ => String::new(),
            };
            format!("already used{covers} at {}", report.locate(place))
        });
        let admin = draft.default_admin().map(ListenAddress::Tcp);
        let admin = admin.as_ref().is_some_and(same).then(|| {
            let admin = draft.default_admin().map(|address| address.to_string());
            match admin {
                Some(admin) if admin != text => {
                    format!("it covers {admin}, the default of `address` in [admin]")
                }
                _ => "it is the default of `address` in [admin]".to_owned(),
            }
        });
        if let Some(help) = first.or(admin) {
            report.error(
                place,
                format!("address {} is used twice", QuotedWord(&text)),
                help,
            );
        }
    }
}

/// Whether only one of two sockets can be bound: they are the same, or one takes all addresses of the machine.
fn overlap_as_sockets(a: SocketAddr, b: SocketAddr) -> bool {
    let takes_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || takes_all && a.is_ipv4() == b.is_ipv4())
}

fn ambiguous_routes(draft: &Draft, report: &Report<'_>) {
    // Only routes of the same scope are compared, so that thousands of them stay cheap.
    let mut route_listeners: HashMap<_, Vec<&(Route, SourceSpan)>> = HashMap::new();
    for routed in &draft.routes {
        let (route, place) = routed;
        let scope = (&route.host, &route.path, &route.listener);
        let group = route_listeners.entry(scope).or_default();
        if let Some((_, first)) = group.iter().find(|(other, _)| overlap(route, other)) {
            let help = format!(
                "same host, path, methods and listener as the one at {}",
                report.locate(first)
            );
            report.error(place, "two routes match the same requests", help);
        }
        group.push(routed);
    }
}

/// Whether one method can match both with equal rank: a named one wins over any.
fn overlap(a: &Route, b: &Route) -> bool {
    match (a.methods.is_empty(), b.methods.is_empty()) {
        (true, true) => true,
        (false, false) => a.methods.iter().any(|method| b.methods.contains(method)),
        _ => false,
    }
}

/// What one server learns about a key, or can make a client do with it, should not count at another.
fn shared_keys(draft: &Draft, report: &Report<'_>) {
    let upstreams = draft.upstreams.values().flatten();
    let bound: BTreeSet<&str> = upstreams
        .filter_map(|(upstream, _)| {
            upstream
                .as_ref()
                .filter(|upstream| upstream.certificate_bound)
        })
        .flat_map(Upstream::credential_names)
        .collect();
    let mut seen: HashMap<Vec<u8>, (&str, &AuthorizationServer)> = HashMap::new();
    for (name, slot) in &draft.credentials {
        let Some((Some(credential), place)) = slot else {
            continue;
        };
        let presented = credential.tls.key_file.as_ref();
        let presented = presented.filter(|_| bound.contains(name.as_str()));
        let files: BTreeSet<_> = credential.key_files().chain(presented).collect();
        for file in files {
            let (first, server) = *seen.entry(key(file)).or_insert((name, &credential.server));
            if *server != credential.server {
                let message = format!(
                    "credential {} shares its key with {}, which is for another server",
                    QuotedWord(name),
                    QuotedWord(first)
                );
                let help = format!("give each its own instead of {}", file.path().display());
                report.warning(place, message, help);
            }
        }
    }
}

/// The public half of a key, whatever form its file has; the file itself where that is not known.
fn key(file: &NamedFile) -> Vec<u8> {
    let text = file.read().ok();
    let text = text.as_deref().and_then(|text| str::from_utf8(text).ok());
    let key = text.and_then(|text| SigningKey::read(text, None).ok());
    let path = || file.path().as_os_str().as_encoded_bytes().to_vec();
    key.map_or_else(path, |key| key.public_key().to_vec())
}

/// The proof of a bound token counts only together with the token under its own scheme (RFC 9449 section
/// 7.1).
fn headers_of_bound_tokens(draft: &Draft, report: &Report<'_>) {
    let bound = |name: &str| {
        let slot = draft.credentials.get(name);
        let credential = slot.and_then(|slot| slot.as_ref()?.0.as_ref());
        credential.is_some_and(|credential| credential.dpop.is_some())
    };
    for (name, slot) in &draft.upstreams {
        let Some((Some(upstream), place)) = slot else {
            continue;
        };
        if !upstream.credential_names().into_iter().any(bound) {
            continue;
        }
        let prefix = upstream.header_prefix.as_ref();
        let other = prefix.is_some_and(|prefix| !prefix.eq_ignore_ascii_case(dpop::SCHEME));
        for (key, wrong) in [
            ("header_prefix", other),
            ("header", upstream.header != AUTHORIZATION),
        ] {
            if wrong {
                let message = format!(
                    "`{key}` of upstream {} does not fit its credential, which has `dpop`",
                    QuotedWord(name)
                );
                let help = "leave it out: such a token is sent as `Authorization: DPoP ...`";
                report.error(place, message, help);
            }
        }
    }
}

fn unused_names(draft: &Draft, report: &Report<'_>) {
    let uses = |used: &[NameUse], name: &str| used.iter().any(|used| used.name == name);
    let forwarded = |name: &str| {
        let mut listeners = draft.forward_listeners.iter();
        listeners.any(|((_, forward), _)| leads_to(&forward.upstreams, name))
    };
    let ways_are_known = draft.are_whole(&[Tables::Listeners, Tables::Routes]);
    for (name, slot) in &draft.upstreams {
        if let Some((_, place)) = slot
            && ways_are_known
            && !uses(&draft.references.upstreams, name)
            && !forwarded(name)
        {
            let message = format!("upstream {} is never used", QuotedWord(name));
            report.warning(place, message, "no listener and no route names it");
        }
    }
    for (name, slot) in &draft.credentials {
        if let Some((_, place)) = slot
            && draft.are_whole(&[Tables::Upstreams])
            && !uses(&draft.references.credentials, name)
        {
            let message = format!("credential {} is never used", QuotedWord(name));
            report.warning(place, message, "no upstream names it");
        }
    }
    // Not an error: an operator who removes the last route of a listener wants the listener to refuse requests. An
    // error would keep the routes of before.
    for (name, place) in &draft.listener_names {
        let reaches = |scope: &Option<String>| scope.as_ref().is_none_or(|scope| scope == name);
        let mut forward = draft.forward_listeners.iter();
        let forward = forward.find(|((known, _), _)| known == name);
        let leads_somewhere = match forward {
            Some(((_, forward), _)) => leads_somewhere(draft, name, forward),
            None => draft.route_listeners.iter().any(reaches),
        };
        if ways_are_known && !leads_somewhere {
            let (what, help) = if forward.is_some() {
                let help = "its `upstreams` are none, no route is for it, and nothing passes";
                ("leads nowhere", help)
            } else {
                let help = "it has no `upstream`, and no route is for it";
                ("answers every request with 404", help)
            };
            report.warning(place, format!("listener {} {what}", QuotedWord(name)), help);
        }
    }
}

/// Whether a forward or redirected listener has any use.
fn leads_somewhere(draft: &Draft, name: &str, forward: &Forwarding) -> bool {
    // That one does not exist is said of its name.
    let is_unknown =
        |upstream: &String| upstream != EVERY_UPSTREAM && !draft.upstreams.contains_key(upstream);
    forward.upstreams.iter().any(is_unknown)
        || led_to::upstreams(draft, name, forward).is_none_or(|led_to| !led_to.is_empty())
        || passing::may_pass(draft, name, forward)
        || !draft.are_whole(&[Tables::Egress])
}
