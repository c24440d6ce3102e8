//! A file that the configuration names: a secret, a key, a certificate.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::words::secret_part;
use crate::files;

/// What is longer is neither a secret nor a key, but a mistake. It is the default of `server.max_file_bytes`.
pub(in crate::config) const MAX_BYTES: usize = 1 << 20;

/// Where a file is, and how much of it is read at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedFile {
    path: PathBuf,
    max_bytes: usize,
}

/// A path in a message. What is not a path may be a key or a token that was written where its file belongs, or a URL with a
/// password.
pub(in crate::config) fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.split('/').any(is_no_name) || secret_part(&text, false).is_some() {
        "its file: what stands there is no path".to_owned()
    } else {
        text
    }
}

/// The same of a file that holds a secret, which may stand in the place of its path.
pub(in crate::config) fn shown_of_secret(path: &Path) -> String {
    if may_be_secret(path) {
        "its file: what stands there may be the secret itself".to_owned()
    } else {
        shown(path)
    }
}

/// Whether a path that leads nowhere may be a key or a token in base64 that was written in its place. A slash is a character
/// of base64 too. So a path is taken for base64 if none of its directories exists and it has capital letters, small letters
/// and digits, or a `+` or `=`. A single name is taken for a secret only if it is as long as one.
pub(in crate::config) fn may_be_secret(path: &Path) -> bool {
    const SHORTEST: usize = 32;
    let Some(Nowhere { missing, .. }) = Nowhere::of(path) else {
        return false;
    };
    let has = |of: fn(&char) -> bool| missing.chars().any(|c| of(&c));
    let is_base64 = missing
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "+/=-_".contains(c));
    let is_mixed =
        has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit);
    let is_long = missing.contains('/') || missing.len() >= SHORTEST;
    is_base64 && is_long && (is_mixed || missing.contains(['+', '=']))
}

/// A path that leads nowhere.
pub(in crate::config) struct Nowhere {
    /// How far it leads.
    pub(in crate::config) there: PathBuf,
    /// What is not there.
    missing: String,
}

impl Nowhere {
    /// Whether a path is one. What this user may not look at, and what cannot be looked at in time, is there in some way.
    pub(in crate::config) fn of(path: &Path) -> Option<Self> {
        let named = path.to_owned();
        let found = files::run_within_timeout(path, move || Ok(Self::of_now(&named)));
        found.ok().flatten()
    }

    fn of_now(path: &Path) -> Option<Self> {
        let is_there = |path: &Path| {
            let found = path.symlink_metadata();
            path.as_os_str().is_empty() || !found.is_err_and(|error| is_missing(error.kind()))
        };
        if is_there(path) {
            return None;
        }
        let there = path.ancestors().find(|path| is_there(path))?;
        let missing = path.strip_prefix(there).ok()?.to_str()?.to_owned();
        let there = there.to_owned();
        Some(Self { there, missing })
    }
}

/// Whether an error says that a path leads nowhere.
fn is_missing(error: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error, NotFound | NotADirectory | InvalidFilename)
}

/// Whether it is something else than the name of a file: PEM, a JWT or JWK, or several lines.
pub(in crate::config) fn is_no_name(text: &str) -> bool {
    let begins = ["eyJ", "{"].iter().any(|start| text.starts_with(start));
    begins || text.contains("-----") || text.contains(char::is_control)
}

impl<P: Into<PathBuf>> From<P> for NamedFile {
    fn from(path: P) -> Self {
        Self::new(path.into(), MAX_BYTES)
    }
}

impl NamedFile {
    /// One that may hold as many bytes.
    pub fn new(path: PathBuf, max_bytes: usize) -> Self {
        Self { path, max_bytes }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds now.
    ///
    /// # Errors
    /// Beside those of the system: it does not answer within [`files::timeout`], it is not a regular
    /// file, or longer than it may be.
    pub fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let (path, max_bytes) = (self.path.clone(), self.max_bytes);
        files::run_within_timeout(&self.path, move || read(&path, max_bytes))
    }
}

fn read(path: &Path, max_bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // The kind of file is checked before it is opened: to open a pipe waits until somebody writes to it.
    let length = match std::fs::metadata(path)? {
        file if file.is_file() => file.len().min(max_bytes as u64) as usize,
        _ => return Err(io::Error::other("it is no regular file")),
    };
    // As large as it gets: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    let file = File::open(path)?;
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        let message = format!("it has more than the {max_bytes} bytes of max_file_bytes");
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_may_not_be_looked_at_is_no_secret_and_one_that_leads_nowhere_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let below = |name: &str, rest: &str| directory.path().join(name).join(rest);
        std::fs::write(directory.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("circle", directory.path().join("circle")).unwrap();
        let long = "Ab1".repeat(100);
        for nowhere in [
            below("nowhere", "Team1/key"),
            below("file", "Team1/key"),
            below(&long, "key"),
        ] {
            assert!(may_be_secret(&nowhere), "{}", nowhere.display());
        }
        // Nobody, not even root, can look further than this.
        let circle = below("circle", "Team1/key");
        let error = circle.symlink_metadata().unwrap_err().kind();
        assert!(!is_missing(error), "{error:?}");
        assert!(!may_be_secret(&circle));
        assert!(shown_of_secret(&circle).ends_with("circle/Team1/key"));
        assert!(!is_missing(io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let reason = |file: &NamedFile| match file.read() {
            Ok(bytes) => panic!("{} bytes", bytes.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(reason(&"/dev/zero".into()), "it is no regular file");
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(reason(&directory.path().into()), "it is no regular file");
        for max_bytes in [7, MAX_BYTES] {
            let path = directory.path().join("secret");
            let file = NamedFile::new(path.clone(), max_bytes);
            std::fs::write(&path, vec![b'x'; max_bytes]).unwrap();
            assert_eq!(file.read().unwrap().len(), max_bytes);
            std::fs::write(&path, vec![b'x'; max_bytes + 1]).unwrap();
            let expected = format!("it has more than the {max_bytes} bytes of max_file_bytes");
            assert_eq!(reason(&file), expected);
        }
    }
}
