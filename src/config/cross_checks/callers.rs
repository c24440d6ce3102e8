//! What does not fit together about callers.

mod admission;
mod admitted;
mod audience;
mod closed;
mod credentials;
mod identities;
mod lists;
mod means;
pub(in crate::config) mod questions;

use std::collections::BTreeSet;

use super::super::draft::{Draft, Tables};
use super::super::report::Report;
use super::super::sections::limits::BURST_ALONE;
use super::super::words::QuotedWord;
use admission::{ListenerCallers, Listeners};

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let listeners = Listeners::of(draft);
    identities::check(draft, report);
    means::check(draft, report);
    lists::check(&listeners, report);
    credentials::check(&listeners, report);
    if draft.are_whole(&[Tables::Callers]) {
        limits(draft, report);
    }
    kubernetes(draft, report);
    unused(draft, &listeners.all, report);
}

/// A rate may come from `[callers."*"]`, so that only the whole shows whether there is one.
fn limits(draft: &Draft, report: &Report<'_>) {
    for (caller, place) in draft.sound_callers() {
        let limits = &caller.limits;
        if limits.burst.is_some() && limits.requests_per_second.is_none() {
            let name = QuotedWord(&caller.name);
            let message = format!("caller {name} has `burst` without `requests_per_second`");
            report.error(place, message, BURST_ALONE);
        }
    }
}

fn kubernetes(draft: &Draft, report: &Report<'_>) {
    let mut accounts = draft
        .sound_callers()
        .filter(|(caller, _)| caller.service_account.is_some());
    match (accounts.next(), &draft.kubernetes) {
        (Some((caller, place)), None) => {
            let name = QuotedWord(&caller.name);
            let message = format!("`service_account` of caller {name} needs [kubernetes]");
            let help = "add [kubernetes]: within a pod it needs no key of its own";
            report.error(place, message, help);
        }
        (None, Some((_, place))) if draft.are_whole(&[Tables::Callers]) => {
            let help = "no caller has a `service_account`";
            report.warning(place, "[kubernetes] has no effect", help);
        }
        _ => {}
    }
}

/// Not an error: who takes a caller out of all lists wants it refused. An error would keep the lists of before.
fn unused(draft: &Draft, listeners: &[ListenerCallers<'_>], report: &Report<'_>) {
    let named: BTreeSet<_> = listeners.iter().flat_map(ListenerCallers::named).collect();
    let any = |listener: &ListenerCallers<'_>| listener.lets_any_in() || listener.only_reports();
    let all_are_known = draft.are_whole(&[Tables::Listeners]) && !listeners.iter().any(any);
    for (name, slot) in &draft.callers {
        if let Some((_, place)) = slot
            && all_are_known
            && !named.contains(name.as_str())
        {
            let message = format!("caller {} is never let in", QuotedWord(name));
            report.warning(place, message, "no listener names it in `callers`");
        }
    }
    if let Some((_, place)) = &draft.caller_limits
        && draft.callers.is_empty()
        && draft.are_whole(&[Tables::Callers])
    {
        let help = "it is for other callers, and there is none";
        report.warning(place, "[callers.\"*\"] has no effect", help);
    }
}
