//! What does not fit together about callers.

use super::super::draft::Draft;
use super::super::report::{Report, SourceSpan};
use super::super::settings::Caller;
use super::super::words::QuotedWord;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    identities(draft, report);
}

/// Callers without mistakes, and where they are.
fn callers(draft: &Draft) -> impl Iterator<Item = (&Caller, &SourceSpan)> {
    let slots = draft.callers.values().flatten();
    slots.filter_map(|(caller, place)| Some((caller.as_ref()?, place)))
}

/// One identity that two callers could claim would be nobody's.
fn identities(draft: &Draft, report: &Report<'_>) {
    let callers: Vec<_> = callers(draft).collect();
    for (index, (caller, place)) in callers.iter().enumerate() {
        for (other, _) in &callers[..index] {
            if let (Some(pattern), Some(others)) = (&caller.spiffe_id, &other.spiffe_id)
                && pattern.overlaps(others)
            {
                let message = format!(
                    "`spiffe_id` of caller {} has IDs in common with that of {}",
                    QuotedWord(&caller.name),
                    QuotedWord(&other.name)
                );
                let help = format!("{others} and {pattern} stand for the same ID: tell them apart");
                report.error(place, message, help);
            }
        }
    }
}
