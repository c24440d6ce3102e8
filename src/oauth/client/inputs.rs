//! The files that token requests of one credential are made of.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::blocking::Background;
use crate::config::Credential;
use crate::dpop::ProofKey;
use crate::files;
use crate::oauth::WallClock;
use crate::oauth::endpoint::ServerEndpoint;
use crate::oauth::key::{KeyFile, Signer};
use crate::oauth::last_good::{FoundFaults, ReportedFaults, UnusableInput};
use crate::oauth::lock::lock;
use crate::oauth::proof::ProofKeySource;
use crate::oauth::secrets::{SecretChecks, SecretInputs, Secrets};

/// How long a request waits for its files while what was good before can stand in: a renewal begins only seconds
/// before the token ends.
const PATIENCE: Duration = Duration::from_millis(200);

/// Reads all files of a credential. To be used on a thread that may wait for a file system.
pub(super) struct InputReader {
    pub(super) files: Mutex<InputFiles>,
    pub(super) faults: ReportedFaults,
    /// Where the first request goes.
    first: Arc<ServerEndpoint>,
    wall_clock: WallClock,
    checks: SecretChecks,
    /// What was last read, and could be used.
    good: Mutex<Option<RequestInputs>>,
    reading: Background<Result<RequestInputs, UnusableInput>>,
}

/// Where the secrets and the key are, and what was last good there.
pub(super) struct InputFiles {
    secrets: SecretInputs,
    key: Option<KeyFile>,
    pub(super) proof: Option<ProofKeySource>,
}

/// What a request is made of.
#[derive(Clone, PartialEq)]
pub(super) struct RequestInputs {
    pub(super) secrets: Arc<Secrets>,
    pub(super) signer: Option<Signer>,
    pub(super) proof_key: Option<Arc<ProofKey>>,
    /// Stands for the files of the TLS settings: a certificate may be what a server refused.
    pub(super) tls: u64,
}

impl InputReader {
    /// For the files of `credential`, whose first request goes to `first`. Nothing is read.
    pub(super) fn of(
        credential: &Credential,
        first: Arc<ServerEndpoint>,
        wall_clock: WallClock,
    ) -> Self {
        let secrets = SecretInputs::of(credential);
        Self {
            checks: secrets.checks(),
            files: Mutex::new(InputFiles {
                secrets,
                key: KeyFile::of(credential),
                proof: ProofKeySource::of(credential),
            }),
            faults: ReportedFaults::of(&credential.name),
            first,
            wall_clock,
            good: Mutex::default(),
            reading: Background::default(),
        }
    }

    /// As [`read`](Self::read), on another thread. While that takes long, what was read before is used if it is still
    /// good; what is read then is for the next one who asks.
    ///
    /// # Errors
    /// There is no thread that could read.
    pub(super) async fn read_soon(
        self: &Arc<Self>,
    ) -> io::Result<Result<RequestInputs, UnusableInput>> {
        let before = lock(&self.good).clone();
        let now = (self.wall_clock)();
        let before = before.filter(|before| self.checks.pass(&before.secrets, now));
        let patience = before.is_some().then_some(PATIENCE);
        let reader = Arc::clone(self);
        match (
            self.reading.run(move || reader.read(), patience).await,
            before,
        ) {
            (Some(read), _) => read,
            (None, Some(before)) => Ok(Ok(before)),
            (None, None) => Err(io::Error::other("nobody waited for the files")),
        }
    }

    /// Reads all files again, and keeps what is wrong with them.
    pub(super) fn read(&self) -> Result<RequestInputs, UnusableInput> {
        // Several file systems that do not answer are waited for no longer than one of them.
        files::within_one_timeout(|| self.read_files())
    }

    fn read_files(&self) -> Result<RequestInputs, UnusableInput> {
        // Locked until the result is published: an older result must not replace a newer one.
        let mut files = lock(&self.files);
        let mut faults = FoundFaults::default();
        let tls = self.first.read_tls_files(&mut faults);
        let secrets = files.secrets.read((self.wall_clock)(), &mut faults);
        let signer = files.key.as_mut().map(|key| key.read(&mut faults));
        let proof_key = files.proof.as_mut().map(|key| key.read(&mut faults));
        self.faults.replace(faults);
        let read = RequestInputs {
            secrets: Arc::new(secrets?),
            signer: signer.transpose()?,
            proof_key: proof_key.transpose()?,
            tls,
        };
        *lock(&self.good) = Some(read.clone());
        Ok(read)
    }
}
