//! Makes a root that signs one constrained issuer, and throws the key of the root away.

use std::net::IpAddr;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use time::{Duration, OffsetDateTime};
use zeroize::{Zeroize, Zeroizing};

use super::name::CertifiedName;

/// How long both live.
const LIFETIME: Duration = Duration::days(5 * 365);
/// Clocks of clients may be behind.
const BACKDATED: Duration = Duration::hours(1);

/// What a new CA consists of. The key of its root is gone.
pub struct NewIssuer {
    /// The certificate of the issuer, then that of the root, in PEM.
    pub chain: String,
    /// The key of the issuer in PEM (PKCS#8).
    pub key: Zeroizing<String>,
}

/// Makes a CA whose issuer may sign for `domains` and all names below them, and for nothing else (RFC 5280 section
/// 4.2.1.10). `domains` are DNS names or IP addresses as [`CertifiedName::parse`] reads them.
///
/// # Errors
/// The library cannot make it: a domain is no name.
pub fn create(domains: &[String], now: SystemTime) -> Result<NewIssuer, rcgen::Error> {
    let now = OffsetDateTime::from(now);
    // So that a successor is not taken for its predecessor, which verifiers look up by its name.
    let number = fastrand::u32(..);
    let root = authority(&format!("sidebearer root {number:08x}"), 1, now);
    let mut issuer = authority(&format!("sidebearer issuer {number:08x}"), 0, now);
    issuer.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    issuer.name_constraints = Some(constraints(domains));
    let mut root_key = KeyPair::generate()?;
    let mut issuer_key = KeyPair::generate()?;
    let root_certificate = root.self_signed(&root_key)?;
    let certificate = issuer.signed_by(&issuer_key, &Issuer::from_params(&root, &root_key))?;
    root_key.zeroize();
    let key = Zeroizing::new(issuer_key.serialize_pem());
    issuer_key.zeroize();
    Ok(NewIssuer {
        chain: certificate.pem() + &root_certificate.pem(),
        key,
    })
}

/// What root and issuer have alike: `below` CAs may stand between each and what is signed at the end.
fn authority(name: &str, below: u8, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // What reads certificates may know no time before: a machine without a clock begins there.
    params.not_before = (now - BACKDATED).max(OffsetDateTime::UNIX_EPOCH);
    params.not_after = now + LIFETIME;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// `domains` and no others. An address that is listed makes all others of its kind excluded by being none of the
/// permitted ones; where none is listed, all are excluded by name: a list of permitted names says nothing about
/// addresses.
fn constraints(domains: &[String]) -> NameConstraints {
    let names = domains.iter().map(|domain| CertifiedName::parse(domain));
    let names: Vec<_> = names.collect();
    let permitted = names.iter().zip(domains).map(|(name, domain)| match name {
        Some(CertifiedName::Ip(address)) => GeneralSubtree::IpAddress(only(*address)),
        _ => GeneralSubtree::DnsName(domain.clone()),
    });
    let permitted_subtrees: Vec<_> = permitted.collect();
    let lists = |is_kind: fn(&IpAddr) -> bool| {
        let mut names = names.iter();
        names.any(|name| matches!(name, Some(CertifiedName::Ip(address)) if is_kind(address)))
    };
    let mut excluded_subtrees = Vec::new();
    if !lists(IpAddr::is_ipv4) {
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
    }
    if !lists(IpAddr::is_ipv6) {
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    // A constraint says nothing about kinds of names that it does not name: without a DNS name that is permitted, all
    // would be.
    let is_dns = |tree: &GeneralSubtree| matches!(tree, GeneralSubtree::DnsName(_));
    if !permitted_subtrees.iter().any(is_dns) {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    NameConstraints {
        permitted_subtrees,
        excluded_subtrees,
    }
}

/// One address alone.
fn only(address: IpAddr) -> CidrSubnet {
    match address {
        IpAddr::V4(address) => CidrSubnet::V4(address.octets(), [0xFF; 4]),
        IpAddr::V6(address) => CidrSubnet::V6(address.octets(), [0xFF; 16]),
    }
}
