//! What is no token of a caller, however much it looks like one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidebearer::jose::{Algorithm, SigningKey};

use super::fakes::{Found, ISSUER, World, billing, by_token, found};
use crate::support::jwt::{Signer, message, set};
use crate::support::keys::key;

/// Asked twice: what is remembered of a token says the same.
pub(super) async fn refused(world: &World, what: &str, token: &str) {
    for _ in 0..2 {
        let found = world.verify(token).await;
        assert!(found.is_nobody(), "{what}: {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_that_is_taken_tells_its_caller() {
    let signers = Signer::all();
    let world = World::ready(&[billing()], set(&signers)).await;
    for signer in &signers {
        for claims in [
            json!({}),
            json!({ "aud": ["other", "sidebearer"] }),
            json!({ "aud": ["sidebearer"], "nbf": world.now() + 29, "iat": 1 }),
            json!({ "exp": world.now() as f64 - 28.5 }),
            json!({ "sub": ["billing", "x"] }),
        ] {
            let token = signer.sign(&world.claims(claims.clone()));
            for _ in 0..2 {
                let told = world.verify(&token).await;
                assert_eq!(told, found("billing"), "{} {claims}", signer.id);
            }
        }
    }
    assert_eq!(world.servers.issuer.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn claims_that_are_not_good_tell_nobody() {
    let signer = Signer::new("a");
    let world = World::ready(&[billing()], set([&signer])).await;
    let now = world.now();
    for wrong in [
        json!({ "exp": null }),
        json!({ "exp": now - 31 }),
        json!({ "exp": "never" }),
        json!({ "nbf": now + 32 }),
        json!({ "nbf": [] }),
        json!({ "aud": null }),
        json!({ "aud": "other" }),
        json!({ "aud": "sidebearer2" }),
        json!({ "aud": ["other"] }),
        json!({ "aud": ["sidebearer", 1] }),
        json!({ "aud": { "sidebearer": 1 } }),
        json!({ "iss": null }),
        json!({ "iss": format!("{ISSUER}/") }),
        json!({ "iss": "https://LOGIN.example.com" }),
        json!({ "iss": [ISSUER] }),
        json!({ "sub": null }),
        json!({ "sub": "Billing" }),
        json!({ "sub": "billing " }),
        json!({ "sub": 7 }),
        json!({ "sub": ["billing", 7] }),
    ] {
        let token = signer.sign(&world.claims(wrong.clone()));
        refused(&world, &wrong.to_string(), &token).await;
    }
    let token = signer.sign(&world.claims(json!({})));
    assert_eq!(world.verify(&token).await, found("billing"));
}

#[tokio::test(start_paused = true)]
async fn no_other_algorithm_is_taken() {
    let signers = Signer::all();
    let world = World::ready(&[billing()], set(&signers)).await;
    let claims = world.claims(json!({}));
    let rsa = &signers[0];
    let unsigned = |alg: &str| {
        let header = json!({ "alg": alg, "kid": rsa.id }).to_string();
        message(&header, &claims.to_string())
    };
    for none in ["none", "None", "NONE", "", "RS256"] {
        refused(&world, none, &format!("{}.", unsigned(none))).await;
    }
    refused(&world, "two parts", &unsigned("none")).await;
    // The public key, in each of its forms, as the secret of an HMAC.
    let jwk = rsa.public();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let pem = key!("p256.public.pem").as_bytes();
    for secret in [
        rsa.key.public_key(),
        &modulus,
        jwk.to_string().as_bytes(),
        pem,
    ] {
        let hmac = SigningKey::from_secret(secret, Algorithm::HS256);
        for alg in ["HS256", "RS256", "ES256"] {
            let message = unsigned(alg);
            let signature = URL_SAFE_NO_PAD.encode(hmac.sign(message.as_bytes()));
            refused(&world, alg, &format!("{message}.{signature}")).await;
        }
    }
    // Signed well, but by another name.
    for alg in [
        json!("RS384"),
        json!("RS512"),
        json!("rs256"),
        json!("RS256 "),
        json!(null),
        json!(["RS256"]),
    ] {
        let token = rsa.sign_with(&json!({ "alg": alg, "kid": rsa.id }), &claims);
        refused(&world, &alg.to_string(), &token).await;
    }
    refused(
        &world,
        "no alg",
        &rsa.sign_with(&json!({ "kid": rsa.id }), &claims),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_for_its_own_algorithms_alone() {
    let signers = Signer::all();
    let [rs256, ps256, es256, ..] = &signers[..] else {
        panic!("five signers")
    };
    // One RSA key says what it is for.
    let mut reserved = set([rs256, es256]);
    reserved["keys"][0]["alg"] = json!("RS256");
    let world = World::ready(&[billing()], reserved).await;
    let claims = world.claims(json!({}));
    assert_eq!(world.verify(&rs256.sign(&claims)).await, found("billing"));
    let other = ps256.sign_with(&json!({ "alg": "PS256", "kid": rs256.id }), &claims);
    refused(&world, "PS256 by a key for RS256", &other).await;
    for (alg, kid) in [
        ("RS256", es256.id),
        ("ES256", rs256.id),
        ("ES384", es256.id),
        ("EdDSA", es256.id),
    ] {
        for signer in &signers {
            let token = signer.sign_with(&json!({ "alg": alg, "kid": kid }), &claims);
            let is_its_own = signer.key.algorithm().name() == alg && signer.id == kid;
            assert!(!is_its_own);
            refused(&world, &format!("{alg} by {} of {kid}", signer.id), &token).await;
        }
    }
    assert_eq!(world.servers.issuer.reads(), 1, "no key lacks");
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_token_brings_are_not_looked_at() {
    let (signer, attacker) = (Signer::new("a"), Signer::new("a"));
    let world = World::ready(&[billing()], set([&signer])).await;
    let claims = world.claims(json!({}));
    let headers = [
        json!({ "alg": "ES256", "kid": "a" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "ES256", "jwk": attacker.public() }),
        json!({ "alg": "ES256", "kid": "a", "jwk": attacker.public() }),
        json!({ "alg": "ES256", "kid": "a", "jku": "https://attacker.example/keys" }),
        json!({ "alg": "ES256", "kid": "a", "x5u": "https://attacker.example/chain" }),
        json!({ "alg": "ES256", "kid": "a", "x5c": ["MIIB"] }),
        json!({ "alg": "ES256", "kid": "../a" }),
        json!({ "alg": "ES256", "kid": 1 }),
        json!({ "alg": "ES256", "kid": null }),
        json!({ "alg": "ES256", "kid": ["a"] }),
    ];
    for header in &headers {
        refused(
            &world,
            &header.to_string(),
            &attacker.sign_with(header, &claims),
        )
        .await;
    }
    // Of a key that nobody knows: the issuer is asked, and nobody else.
    let token = attacker.sign_with(
        &json!({ "alg": "ES256", "kid": "b", "jku": "https://x" }),
        &claims,
    );
    refused(&world, "foreign kid", &token).await;
    assert!(world.servers.issuer.reads() <= 3);
    // They do no harm where the signature is good.
    let token = signer.sign_with(
        &json!({ "alg": "ES256", "kid": "a", "jwk": attacker.public(), "typ": "at+jwt" }),
        &claims,
    );
    assert_eq!(world.verify(&token).await, found("billing"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_names_no_key_is_of_one_that_fits() {
    let (signer, other) = (Signer::new("a"), Signer::new("b"));
    let world = World::ready(&[billing()], set([&other, &signer])).await;
    let header = json!({ "alg": "ES256" });
    let token = signer.sign_with(&header, &world.claims(json!({})));
    assert_eq!(world.verify(&token).await, found("billing"));
    // With many keys it has to say which.
    let many: Vec<_> = (0..9).map(|_| Signer::new("x")).collect();
    let world = World::ready(&[billing()], set(&many)).await;
    let token = many[0].sign_with(&header, &world.claims(json!({})));
    refused(&world, "too many", &token).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_two_callers_could_claim_tells_neither() {
    let signer = Signer::new("a");
    let callers = [
        billing(),
        by_token("ops", &[("groups", "ops")]),
        by_token("both", &[("groups", "audit"), ("sub", "audit")]),
    ];
    let world = World::ready(&callers, set([&signer])).await;
    let told = async |claims: Value| world.verify(&signer.sign(&world.claims(claims))).await;
    assert_eq!(told(json!({})).await, found("billing"));
    assert_eq!(
        told(json!({ "sub": "x", "groups": ["dev", "ops"] })).await,
        found("ops")
    );
    assert_eq!(
        told(json!({ "groups": ["dev", "ops"] })).await,
        Found::Several
    );
    assert_eq!(
        told(json!({ "sub": "audit", "groups": "audit" })).await,
        found("both")
    );
    for nobody in [
        json!({ "sub": "x", "groups": [["ops"]] }),
        json!({ "sub": "audit" }),
        json!({ "sub": "x", "groups": "audit" }),
    ] {
        assert!(told(nobody.clone()).await.is_nobody(), "{nobody}");
    }
    // Nobody is told that a forgery would be ambiguous.
    let attacker = Signer::new("a");
    let forged = attacker.sign(&world.claims(json!({ "groups": "ops" })));
    assert!(world.verify(&forged).await.is_nobody());
}
