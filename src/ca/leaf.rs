//! Certificates of servers, signed by an issuer.
//!
//! They are written here, element by element, and not by the library that makes the CA: that one writes the name of
//! an issuer anew from its parts, and cannot repeat every name that a company's issuer may have (several `DC` or `OU`,
//! several parts in one element). A chain holds only where the names are the same byte by byte.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

use super::issuer::{Chain, Issuer};
use super::name::CertifiedName;
use super::signing::{SCHEMES, key_identifier};

/// Clocks of clients may be behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A certificate for one name, with its chain and its key.
#[derive(Debug)]
pub struct Leaf {
    /// The chain, without the root, and the key.
    pub certified: CertifiedKey,
    /// The first moment at which it is valid, since the Unix epoch.
    pub not_before: Duration,
    /// When it was signed.
    pub signed: Duration,
    /// The last moment at which it is valid.
    pub not_after: Duration,
}

/// Why there is no certificate for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It is none of the names that the CA may sign for.
    #[error("the CA of [interception] may not sign for it: it is not in `domains`")]
    NotCovered,
    /// No certificate can be for it.
    #[error("it is not a host name that a certificate can be for")]
    Name,
    /// The issuer has ended.
    #[error("the issuer of [interception] has ended: nothing that it signs would be taken")]
    IssuerEnded,
    /// The system gave no random numbers, or a library failed.
    #[error("a certificate cannot be made: {0}")]
    Signing(String),
}

impl Issuer {
    /// Makes a key and signs a certificate for `name` that lives as long as `lifetime`, and no longer than the issuer.
    ///
    /// # Errors
    /// The issuer has ended, or the system fails.
    pub fn sign(
        &self,
        name: &CertifiedName,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Leaf, LeafError> {
        let failed = |what: &str| LeafError::Signing(what.to_owned());
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Duration::from_secs(now.as_secs());
        if now >= self.chain.not_after() {
            return Err(LeafError::IssuerEnded);
        }
        let not_before = now.saturating_sub(BACKDATED).max(self.chain.not_before());
        let not_after = (now + lifetime).min(self.chain.not_after());
        let no_key = |_| failed("no key can be made");
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(no_key)?;
        let key = key.to_pkcs8v1().map_err(no_key)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.as_ref()));
        let key = any_ecdsa_type(&key).map_err(|_| failed("its key cannot be used"))?;
        let public_key = key
            .public_key()
            .ok_or_else(|| failed("its key cannot be used"))?;
        let mut serial = [0; 16];
        rand::fill(&mut serial).map_err(|_| failed("there are no random numbers"))?;
        // A positive number whose first byte is not zero, which is the shortest form.
        serial[0] = serial[0] & 0x7F | 0x40;
        let schemes = SCHEMES.map(|(scheme, _)| scheme);
        let signer = self
            .key
            .choose_scheme(&schemes)
            .ok_or_else(|| failed("the issuer cannot sign"))?;
        let known = SCHEMES
            .into_iter()
            .find(|(scheme, _)| *scheme == signer.scheme());
        let (_, algorithm) = known.ok_or_else(|| failed("the issuer cannot sign"))?;
        let contents = LeafContents {
            chain: &self.chain,
            algorithm,
            serial,
            not_before,
            not_after,
            name,
            public_key: &public_key,
        };
        let signed = construct_der(|writer| contents.write(writer));
        let signature = signer
            .sign(&signed)
            .map_err(|error| failed(&error.to_string()))?;
        let certificate = construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&signed);
                write_algorithm(writer, &algorithm);
                writer
                    .next()
                    .write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        let chain = [CertificateDer::from(certificate)].into_iter();
        let chain = chain.chain(self.chain.presented.iter().cloned());
        Ok(Leaf {
            certified: CertifiedKey::new(chain.collect(), key),
            not_before,
            signed: now,
            not_after,
        })
    }
}

/// What is signed (RFC 5280 section 4.1).
struct LeafContents<'a> {
    chain: &'a Chain,
    algorithm: AlgorithmIdentifier,
    serial: [u8; 16],
    not_before: Duration,
    not_after: Duration,
    name: &'a CertifiedName,
    public_key: &'a [u8],
}

impl LeafContents<'_> {
    fn write(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            const VERSION_3: u8 = 2;
            let version = writer.next();
            version.write_tagged(Tag::context(0), |writer| writer.write_u8(VERSION_3));
            writer.next().write_bigint_bytes(&self.serial, true);
            write_algorithm(writer, &self.algorithm);
            writer.next().write_der(&self.chain.subject);
            writer.next().write_sequence(|writer| {
                write_time(writer.next(), self.not_before);
                write_time(writer.next(), self.not_after);
            });
            // No subject: the name stands where verifiers look for it, and a common name has too little room.
            writer.next().write_sequence(|_| {});
            writer.next().write_der(self.public_key);
            let extensions = writer.next();
            extensions.write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|writer| self.write_extensions(writer));
            });
        });
    }

    fn write_extensions(&self, writer: &mut DERWriterSeq<'_>) {
        const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
        const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
        const SUBJECT_ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
        const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];
        const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
        const SERVER_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
        const DIGITAL_SIGNATURE: &[u8] = &[0x80];

        // Critical, since there is no subject (RFC 5280 section 4.2.1.6).
        write_extension(writer, SUBJECT_ALTERNATIVE_NAME, true, |writer| {
            writer.write_sequence(|writer| self.write_name(writer.next()));
        });
        write_extension(writer, KEY_USAGE, true, |writer| {
            writer.write_bitvec_bytes(DIGITAL_SIGNATURE, 1);
        });
        write_extension(writer, EXTENDED_KEY_USAGE, false, |writer| {
            writer.write_sequence(|writer| write_oid(writer.next(), SERVER_AUTH));
        });
        write_extension(writer, SUBJECT_KEY_IDENTIFIER, false, |writer| {
            writer.write_bytes(&key_identifier(self.public_key));
        });
        write_extension(writer, AUTHORITY_KEY_IDENTIFIER, false, |writer| {
            writer.write_sequence(|writer| {
                let identifier = writer.next();
                identifier.write_tagged_implicit(Tag::context(0), |writer| {
                    writer.write_bytes(&self.chain.key_identifier);
                });
            });
        });
    }

    fn write_name(&self, writer: DERWriter<'_>) {
        const DNS_NAME: u64 = 2;
        const IP_ADDRESS: u64 = 7;
        let address = |writer: DERWriter<'_>, octets: &[u8]| {
            let tag = Tag::context(IP_ADDRESS);
            writer.write_tagged_implicit(tag, |writer| writer.write_bytes(octets));
        };
        match self.name {
            CertifiedName::Dns(name) => {
                let tag = Tag::context(DNS_NAME);
                writer.write_tagged_implicit(tag, |writer| writer.write_ia5_string(name.as_ref()));
            }
            CertifiedName::Ip(IpAddr::V4(ip)) => address(writer, &ip.octets()),
            CertifiedName::Ip(IpAddr::V6(ip)) => address(writer, &ip.octets()),
        }
    }
}

fn write_algorithm(writer: &mut DERWriterSeq<'_>, algorithm: &AlgorithmIdentifier) {
    let sequence = writer.next();
    sequence.write_sequence(|writer| writer.next().write_der(algorithm.as_ref()));
}

fn write_extension(
    writer: &mut DERWriterSeq<'_>,
    oid: &[u64],
    critical: bool,
    content: impl FnOnce(DERWriter<'_>),
) {
    writer.next().write_sequence(|writer| {
        write_oid(writer.next(), oid);
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(&construct_der(content));
    });
}

fn write_oid(writer: DERWriter<'_>, oid: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(oid));
}

/// In the form that its year asks for (RFC 5280 section 4.1.2.5).
fn write_time(writer: DERWriter<'_>, since_epoch: Duration) {
    let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
    match UTCTime::from_datetime_opt(at) {
        Some(at) => writer.write_utctime(&at),
        None => writer.write_generalized_time(&GeneralizedTime::from_datetime(at)),
    }
}
