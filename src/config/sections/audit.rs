//! Reads `[audit]`.

use super::super::file_rules::FileRules;
use super::super::keys::AUDIT;
use super::super::read::Section;
use super::super::settings::{Audit, AuditFile};

/// The word for standard output.
const STDOUT: &str = "stdout";

impl Audit {
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Self> {
        let overflow = section.read(&AUDIT.overflow);
        let (_, file) = section.read(&AUDIT.file)?;
        let file = match file {
            STDOUT => AuditFile::Stdout,
            path => AuditFile::Path(files.path(path)),
        };
        Some(Self { file, overflow })
    }
}
