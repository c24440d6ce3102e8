//! Who is calling: the callers that the configuration names, and by what each is known.

mod certificate;
mod certificate_names;
mod claim;
mod directory;
mod key;
mod presented;
mod spiffe_owners;
pub mod token;
mod user;

pub use certificate::{
    CertificateIdentity, CertificateIdentityError, CertificateRefusal, PresentedCertificate,
};
pub use claim::{Claim, IsOfCaller};
pub use directory::Callers;
pub use presented::{PresentedSecret, each_candidate};

pub use crate::policy::CallerIndex;

/// A caller, and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified {
    /// Who it is.
    pub caller: CallerIndex,
    /// By what.
    pub means: IdentificationMeans,
}

/// By what a caller is known: one of the keys of `[callers.NAME]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentificationMeans {
    /// The SPIFFE ID of its certificate.
    SpiffeId,
    /// A DNS name of its certificate.
    CertificateName,
    /// A token of its service account in Kubernetes.
    ServiceAccount,
    /// A JWT of a configured issuer.
    Token,
    /// The user that its process runs as.
    User,
    /// A key.
    Key,
}

impl IdentificationMeans {
    /// Whether it is a connection that shows it, for all of its requests.
    pub fn is_of_connection(self) -> bool {
        matches!(self, Self::SpiffeId | Self::CertificateName | Self::User)
    }

    /// The key of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpiffeId => "spiffe_id",
            Self::CertificateName => "certificate_name",
            Self::ServiceAccount => "service_account",
            Self::Token => "token",
            Self::User => "user",
            Self::Key => "key",
        }
    }
}
