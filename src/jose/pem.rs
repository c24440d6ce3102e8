//! Private keys in PEM: PKCS#8 (RFC 5208), PKCS#1 (RFC 8017) and SEC1 (RFC 5915).

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::material::{KeyError, KeyMaterial, rsa_key};

/// The object identifiers of key types and curves, as they stand in DER.
const KINDS: [(&[u8], KeyType); 9] = [
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        KeyType::Rsa,
    ),
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", KeyType::P256),
    (b"\x06\x05\x2b\x81\x04\x00\x22", KeyType::P384),
    (b"\x06\x03\x2b\x65\x70", KeyType::Ed25519),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a",
        KeyType::Other("an RSA key that is bound to PSS"),
    ),
    (
        b"\x06\x05\x2b\x81\x04\x00\x23",
        KeyType::Other("an EC key on P-521"),
    ),
    (
        b"\x06\x05\x2b\x81\x04\x00\x0a",
        KeyType::Other("an EC key on secp256k1"),
    ),
    (b"\x06\x03\x2b\x65\x71", KeyType::Other("an Ed448 key")),
    (
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
        KeyType::Other("an EC key on another curve"),
    ),
];

/// What [`has_escaped_lines`] means.
pub const ESCAPED_LINES: &str = "it holds the two characters \\n where its lines should end, as JSON and \
                                 environment files write them; put real line breaks there";

/// Whether PEM was copied out of a string with the escapes of its line breaks.
pub fn has_escaped_lines(pem: &[u8]) -> bool {
    let escaped = |window: &[u8]| matches!(window, b"-----\\n" | b"-----\\r");
    pem.windows(7).any(escaped)
}

#[derive(Clone, Copy)]
enum KeyType {
    Rsa,
    P256,
    P384,
    Ed25519,
    Other(&'static str),
}

/// The first private key of a PEM file.
pub(super) fn read(text: &str) -> Result<KeyMaterial, KeyError> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    if has_escaped_lines(text.as_bytes()) {
        return Err(KeyError::Damaged(ESCAPED_LINES));
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err(KeyError::NoKey);
    }
    let damaged = KeyError::Damaged("its PEM is not whole, or not valid");
    match PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| damaged)? {
        PrivateKeyDer::Pkcs1(der) => {
            rsa_key(rsa::KeyPair::from_der(der.secret_pkcs1_der())).map(KeyMaterial::Rsa)
        }
        PrivateKeyDer::Sec1(der) => sec1(der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => pkcs8(der.secret_pkcs8_der()),
        _ => Err(KeyError::Unsupported("a key in another form")),
    }
}

fn pkcs8(der: &[u8]) -> Result<KeyMaterial, KeyError> {
    // The type stands before the key itself, and the random bytes of a key must not look like one.
    let kind = kind(&der[..der.len().min(40)]);
    let damaged = |_| KeyError::Damaged("its PKCS#8 content is damaged");
    match kind.ok_or(KeyError::Unsupported("a key of another type"))? {
        KeyType::Rsa => rsa_key(rsa::KeyPair::from_pkcs8(der)).map(KeyMaterial::Rsa),
        KeyType::P256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(KeyMaterial::P256)
            .map_err(damaged),
        KeyType::P384 => EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der)
            .map(KeyMaterial::P384)
            .map_err(damaged),
        KeyType::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(KeyMaterial::Ed25519)
            .map_err(damaged),
        KeyType::Other(what) => Err(KeyError::Unsupported(what)),
    }
}

fn sec1(der: &[u8]) -> Result<KeyMaterial, KeyError> {
    if let Some(KeyType::Other(what)) = kind(der) {
        return Err(KeyError::Unsupported(what));
    }
    // The curve need not be named: whichever fits.
    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
        .map(KeyMaterial::P256)
        .or_else(|_| {
            EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der)
                .map(KeyMaterial::P384)
        })
        .map_err(|_| KeyError::Damaged("its SEC1 content is damaged, or on another curve"))
}

fn kind(der: &[u8]) -> Option<KeyType> {
    let holds = |oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
    let found = KINDS.iter().find(|(oid, _)| holds(oid));
    found.map(|(_, kind)| *kind)
}
