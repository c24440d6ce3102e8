//! The record of every decision: one JSON line for each request, tunnel, token request and reload, and counts of refused
//! connections.
//!
//! - `record`: what is recorded; `line`: how it is written.
//! - `output`: the file, or standard output.
//! - `queue`: what waits to be written.
//! - `writer`: the thread that writes.
//! - `trail`: where records are left.
//! - `trails`: those of all configurations that are still in use.
//!
//! Whoever leaves a record never waits. A thread of its own formats and writes them.

mod line;
mod output;
mod queue;
mod record;
mod trail;
mod trails;
mod writer;

pub use line::who_and_what;
pub use queue::RecordPlace;
pub use record::{
    AuditDecision, AuditOutcome, NameBook, Record, ReloadEvent, RequestEvent, RequestText, Subject,
    SubjectNames, TokenEvent, TunnelEvent,
};
pub use trail::{AuditTrail, AuditUnavailable, Auditing, MAX_WAITING};
pub use trails::{AuditStatus, AuditTrails};

#[cfg(test)]
mod tests;
