//! `[audit]`

use std::path::PathBuf;

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Where the lines go.
    pub file: AuditFile,
    /// What becomes of a line that cannot be written.
    pub overflow: AuditOverflow,
}

/// `audit.file`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditFile {
    /// Standard output.
    Stdout,
    /// A file that lines are appended to.
    Path(PathBuf),
}

/// `audit.overflow`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOverflow {
    /// It is dropped and counted.
    Drop,
    /// What it is about is refused.
    Refuse,
}
