//! What is not well-formed: tokens, and the keys that an issuer publishes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sidebearer::jose::{Algorithm, SigningKey};

use super::attacks::refused;
use super::fakes::{Found, World, billing, found};
use super::servers::Mood;
use crate::support::jwt::{Signer, message, set};
use crate::support::keys::key;

#[tokio::test(start_paused = true)]
async fn what_is_not_well_formed_is_no_token() {
    let signer = Signer::new("a");
    let world = World::ready(&[billing()], set([&signer])).await;
    let claims = world.claims(json!({})).to_string();
    let header = r#"{"alg":"ES256","kid":"a"}"#;
    // One whose signature is written otherwise in the other alphabet of base64 (RFC 4648 sections 4 and 5).
    let differs = |token: &String| {
        let (_, signature) = token.rsplit_once('.').unwrap();
        signature.contains(['-', '_'])
    };
    let good = std::iter::repeat_with(|| signer.sign_text(header, &claims)).find(differs);
    let good = good.unwrap();
    let cut = |text: &str, at: usize| text[..text.len() - at].to_owned();
    let (body, signature) = good.rsplit_once('.').unwrap();
    let twice = |member: &str| format!("{}{member}}}", cut(&claims, 1));
    for (what, token) in [
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("more dots", "....".to_owned()),
        ("another part", format!("{good}.")),
        ("five parts", format!("{good}.a.b")),
        ("no signature", format!("{body}.")),
        ("cut", cut(&good, 1)),
        ("padded", format!("{good}==")),
        ("space", format!(" {good}")),
        ("line end", format!("{good}\n")),
        ("other base64", good.replace('-', "+").replace('_', "/")),
        (
            "DER",
            format!(
                "{body}.{}",
                URL_SAFE_NO_PAD.encode([0x30, 0x06, 2, 1, 1, 2, 1, 1])
            ),
        ),
        (
            "zeroes",
            format!("{body}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        ("flipped", {
            let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
            bytes[20] ^= 1;
            format!("{body}.{}", URL_SAFE_NO_PAD.encode(bytes))
        }),
        ("claims of another", {
            let other = message(header, &claims.replace("3600", "3601"));
            format!("{}.{signature}", other.replace(&body[..10], &body[..9]))
        }),
        (
            "crit",
            signer.sign_text(r#"{"alg":"ES256","kid":"a","crit":["exp"]}"#, &claims),
        ),
        (
            "crit of nothing",
            signer.sign_text(r#"{"alg":"ES256","kid":"a","crit":[]}"#, &claims),
        ),
        (
            "alg twice",
            signer.sign_text(r#"{"alg":"ES256","kid":"a","alg":"ES256"}"#, &claims),
        ),
        (
            "kid twice",
            signer.sign_text(r#"{"alg":"ES256","kid":"a","\u006bid":"a"}"#, &claims),
        ),
        (
            "sub twice",
            signer.sign_text(header, &twice(r#","sub":"billing""#)),
        ),
        (
            "unknown twice",
            signer.sign_text(header, &twice(r#","x":{"a":1,"a":1}"#)),
        ),
        ("a list", signer.sign_text(header, "[]")),
        ("a header list", signer.sign_text("[]", &claims)),
        ("no JSON", signer.sign_text(header, &cut(&claims, 1))),
        (
            "two",
            signer.sign_text(header, &format!("{claims}{claims}")),
        ),
        ("not UTF-8", {
            let message = format!(
                "{}.{}",
                body.split_once('.').unwrap().0,
                URL_SAFE_NO_PAD.encode(b"{\"a\":\"\xFF\"}")
            );
            let signature = signer.key.sign(message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
        }),
        (
            "deep",
            signer.sign_text(
                header,
                &twice(&format!(",\"x\":{}{}", "[".repeat(4000), "]".repeat(4000))),
            ),
        ),
        (
            "huge",
            signer.sign_text(
                header,
                &twice(&format!(",\"x\":\"{}\"", "x".repeat(20_000))),
            ),
        ),
    ] {
        refused(&world, what, &token).await;
    }
    assert_eq!(world.verify(&good).await, found("billing"));
    let large = signer.sign_text(header, &twice(&format!(",\"x\":\"{}\"", "x".repeat(8_000))));
    assert_eq!(world.verify(&large).await, found("billing"));
    assert_eq!(world.servers.issuer.reads(), 1, "none of it makes us ask");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_too_weak_or_no_public_keys_are_left_out() {
    let signer = Signer::new("a");
    let small = {
        use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
        PrivateKeyDer::from_pem_slice(key!("rsa1024.pem").as_bytes()).is_ok()
    };
    assert!(small, "it is a key");
    let rsa = Signer::read(key!("rsa.jwk"), Algorithm::RS256, "r");
    let modulus = rsa.public()["n"].as_str().unwrap().to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(&modulus).unwrap();
    let short = URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() / 2]);
    let leading = URL_SAFE_NO_PAD.encode([&[0; 128][..], &bytes[..128]].concat());
    let long = URL_SAFE_NO_PAD.encode(vec![0xFF; 2048]);
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    let with = |member: &str, value: Value| {
        let mut jwk = rsa.public();
        jwk[member] = value;
        jwk
    };
    let bad = [
        with("n", json!(short)),
        with("n", json!(leading)),
        with("n", json!(long)),
        with("n", json!("")),
        with("n", json!("!")),
        with("n", json!(1)),
        with("e", json!("AQ")),
        with("e", json!("AAE")),
        with("e", json!("Ag")),
        with("e", json!("")),
        with("use", json!("enc")),
        with("use", json!(1)),
        with("key_ops", json!(["sign"])),
        with("alg", json!("RSA-OAEP")),
        with("alg", json!("ES256")),
        with("alg", json!("HS256")),
        with("kty", json!("EC")),
        with("kty", json!("oct")),
        json!({ "kty": "oct", "kid": "r", "k": secret }),
        json!({ "kty": "EC", "crv": "P-521", "kid": "r", "x": secret, "y": secret }),
        json!({ "kty": "EC", "crv": "P-384", "kid": "r", "x": secret, "y": secret }),
        json!({ "kty": "OKP", "crv": "X25519", "kid": "r", "x": secret }),
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "r", "x": "AA" }),
        json!({ "kid": "r" }),
        json!("r"),
        json!(null),
        json!([]),
    ];
    for jwk in bad {
        let keys = json!({ "keys": [jwk, signer.public()] });
        let world = World::ready(&[billing()], keys).await;
        let claims = world.claims(json!({}));
        refused(&world, &jwk.to_string(), &rsa.sign(&claims)).await;
        let hmac = SigningKey::from_secret(&[7; 32], Algorithm::HS256);
        let text = message(r#"{"alg":"HS256","kid":"r"}"#, &claims.to_string());
        let signature = URL_SAFE_NO_PAD.encode(hmac.sign(text.as_bytes()));
        refused(&world, "by the secret", &format!("{text}.{signature}")).await;
        let good = world.verify(&signer.sign(&claims)).await;
        assert_eq!(good, found("billing"), "beside {jwk}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forgeries_takes_no_place_from_good_tokens() {
    let (signer, attacker) = (Signer::new("a"), Signer::new("a"));
    let world = World::ready(&[billing()], set([&signer])).await;
    let good = signer.sign(&world.claims(json!({})));
    assert_eq!(world.verify(&good).await, found("billing"));
    for n in 0..3000 {
        let forged = attacker.sign(&world.claims(json!({ "n": n })));
        assert!(world.verify_now(&forged).is_nobody());
    }
    // The issuer is away and its key withdrawn would be noticed; the good one is still known by sight.
    world.servers.issuer.is(Mood::Hangs);
    assert_eq!(world.verify_now(&good), found("billing"));
    assert_eq!(world.servers.issuer.reads(), 1);
}

/// What becomes of a good token by a few changes.
fn changed() -> impl Strategy<Value = Vec<(usize, u8, char)>> {
    let characters = prop::sample::select("AZaz09-_.=+/ \n\0é{\"".chars().collect::<Vec<_>>());
    prop::collection::vec((0..2000_usize, 0..3_u8, characters), 1..4)
}

/// However it was changed, a token either is the good one still or tells nobody, and nothing panics.
#[test]
fn no_change_of_a_token_tells_a_caller() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let signers = Signer::all();
        let world = World::ready(&[billing()], set(&signers)).await;
        let good: Vec<_> = signers
            .iter()
            .map(|signer| signer.sign(&world.claims(json!({}))))
            .collect();
        let mut runner = TestRunner::new(Config::with_cases(300));
        let cases = (0..good.len(), changed(), any::<String>());
        let result = runner.run(&cases, |(which, changes, noise)| {
            prop_assert!(!matches!(world.verify_now(&noise), Found::Caller(_)));
            let mut text: Vec<char> = good[which].chars().collect();
            for (at, how, character) in changes {
                let at = at % text.len();
                match how {
                    0 => text[at] = character,
                    1 => text.insert(at, character),
                    _ => drop(text.remove(at)),
                }
            }
            let text: String = text.into_iter().collect();
            let told = world.verify_now(&text);
            prop_assert_eq!(matches!(told, Found::Caller(_)), text == good[which]);
            Ok(())
        });
        result.unwrap();
    });
}
