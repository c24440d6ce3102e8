//! Which files a configuration consists of, and what stands in them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::file_rules::is_configuration_name;
use super::source_file::SourceFile;
use crate::files;

/// What is longer was not written for us. No key can say another number: it would stand in there.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// What stands in a file, or why it cannot be read.
pub(super) type OpenedFile = (SourceFile, Option<String>);

/// The configuration files of a directory in order; `None` if it is not a directory.
pub(super) fn list(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let named = path.to_owned();
    files::run_within_timeout(path, move || list_now(&named))
}

fn list_now(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if is_configuration_name(&path) && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(Some(paths))
}

/// The text of a file, or an empty one and why.
pub(super) fn open(path: PathBuf) -> OpenedFile {
    let read = read(&path)
        .map_err(|error| format!("cannot read the file: {error}"))
        .and_then(|bytes| {
            let bytes = Zeroizing::new(bytes);
            let text = str::from_utf8(&bytes).map_err(|error| {
                let before = &bytes[..error.valid_up_to()];
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                format!("line {line} of the file is not UTF-8 text")
            })?;
            Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
        });
    let (text, failure) = match read {
        Ok(text) => (text, None),
        Err(failure) => (String::new(), Some(failure)),
    };
    (SourceFile::new(path, text), failure)
}

/// The bytes of a configuration file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = path.to_owned();
    let (file, length) = files::run_within_timeout(path, move || {
        let file = File::open(named)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    })?;
    // Memory of this thread, which ends soon. That of a thread that reads files would stay.
    let mut bytes = Vec::with_capacity(length.min(MAX_CONFIG_BYTES) as usize + 1);
    let bytes = files::run_within_timeout(path, move || {
        file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    })?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        Err(io::Error::other("it is longer than 16 MiB"))
    } else {
        Ok(bytes)
    }
}
