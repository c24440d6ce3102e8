//! What becomes of a working token when a reload changes how it is asked for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

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

async fn shown(sidebearer: &Sidebearer) -> Value {
    sidebearer.status().await["credentials"]["api"].clone()
}

/// What `sidebearer explain --live` tells of the token that a request for `path` would get.
async fn explained(sidebearer: &Sidebearer, path: &str) -> Value {
    let question = format!("{{\"method\": \"GET\", \"url\": \"{path}\"}}");
    let answer = client::post(sidebearer.admin(), "/explain", question).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["explanations"][0]["state"]["token"].take()
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
async fn a_credential_in_place_of_another_counts_at_once_and_one_that_is_added_does_not() {
    for (renamed, now) in [
        (&["credential"][..], 503),
        (&["credential", "upstream"], 503),
        (&[], 200),
    ] {
        let (idp, api) = (Idp::start(), Api::open());
        let (sidebearer, config) = holding_a_token(&api, &idp).await;
        assert_eq!(readiness(&sidebearer).await, 200);
        refuse(&idp, "invalid_client");
        let mut changed = config.clone();
        for kind in renamed {
            let header = format!("[{kind}s.api]");
            assert!(changed.contains(&header), "{changed}");
            changed = changed
                .replace(&header, &format!("[{kind}s.new]"))
                .replace(&format!("{kind} = \"api\""), &format!("{kind} = \"new\""));
        }
        if renamed.is_empty() {
            // Another identity at the same API, beside the one before.
            let table = config.split_once("[credentials.api]").unwrap().1;
            let (route, upstream) = (route("/more", "more"), upstream("more", &api.url(), "new"));
            changed = [&config, &*route, &upstream, "[credentials.new]", table].concat();
        }
        sidebearer.reconfigure(&changed).await.unwrap();
        let status = if renamed.is_empty() { 200 } else { 503 };
        assert_eq!(status_of(&sidebearer).await, status, "{renamed:?}");
        assert_eq!(readiness(&sidebearer).await, now, "{renamed:?}");
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

#[tokio::test]
async fn a_reload_whose_settings_are_refused_makes_one_attempt() {
    let (idp, api) = (Idp::start(), Api::open());
    let (sidebearer, config) = holding_a_token(&api, &idp).await;
    refuse(&idp, "invalid_scope");
    for n in 0..10 {
        let start = Instant::now();
        let mistaken = scopes(&config, &format!("[\"read\", \"write\", \"typo{n}\"]"));
        sidebearer.reconfigure(&mistaken).await.unwrap();
        let shown = &sidebearer.status().await["credentials"]["api"];
        // Two seconds after the refusal another attempt is due.
        if start.elapsed() < Duration::from_millis(1900) {
            assert_eq!(shown["fetches"], 1, "{shown}");
            assert_eq!(shown["consecutive_failures"], 1, "{shown}");
            return;
        }
    }
    panic!("no reload took less than two seconds");
}

#[tokio::test]
async fn a_reload_ends_the_pause_of_a_credential_that_it_did_not_change() {
    let (idp, api) = (Idp::start(), Api::open());
    refuse(&idp, "invalid_client");
    let config = with_patience(&smallest(&api, &idp), "100ms");
    let sidebearer = Sidebearer::start(&config);
    // The pause after the second refusal is longer than a test waits.
    eventually("a second refusal", async || {
        sidebearer.status().await["credentials"]["api"]["consecutive_failures"] == 2
    })
    .await;
    idp.behave(Behaviour::Healthy);
    sidebearer.reload().await.unwrap();
    sidebearer.ready().await;
}

#[tokio::test]
async fn a_token_that_no_upstream_may_be_sent_counts_nowhere() {
    for change in ["url", "header"] {
        let (idp, api, other) = (Idp::start(), Api::open(), Api::open());
        let (sidebearer, config) = holding_a_token(&api, &idp).await;
        refuse(&idp, "invalid_scope");
        let changed = match change {
            "url" => config.replace(&api.url(), &other.url()),
            _ => config.replace(&api.url(), &format!("{}\"\nheader = \"x-key", api.url())),
        };
        assert_ne!(changed, config);
        let mistaken = scopes(&changed, "[\"read\", \"write\", \"typo\"]");
        sidebearer.reconfigure(&mistaken).await.unwrap();
        assert_eq!(status_of(&sidebearer).await, 503, "{change}");
        assert_eq!(readiness(&sidebearer).await, 503, "{change}");
        let status = shown(&sidebearer).await;
        assert!(!["valid", "refreshing"].contains(&status["state"].as_str().unwrap()));
        assert_eq!(status["expires_at"], Value::Null, "{status}");
        assert_eq!(status["settings_pending"], true, "{status}");
        assert_eq!(sidebearer.metric(EXPIRY).await, 0.0);
        let token = explained(&sidebearer, "/").await;
        assert_eq!(token["usable"], false, "{token}");

        // The URL alone is taken back: the token may serve there.
        let typo = scopes(&config, "[\"read\", \"write\", \"typo\"]");
        sidebearer.reconfigure(&typo).await.unwrap();
        assert_eq!(status_of(&sidebearer).await, 200, "{change}");
        assert_eq!(readiness(&sidebearer).await, 200, "{change}");

        // Only the URL changes, and no source of tokens with it.
        sidebearer.reconfigure(&mistaken).await.unwrap();
        assert_eq!(status_of(&sidebearer).await, 503, "{change}");
        assert_eq!(readiness(&sidebearer).await, 503, "{change}");
        assert_eq!(sidebearer.metric(EXPIRY).await, 0.0);
        assert!(other.seen().is_empty());
    }
}

#[tokio::test]
async fn a_change_that_is_taken_back_brings_the_token_back_without_a_request_for_one() {
    let (idp, api, other) = (Idp::start(), Api::open(), Api::open());
    let (sidebearer, config) = holding_a_token(&api, &idp).await;
    idp.behave(Behaviour::Answers(503, "down".to_owned()));
    let typo = scopes(&config, "[\"read\", \"write\", \"typo\"]");
    for mistaken in [
        typo.replace(&api.url(), &other.url()),
        typo.clone(),
        config.replace("\"billing\"", "\"other\""),
        scopes(&config, "[\"read\"]"),
    ] {
        assert_ne!(mistaken, config);
        sidebearer.reconfigure(&mistaken).await.unwrap();
        sidebearer.reconfigure(&config).await.unwrap();
        assert_eq!(status_of(&sidebearer).await, 200, "{mistaken}");
        assert_eq!(readiness(&sidebearer).await, 200);
        let status = shown(&sidebearer).await;
        assert_eq!(status["state"], "valid", "{status}");
        assert_eq!(status["settings_pending"], false, "{status}");
        assert_eq!(status["fetches"], 0, "{status}");
        assert!(sidebearer.metric(EXPIRY).await > 1e9);
    }
    // Not somewhere else.
    sidebearer.reconfigure(&typo).await.unwrap();
    let moved = config.replace(&api.url(), &other.url());
    sidebearer.reconfigure(&moved).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 503);
    assert_eq!(readiness(&sidebearer).await, 503);
    assert!(other.seen().is_empty());
    // One that was revoked does not come back by another change.
    sidebearer
        .reconfigure(&scopes(&config, "[\"read\"]"))
        .await
        .unwrap();
    let others = scopes(&config, "[\"read\", \"list\"]");
    sidebearer.reconfigure(&others).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 503);
    sidebearer.reconfigure(&config).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 200);
    assert!(
        api.seen()
            .iter()
            .all(|seen| seen.authorization() == "Bearer token-1")
    );
}

#[tokio::test]
async fn readiness_counts_upstreams_that_lost_the_token_and_not_those_that_never_had_one() {
    let (idp, kept, moved) = (Idp::start(), Api::open(), Api::open());
    let (sidebearer, config) = holding_a_token(&kept, &idp).await;
    let with = |url: &str, scopes_now: &str| {
        let (route, upstream) = (route("/more", "more"), upstream("more", url, "api"));
        [&scopes(&config, scopes_now), &*route, &upstream].concat()
    };
    let more = || client::get(sidebearer.address(), "/more");
    refuse(&idp, "invalid_scope");
    let new = with(&kept.url(), "[\"read\", \"write\", \"typo\"]");
    sidebearer.reconfigure(&new).await.unwrap();
    assert_eq!(more().await.code(), "token_unavailable");
    assert_eq!(status_of(&sidebearer).await, 200);
    assert_eq!(readiness(&sidebearer).await, 200);
    let status = shown(&sidebearer).await;
    assert_eq!(status["withheld_from"], json!(["more"]), "{status}");

    idp.behave(Behaviour::Healthy);
    let both = with(&kept.url(), "[\"read\", \"write\"]");
    sidebearer.reconfigure(&both).await.unwrap();
    eventually("both have a token of their own", async || {
        more().await.status == 200
    })
    .await;
    let status = shown(&sidebearer).await;
    assert_eq!(status["withheld_from"], json!([]), "{status}");

    refuse(&idp, "invalid_scope");
    let elsewhere = with(&moved.url(), "[\"read\", \"write\", \"typo\"]");
    sidebearer.reconfigure(&elsewhere).await.unwrap();
    assert_eq!(more().await.code(), "token_unavailable");
    assert_eq!(status_of(&sidebearer).await, 200);
    assert_eq!(readiness(&sidebearer).await, 503);
    let status = shown(&sidebearer).await;
    assert_eq!(status["withheld_from"], json!(["more"]), "{status}");
    assert!(sidebearer.metric(EXPIRY).await > 1e9);
    assert_eq!(explained(&sidebearer, "/").await["usable"], true);
    let token = explained(&sidebearer, "/more").await;
    assert_eq!(token["usable"], false, "{token}");
    assert!(!["valid", "refreshing"].contains(&token["phase"].as_str().unwrap()));
    assert!(moved.seen().is_empty());
}

#[tokio::test]
async fn another_client_in_the_file_of_its_id_ends_the_old_token_when_what_is_asked_for_changes() {
    let (idp, api) = (Idp::start(), Api::open());
    let (sidebearer, config) = holding_a_token(&api, &idp).await;
    let original = config.clone();
    let config = config.replace("\"billing\"", "{ file = \"id\" }");
    sidebearer.write("id", "billing");
    // The same client, though its id is read from elsewhere.
    refuse(&idp, "invalid_scope");
    sidebearer.reconfigure(&config).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 200);

    // A file alone is no reload of settings.
    sidebearer.write("id", "other");
    let limits = format!("{config}max_retry_pause = \"10s\"\n");
    sidebearer.reconfigure(&limits).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 200);

    let more = scopes(&config, "[\"read\", \"write\", \"more\"]");
    sidebearer.reconfigure(&more).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 503);
    assert_eq!(readiness(&sidebearer).await, 503);
    sidebearer.reconfigure(&original).await.unwrap();
    assert_eq!(status_of(&sidebearer).await, 200);
    assert!(
        api.seen()
            .iter()
            .all(|seen| seen.authorization() == "Bearer token-1")
    );
}
