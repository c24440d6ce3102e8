//! Who may write the files that are read: a user who can change a secret or the configuration decides where tokens go.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::report::{Report, SourceSpan};
use super::settings::NamedFile;
use super::settings::file::may_be_secret;
use super::value::Value;
use crate::files;

/// Write permission for others than the owner and the group.
const OTHERS_WRITE: u32 = 0o002;
/// In such a directory everyone replaces only what is their own.
const STICKY: u32 = 0o1000;

/// The same as [`check`] of a file that holds a secret. What is no file, and may be the secret in the place of its path, is not
/// shown.
pub(super) fn check_secret(value: &Value<'_>, file: &NamedFile) {
    if may_be_secret(file.path()) {
        value.conceal();
    }
    check(value, file);
}

/// Warns of a secret, key or certificate that every user of the machine can replace.
pub(super) fn check(value: &Value<'_>, file: &NamedFile) {
    if let Some(open) = open_to_all(file.path()) {
        let message = format!("{} can be changed by every user", value.name());
        value.report.warning(&value.place, message, help(&open));
    }
}

/// The same of a configuration file, or a directory of such files.
pub(super) fn check_configuration(report: &Report<'_>, place: &SourceSpan, path: &Path) {
    if let Some(open) = open_to_all(path) {
        let message = "the configuration can be changed by every user";
        report.warning(place, message, help(&open));
    }
}

/// The same of a directory from which clients read whom they trust.
pub(super) fn check_trust_directory(report: &Report<'_>, place: &SourceSpan, path: &Path) {
    if let Some(open) = open_to_all(path) {
        let message = "`trust_directory` can be changed by every user";
        report.warning(place, message, help(&open));
    }
}

fn help(open: &Path) -> String {
    format!("take that permission away: chmod o-w {}", open.display())
}

/// What everyone may write: the file itself, or a directory in which it, or the link that leads to it,
/// can be replaced.
fn open_to_all(path: &Path) -> Option<PathBuf> {
    let named = path.to_owned();
    files::run_within_timeout(path, move || Ok(open_now(&named))).ok()?
}

fn open_now(path: &Path) -> Option<PathBuf> {
    let target = path.canonicalize().ok();
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    let places = [
        Some(path.to_owned()),
        parent(path),
        target.as_deref().and_then(parent),
    ];
    places.into_iter().flatten().find(|place| is_open(place))
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| {
        let mode = found.permissions().mode();
        let keeps_apart = found.is_dir() && mode & STICKY != 0;
        mode & OTHERS_WRITE != 0 && !keeps_apart
    })
}
