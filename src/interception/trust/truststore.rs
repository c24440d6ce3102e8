//! A truststore as Java reads it: PKCS#12 (RFC 7292) with certificates that are marked as trusted.
//!
//! Certificates are no secret, so nothing is encrypted, which every reader takes. What is written is the same whenever
//! the certificates are.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN, digest};
use aws_lc_rs::hmac;
use rustls::pki_types::CertificateDer;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};

/// The password by which readers check that the file is whole. Java wants one, and this is what people take.
pub(super) const PASSWORD: &str = "changeit";

const DATA: &[u64] = &[1, 2, 840, 113549, 1, 7, 1];
const SHA1: &[u64] = &[1, 3, 14, 3, 2, 26];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113549, 1, 9, 20];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113549, 1, 9, 22, 1];
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113549, 1, 12, 10, 1, 3];
/// Java's mark for a certificate that it is to trust, for the usages that follow.
const TRUSTED_KEY_USAGE: &[u64] = &[2, 16, 840, 1, 113894, 746875, 1, 1];
const ANY_USAGE: &[u64] = &[2, 5, 29, 37, 0];

/// How often the password is hashed. Everybody knows the password.
const ITERATIONS: u32 = 2048;

/// A truststore of these certificates.
pub(super) fn truststore(certificates: &[&CertificateDer<'static>]) -> Vec<u8> {
    let bags = construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (number, certificate) in certificates.iter().enumerate() {
                write_bag(writer.next(), number, certificate);
            }
        });
    });
    // Several of them in one: there is but one kind of content.
    let safe = construct_der(|writer| {
        writer.write_sequence(|writer| write_data(writer.next(), &bags));
    });
    let salt = digest(&SHA1_FOR_LEGACY_USE_ONLY, &safe);
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            const VERSION: u8 = 3;
            writer.next().write_u8(VERSION);
            write_data(writer.next(), &safe);
            write_mac(writer.next(), &safe, salt.as_ref());
        });
    })
}

/// One certificate, under a name of its own.
fn write_bag(writer: DERWriter<'_>, number: usize, certificate: &CertificateDer<'static>) {
    let attribute = |writer: DERWriter<'_>, oid: &[u64], value: &dyn Fn(DERWriter<'_>)| {
        writer.write_sequence(|writer| {
            write_oid(writer.next(), oid);
            writer.next().write_set(|writer| value(writer.next()));
        });
    };
    writer.write_sequence(|writer| {
        write_oid(writer.next(), CERTIFICATE_BAG);
        writer.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                write_oid(writer.next(), X509_CERTIFICATE);
                let value = writer.next();
                value.write_tagged(Tag::context(0), |writer| writer.write_bytes(certificate));
            });
        });
        writer.next().write_set_of(|writer| {
            attribute(writer.next(), FRIENDLY_NAME, &|writer| {
                writer.write_bmp_string(&format!("root-{number}"));
            });
            attribute(writer.next(), TRUSTED_KEY_USAGE, &|writer| {
                write_oid(writer, ANY_USAGE);
            });
        });
    });
}

/// Content that is not encrypted.
fn write_data(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|writer| {
        write_oid(writer.next(), DATA);
        let value = writer.next();
        value.write_tagged(Tag::context(0), |writer| writer.write_bytes(content));
    });
}

/// Shows that the content is whole, to those who know the password. By SHA-1, which every release of Java knows.
fn write_mac(writer: DERWriter<'_>, content: &[u8], salt: &[u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &mac_key(salt));
    let mac = hmac::sign(&key, content);
    writer.write_sequence(|writer| {
        writer.next().write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                write_oid(writer.next(), SHA1);
                writer.next().write_null();
            });
            writer.next().write_bytes(mac.as_ref());
        });
        writer.next().write_bytes(salt);
        writer.next().write_u32(ITERATIONS);
    });
}

/// The key that the password stands for (RFC 7292 appendix B.2, of which one round is enough for a key that is as long
/// as the hash).
fn mac_key(salt: &[u8]) -> [u8; SHA1_OUTPUT_LEN] {
    const BLOCK: usize = 64;
    const FOR_INTEGRITY: u8 = 3;
    let password = PASSWORD
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_be_bytes);
    let password: Vec<u8> = password.collect();
    let filled = |text: &[u8]| -> Vec<u8> {
        let blocks = text.len().div_ceil(BLOCK);
        text.iter().copied().cycle().take(blocks * BLOCK).collect()
    };
    let input = [vec![FOR_INTEGRITY; BLOCK], filled(salt), filled(&password)].concat();
    let mut hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &input);
    for _ in 1..ITERATIONS {
        hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, hash.as_ref());
    }
    let mut key = [0; SHA1_OUTPUT_LEN];
    key.copy_from_slice(hash.as_ref());
    key
}

fn write_oid(writer: DERWriter<'_>, oid: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(oid));
}
