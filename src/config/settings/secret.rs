//! Secrets: read late, redacted by type, wiped on drop.

use std::fmt;

use zeroize::Zeroizing;

use super::NamedFile;

/// A value that must never be seen: `Debug` is redacted, there is no `Display`, and the memory is
/// wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// What about it looks like a mistake, and what to do about that. The secret is used unchanged all the
    /// same, since it may be meant so.
    pub fn likely_mistake(&self) -> Option<[&'static str; 2]> {
        let text = self.expose();
        let inner = text.trim_start_matches('\u{feff}');
        if inner.len() < text.len() {
            Some([
                "begins with a byte order mark, which is taken for a part of it",
                "save the file as UTF-8 without BOM",
            ])
        } else if text.trim().len() < text.len() {
            Some([
                "begins or ends with white space, which is taken for a part of it",
                "take it away; only one newline at the end is left out",
            ])
        } else if is_placeholder(text) {
            Some([
                "is a placeholder that nothing has filled in",
                "nothing is replaced here; `{ env = \"NAME\" }` reads a variable",
            ])
        } else {
            None
        }
    }

    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself. Every call is a place to look at in review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a secret comes from. Files are read again each time, so that rotation needs no restart.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the configuration itself; works, and is warned about for real secrets.
    Literal(Secret),
    /// `{ file = "..." }`: the file's text less one trailing newline.
    File(NamedFile),
    /// `{ env = "NAME" }`
    Env(String),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(secret) => secret.fmt(f),
            Self::File(file) => write!(f, "file {}", file.path().display()),
            Self::Env(name) => write!(f, "env {name}"),
        }
    }
}

/// Why a secret could not be read. Names the place, never the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// The environment variable is not set, or not UTF-8.
    #[error("environment variable {0} is not set")]
    Env(String),
    /// Nothing in it.
    #[error("{0} is empty")]
    Empty(String),
}

/// Whether it stands for a value that a shell, Kubernetes or a template should have put in its place.
fn is_placeholder(text: &str) -> bool {
    [("${", "}"), ("$(", ")"), ("{{", "}}")]
        .iter()
        .any(|(begin, end)| text.starts_with(begin) && text.ends_with(end))
}

/// Text less one newline at its end, as editors and `echo` write it; none if nothing is left.
fn one_line(text: &str) -> Option<Secret> {
    let line = text.strip_suffix('\n');
    let text = line.map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    (!text.is_empty()).then(|| Secret::new(text))
}

impl SecretSource {
    /// The current value.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::File(file) => {
                let path = || file.path().display().to_string();
                let failed = |reason: String| SecretError::File {
                    path: path(),
                    reason,
                };
                let bytes = file.read().map_err(|e| failed(e.to_string()))?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| failed("it is not UTF-8 text".to_owned()))?;
                one_line(text).ok_or_else(|| SecretError::Empty(path()))
            }
            Self::Env(name) => {
                let value = std::env::var(name).map(Zeroizing::new);
                let value = value.map_err(|_| SecretError::Env(name.clone()))?;
                let empty = || SecretError::Empty(format!("environment variable {name}"));
                one_line(&value).ok_or_else(empty)
            }
        }
    }

    /// The file it is read from, if it is a file.
    pub fn file(&self) -> Option<&NamedFile> {
        match self {
            Self::File(file) => Some(file),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_trimmed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (text, secret) in [
            ("a b", "a b"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r", "a\r"),
            (" a ", " a "),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = SecretSource::File(path.clone().into()).read().unwrap();
            assert_eq!(read.expose(), secret, "{text:?}");
        }
        for empty in ["", "\n", "\r\n"] {
            std::fs::write(&path, empty).unwrap();
            let error = SecretSource::File(path.clone().into()).read().unwrap_err();
            assert!(matches!(error, SecretError::Empty(_)), "{empty:?}");
        }
    }

    #[test]
    fn what_looks_like_a_mistake_is_told() {
        for (text, word) in [
            ("\u{feff}a", "byte order mark"),
            (" a", "white space"),
            ("a\t", "white space"),
            ("a\n", "white space"),
            ("a\u{a0}", "white space"),
            ("${CRM_SECRET}", "placeholder"),
            ("$(CRM_SECRET)", "placeholder"),
            ("{{ .Values.secret }}", "placeholder"),
        ] {
            let [what, _] = Secret::new(text).likely_mistake().unwrap();
            assert!(what.contains(word), "{text:?}: {what}");
        }
        for text in [
            "a",
            "a b",
            "$a",
            "a${b}",
            "a$(b)",
            "$()x",
            "{b}",
            "-----BEGIN",
        ] {
            assert_eq!(Secret::new(text).likely_mistake(), None, "{text:?}");
        }
    }

    #[test]
    fn debug_shows_the_place_at_most() {
        let literal = SecretSource::Literal(Secret::new("hunter2"));
        assert_eq!(format!("{literal:?}"), "[redacted]");
        let file = SecretSource::File("/run/secrets/crm".into());
        assert_eq!(format!("{file:?}"), "file /run/secrets/crm");
    }
}
