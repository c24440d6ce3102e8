use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk as PublicJwk;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;
use crate::jose::{JwsHeader, sign};

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../tests/keys/", $name))
    };
}

/// `{"iss":"joe", ...}` of RFC 7515 appendix A.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn signature(key: &SigningKey, message: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()))
}

fn read(text: &str) -> SigningKey {
    SigningKey::read(text, None).unwrap()
}

#[test]
fn hs256_is_the_example_of_rfc_7515_appendix_a_1() {
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = URL_SAFE_NO_PAD.decode(secret).unwrap();
    let key = SigningKey::from_secret(&secret, Algorithm::HS256);
    let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}");
    assert_eq!(
        signature(&key, &message),
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
}

#[test]
fn rs256_is_the_example_of_rfc_7515_appendix_a_2_from_every_file_form() {
    for text in [
        key!("rsa.jwk"),
        key!("rsa.pkcs1.pem"),
        key!("rsa.pkcs8.pem"),
    ] {
        let signature = signature(&read(text), &format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}"));
        assert_eq!(
            signature,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7\
             AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
             BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K\
             0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
             hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB\
             p0igcN_IoypGlUPQGe77Rw"
        );
    }
}

#[test]
fn eddsa_is_the_example_of_rfc_8037_appendix_a_4_from_every_file_form() {
    for text in [key!("ed25519.jwk"), key!("ed25519.pkcs8.pem")] {
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert_eq!(
            signature(&read(text), message),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }
}

/// What jsonwebtoken verifies with: the public members of a JWK.
fn verifier(private: &str) -> DecodingKey {
    let mut jwk: Value = serde_json::from_str(private).unwrap();
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        jwk.as_object_mut().unwrap().remove(member);
    }
    let jwk: PublicJwk = serde_json::from_value(jwk).unwrap();
    DecodingKey::from_jwk(&jwk).unwrap()
}

fn verified(jws: &str, key: &DecodingKey, algorithm: jsonwebtoken::Algorithm) -> (Value, Value) {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(jws, key, &validation).unwrap();
    let header = URL_SAFE_NO_PAD
        .decode(jws.split('.').next().unwrap())
        .unwrap();
    (serde_json::from_slice(&header).unwrap(), claims.claims)
}

#[test]
fn es256_is_verified_as_the_example_of_rfc_7515_appendix_a_3_is() {
    let verifier = verifier(key!("p256.jwk"));
    let example = format!(
        "eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    let algorithm = jsonwebtoken::Algorithm::ES256;
    let (_, expected) = verified(&example, &verifier, algorithm);
    for text in [
        key!("p256.jwk"),
        key!("p256.sec1.pem"),
        key!("p256.pkcs8.pem"),
    ] {
        let message = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}");
        let ours = format!("{message}.{}", signature(&read(text), &message));
        assert_eq!(verified(&ours, &verifier, algorithm).1, expected);
    }
}

#[test]
fn another_library_verifies_every_algorithm() {
    use jsonwebtoken::Algorithm as Theirs;
    let cases = [
        (key!("rsa.jwk"), Algorithm::RS256, Theirs::RS256),
        (key!("rsa.jwk"), Algorithm::PS256, Theirs::PS256),
        (key!("p256.jwk"), Algorithm::ES256, Theirs::ES256),
        (key!("p384.jwk"), Algorithm::ES384, Theirs::ES384),
        (key!("ed25519.jwk"), Algorithm::EdDSA, Theirs::EdDSA),
    ];
    let claims = json!({"sub": "billing", "n": 1});
    for (text, algorithm, theirs) in cases {
        let key = SigningKey::read(text, Some(algorithm)).unwrap();
        let header = JwsHeader {
            typ: "JWT",
            kid: Some("one"),
            ..JwsHeader::default()
        };
        let jws = sign(&key, header, &claims);
        let (header, shown) = verified(&jws, &verifier(text), theirs);
        assert_eq!(shown, claims);
        let expected = json!({"alg": algorithm.name(), "typ": "JWT", "kid": "one"});
        assert_eq!(header, expected);
    }
    let secret = [7; 64];
    for (algorithm, theirs) in [
        (Algorithm::HS256, Theirs::HS256),
        (Algorithm::HS384, Theirs::HS384),
        (Algorithm::HS512, Theirs::HS512),
    ] {
        let key = SigningKey::from_secret(&secret, algorithm);
        let jws = sign(&key, JwsHeader::default(), &claims);
        let (header, shown) = verified(&jws, &DecodingKey::from_secret(&secret), theirs);
        assert_eq!(
            (shown, &header["alg"]),
            (claims.clone(), &json!(algorithm.name()))
        );
    }
}

#[test]
fn the_usual_algorithm_and_the_public_key_do_not_depend_on_the_file_form() {
    for (forms, algorithm) in [
        (
            &[
                key!("rsa.jwk"),
                key!("rsa.pkcs1.pem"),
                key!("rsa.pkcs8.pem"),
            ][..],
            Algorithm::RS256,
        ),
        (
            &[
                key!("p256.jwk"),
                key!("p256.sec1.pem"),
                key!("p256.pkcs8.pem"),
            ],
            Algorithm::ES256,
        ),
        (
            &[
                key!("p384.jwk"),
                key!("p384.sec1.pem"),
                key!("p384.pkcs8.pem"),
            ],
            Algorithm::ES384,
        ),
        (
            &[key!("ed25519.jwk"), key!("ed25519.pkcs8.pem")],
            Algorithm::EdDSA,
        ),
    ] {
        let keys: Vec<_> = forms.iter().map(|text| read(text)).collect();
        for key in &keys {
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.public_key(), keys[0].public_key());
            assert!(key.public_key().len() > 40 && key.id().is_none());
        }
    }
}

#[test]
fn a_jwk_names_itself_and_its_algorithm() {
    let jwk = |more: &str| key!("rsa.jwk").replacen('{', &format!("{{{more},"), 1);
    let key = read(&jwk(r#""kid":"k1","alg":"PS256""#));
    assert_eq!((key.id(), key.algorithm()), (Some("k1"), Algorithm::PS256));
    let reserved = SigningKey::read(&jwk(r#""alg":"PS256""#), Some(Algorithm::RS256));
    assert_eq!(reserved.unwrap_err(), KeyError::Reserved(Algorithm::RS256));
    let unknown = SigningKey::read(&jwk(r#""alg":"RSA-OAEP""#), None).unwrap_err();
    assert!(unknown.to_string().contains("not supported"), "{unknown}");
}

fn refused(text: &str, algorithm: Option<Algorithm>) -> String {
    SigningKey::read(text, algorithm).unwrap_err().to_string()
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_the_reason() {
    let encrypted = "the key is encrypted; store it decrypted (openssl pkey -in KEY -out PLAIN)";
    assert_eq!(refused(key!("encrypted.pem"), None), encrypted);
    assert_eq!(refused(key!("encrypted.sec1.pem"), None), encrypted);
    assert_eq!(
        refused(key!("rsa1024.pem"), None),
        "its RSA key has less than 2048 bits"
    );
    assert_eq!(
        refused(key!("p521.pem"), None),
        "it holds an EC key on P-521; supported are RSA from 2048 to 8192 bits, EC on P-256 and \
         P-384, and Ed25519"
    );
    for none in [
        "",
        "hunter2",
        key!("p256.public.pem"),
        "-----BEGIN CERTIFICATE-----",
    ] {
        assert_eq!(
            refused(none, None),
            "it holds neither a PEM private key nor a private JWK"
        );
    }
    let mismatch = "ES256 needs an EC key on P-256, and it holds";
    for (text, holds) in [
        (key!("rsa.jwk"), "an RSA key"),
        (key!("rsa.pkcs8.pem"), "an RSA key"),
        (key!("p384.jwk"), "an EC key on P-384"),
        (key!("p384.sec1.pem"), "an EC key on P-384"),
        (key!("ed25519.pkcs8.pem"), "an Ed25519 key"),
    ] {
        assert_eq!(
            refused(text, Some(Algorithm::ES256)),
            format!("{mismatch} {holds}")
        );
    }
    for algorithm in Algorithm::SYMMETRIC {
        assert!(refused(key!("rsa.jwk"), Some(algorithm)).contains("needs a secret"));
    }
}

#[test]
fn half_a_file_is_refused_and_never_repeated() {
    for text in [
        key!("rsa.pkcs8.pem"),
        key!("rsa.pkcs1.pem"),
        key!("p256.sec1.pem"),
        key!("ed25519.pkcs8.pem"),
        key!("rsa.jwk"),
        key!("p256.jwk"),
    ] {
        for end in [text.len() / 4, text.len() / 2, text.len() - 30] {
            let reason = refused(&text[..end], None);
            let words = reason.split(' ').filter(|word| word.len() > 20);
            assert_eq!(words.count(), 0, "{reason}");
        }
    }
    // A JWK whose parts do not belong together, that lacks them, or that is public.
    let other = key!("p256.jwk").replace("jpsQ", "jpsR");
    assert!(refused(&other, None).contains("do not fit"));
    let public = key!("p256.jwk").replace("\"d\"", "\"dd\"");
    assert!(refused(&public, None).contains("is it the public one?"));
    let bare = key!("rsa.jwk").replace("\"p\"", "\"pp\"");
    assert!(refused(&bare, None).contains("primes"));
    let set = format!(r#"{{"keys":[{}]}}"#, key!("p256.jwk"));
    assert!(refused(&set, None).contains("set of keys"));
    for (member, other) in [("P-256", "P-521"), ("EC", "oct"), ("EC", "XX")] {
        let odd = key!("p256.jwk").replace(&format!("\"{member}\""), &format!("\"{other}\""));
        assert!(!refused(&odd, None).is_empty());
    }
}

#[test]
fn debug_shows_the_algorithm_alone() {
    assert_eq!(format!("{:?}", read(key!("rsa.jwk"))), "SigningKey(RS256)");
}
