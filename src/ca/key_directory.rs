//! The directory that holds a CA: its issuer, perhaps the successor of that, and the roots of before.
//!
//! Everything here blocks, and is run where that is allowed.

mod error;
pub(super) mod files;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

pub use error::KeyDirectoryError;

use super::certificates::{certificates, to_pem};
use super::create::create;
use super::issuer::{Chain, Issuer, IssuerError};

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

/// What becomes of a switch to an issuer that may sign for less than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FewerNames {
    /// Nothing is changed.
    Refused,
    /// It is meant.
    Allowed,
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

    /// All files that it may hold.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let names = [
            KEY_FILE,
            CHAIN_FILE,
            NEXT_KEY_FILE,
            NEXT_CHAIN_FILE,
            PREVIOUS_FILE,
        ];
        names.into_iter().map(|name| self.file(name))
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
            (None, Some(key)) if self.has_prepared_chain(CHAIN_FILE, &key) => None,
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

    /// Whether a process that made a CA was ended when it had put the key in its place and not yet the chain.
    fn has_prepared_chain(&self, chain: &str, key: &[u8]) -> bool {
        let chain = self.prepared(chain).ok().flatten();
        chain.is_some_and(|chain| Issuer::read(&chain, key, SystemTime::now()).is_ok())
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
        if self.metadata(KEY_FILE)?.is_some() {
            // Its chain is prepared.
            self.put(CHAIN_FILE)?;
            self.sync();
            if let (files, Some(issuer)) = self.read_unlocked()? {
                return Ok((files, issuer));
            }
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
        self.make_room(KEY_FILE, CHAIN_FILE)?;
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
        self.make_room(NEXT_KEY_FILE, NEXT_CHAIN_FILE)?;
        self.write_new(domains, NEXT_KEY_FILE, NEXT_CHAIN_FILE)
            .map(drop)
    }

    /// Puts the next issuer in the place of the issuer. The root of before goes on being published; its key is gone. A
    /// switch that was interrupted is finished.
    ///
    /// # Errors
    /// There is no next issuer, it cannot be used or may not sign for all names of the one before, or the files cannot be
    /// replaced.
    pub fn switch(
        &self,
        now: SystemTime,
        fewer_names: FewerNames,
    ) -> Result<Switched, KeyDirectoryError> {
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
        let next = Issuer::read(&next, &key, now).map_err(|error| {
            let of_key = matches!(error, IssuerError::Key(_)) && is_interrupted;
            if of_key {
                return self.half(NEXT_CHAIN_FILE, NEXT_KEY_FILE);
            }
            let path = self.file(NEXT_CHAIN_FILE);
            KeyDirectoryError::Issuer { path, error }
        })?;
        // What was interrupted was allowed, and the key of before is gone.
        if fewer_names == FewerNames::Refused && !is_interrupted {
            self.check_names(next.chain())?;
        }
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

    /// That the next issuer may sign for all that the issuer may. One that cannot be read has no names to keep.
    fn check_names(&self, next: &Chain) -> Result<(), KeyDirectoryError> {
        let chain = self.content(CHAIN_FILE)?.unwrap_or_default();
        let before = Chain::constraints_of(&chain);
        let lost = before.and_then(|before| before.lost_with(&next.constraints));
        let Some(name) = lost else {
            return Ok(());
        };
        let help = if name.can_be_asked_for() {
            "take the successor away and make another one with `--domain` for each name, or switch with `--fewer-names` if \
             nothing needs it any more"
        } else {
            "if nothing needs that any more, switch with `--fewer-names`"
        };
        Err(KeyDirectoryError::Names {
            path: self.file(NEXT_CHAIN_FILE),
            name: name.to_string(),
            help,
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
        self.prepare(key, made.key.as_bytes(), 0o600)?;
        self.prepare(chain, made.chain.as_bytes(), 0o644)?;
        // The key first: a chain without a key could have been published. What is ended between the two is completed at
        // the next start, or made anew by the next command.
        self.put(key)?;
        self.put(chain)?;
        self.sync();
        Ok(HeldIssuer {
            chain: made.chain.into_bytes(),
            key: Zeroizing::new(made.key.as_bytes().to_vec()),
        })
    }

    /// Takes away what is left of a CA whose making was interrupted: nobody has seen its chain.
    ///
    /// # Errors
    /// One of the files of a CA is there for another reason.
    fn make_room(&self, key: &str, chain: &str) -> Result<(), KeyDirectoryError> {
        if self.metadata(chain)?.is_none()
            && let Some(left) = self.key(key)?
            && self.has_prepared_chain(chain, &left)
        {
            // Before the chain that tells what it is.
            self.remove(key)?;
        }
        for name in [key, chain] {
            if self.metadata(name)?.is_some() {
                return Err(KeyDirectoryError::Exists {
                    path: self.file(name),
                });
            }
        }
        Ok(())
    }
}
