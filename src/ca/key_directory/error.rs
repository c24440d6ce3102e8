//! Why the directory of a CA cannot be used.

use std::io;
use std::path::PathBuf;

use crate::ca::issuer::IssuerError;

/// Why the directory of a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirectoryError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was looked at, or made.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others than its owner may use it.
    #[error("{}: {what}; {help}", path.display())]
    Permissions {
        /// The directory, or a key in it.
        path: PathBuf,
        /// Who may do what.
        what: String,
        /// What to do.
        help: String,
    },
    /// One of two files that belong together is missing.
    #[error("{} is there without {other}: put both there, or take it away", path.display())]
    Half {
        /// The one that is there.
        path: PathBuf,
        /// The name of the other.
        other: &'static str,
    },
    /// What is to be made is there already.
    #[error("{} is there already; nothing was changed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What is needed is not there.
    #[error("{} is missing: {help}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// How it comes there.
        help: &'static str,
    },
    /// A file does not hold what it should.
    #[error("{}: {error}", path.display())]
    Issuer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: IssuerError,
    },
    /// The next issuer may sign for less than the issuer.
    #[error(
        "{}: the successor may not sign for {name}, for which the issuer may; nothing was changed: {help}",
        path.display()
    )]
    Names {
        /// The file of the next issuer.
        path: PathBuf,
        /// What is missing.
        name: String,
        /// What to do.
        help: &'static str,
    },
    /// A CA cannot be made for these domains.
    #[error("no CA can be made: {0}")]
    Create(#[from] rcgen::Error),
}
