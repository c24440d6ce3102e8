//! Public keys as JSON Web Keys (RFC 7517), and their thumbprints (RFC 7638).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::material::KeyMaterial;

/// The public half of a key: its required members alone, in the order that thumbprints call for
/// (RFC 7638 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PublicJwk {
    /// RFC 7518 section 6.2
    Ec {
        /// The curve.
        crv: &'static str,
        /// `EC`
        kty: &'static str,
        /// The point's x coordinate, base64url.
        x: String,
        /// The point's y coordinate, base64url.
        y: String,
    },
    /// RFC 8037 section 2
    Okp {
        /// The curve.
        crv: &'static str,
        /// `OKP`
        kty: &'static str,
        /// The key, base64url.
        x: String,
    },
    /// RFC 7518 section 6.3
    Rsa {
        /// The exponent, base64url.
        e: String,
        /// `RSA`
        kty: &'static str,
        /// The modulus, base64url.
        n: String,
    },
}

impl PublicJwk {
    /// None for a secret.
    pub(super) fn of(key: &KeyMaterial) -> Option<Self> {
        let ec = |crv, point: &[u8]| {
            // After the byte that says "uncompressed", both halves are of one length.
            let (x, y) = point[1..].split_at(point.len() / 2);
            Self::Ec {
                crv,
                kty: "EC",
                x: URL_SAFE_NO_PAD.encode(x),
                y: URL_SAFE_NO_PAD.encode(y),
            }
        };
        Some(match key {
            KeyMaterial::Secret(_) => return None,
            KeyMaterial::P256(key) => ec("P-256", key.public_key().as_ref()),
            KeyMaterial::P384(key) => ec("P-384", key.public_key().as_ref()),
            KeyMaterial::Ed25519(key) => Self::Okp {
                crv: "Ed25519",
                kty: "OKP",
                x: URL_SAFE_NO_PAD.encode(key.public_key()),
            },
            KeyMaterial::Rsa(key) => {
                let public = key.public_key();
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                Self::Rsa {
                    e: number(public.exponent().big_endian_without_leading_zero()),
                    kty: "RSA",
                    n: number(public.modulus().big_endian_without_leading_zero()),
                }
            }
        })
    }

    /// SHA-256 of the key, base64url: the `jkt` of tokens bound to it (RFC 9449 section 6.1).
    pub fn thumbprint(&self) -> String {
        let json = serde_json::to_vec(self).expect("a map with text for keys");
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::SigningKey;

    macro_rules! key {
        ($name:literal) => {
            include_str!(concat!("../../tests/keys/", $name))
        };
    }

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let rfc_7638 = PublicJwk::Rsa {
            e: "AQAB".to_owned(),
            kty: "RSA",
            n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1\
                L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4\
                QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO\
                pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF\
                Cur-kEgU8awapJzKnqDKgw"
                .to_owned(),
        };
        let rfc_9449 = PublicJwk::Ec {
            crv: "P-256",
            kty: "EC",
            x: "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs".to_owned(),
            y: "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA".to_owned(),
        };
        // RFC 8037 appendix A.3
        let rfc_8037 = SigningKey::read(key!("ed25519.jwk"), None).unwrap();
        for (key, thumbprint) in [
            (rfc_7638, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (rfc_9449, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
            (
                rfc_8037.public_jwk().unwrap(),
                "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            ),
        ] {
            assert_eq!(key.thumbprint(), thumbprint);
        }
    }

    #[test]
    fn the_public_half_has_the_members_of_its_jwk_and_no_more() {
        for (private, members) in [
            (key!("rsa.jwk"), &["e", "kty", "n"][..]),
            (key!("p256.jwk"), &["crv", "kty", "x", "y"]),
            (key!("p384.jwk"), &["crv", "kty", "x", "y"]),
            (key!("ed25519.jwk"), &["crv", "kty", "x"]),
        ] {
            let whole: serde_json::Value = serde_json::from_str(private).unwrap();
            let key = SigningKey::read(private, None).unwrap();
            let public = serde_json::to_value(key.public_jwk().unwrap()).unwrap();
            let names: Vec<_> = public.as_object().unwrap().keys().collect();
            assert_eq!(names, members);
            for name in members {
                assert_eq!(public[name], whole[name], "{name}");
            }
        }
    }

    #[test]
    fn a_secret_has_no_public_half() {
        let secret = SigningKey::from_secret(&[7; 32], crate::jose::Algorithm::HS256);
        assert_eq!(secret.public_jwk(), None);
    }
}
