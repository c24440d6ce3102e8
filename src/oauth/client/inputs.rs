//! The files that token requests of one credential are made of.

use std::sync::{Arc, Mutex};

use crate::dpop::ProofKey;
use crate::oauth::WallClock;
use crate::oauth::endpoint::ServerEndpoint;
use crate::oauth::key::{KeyFile, Signer};
use crate::oauth::last_good::{FoundFaults, ReportedFaults, UnusableInput};
use crate::oauth::lock::lock;
use crate::oauth::proof::ProofKeySource;
use crate::oauth::secrets::{SecretInputs, Secrets};

/// Reads all files of a credential. To be used on a thread that may wait for a file system.
pub(super) struct InputReader {
    pub(super) files: Mutex<InputFiles>,
    /// Where the first request goes.
    pub(super) first: Arc<ServerEndpoint>,
    pub(super) wall_clock: WallClock,
    pub(super) faults: ReportedFaults,
}

/// Where the secrets and the key are, and what was last good there.
pub(super) struct InputFiles {
    pub(super) secrets: SecretInputs,
    pub(super) key: Option<KeyFile>,
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
    /// Reads all files again, and keeps what is wrong with them.
    pub(super) fn read(&self) -> Result<RequestInputs, UnusableInput> {
        // Locked until the result is published: an older result must not replace a newer one.
        let mut files = lock(&self.files);
        let mut faults = FoundFaults::default();
        let tls = self.first.read_tls_files(&mut faults);
        let secrets = files.secrets.read((self.wall_clock)(), &mut faults);
        let signer = files.key.as_mut().map(|key| key.read(&mut faults));
        let proof_key = files.proof.as_mut().map(|key| key.read(&mut faults));
        self.faults.replace(faults);
        Ok(RequestInputs {
            secrets: Arc::new(secrets?),
            signer: signer.transpose()?,
            proof_key: proof_key.transpose()?,
            tls,
        })
    }
}
