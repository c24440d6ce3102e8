//! Keys of `[egress]` that hold for nothing.

use super::super::super::draft::Draft;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{Egress, EgressAddresses, Forwarding, IssuerKeys, ProxyChoice};
use super::super::super::words::QuotedWord;
use super::super::passing::may_pass;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let listeners = draft.forward_listeners.iter().map(|(listener, _)| listener);
    let passing: Vec<_> = listeners
        .filter(|(name, forward)| may_pass(draft, name, forward))
        .collect();
    let places = &draft.egress_places;
    let nobody = "it is for listeners of `kind` \"forward\" or \"redirected\", and there is none";
    let help = if draft.forward_listeners.is_empty() {
        nobody
    } else {
        "it is for what passes, and nothing does: `unmatched` of every listener is \"deny\", and so is every rule"
    };
    // A rule with a mistake may be meant to let something pass.
    if passing.is_empty() && !places.has_bad_rules {
        for (key, place) in &places.of_passing {
            report.warning(place, no_effect(key), help);
        }
    }
    if draft.forward_listeners.is_empty()
        && let Some(place) = &places.tunnel_idle_timeout
    {
        report.warning(place, no_effect("tunnel_idle_timeout"), nobody);
    }
    let Some((egress, _)) = &draft.egress else {
        return;
    };
    let is_by_proxy = |(_, forward): &&(String, Forwarding)| forward.redirection.is_none();
    let by_proxy = passing.into_iter().find(is_by_proxy);
    match (by_proxy, &places.deny, &places.proxy) {
        (Some((name, _)), Some(place), _) => denied_names(egress, name, place, report),
        (None, _, Some(place)) if !places.has_bad_rules && !is_used(draft, &egress.proxy) => {
            let help = "nothing is reached through it: nothing passes, and every upstream and credential has a `proxy` of its own";
            report.warning(place, no_effect("proxy"), help);
        }
        _ => {}
    }
}

fn no_effect(key: &str) -> String {
    format!("`{key}` of [egress] has no effect")
}

/// What a proxy resolves is compared with no prefix here.
fn denied_names(egress: &Egress, listener: &str, place: &SourceSpan, report: &Report<'_>) {
    // With "public", that addresses cannot be checked is an error.
    if egress.addresses == EgressAddresses::Any
        && let Some(proxy) = egress.proxy.proxies().next()
    {
        let message = format!(
            "`deny` of [egress] does not hold for names that pass by listener {}",
            QuotedWord(listener)
        );
        let help = format!(
            "the proxy {proxy} resolves them, so that only addresses that clients write are checked: deny the others there"
        );
        report.warning(place, message, help);
    }
}

/// Whether anything but what passes is reached as `[egress]` says.
fn is_used(draft: &Draft, proxy: &ProxyChoice) -> bool {
    let is_same = |choice: &ProxyChoice| choice == proxy;
    if matches!(proxy, ProxyChoice::Unsaid | ProxyChoice::Direct) {
        return true;
    }
    // With a mistake, it may be.
    let mut upstreams = draft.upstreams.values().flatten();
    let mut credentials = draft.credentials.values().flatten();
    let mut callers = draft.callers.values().flatten();
    upstreams.any(|(slot, _)| slot.as_ref().is_none_or(|it| is_same(&it.proxy)))
        || credentials.any(|(slot, _)| slot.as_ref().is_none_or(|it| is_same(&it.proxy)))
        || callers.any(|(slot, _)| {
            slot.as_ref().is_none_or(|caller| {
                let token = caller.token.as_ref();
                token.is_some_and(|token| matches!(token.issuer.keys, IssuerKeys::Discovery(_)))
            })
        })
        || draft.kubernetes.is_some()
}
