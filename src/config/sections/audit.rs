//! Reads `[audit]`.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::file_rules::FileRules;
use super::super::keys::AUDIT;
use super::super::read::Section;
use super::super::report::Expected;
use super::super::settings::file::shown;
use super::super::settings::{Audit, AuditFile};
use super::super::words::is_close;
use crate::files;

/// The word for standard output.
const STDOUT: &str = "stdout";
/// What other programs call a stream, which would be a file here.
const STREAMS: [&str; 3] = ["-", "stderr", "syslog"];

impl Audit {
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Self> {
        let overflow = section.read(&AUDIT.overflow);
        let (value, file) = section.read(&AUDIT.file)?;
        let file = value.check(match file {
            STDOUT => Ok(AuditFile::Stdout),
            path => file_of(path, files).map(|path| {
                files.note_written(path.clone(), &value.place, "the record of [audit]");
                AuditFile::Path(path)
            }),
        });
        Some(Self {
            file: file?,
            overflow,
        })
    }
}

/// A file that can be there, as far as that can be known without making it.
fn file_of(text: &str, files: &FileRules<'_>) -> Result<PathBuf, Expected> {
    if STREAMS.contains(&text) || is_close(text, [STDOUT]) {
        return Err(format!("expected \"{STDOUT}\" or the path of a file").into());
    }
    let path = files.path(text);
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let directory = directory.unwrap_or(Path::new(".")).to_owned();
    let shown = shown(&directory);
    let named = path.clone();
    let found = files::run_within_timeout(&path, move || {
        let is_directory = fs::metadata(directory)?.is_dir();
        let there = fs::symlink_metadata(named).ok();
        Ok((is_directory, there.map(|file| file.file_type())))
    });
    match found {
        Ok((false, _)) => Err(format!("{shown} is not a directory").into()),
        Ok((true, Some(kind))) if kind.is_dir() => {
            Err(format!("{} is a directory", path.display()).into())
        }
        Ok((true, Some(kind))) if kind.is_symlink() => {
            let what = "is a symbolic link, which is not followed: name the file that it leads to";
            Err(format!("{} {what}", path.display()).into())
        }
        Ok((true, _)) => Ok(path),
        Err(error) => Err(format!("the directory {shown} cannot be used: {error}").into()),
    }
}
