//! What a reload takes over, and what it does not.

use serde_json::json;
use sidebearer::config::IssuerKeys;

use super::fakes::{
    CLUSTER, Found, ISSUER, World, billing, by_account, by_token, found, issuer, kubernetes,
};
use super::servers::Mood;
use crate::support::eventually;
use crate::support::jwt::{Signer, set};

#[tokio::test(start_paused = true)]
async fn keys_and_verdicts_of_an_issuer_that_did_not_change_stay() {
    let signer = Signer::new("a");
    let mut world = World::ready(&[billing()], set([&signer])).await;
    let token = signer.sign(&world.claims(json!({})));
    assert_eq!(world.verify_now(&token), found("billing"));
    world.servers.issuer.is(Mood::Hangs);
    // Callers by other means, before and behind it in the order of names.
    let others = [
        by_account("accounting", "a", "b"),
        billing(),
        by_account("crm", "c", "d"),
    ];
    world.reload(&others, Some(&kubernetes(false)));
    // The cluster could be the same issuer, which nobody knows yet: the signature is verified again, no more.
    assert_eq!(world.verify_now(&token), found("billing"));
    world.reload(&[billing(), by_token("crm", &[("sub", "crm")])], None);
    assert_eq!(world.verify_now(&token), found("billing"));
    let crm = signer.sign(&world.claims(json!({ "sub": "crm" })));
    assert_eq!(world.verify_now(&crm), found("crm"));
    assert_eq!(world.servers.issuer.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_was_removed_is_told_no_more() {
    let signer = Signer::new("a");
    let crm = by_token("crm", &[("sub", "crm")]);
    let mut world = World::ready(&[billing(), crm.clone()], set([&signer])).await;
    let [to_billing, to_crm] =
        ["billing", "crm"].map(|subject| signer.sign(&world.claims(json!({ "sub": subject }))));
    assert_eq!(world.verify_now(&to_billing), found("billing"));
    assert_eq!(world.verify_now(&to_crm), found("crm"));
    // Its index is now that of another caller.
    world.reload(&[crm], None);
    assert!(world.verify_now(&to_billing).is_nobody());
    assert_eq!(world.verify_now(&to_crm), found("crm"));
    world.reload(&[], None);
    for token in [&to_billing, &to_crm] {
        assert!(world.verify_now(token).is_nobody());
    }
    assert!(world.verifier.is_empty() && world.verifier.status().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_token_is_of_the_same_caller_under_another_index() {
    let (signer, cluster) = (Signer::new("a"), Signer::new("c"));
    let app = by_account("app", "billing", "app");
    let kubernetes = kubernetes(false);
    let mut world = World::new(&[app.clone(), billing()], Some(&kubernetes));
    world.servers.issuer.is(Mood::Answers(set([&signer])));
    world.servers.cluster.is(Mood::Answers(set([&cluster])));
    world.read().await;
    let token = signer.sign(&world.claims(json!({})));
    assert_eq!(world.verify_now(&token), found("billing"));
    // Only accounts change: the tokens of the issuer stay known.
    let others = [
        by_account("aaa", "a", "a"),
        app.clone(),
        billing(),
        by_account("zzz", "z", "z"),
    ];
    world.reload(&others, Some(&kubernetes));
    assert_eq!(world.verify_now(&token), found("billing"));
    world.reload(&[billing()], None);
    assert_eq!(world.verify_now(&token), found("billing"));
    assert_eq!(world.servers.issuer.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_could_claim_a_known_token_too_makes_it_ambiguous() {
    let signer = Signer::new("a");
    let mut world = World::ready(&[billing()], set([&signer])).await;
    let token = signer.sign(&world.claims(json!({ "groups": ["ops"] })));
    assert_eq!(world.verify_now(&token), found("billing"));
    world.reload(&[billing(), by_token("ops", &[("groups", "ops")])], None);
    assert_eq!(world.verify_now(&token), Found::Several);
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_the_cluster_could_claim_a_token_of_an_issuer_of_the_same_name() {
    let signer = Signer::new("a");
    let cluster = by_token("cluster", &[]);
    let mut world = World::ready(std::slice::from_ref(&cluster), set([&signer])).await;
    let mut claims = world.account("billing", "app");
    claims["iss"] = json!(ISSUER);
    let token = signer.sign(&claims);
    assert_eq!(world.verify_now(&token), found("cluster"));
    let mut kubernetes = kubernetes(false);
    kubernetes.issuer = Some(ISSUER.to_owned());
    world.reload(
        &[cluster, by_account("billing", "billing", "app")],
        Some(&kubernetes),
    );
    assert_eq!(
        world.verify_now(&token),
        Found::Later,
        "the keys of the cluster lack"
    );
    let _ = CLUSTER;
}

#[tokio::test(start_paused = true)]
async fn what_changes_of_a_caller_counts_at_once() {
    let signer = Signer::new("a");
    let mut world = World::ready(&[billing()], set([&signer])).await;
    let token = signer.sign(&world.claims(json!({})));
    assert_eq!(world.verify_now(&token), found("billing"));
    let mut changed = billing();
    changed.token.as_mut().unwrap().audience = "another".into();
    world.reload(&[changed], None);
    assert!(world.verify_now(&token).is_nobody());
    world.reload(
        &[by_token("billing", &[("sub", "billing"), ("tier", "gold")])],
        None,
    );
    assert!(world.verify_now(&token).is_nobody());
    world.reload(&[billing()], None);
    assert_eq!(world.verify_now(&token), found("billing"));
    assert_eq!(world.servers.issuer.reads(), 1);
}

/// Real files, real time.
#[tokio::test]
async fn a_file_of_keys_is_read_again_and_its_last_good_content_serves_on() {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use sidebearer::caller::token::{
        NetworkEndpoints, TokenCallers, TokenVerifier, Verification, VerifierContext,
    };
    use sidebearer::config::ProxyChoice;
    use sidebearer::metrics::Metrics;
    use sidebearer::token::SystemClock;

    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(&set([&old]).to_string());
    let mut caller = billing();
    caller.token.as_mut().unwrap().issuer = issuer(ISSUER, IssuerKeys::File(path.clone().into()));
    let callers = BTreeMap::from([(caller.name.clone(), caller)]);
    let endpoints = NetworkEndpoints {
        proxy: ProxyChoice::default(),
        own_sockets: Arc::default(),
    };
    let metrics = Metrics::new();
    let build = |before: Option<&TokenVerifier>| {
        let context = VerifierContext {
            clock: Arc::new(SystemClock),
            metrics: &metrics,
            endpoints: &endpoints,
            proxy: &endpoints.proxy,
        };
        let of = TokenCallers {
            callers: &callers,
            kubernetes: None,
        };
        TokenVerifier::build(of, before.map(|before| (before, of)), &context)
    };
    let exp = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3600;
    let claims = json!({ "iss": ISSUER, "aud": "sidebearer", "sub": "billing", "exp": exp });
    let is_known = |verifier: &TokenVerifier, signer: &Signer| {
        matches!(
            verifier.verify(&signer.sign(&claims)),
            Verification::Caller(_)
        )
    };
    let mut verifier = build(None);
    eventually("the file is read", async || is_known(&verifier, &old)).await;
    for broken in ["", "{", "{\"keys\":[]}"] {
        write(broken);
        verifier = build(Some(&verifier));
        eventually("the fault is seen", async || {
            let status = verifier.status().unwrap();
            let error = status.keys[0].last_error.clone();
            error.is_some_and(|error| error.message.contains("keys.json"))
        })
        .await;
        assert!(is_known(&verifier, &old));
    }
    write(&set([&new]).to_string());
    verifier = build(Some(&verifier));
    eventually("the new key is read", async || is_known(&verifier, &new)).await;
    assert!(!is_known(&verifier, &old));
}
