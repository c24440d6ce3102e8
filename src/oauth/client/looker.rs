//! The files that requests of one credential are made of.

use std::sync::{Arc, Mutex};

use super::{WallClock, lock};
use crate::dpop::ProofKey;
use crate::oauth::endpoint::Endpoint;
use crate::oauth::key::{KeyFile, Signer};
use crate::oauth::last_good::{Faults, Known, Unusable};
use crate::oauth::proof::ProofKeys;
use crate::oauth::secrets::{Secrets, Sources};

/// Looks at all the files of a credential: on a thread that may wait for a file system.
pub(super) struct Looker {
    pub(super) files: Mutex<Files>,
    /// Where the first request goes.
    pub(super) first: Arc<Endpoint>,
    pub(super) wall_clock: WallClock,
    pub(super) faults: Known,
}

/// Where the secrets and the key are, and what was last good there.
pub(super) struct Files {
    pub(super) secrets: Sources,
    pub(super) key: Option<KeyFile>,
    pub(super) proof: Option<ProofKeys>,
}

/// What a request is made of.
#[derive(Clone, PartialEq)]
pub(super) struct Material {
    pub(super) secrets: Arc<Secrets>,
    pub(super) signer: Option<Signer>,
    pub(super) proof_key: Option<Arc<ProofKey>>,
    /// Stands for the files of the TLS settings: a certificate may be what a server refused.
    pub(super) tls: u64,
}

impl Looker {
    /// Reads all files anew, and keeps what is wrong with them.
    pub(super) fn look(&self) -> Result<Material, Unusable> {
        // Until what was found is published: an older look must not replace a newer one.
        let mut files = lock(&self.files);
        let mut faults = Faults::default();
        let tls = self.first.look(&mut faults);
        let secrets = files.secrets.read((self.wall_clock)(), &mut faults);
        let signer = files.key.as_mut().map(|key| key.read(&mut faults));
        let proof_key = files.proof.as_mut().map(|key| key.read(&mut faults));
        self.faults.replace(faults);
        Ok(Material {
            secrets: Arc::new(secrets?),
            signer: signer.transpose()?,
            proof_key: proof_key.transpose()?,
            tls,
        })
    }
}
