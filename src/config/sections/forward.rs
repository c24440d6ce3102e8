//! Reads what only forward and redirected listeners, and the upstreams that they lead to, have.

use super::super::draft::{Draft, NameUse};
use super::super::keys::{LISTENER, ListenerKind, UPSTREAM};
use super::super::read::Section;
use super::super::settings::forward::EVERY_UPSTREAM;
use super::super::settings::{
    CallerList, EgressAction, Forwarding, HostPort, ListenAddress, Redirection,
};
use super::only_with;

/// The kind of a listener. Keys are reported that do not belong to it. `None` after a mistake.
pub(super) fn read_kind(section: &Section<'_>) -> Option<ListenerKind> {
    let (word, kind) = section.choose(&LISTENER.kind, |_| true).unzip();
    only_with::check(section, &LISTENER.kind, word);
    kind
}

/// Reads what only forward and redirected listeners have: where they lead to. `None` for a reverse listener.
pub(super) fn read(
    section: &Section<'_>,
    (kind, intercept): (Option<ListenerKind>, bool),
    address: Option<&ListenAddress>,
    callers: &CallerList,
    draft: &mut Draft,
) -> Option<Forwarding> {
    let upstreams = section.read(&LISTENER.upstreams);
    let unmatched = section.read(&LISTENER.unmatched);
    let detect_timeout = section.read(&LISTENER.detect_timeout);
    let (redirection, usual) = match kind? {
        ListenerKind::Reverse => return None,
        ListenerKind::Forward => (None, EgressAction::Deny),
        ListenerKind::Redirected => (Some(Redirection { detect_timeout }), EgressAction::Pass),
    };
    let unmatched = unmatched.unwrap_or(usual);
    let on_network = redirection.is_none() && address.is_some_and(ListenAddress::is_on_network);
    if on_network
        && callers.is_unsaid()
        && unmatched == EgressAction::Pass
        && let Some(value) = section.written(&LISTENER.unmatched)
    {
        value.error(
            "lets the whole network use the listener as a proxy to anywhere",
            "say who may with `callers`, name the hosts in [[egress.rules]], or use a loopback address",
        );
    }
    Some(Forwarding {
        upstreams: read_upstreams(section, upstreams, on_network, draft),
        unmatched,
        intercept,
        redirection,
    })
}

/// Whom it leads to by their own names.
fn read_upstreams(
    section: &Section<'_>,
    upstreams: Vec<Option<String>>,
    on_network: bool,
    draft: &mut Draft,
) -> Vec<String> {
    let named: Vec<String> = upstreams.into_iter().flatten().collect();
    let Some(value) = section.written(&LISTENER.upstreams) else {
        if on_network {
            let expected = "the names of upstreams, since the network can reach the listener; \
                            [\"*\"] is all of them";
            section.report_missing(LISTENER.upstreams.name, expected);
        }
        return named;
    };
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
    named
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
