//! The callers of one configuration, with everything that each is known by.

use http::HeaderValue;

use super::certificate_names::CertificateOwners;
use super::key::{KeyDigest, KeyOwners};
use super::token::{TokenVerifier, Verification};
use super::user::UserOwners;
use super::{CertificateIdentity, Claim, IdentificationMeans, Identified};
use crate::config::{self, Config};
use crate::policy::{CallerIndex, CallerNames};

/// The callers of one configuration.
#[derive(Debug, Default)]
pub struct Callers {
    /// Their names.
    pub names: CallerNames,
    /// The same as the values of headers.
    values: Box<[HeaderValue]>,
    certificates: CertificateOwners,
    users: UserOwners,
    keys: KeyOwners,
}

impl Callers {
    /// Those of a configuration; their keys are read. Of a caller whose keys cannot be read those of `old` stay.
    pub fn build(config: &Config, old: Option<&Self>) -> Self {
        let names = CallerNames::new(&config.callers);
        let (mut certificates, mut users) = (CertificateOwners::default(), Vec::new());
        let mut keys = Vec::new();
        for (caller, at) in config.callers.values().zip(0..) {
            if let Some(pattern) = &caller.spiffe_id {
                certificates.add_spiffe_ids(pattern, at);
            }
            if let Some(name) = &caller.certificate_name {
                certificates.add_dns_name(name, at);
            }
            users.extend(caller.user.map(|user| (user, at)));
            if let Some(source) = &caller.key {
                match source.read() {
                    Ok(secret) => {
                        let own = config::Caller::keys_of(&secret);
                        keys.extend(own.map(|key| (KeyDigest::of(key.as_bytes()), at)));
                    }
                    Err(error) => {
                        // It could be read when the configuration was checked.
                        tracing::warn!(caller = caller.name, %error, "the keys of a caller stay as they were");
                        let known = old.and_then(|old| Some((old, old.names.index(&caller.name)?)));
                        let known = known.into_iter();
                        let known = known.flat_map(|(old, was)| old.keys.of_caller(was));
                        keys.extend(known.map(|digest| (digest, at)));
                    }
                }
            }
        }
        let values = config.callers.keys();
        // The names are visible ASCII.
        let values = values.map(|name| HeaderValue::from_str(name));
        Self {
            names,
            values: values
                .map(|value| value.unwrap_or(HeaderValue::from_static("")))
                .collect(),
            certificates,
            users: UserOwners::new(users),
            keys: KeyOwners::new(keys),
        }
    }

    /// Whose a certificate is, which must still be good.
    pub fn by_certificate(&self, certificate: &CertificateIdentity) -> Claim<Identified> {
        self.certificates.owner(certificate)
    }

    /// Whose the user is that a process runs as.
    pub fn by_user(&self, uid: u32) -> Claim<Identified> {
        self.users.owner(uid).by(IdentificationMeans::User)
    }

    /// Whose a secret is: a key, or else a token.
    pub fn by_secret(&self, secret: &str, tokens: &TokenVerifier) -> Verification {
        match self
            .keys
            .owner(secret.as_bytes())
            .by(IdentificationMeans::Key)
        {
            Claim::Of(identified) => Verification::Caller(identified),
            Claim::Several => Verification::Ambiguous,
            Claim::Nobody if tokens.is_empty() => {
                Verification::Unknown("what the header holds is the key of no caller")
            }
            Claim::Nobody => tokens.verify(secret),
        }
    }

    /// The name of a caller as the value of a header.
    pub fn value(&self, caller: CallerIndex) -> Option<&HeaderValue> {
        self.values.get(caller as usize)
    }
}
