//! A CA's issuer, as its files hold it: ours, or that of a company.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::SigningKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::certificates::{NO_CERTIFICATE, certificates};
use super::name::CertifiedName;
use super::name_constraints::{ChainConstraints, NameTree};
use super::signing::{SCHEMES, key_identifier};

/// The certificate of an issuer and those above it.
#[derive(Debug)]
pub struct Chain {
    /// The issuer, and those above it; without the root.
    pub(super) presented: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
    /// The name of the issuer, as it is written.
    pub(super) subject: Vec<u8>,
    /// Its key, as it is written.
    public_key: Vec<u8>,
    /// Tells its key from others.
    pub(super) key_identifier: Vec<u8>,
    not_before: Duration,
    not_after: Duration,
    pub(super) constraints: ChainConstraints,
}

/// A certificate that may sign, with the certificates above it and its key.
#[derive(Debug)]
pub struct Issuer {
    pub(super) chain: Chain,
    pub(super) key: Arc<dyn SigningKey>,
}

/// Why an issuer cannot be used. Says which of its files is meant, and nothing of their content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The certificates.
    #[error("{0}")]
    Chain(String),
    /// The key.
    #[error("{0}")]
    Key(String),
    /// It is good, but may not sign for this domain.
    #[error("the issuer may not sign for \"{domain}\": {reason}")]
    Domain {
        /// As it is configured.
        domain: String,
        /// What a verifier says.
        reason: String,
    },
}

/// What is read of one certificate of a chain.
struct CaCertificate<'a> {
    parsed: X509Certificate<'a>,
    /// How it is called in messages.
    place: &'static str,
}

impl Chain {
    /// Reads a chain in PEM: the issuer first, the root last.
    ///
    /// # Errors
    /// It is no chain of CAs that may sign certificates of servers, or one of them has ended.
    pub fn read(pem: &[u8], now: SystemTime) -> Result<Self, IssuerError> {
        let mut presented = certificates(pem).map_err(IssuerError::Chain)?;
        let mut chain = Vec::with_capacity(presented.len());
        for (at, certificate) in presented.iter().enumerate() {
            let place = if at == 0 {
                "the first certificate"
            } else {
                "a certificate above the issuer"
            };
            let certificate = CaCertificate::parse(place, certificate)?;
            certificate.check(now)?;
            chain.push(certificate);
        }
        check_order(&chain)?;
        let begins = chain
            .iter()
            .map(|each| seconds(each.parsed.validity().not_before.timestamp()));
        let ends = chain
            .iter()
            .map(|each| seconds(each.parsed.validity().not_after.timestamp()));
        let (not_before, not_after) = (begins.max(), ends.min());
        let constraints = ChainConstraints::of(chain.iter().map(|each| &each.parsed));
        let issuer = chain.first().map(|issuer| {
            let issuer = &issuer.parsed;
            let public_key = issuer.public_key().raw.to_owned();
            (
                issuer.subject().as_raw().to_owned(),
                public_key,
                identifier(issuer),
            )
        });
        let none = || IssuerError::Chain(NO_CERTIFICATE.to_owned());
        let (subject, public_key, key_identifier) = issuer.ok_or_else(none)?;
        let root = presented.pop().ok_or_else(none)?;
        Ok(Self {
            presented,
            root,
            subject,
            public_key,
            key_identifier,
            not_before: not_before.unwrap_or_default(),
            not_after: not_after.unwrap_or_default(),
            constraints,
        })
    }

    /// What the certificates of a chain in PEM say of names, be it in use or not. `None` if it is malformed.
    pub(super) fn constraints_of(pem: &[u8]) -> Option<ChainConstraints> {
        let chain = certificates(pem).ok()?;
        let parsed = chain
            .iter()
            .map(|each| Some(CaCertificate::parse("a certificate", each).ok()?.parsed));
        let parsed: Vec<_> = parsed.collect::<Option<_>>()?;
        Some(ChainConstraints::of(parsed.iter()))
    }

    /// The root, which clients have to trust.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// When the last of its certificates begins to be valid, since the Unix epoch.
    pub fn not_before(&self) -> Duration {
        self.not_before
    }

    /// When the first of its certificates ends, since the Unix epoch.
    pub fn not_after(&self) -> Duration {
        self.not_after
    }

    /// Whether any of its certificates limits the names that the issuer may sign for.
    pub fn is_constrained(&self) -> bool {
        !self.constraints.is_empty()
    }

    /// Whether its certificates let the issuer sign for each of the domains, and for all below them that an issuer whose place
    /// it will take may sign for. The key is not needed for this; what has one is judged by [`Issuer::check_domains`].
    ///
    /// # Errors
    /// One of them is not permitted, or a part of one.
    pub fn check_successor(
        &self,
        domains: &[String],
        before: Option<&Self>,
    ) -> Result<(), IssuerError> {
        let counts = |part: &NameTree| before.is_none_or(|it| it.constraints.permit(part));
        for domain in domains {
            let refused = |reason: &str| IssuerError::Domain {
                domain: domain.clone(),
                reason: reason.to_owned(),
            };
            let name = CertifiedName::parse(domain);
            let name = name.ok_or_else(|| refused("it is no host name"))?;
            let tree = NameTree::of_name(&name);
            match self.constraints.lacking(&tree, counts) {
                None => {}
                Some(lacking) if *lacking == tree => {
                    return Err(refused("its name constraints do not permit it"));
                }
                Some(part) => {
                    let reason = format!("its name constraints exclude {part}");
                    return Err(refused(&reason));
                }
            }
        }
        Ok(())
    }
}

impl Issuer {
    /// Reads a [chain](Chain::read) in PEM, and the key of its issuer.
    ///
    /// # Errors
    /// The chain cannot be used, or the key is another one.
    pub fn read(chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, IssuerError> {
        let chain = Chain::read(chain, now)?;
        let key = signing_key(key, &chain.public_key)?;
        Ok(Self { chain, key })
    }

    /// Its certificate and those above it.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Signs for each of the domains, and has that verified as a client would.
    ///
    /// # Errors
    /// One of them would be refused by clients.
    pub fn check_domains(&self, domains: &[String], now: SystemTime) -> Result<(), IssuerError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let bad_root = |error: &dyn std::fmt::Display| {
            IssuerError::Chain(format!("its root cannot be used: {error}"))
        };
        roots
            .add(self.chain.root.clone())
            .map_err(|error| bad_root(&error))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|error| bad_root(&error))?;
        let at = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        for domain in domains {
            let refused = |reason: String| IssuerError::Domain {
                domain: domain.clone(),
                reason,
            };
            let name = CertifiedName::parse(domain)
                .ok_or_else(|| refused("it is no host name".to_owned()))?;
            let leaf = self.sign(&name, now, Duration::from_secs(60));
            let leaf = leaf.map_err(|error| refused(error.to_string()))?.certified;
            let [leaf, intermediates @ ..] = &leaf.cert[..] else {
                return Err(refused("nothing was signed".to_owned()));
            };
            let server_name = name.to_server_name();
            let verified = verifier.verify_server_cert(leaf, intermediates, &server_name, &[], at);
            verified.map_err(|error| refused(error.to_string()))?;
        }
        Ok(())
    }
}

impl<'a> CaCertificate<'a> {
    fn parse(place: &'static str, der: &'a [u8]) -> Result<Self, IssuerError> {
        match X509Certificate::from_der(der) {
            Ok(([], parsed)) => Ok(Self { parsed, place }),
            _ => Err(IssuerError::Chain(format!("{place} is malformed"))),
        }
    }

    /// Whether it is a CA that may sign certificates of servers now.
    fn check(&self, now: SystemTime) -> Result<(), IssuerError> {
        let place = self.place;
        let refuse = |what: &str| Err(IssuerError::Chain(format!("{place} {what}")));
        let parsed = &self.parsed;
        let constraints = parsed.basic_constraints().ok().flatten();
        if !constraints.is_some_and(|constraints| constraints.value.ca) {
            return refuse("is not that of a CA: its basic constraints do not say so");
        }
        let usage = parsed.key_usage();
        if usage.is_ok_and(|usage| usage.is_some_and(|usage| !usage.value.key_cert_sign())) {
            return refuse("may not sign certificates: its key usage does not name it");
        }
        let extended = parsed.extended_key_usage();
        let serves =
            |usage: &x509_parser::extensions::ExtendedKeyUsage<'_>| usage.any || usage.server_auth;
        if extended.is_ok_and(|usage| usage.is_some_and(|usage| !serves(usage.value))) {
            return refuse(
                "may not sign certificates of servers: its extended key usage does not name them",
            );
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let validity = parsed.validity();
        if seconds(validity.not_after.timestamp()) < now {
            return refuse(&format!("has ended on {}", validity.not_after));
        }
        if seconds(validity.not_before.timestamp()) > now {
            return refuse(&format!("is not valid before {}", validity.not_before));
        }
        Ok(())
    }
}

/// That each is signed by the next, as far as their names say, and the last by itself.
fn check_order(chain: &[CaCertificate<'_>]) -> Result<(), IssuerError> {
    const EXPECTED: &str = "expected the issuer first, then those above it, the root last";
    let names = |at: &CaCertificate<'_>| {
        (
            at.parsed.issuer().as_raw().to_owned(),
            at.parsed.subject().as_raw().to_owned(),
        )
    };
    let names: Vec<_> = chain.iter().map(names).collect();
    let follows = |pair: &[(Vec<u8>, Vec<u8>)]| pair[0].0 == pair[1].1;
    if !names.windows(2).all(follows) {
        let what = "its certificates are no chain";
        return Err(IssuerError::Chain(format!("{what}: {EXPECTED}")));
    }
    if names
        .last()
        .is_some_and(|(issuer, subject)| issuer != subject)
    {
        let what = "it does not end with a root: its last certificate is signed by another";
        return Err(IssuerError::Chain(format!("{what}; {EXPECTED}")));
    }
    Ok(())
}

/// The key, which has to be that of the issuer.
fn signing_key(pem: &[u8], public_key: &[u8]) -> Result<Arc<dyn SigningKey>, IssuerError> {
    let wrong = |what: &str| IssuerError::Key(what.to_owned());
    let key = PrivateKeyDer::from_pem_slice(pem);
    let key = key.map_err(|_| wrong("it holds no unencrypted PEM private key"))?;
    let key = aws_lc_rs::sign::any_supported_type(&key);
    let key =
        key.map_err(|_| wrong("its kind of key is not supported: expected ECDSA, RSA or Ed25519"))?;
    let is_same = key
        .public_key()
        .is_some_and(|known| known.as_ref() == public_key);
    if !is_same {
        return Err(wrong(
            "it is not the key of the first certificate of issuer.pem",
        ));
    }
    let schemes = SCHEMES.map(|(scheme, _)| scheme);
    if key.choose_scheme(&schemes).is_none() {
        return Err(wrong("its kind of key cannot sign certificates"));
    }
    Ok(key)
}

/// The subject key identifier of a CA, which what it signs has to repeat.
fn identifier(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let extensions = certificate.extensions().iter();
    let mut identifiers = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    });
    let computed = || key_identifier(certificate.public_key().raw).to_vec();
    identifiers.next().unwrap_or_else(computed)
}

fn seconds(timestamp: i64) -> Duration {
    Duration::from_secs(u64::try_from(timestamp).unwrap_or(0))
}
