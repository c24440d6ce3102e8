//! Files that are made whole or not at all, and never in place of others.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What a file without secrets may be: the umask takes away from it.
pub(super) const FOR_ALL: u32 = 0o644;
/// What a file with a secret may be.
pub(super) const FOR_OWNER: u32 = 0o600;

/// A file that was made a moment ago. Dropping it removes it again.
pub(super) struct NewFile(Option<PathBuf>);

impl NewFile {
    /// Makes it, with all that it holds.
    ///
    /// # Errors
    /// Why it is not there, or that something else is there.
    pub(super) fn create(path: &Path, text: &[u8], mode: u32) -> Result<Self, String> {
        write(path, text, mode).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => format!("cannot write {}: {error}", path.display()),
        })?;
        Ok(Self(Some(path.to_owned())))
    }

    /// It stays.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // Whoever has removed it already has done the same.
            let _ = fs::remove_file(path);
        }
    }
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".sidebearer-init-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory(path))?;
    file.write_all(text)?;
    // Before it has its name: after a crash there is no empty file.
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Whether a file can be made here, as far as can be told beforehand.
///
/// # Errors
/// Why not.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let file = path.join("sidebearer.toml");
            return Err(format!(
                "{shown} is a directory: name a file, such as {}",
                file.display()
            ));
        }
        Ok(_) => return Err(exists(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{shown}: {error}")),
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() {
        return Err(format!("{shown} is no name of a file"));
    }
    let directory = directory(path);
    let shown = directory.display();
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(format!("{shown} is no directory")),
        Err(error) => {
            return Err(format!(
                "{shown}: {error}; it has to be there: mkdir -p {shown}"
            ));
        }
    }
    let may = access(directory, Access::WRITE_OK | Access::EXEC_OK);
    may.map_err(|error| {
        format!(
            "nothing can be written in {shown}: {}",
            io::Error::from(error)
        )
    })
}

fn exists(path: &Path) -> String {
    format!("{} exists, and is not overwritten", path.display())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
