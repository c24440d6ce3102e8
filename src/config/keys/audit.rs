//! `[audit]`

use super::super::kinds::{Choice, IfAbsent, Text};
use super::super::settings::AuditOverflow;

const OVERFLOWS: &[(&str, AuditOverflow)] = &[
    ("drop", AuditOverflow::Drop),
    ("refuse", AuditOverflow::Refuse),
];

keys! {
    /// The record of every decision.
    AUDIT: Audit, AUDIT_TABLE = "[audit]" {
        /// The file that lines are appended to, or `"stdout"`.
        file: Text = Text::new(
            "path of a file, or `stdout`",
            IfAbsent::Required("a path such as \"/var/log/sidebearer/audit.jsonl\", or \"stdout\""),
        );

        /// What becomes of a line that cannot be written. `"drop"`: it is dropped and counted. `"refuse"`: what it is
        /// about is refused before anything leaves.
        overflow: Choice<AuditOverflow> = Choice::new(OVERFLOWS, "drop");
    }
}
