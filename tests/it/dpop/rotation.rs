//! The key: how long it stays, and how it changes.

use crate::dpop::{config, guarded, status};
use crate::support::dpop::Issuer;
use crate::support::keys::key;
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, loopback, with_patience};

#[tokio::test]
async fn the_key_survives_reloads() {
    let issuer = Issuer::start();
    let (api, _) = guarded(&issuer);
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    assert_eq!(status(&sidebearer, "/").await, 200);
    for (change, tokens) in [
        ("scopes = [\"a\"]", 2),
        ("scopes = [\"b\"]", 3),
        ("required = false", 4),
    ] {
        let changed = config(&api, &issuer, "", &format!("dpop = true\n{change}"));
        sidebearer.reconfigure(&changed).await.unwrap();
        assert_eq!(status(&sidebearer, "/").await, 200);
        assert_eq!(issuer.issued(), tokens, "{change}");
    }
    assert_eq!(issuer.keys().len(), 1);

    let another = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    assert_eq!(status(&another, "/").await, 200);
    assert_eq!(issuer.keys().len(), 2, "no other process has it");
}

#[tokio::test]
async fn a_key_from_a_file_changes_with_the_next_token_and_no_request_fails() {
    let issuer = Issuer::start();
    issuer.set_lifetime(3);
    let (api, _) = guarded(&issuer);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    std::fs::write(dir.path().join("proof.key"), key!("p256.pkcs8.pem")).unwrap();
    let credential = "dpop = true\ndpop_key = { file = \"proof.key\" }";
    let sidebearer = Sidebearer::start_in(dir, &config(&api, &issuer, "", credential));
    assert_eq!(status(&sidebearer, "/").await, 200);
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    sidebearer.write("proof.key", &other.serialize_pem());
    eventually("a token of the new key", async || {
        assert_eq!(status(&sidebearer, "/").await, 200);
        issuer.keys().len() == 2
    })
    .await;
    // Half a file is not a key: the last good one signs on.
    sidebearer.write("proof.key", &other.serialize_pem()[..80]);
    let issued = issuer.issued();
    eventually("two more tokens", async || {
        assert_eq!(status(&sidebearer, "/").await, 200);
        issuer.issued() >= issued + 2
    })
    .await;
    assert_eq!(issuer.keys().len(), 2);
}

#[tokio::test]
async fn a_reload_that_names_another_key_ends_tokens_bound_to_the_old_one() {
    let issuer = Issuer::start();
    let (api, _) = guarded(&issuer);
    let dir = tempfile::tempdir().unwrap();
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    for (file, key) in [
        ("proof.key", key!("p256.pkcs8.pem")),
        ("same.key", key!("p256.pkcs8.pem")),
        ("other.key", &other.serialize_pem()),
    ] {
        std::fs::write(dir.path().join(file), key).unwrap();
    }
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    let lines = "dpop = true\ndpop_key = { file = \"proof.key\" }";
    let before = with_patience(&config(&api, &issuer, "", lines), "100ms");
    let sidebearer = Sidebearer::start_in(dir, &before);
    sidebearer.ready().await;
    // Nobody answers there: what serves is the old token.
    let nowhere = format!("http://{}/token", loopback());
    let elsewhere = before.replace(&issuer.endpoint(), &nowhere);
    sidebearer.reconfigure(&elsewhere).await.unwrap();
    assert_eq!(status(&sidebearer, "/").await, 200, "the same key");
    let moved = elsewhere.replace("proof.key", "same.key");
    sidebearer.reconfigure(&moved).await.unwrap();
    assert_eq!(status(&sidebearer, "/").await, 200, "the same key");
    for other in [
        "dpop = true\ndpop_key = { file = \"other.key\" }",
        "dpop = true",
        "",
    ] {
        sidebearer.reconfigure(&before).await.unwrap();
        assert_eq!(status(&sidebearer, "/").await, 200);
        let changed = elsewhere.replace(lines, other);
        sidebearer.reconfigure(&changed).await.unwrap();
        assert_eq!(status(&sidebearer, "/").await, 503, "{other}");
    }
    sidebearer.reconfigure(&before).await.unwrap();
    assert_eq!(status(&sidebearer, "/").await, 200);
    // It is another key in the same file.
    sidebearer.write("proof.key", &other.serialize_pem());
    sidebearer.reconfigure(&elsewhere).await.unwrap();
    assert_eq!(status(&sidebearer, "/").await, 503);
}
