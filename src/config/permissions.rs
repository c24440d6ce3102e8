//! Who may write the files that are read: a user who can change a secret or the configuration decides where tokens go.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::report::{Report, SourceSpan};
use super::settings::NamedFile;
use super::settings::file::may_be_secret;
use super::value::Value;
use crate::{files, links};

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

/// What everyone may write: the file itself, or a directory in which a name is looked up on the way to it, through every link,
/// so that one can put another in its place.
fn open_to_all(path: &Path) -> Option<PathBuf> {
    let named = path.to_owned();
    files::run_within_timeout(path, move || Ok(open_now(&named))).ok()?
}

fn open_now(path: &Path) -> Option<PathBuf> {
    if is_open(path) {
        return Some(path.to_owned());
    }
    let mut open = None;
    links::follow(path, |directory, _, _| {
        if open.is_none() && is_open(directory) {
            open = Some(directory.to_owned());
        }
    });
    open
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| {
        let mode = found.permissions().mode();
        let keeps_apart = found.is_dir() && mode & STICKY != 0;
        mode & OTHERS_WRITE != 0 && !keeps_apart
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_directory_at_any_height_above_a_file_or_its_link_counts() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let allow = |name: &str, mode| {
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir_all(path("a/b/c")).unwrap();
        fs::create_dir_all(path("links/d")).unwrap();
        fs::write(path("a/b/c/secret"), "s3cret").unwrap();
        std::os::unix::fs::symlink(path("a/b/c/secret"), path("links/d/secret")).unwrap();
        let of_file = || open_now(&path("a/b/c/secret"));
        let of_link = || open_now(&path("links/d/secret"));
        assert_eq!((of_file(), of_link()), (None, None));
        for open in ["a", "a/b", "a/b/c", "a/b/c/secret"] {
            allow(open, 0o777);
            assert_eq!(of_file(), Some(path(open)), "{open}");
            let through_link = if open.ends_with("secret") {
                "links/d/secret"
            } else {
                open
            };
            assert_eq!(of_link(), Some(path(through_link)), "{open}");
            allow(open, 0o755);
        }
        allow("links", 0o777);
        assert_eq!((of_file(), of_link()), (None, Some(path("links"))));
        allow("links", 0o1777);
        assert_eq!(of_link(), None);
    }

    #[test]
    fn every_directory_on_the_way_counts_and_none_that_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let allow = |name: &str, mode| {
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        };
        for name in ["links/d", "second", "third/d", "files", "aside"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, path(name)).unwrap();
        };
        fs::write(path("files/secret"), "s3cret").unwrap();
        link("../../second/secret", "links/d/secret");
        link("../third/d/secret", "second/secret");
        link("../../files/secret", "third/d/secret");
        // The same by a link to a directory.
        link("../second/next", "links/next");
        link("../third/last", "second/next");
        link("../files", "third/last");
        let ways = ["links/d/secret", "links/next/secret"];
        for way in ways {
            assert_eq!(open_now(&path(way)), None, "{way}");
            for open in ["links", "second", "third", "files"] {
                allow(open, 0o777);
                assert_eq!(open_now(&path(way)), Some(path(open)), "{way}: {open}");
                allow(open, 0o755);
            }
        }
        // Nothing in it says where its parent is.
        allow("aside", 0o777);
        assert_eq!(open_now(&path("aside/../files/secret")), None);
        assert_eq!(open_now(&path("aside/secret")), Some(path("aside")));
    }
}
