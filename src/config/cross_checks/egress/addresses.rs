//! Addresses that `[egress]` and its rules name, and that make no difference there.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::super::draft::{Draft, DraftRule, Tables};
use super::super::super::parse::interception::is_public_suffix;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{
    Egress, EgressAction, EgressAddresses, Forwarding, HostPattern, Listener,
};
use super::super::super::words::QuotedWord;
use super::super::passing::may_pass;
use crate::address::{self, AddressKind, Listed};

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let default = Egress::default();
    let egress = draft.egress.as_ref().map_or(&default, |(egress, _)| egress);
    let ways: Vec<_> = draft
        .listeners
        .iter()
        .filter_map(PassingListener::of)
        .collect();
    let passing: Vec<_> = ways
        .iter()
        .filter(|way| may_pass(draft, &way.listener.name, way.forward))
        .collect();
    let listeners_are_known = draft.are_whole(&[Tables::Listeners]);
    let all_are_known = listeners_are_known && draft.are_whole(&[Tables::Egress]);
    if !passing.is_empty() && !draft.is_for_program && all_are_known {
        for allowed in &draft.egress_places.allowed {
            allowed_in_vain(draft, egress, allowed, &passing, report);
        }
    }
    let pass = |rule: &&DraftRule| rule.rule.action == EgressAction::Pass;
    for rule in draft.egress_rules.iter().filter(pass) {
        let of_rule = ways
            .iter()
            .filter(|way| rule.rule.is_for(&way.listener.name));
        let of_rule: Vec<_> = of_rule.collect();
        for (host, place) in rule.rule.hosts.iter().zip(&rule.hosts) {
            match host {
                HostPattern::Exact(host) if listeners_are_known => {
                    unreachable(egress, host, &of_rule, place, report);
                }
                HostPattern::Wildcard(parent) => open_to_all(parent, &of_rule, place, report),
                HostPattern::Exact(_) | HostPattern::Any => {}
            }
        }
    }
}

/// A forward or redirected listener.
struct PassingListener<'d> {
    listener: &'d Listener,
    forward: &'d Forwarding,
}

impl<'d> PassingListener<'d> {
    fn of((listener, _): &'d (Listener, SourceSpan)) -> Option<Self> {
        let forward = listener.forward.as_ref()?;
        Some(Self { listener, forward })
    }

    fn is_redirected(&self) -> bool {
        self.forward.redirection.is_some()
    }

    /// Whether others than processes of this machine use it.
    fn is_on_network(&self) -> bool {
        !self.is_redirected() && self.listener.address.is_on_network()
    }

    fn addresses(&self, egress: &Egress) -> EgressAddresses {
        if self.is_redirected() {
            egress.redirected.addresses
        } else {
            egress.addresses
        }
    }
}

/// A prefix of `allow` without which the same would pass.
fn allowed_in_vain(
    draft: &Draft,
    egress: &Egress,
    (prefix, place): &(IpNet, SourceSpan),
    passing: &[&PassingListener<'_>],
    report: &Report<'_>,
) {
    let is_exact = prefix.prefix_len() == prefix.max_prefix_len();
    let on_network = passing.iter().any(|way| way.is_on_network());
    let guarded =
        address::are_guarded(*prefix) || is_exact && AddressKind::of(prefix.addr()).is_guarded();
    let by_any = passing
        .iter()
        .all(|way| way.addresses(egress) == EgressAddresses::Any);
    let is_written = draft.egress_places.addresses.is_some();
    if guarded && !is_exact && passing.iter().all(|way| way.is_on_network()) {
        let message = format!("`allow` of [egress] names {prefix}, which no listener leads to");
        let help = "listeners on the network lead to their own machine, link and groups only if `allow` names the very address";
        report.warning(place, message, help);
    } else if by_any && is_written {
        let wider =
            |denied: &&IpNet| denied.contains(prefix) && denied.prefix_len() < prefix.prefix_len();
        let opens =
            egress.deny.iter().any(|denied| wider(&denied)) || guarded && is_exact && on_network;
        if !opens {
            let message = format!("`allow` of [egress] names {prefix} without any effect");
            let help = "`addresses` is \"any\", and no prefix of `deny` holds it: leave it out, or write \"public\"";
            report.warning(place, message, help);
        }
    } else if prefix.prefix_len() == 0 && egress.addresses == EgressAddresses::Public {
        let message = format!("`allow` of [egress] names {prefix}, which is every address");
        let help =
            "nothing is left of `addresses = \"public\"` there: write \"any\" if that is meant";
        report.warning(place, message, help);
    }
}

/// A rule that lets an address pass which no listener of it may connect to. Not an error: who denies it wants it refused.
/// An error would keep the addresses of before.
fn unreachable(
    egress: &Egress,
    host: &str,
    ways: &[&PassingListener<'_>],
    place: &SourceSpan,
    report: &Report<'_>,
) {
    let bare = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let Ok(ip) = bare.unwrap_or(host).parse::<IpAddr>() else {
        return;
    };
    if matches!(ip, IpAddr::V6(ip) if address::embeds_ipv4(ip)) {
        return;
    }
    let (listed, kind) = (
        Listed::find(&egress.allow, &egress.deny, ip),
        AddressKind::of(ip),
    );
    let refused = |way: &&PassingListener<'_>| match listed {
        Listed::Denied(prefix) => Some(format!("{prefix} in `deny` of [egress] holds it")),
        Listed::No
            if way.addresses(egress) == EgressAddresses::Public && kind != AddressKind::Public =>
        {
            Some(format!(
                "it is a {kind} address, and `addresses = \"public\"` of [egress] lets no other pass: name it in `allow`"
            ))
        }
        Listed::No | Listed::Allowed { exactly: false }
            if way.is_on_network() && kind.is_guarded() =>
        {
            Some(format!(
                "it is a {kind} address: a listener on the network leads there only if `allow` of [egress] names it exactly"
            ))
        }
        _ => None,
    };
    let refusals: Option<Vec<_>> = ways.iter().map(refused).collect();
    if let Some(reason) = refusals.and_then(|refusals| refusals.into_iter().next()) {
        let message = format!("this rule lets nothing pass to {}", QuotedWord(host));
        report.warning(place, message, reason);
    }
}

/// A listener that the whole network may use as a proxy to names that everybody can have.
fn open_to_all(
    parent: &str,
    ways: &[&PassingListener<'_>],
    place: &SourceSpan,
    report: &Report<'_>,
) {
    if !is_public_suffix(parent) {
        return;
    }
    let is_open =
        |way: &&&PassingListener<'_>| way.is_on_network() && way.listener.callers.is_unsaid();
    if let Some(way) = ways.iter().find(is_open) {
        let message = format!(
            "this rule lets the whole network use listener {} as a proxy to {}",
            QuotedWord(&way.listener.name),
            QuotedWord(&format!("*.{parent}"))
        );
        let help = format!(
            "domains of everybody are below {parent:?}: name the hosts that are meant, or say who may with `callers` of the listener"
        );
        report.warning(place, message, help);
    }
}
