//! What becomes of a working token when a reload changes how it is asked for.

use super::*;
use crate::support::idp::Behaviour;
use crate::support::{eventually, smallest, with_patience};

const EXPIRY: &str = "sidebearer_token_expiry_timestamp_seconds{credential=\"api\"}";
const PENDING: &str = "sidebearer_credential_settings_pending{credential=\"api\"}";

/// Holds the first token of `idp`; requests do not wait for others.
async fn holding_a_token(api: &Api, idp: &Idp) -> (Sidebearer, String) {
    let config = with_patience(&smallest(api, idp), "100ms");
    let config = format!("{config}scopes = [\"read\", \"write\"]\n");
    let sidebearer = Sidebearer::start(&config);
    sidebearer.ready().await;
    (sidebearer, config)
}

fn refuse(idp: &Idp, error: &str) {
    let body = format!("{{\"error\":\"{error}\"}}");
    idp.behave(Behaviour::Answers(400, body));
}

fn scopes(config: &str, scopes: &str) -> String {
    config.replace("[\"read\", \"write\"]", scopes)
}

async fn status_of(sidebearer: &Sidebearer) -> u16 {
    client::get(sidebearer.address(), "/").await.status
}

async fn readiness(sidebearer: &Sidebearer) -> u16 {
    client::get(sidebearer.admin(), "/readyz").await.status
}

#[tokio::test]
async fn times_and_limits_change_without_another_token_request() {
    let (idp, api) = (Idp::start(), Api::open());
    let (sidebearer, config) = holding_a_token(&api, &idp).await;
    idp.behave(Behaviour::Answers(503, "down".to_owned()));
    for line in [
        "max_retry_pause = \"10s\"",
        "fetch_timeout = \"1s\"",
        "max_token_bytes = \"2KiB\"",
        "max_nonce_bytes = \"2KiB\"",
        "default_lifetime = \"1m\"",
        "required = false",
        "refresh = \"lazy\"",
    ] {
        sidebearer
            .reconfigure(&format!("{config}{line}\n"))
            .await
            .unwrap();
        assert_eq!(status_of(&sidebearer).await, 200, "{line}");
    }
    assert_eq!(idp.requests(), 1);
    assert_eq!(sidebearer.metric(PENDING).await, 0.0);
    assert!(sidebearer.metric(EXPIRY).await > 1e9);
}

#[tokio::test]
async fn changed_limits_count_from_the_next_token_request() {
    let (idp, api) = (Idp::start(), Api::protected_by(&Idp::start()));
    let (sidebearer, config) = holding_a_token(&api, &idp).await;
    idp.set_prefix(&"t".repeat(2000));
    let limited = format!("{config}max_token_bytes = \"1KiB\"\n");
    sidebearer.reconfigure(&limited).await.unwrap();
    // The rejection causes a token request, for which this request need not have waited.
    assert_eq!(status_of(&sidebearer).await, 401);
    eventually("the new token is too large", async || {
        let status = sidebearer.status().await;
        let error = &status["credentials"]["api"]["last_error"]["message"];
        error.to_string().contains("max_token_bytes")
    })
    .await;
}

#[tokio::test]
async fn settings_that_the_server_refuses_leave_the_old_token_in_use_and_are_told_of() {
    let (idp, open) = (Idp::start(), Api::open());
    let (sidebearer, config) = holding_a_token(&open, &idp).await;
    refuse(&idp, "invalid_scope");
    let more = scopes(&config, "[\"read\", \"write\", \"typo\"]");
    sidebearer.reconfigure(&more).await.unwrap();

    assert_eq!(status_of(&sidebearer).await, 200);
    assert_eq!(open.seen()[0].authorization(), "Bearer token-1");
    assert_eq!(readiness(&sidebearer).await, 200);
    let shown = &sidebearer.status().await["credentials"]["api"];
    assert_eq!(shown["settings_pending"], true, "{shown}");
    let error = shown["last_error"]["message"].as_str().unwrap();
    assert!(error.contains("invalid_scope"), "{error}");
    assert_eq!(sidebearer.metric(PENDING).await, 1.0);
    assert!(sidebearer.metric(EXPIRY).await > 1e9);

    idp.behave(Behaviour::Healthy);
    sidebearer.reload().await.unwrap();
    eventually("the new settings bring a token", async || {
        sidebearer.metric(PENDING).await == 0.0
    })
    .await;
    assert_eq!(status_of(&sidebearer).await, 200);
    assert_eq!(open.seen()[1].authorization(), "Bearer token-2");
    let shown = &sidebearer.status().await["credentials"]["api"];
    assert_eq!(shown["settings_pending"], false);
}

#[tokio::test]
async fn another_client_or_fewer_scopes_end_the_old_token_and_readiness() {
    for change in ["client", "scopes"] {
        let (idp, api) = (Idp::start(), Api::open());
        let (sidebearer, config) = holding_a_token(&api, &idp).await;
        refuse(&idp, "invalid_client");
        let changed = match change {
            "client" => config.replace("\"billing\"", "\"other\""),
            _ => scopes(&config, "[\"read\"]"),
        };
        sidebearer.reconfigure(&changed).await.unwrap();
        assert_eq!(status_of(&sidebearer).await, 503, "{change}");
        assert!(api.seen().is_empty());
        assert_eq!(readiness(&sidebearer).await, 503, "{change}");
        assert_eq!(sidebearer.metric(EXPIRY).await, 0.0);
        assert_eq!(sidebearer.metric(PENDING).await, 1.0);
    }
}

#[tokio::test]
async fn only_upstreams_that_got_the_old_token_before_get_it_still() {
    let (idp, kept, moved) = (Idp::start(), Api::open(), Api::open());
    let (sidebearer, config) = holding_a_token(&kept, &idp).await;
    refuse(&idp, "invalid_scope");
    let with = |config: &str, scopes_now: &str, header: &str| {
        [
            &scopes(config, scopes_now),
            &*route("/new", "new"),
            &upstream("new", &moved.url(), "api"),
            header,
        ]
        .concat()
    };
    let first = with(&config, "[\"read\", \"write\", \"typo\"]", "");
    sidebearer.reconfigure(&first).await.unwrap();
    let new = || client::get(sidebearer.address(), "/new");
    assert_eq!(new().await.code(), "token_unavailable");
    assert_eq!(status_of(&sidebearer).await, 200);

    // Not by a second change either.
    let second = with(&config, "[\"read\", \"write\", \"tpyo\"]", "");
    sidebearer.reconfigure(&second).await.unwrap();
    assert_eq!(new().await.code(), "token_unavailable");
    assert_eq!(status_of(&sidebearer).await, 200);
    assert!(moved.seen().is_empty());

    let elsewhere = second.replace(&kept.url(), &moved.url());
    let elsewhere = elsewhere.replace("tpyo", "ytpo");
    sidebearer.reconfigure(&elsewhere).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 503, "another URL");
    assert!(moved.seen().is_empty());

    idp.behave(Behaviour::Healthy);
    sidebearer.reload().await.unwrap();
    eventually("all have the new one", async || {
        status_of(&sidebearer).await == 200 && new().await.status == 200
    })
    .await;
    let sent = moved.seen();
    assert!(
        sent.iter()
            .all(|seen| seen.authorization() == "Bearer token-2")
    );
}

#[tokio::test]
async fn taking_a_mistake_back_is_no_revocation() {
    let (idp, api) = (Idp::start(), Api::open());
    let (sidebearer, config) = holding_a_token(&api, &idp).await;
    refuse(&idp, "invalid_scope");
    let mistaken = scopes(&config, "[\"read\", \"write\", \"typo\"]");
    sidebearer.reconfigure(&mistaken).await.unwrap();
    sidebearer.reconfigure(&config).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 200);
    let fewer = scopes(&config, "[\"read\"]");
    sidebearer.reconfigure(&fewer).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 503);
}
