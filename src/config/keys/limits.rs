//! The `limits` tables of callers and routes.

use super::super::kinds::OptionalInteger;
use super::super::rules::Condition::{Within, Written};
use super::super::rules::Rule;

/// Beyond that nothing is limited.
const MOST: usize = 1_000_000;

const fn limit() -> OptionalInteger {
    OptionalInteger::new(1..=MOST, "no limit")
}

/// What a table is held to whose `limits` say all there is; a caller has those of every caller beside its own.
pub(super) const BURST_RULES: &[Rule] = &[Rule {
    says: "`burst` of `limits` belongs to `requests_per_second`.",
    when: Within("limits", &Written("burst")),
    then: Within("limits", &Written("requests_per_second")),
}];

keys! {
    /// How much a caller or a route may ask for, in each process.
    LIMITS: Limits, LIMITS_TABLE = "[callers.NAME.limits]" {
        /// The most requests a second, over time. What is more is answered 429.
        requests_per_second: OptionalInteger = limit();

        /// How many requests may come at once after a pause. Only with `requests_per_second`.
        burst: OptionalInteger = OptionalInteger::new(1..=MOST, "`requests_per_second`");

        /// The most requests at the same time.
        concurrent: OptionalInteger = limit();

        /// The most tunnels at the same time.
        tunnels: OptionalInteger = limit();
    }
}
