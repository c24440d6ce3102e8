//! Why nothing can be intercepted.

use std::io;
use std::path::PathBuf;

use crate::ca::{IssuerError, KeyDirectoryError};
use crate::tls::FileError;

/// Why nothing can be intercepted. The texts name files, never their content.
#[derive(Debug, thiserror::Error)]
pub enum InterceptionError {
    /// The CA cannot be read, or made.
    #[error(transparent)]
    KeyDirectory(#[from] KeyDirectoryError),
    /// It cannot be used.
    #[error("{}: {error}", path.display())]
    Issuer {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: IssuerError,
    },
    /// The file system of the CA does not answer.
    #[error("{}: {error}", path.display())]
    Unresponsive {
        /// The key directory.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// The other CAs for clients cannot be read.
    #[error(transparent)]
    Roots(#[from] FileError),
    /// What clients need cannot be written.
    #[error("{} cannot be written: {error}", directory.display())]
    Trust {
        /// The trust directory.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
}
