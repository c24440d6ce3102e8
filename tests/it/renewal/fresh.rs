//! An upstream that rejects tokens which are new to it: a wrong audience, say.

use rustix::process::Signal;

use super::*;
use crate::support::process::Process;

#[tokio::test]
async fn a_wrong_audience_is_warned_of_once_in_the_words_of_the_api() {
    let idp = Idp::start();
    let api = Api::start(|seen| {
        let echo = seen.authorization();
        unauthorized(&format!(
            "Bearer error=\"invalid_token\", error_description=\"wrong audience of {echo}\""
        ))
    });
    let process = Process::start(&config(&api.url(), &idp, "", "")).await;
    for _ in 0..20 {
        assert_eq!(client::get(process.address(), "/").await.status, 401);
    }
    process.signal(Signal::TERM);
    let log = process.ended().await.stderr;
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("fresh tokens"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    for part in [
        "\"WARN\"",
        "\"upstream\":\"api\"",
        "\"credential\":\"api\"",
        "\"error\":\"invalid_token\"",
        "wrong audience of",
        "audience and scopes",
    ] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    assert!(
        !log.contains("token-1") && !log.contains("token-2"),
        "{log}"
    );
}

/// What `/status` shows of it.
async fn shown(sidebearer: &Sidebearer) -> serde_json::Value {
    sidebearer.status().await["upstreams"]["api"]["fresh_tokens_rejected"].take()
}

#[tokio::test]
async fn status_shows_that_fresh_tokens_are_rejected_until_one_is_accepted() {
    for (upstream, body) in [
        ("", 0),
        ("retry_on_401 = false", 0),
        ("replay_buffer = \"0B\"", 1),
    ] {
        let idp = Idp::start();
        let api = Api::start(|_| unauthorized("Bearer error=\"invalid_token\""));
        let config = config(&api.url(), &idp, upstream, "");
        let sidebearer = holding_token_1(&config).await;
        assert!(shown(&sidebearer).await.is_null());
        let body = vec![b'x'; body];
        assert_eq!(post(sidebearer.address(), "/", body).await.status, 401);
        let shown = shown(&sidebearer).await;
        assert_eq!(shown["error"], "invalid_token", "{upstream}: {shown}");
        assert_eq!(shown["tokens"], 1);
        assert!(shown["since"].as_u64().unwrap() > 1_000_000_000, "{shown}");
    }
}

#[tokio::test]
async fn a_revoked_token_that_is_replaced_is_nothing_to_tell() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    let sidebearer = holding_token_1(&config(&api.url(), &idp, "", "")).await;
    for _ in 0..2 {
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        idp.revoke_all();
    }
    assert!(shown(&sidebearer).await.is_null());
}

#[tokio::test]
async fn a_token_is_new_to_an_api_at_another_url() {
    let idp = Idp::start();
    let api = Api::open();
    let other = Api::start(|_| unauthorized("Bearer error=\"invalid_token\""));
    let config = config(&api.url(), &idp, "retry_on_401 = false", "");
    let sidebearer = holding_token_1(&config).await;
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
    let moved = config.replace(&api.url(), &other.url());
    sidebearer.reconfigure(&moved).await.unwrap();
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 401);
    assert_eq!(shown(&sidebearer).await["tokens"], 1);
    sidebearer.reconfigure(&config).await.unwrap();
    assert!(shown(&sidebearer).await.is_null(), "that was another API");
}
