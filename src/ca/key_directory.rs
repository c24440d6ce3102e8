//! The directory that holds a CA: its issuer, perhaps the successor of that, and the roots of before.
//!
//! Everything here blocks, and is run where that is allowed.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, StatVfsMountFlags, flock, statvfs};
use zeroize::Zeroizing;

use super::certificates::{certificates, to_pem};
use super::create::create;
use super::issuer::{Issuer, IssuerError};

/// The key of the issuer.
pub const KEY_FILE: &str = "issuer.key";
/// The certificate of the issuer and those above it, the root last.
pub const CHAIN_FILE: &str = "issuer.pem";
/// The same of the issuer that is to come.
pub const NEXT_KEY_FILE: &str = "next.key";
/// The same of the issuer that is to come.
pub const NEXT_CHAIN_FILE: &str = "next.pem";
/// The roots of issuers that were in use before.
pub const PREVIOUS_FILE: &str = "previous.pem";

/// No file of a CA is longer.
const MOST_BYTES: u64 = 1 << 20;
/// Any permission of those who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// What the group may not do with a key, and may not do at all unless the key is root's.
const GROUP_CHANGES: u32 = 0o030;
const GROUP: u32 = 0o070;

/// The directory of a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDirectory {
    path: PathBuf,
}

/// What such a directory holds beside the issuer: whose roots are published, too.
pub struct OtherRoots {
    /// The certificates of the issuer that is to come, in PEM.
    pub next: Option<Vec<u8>>,
    /// The roots of before, in PEM.
    pub previous: Option<Vec<u8>>,
}

/// The files of an issuer.
pub struct HeldIssuer {
    /// PEM.
    pub chain: Vec<u8>,
    /// PEM.
    pub key: Zeroizing<Vec<u8>>,
}

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
    /// A CA cannot be made for these domains.
    #[error("no CA can be made: {0}")]
    Create(#[from] rcgen::Error),
}

/// What a switch to the next issuer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// The next issuer is the issuer now.
    Whole,
    /// An earlier switch had been interrupted, and has been finished.
    Finished,
}

impl KeyDirectory {
    /// The one at this path, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What it holds now. `None` for the issuer if neither of its files is there; the directory itself may be missing.
    ///
    /// # Errors
    /// Others may read the key or the directory, a file is missing or cannot be read.
    pub fn read(&self) -> Result<(OtherRoots, Option<HeldIssuer>), KeyDirectoryError> {
        // So that a switch is seen as a whole. Where there are no locks, and no directory, nothing is switched either.
        let directory = File::open(&self.path).ok();
        let _lock =
            directory.filter(|directory| flock(directory, FlockOperation::LockShared).is_ok());
        self.read_unlocked()
    }

    fn read_unlocked(&self) -> Result<(OtherRoots, Option<HeldIssuer>), KeyDirectoryError> {
        if let Some(found) = self.metadata("")? {
            self.check_directory(&found)?;
        }
        let (chain, key) = (self.content(CHAIN_FILE)?, self.key(KEY_FILE)?);
        let issuer = match (chain, key) {
            (Some(chain), Some(key)) => Some(HeldIssuer {
                chain: chain.to_vec(),
                key,
            }),
            (None, None) => None,
            (Some(_), None) => return Err(self.half(CHAIN_FILE, KEY_FILE)),
            (None, Some(_)) => return Err(self.half(KEY_FILE, CHAIN_FILE)),
        };
        // The key of the successor is not needed before the switch, and need not be on every machine.
        self.key(NEXT_KEY_FILE)?;
        let others =
            |name| Ok::<_, KeyDirectoryError>(self.content(name)?.map(|bytes| bytes.to_vec()));
        let files = OtherRoots {
            next: others(NEXT_CHAIN_FILE)?,
            previous: others(PREVIOUS_FILE)?,
        };
        Ok((files, issuer))
    }

    /// The same; where there is no issuer, one for `domains` is made and kept. Several processes that do so at once end
    /// with one CA.
    ///
    /// # Errors
    /// Those of [`read`](Self::read), and the files cannot be made.
    pub fn read_or_create(
        &self,
        domains: &[String],
    ) -> Result<(OtherRoots, HeldIssuer), KeyDirectoryError> {
        if let Ok((files, Some(issuer))) = self.read() {
            return Ok((files, issuer));
        }
        // Nothing there, or half of it, which another process may be about to complete.
        let _lock = self.lock()?;
        let (files, issuer) = self.read_unlocked()?;
        if let Some(issuer) = issuer {
            return Ok((files, issuer));
        }
        let made = self.write_new(domains, KEY_FILE, CHAIN_FILE)?;
        Ok((files, made))
    }

    /// Makes an issuer for `domains`, and the directory with it.
    ///
    /// # Errors
    /// There is one already, or the files cannot be made.
    pub fn create(&self, domains: &[String]) -> Result<(), KeyDirectoryError> {
        let _lock = self.lock()?;
        self.refuse_existing([KEY_FILE, CHAIN_FILE])?;
        self.write_new(domains, KEY_FILE, CHAIN_FILE).map(drop)
    }

    /// Makes the issuer that is to come. It is published and signs nothing until the [switch](Self::switch).
    ///
    /// # Errors
    /// There is no issuer yet, there is a successor already, or the files cannot be made.
    pub fn create_successor(&self, domains: &[String]) -> Result<(), KeyDirectoryError> {
        let _lock = self.lock()?;
        if self.read_unlocked()?.1.is_none() {
            let help =
                "without an issuer there is nothing to succeed; make one without --successor";
            let path = self.file(CHAIN_FILE);
            return Err(KeyDirectoryError::Missing { path, help });
        }
        self.refuse_existing([NEXT_KEY_FILE, NEXT_CHAIN_FILE])?;
        self.write_new(domains, NEXT_KEY_FILE, NEXT_CHAIN_FILE)
            .map(drop)
    }

    /// Puts the next issuer in the place of the issuer. The root of before goes on being published; its key is gone. A
    /// switch that was interrupted is finished.
    ///
    /// # Errors
    /// There is no next issuer, it cannot be used, or the files cannot be replaced.
    pub fn switch(&self, now: SystemTime) -> Result<Switched, KeyDirectoryError> {
        let _lock = self.lock()?;
        let Some(next) = self.content(NEXT_CHAIN_FILE)? else {
            let help = "`sidebearer ca create --successor` makes it";
            let path = self.file(NEXT_CHAIN_FILE);
            return Err(KeyDirectoryError::Missing { path, help });
        };
        let next_key = self.key(NEXT_KEY_FILE)?;
        let is_interrupted = next_key.is_none();
        let key = match next_key {
            Some(key) => key,
            // It has been moved, or was never here.
            None => self
                .key(KEY_FILE)?
                .ok_or_else(|| self.half(NEXT_CHAIN_FILE, NEXT_KEY_FILE))?,
        };
        Issuer::read(&next, &key, now).map_err(|error| {
            let of_key = matches!(error, IssuerError::Key(_)) && is_interrupted;
            if of_key {
                return self.half(NEXT_CHAIN_FILE, NEXT_KEY_FILE);
            }
            let path = self.file(NEXT_CHAIN_FILE);
            KeyDirectoryError::Issuer { path, error }
        })?;
        self.keep_root()?;
        // In this order: what is left after an interruption is known by the key being where it belongs.
        if !is_interrupted {
            self.rename(NEXT_KEY_FILE, KEY_FILE)?;
        }
        self.rename(NEXT_CHAIN_FILE, CHAIN_FILE)?;
        self.sync();
        Ok(if is_interrupted {
            Switched::Finished
        } else {
            Switched::Whole
        })
    }

    /// Adds the root of the issuer to those of before.
    fn keep_root(&self) -> Result<(), KeyDirectoryError> {
        let Some(chain) = self.content(CHAIN_FILE)? else {
            return Ok(());
        };
        let wrong = |name: &str| {
            let path = self.file(name);
            move |what| KeyDirectoryError::Issuer {
                path,
                error: IssuerError::Chain(what),
            }
        };
        let mut chain = certificates(&chain).map_err(wrong(CHAIN_FILE))?;
        let mut kept = match self.content(PREVIOUS_FILE)? {
            Some(previous) => certificates(&previous).map_err(wrong(PREVIOUS_FILE))?,
            None => Vec::new(),
        };
        if let Some(root) = chain.pop()
            && !kept.contains(&root)
        {
            kept.push(root);
            self.write(PREVIOUS_FILE, to_pem(&kept).as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Makes both files of a new CA.
    fn write_new(
        &self,
        domains: &[String],
        key: &str,
        chain: &str,
    ) -> Result<HeldIssuer, KeyDirectoryError> {
        let made = create(domains, SystemTime::now())?;
        // The key first: a chain without a key could have been published.
        self.write(key, made.key.as_bytes(), 0o600)?;
        self.write(chain, made.chain.as_bytes(), 0o644)?;
        self.sync();
        Ok(HeldIssuer {
            chain: made.chain.into_bytes(),
            key: Zeroizing::new(made.key.as_bytes().to_vec()),
        })
    }

    /// Writes a file whole and puts it in the place of what is there.
    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), KeyDirectoryError> {
        let new = format!(".{name}.new");
        let write = || {
            let path = self.file(&new);
            // Left behind by a process that was ended: only the holder of the lock is here.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(|error| self.io(name, error))?;
        self.rename(&new, name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), KeyDirectoryError> {
        fs::rename(self.file(from), self.file(to)).map_err(|error| self.io(to, error))
    }

    /// So that names outlive a power failure. Where the file system cannot do that, they need not.
    fn sync(&self) {
        if let Ok(directory) = File::open(&self.path) {
            let _ = directory.sync_all();
        }
    }

    fn refuse_existing(&self, names: [&str; 2]) -> Result<(), KeyDirectoryError> {
        for name in names {
            if self.metadata(name)?.is_some() {
                return Err(KeyDirectoryError::Exists {
                    path: self.file(name),
                });
            }
        }
        Ok(())
    }

    /// Makes the directory if need be, and keeps other processes from changing what is in it until the file is closed.
    fn lock(&self) -> Result<File, KeyDirectoryError> {
        let lock = || {
            if fs::metadata(&self.path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                if let Some(parent) = self.path.parent() {
                    fs::create_dir_all(parent)?;
                }
                match DirBuilder::new().mode(0o700).create(&self.path) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            let directory = File::open(&self.path)?;
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        };
        let directory = lock().map_err(|error| self.io("", error))?;
        let found = directory.metadata().map_err(|error| self.io("", error))?;
        self.check_directory(&found)?;
        Ok(directory)
    }

    /// Whether nobody else can look into it or put files there. What lies on a file system that is mounted read-only was
    /// given, and its keys alone are looked at.
    fn check_directory(&self, found: &Metadata) -> Result<(), KeyDirectoryError> {
        let path = || self.path.clone();
        if !found.is_dir() {
            let error = io::Error::from(ErrorKind::NotADirectory);
            return Err(KeyDirectoryError::Io {
                path: path(),
                error,
            });
        }
        let read_only =
            statvfs(&self.path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY));
        if found.mode() & OTHERS != 0 && !read_only {
            return Err(KeyDirectoryError::Permissions {
                path: path(),
                what: "every user of the machine can look into it".to_owned(),
                help: format!("take that away: chmod o= {}", self.path.display()),
            });
        }
        Ok(())
    }

    /// A key, if it is there.
    fn key(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyDirectoryError> {
        let Some(found) = self.metadata(name)? else {
            return Ok(None);
        };
        let (mode, owner) = (found.mode(), found.uid());
        let path = self.file(name);
        let refused = |what: &str, help: String| {
            let what = what.to_owned();
            Err(KeyDirectoryError::Permissions {
                path: path.clone(),
                what,
                help,
            })
        };
        let shown = path.display();
        if mode & OTHERS != 0 {
            return refused(
                "every user of the machine can use the key",
                format!("take that away: chmod 0600 {shown}"),
            );
        }
        if mode & GROUP_CHANGES != 0 || (mode & GROUP != 0 && owner != 0) {
            let help = format!(
                "take that away: chmod 0600 {shown} (a key of root may be readable by a group)"
            );
            return refused("a group of users can use the key", help);
        }
        self.content(name)
    }

    fn content(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyDirectoryError> {
        let Some(found) = self.metadata(name)? else {
            return Ok(None);
        };
        if !found.is_file() || found.len() > MOST_BYTES {
            let error = io::Error::other("it is no regular file of up to 1 MiB");
            return Err(self.io(name, error));
        }
        match fs::read(self.file(name)) {
            Ok(content) => Ok(Some(Zeroizing::new(content))),
            Err(error) => Err(self.io(name, error)),
        }
    }

    fn metadata(&self, name: &str) -> Result<Option<Metadata>, KeyDirectoryError> {
        match fs::metadata(self.file(name)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(name, error)),
        }
    }

    fn half(&self, there: &str, other: &'static str) -> KeyDirectoryError {
        let path = self.file(there);
        KeyDirectoryError::Half { path, other }
    }

    fn io(&self, name: &str, error: io::Error) -> KeyDirectoryError {
        let path = if name.is_empty() {
            self.path.clone()
        } else {
            self.file(name)
        };
        KeyDirectoryError::Io { path, error }
    }
}
