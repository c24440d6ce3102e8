//! The files in the trust directory.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// Everyone may read them: there is nothing secret in them.
const READABLE: u32 = 0o644;

/// Puts a file there as a whole.
pub(super) fn put(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = directory.join(name);
    let is_there = fs::read(&path).is_ok_and(|found| found == content);
    let is_readable =
        fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o777 == READABLE);
    if is_there && is_readable {
        return Ok(());
    }
    let mut file = NamedTempFile::with_prefix_in(format!(".{name}."), directory)?;
    file.write_all(content)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(READABLE))?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}
