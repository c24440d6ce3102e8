//! Servers that want a nonce of their own in each proof.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinSet;

use crate::dpop::{config, guarded, judged, status};
use crate::support::api::{Api, unauthorized};
use crate::support::client::{self, Connection, post};
use crate::support::dpop::{Issuer, Referee};
use crate::support::eventually;
use crate::support::keys::{key, part};
use crate::support::server;
use crate::support::sidebearer::Sidebearer;

const REJECTIONS: &str = r#"sidebearer_token_rejections_total{credential="api"}"#;

#[tokio::test]
async fn a_token_endpoint_that_wants_a_nonce_gets_it_with_everything_made_anew() {
    let issuer = Issuer::start();
    issuer.referee.want("eyJ7S_zG.eyJH0-Z.HX4w-7v");
    let (api, _) = guarded(&issuer);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), key!("ed25519.jwk")).unwrap();
    let config = config(
        &api,
        &issuer,
        "",
        "dpop = true\nauth_method = \"private_key_jwt\"",
    );
    let config = config.replace(
        "client_secret = { file = \"secret\" }",
        "private_key = { file = \"key\" }",
    );
    let sidebearer = Sidebearer::start_in(dir, &config);
    assert_eq!(status(&sidebearer, "/").await, 200);
    let forms = issuer.forms();
    assert_eq!((forms.len(), issuer.issued()), (2, 1));
    let assertions = forms.iter().map(|form| part(&form["client_assertion"], 1));
    let ids: HashSet<_> = assertions.map(|claims| claims["jti"].to_string()).collect();
    assert_eq!(ids.len(), 2, "an assertion is good once");
    let requests = "sidebearer_token_requests_total";
    let success = format!(r#"{requests}{{credential="api",outcome="success"}}"#);
    assert_eq!(sidebearer.metric(&success).await, 1.0);
    let server_error = format!(r#"{requests}{{credential="api",outcome="server_error"}}"#);
    assert_eq!(sidebearer.metric(&server_error).await, 0.0);
}

#[tokio::test]
async fn a_token_endpoint_that_is_never_content_is_asked_twice_and_left_alone() {
    let issuer = Issuer::start();
    let (asked, api) = (Arc::new(AtomicUsize::new(0)), Api::open());
    let never = Api::start(move |_| {
        let mut refusal = crate::support::server::response(400, r#"{"error":"use_dpop_nonce"}"#);
        let nonce = format!("another-{}", asked.fetch_add(1, SeqCst));
        refusal
            .headers_mut()
            .insert("dpop-nonce", nonce.parse().unwrap());
        refusal
    });
    let lines = "dpop = true\nrefresh = \"lazy\"\nacquire_timeout = \"100ms\"";
    let config = config(&api, &issuer, "", lines);
    let config = config.replace(&issuer.endpoint(), &format!("{}/token", never.url()));
    let sidebearer = Sidebearer::start(&config);
    assert_eq!(status(&sidebearer, "/").await, 503);
    // No pause is as short as what a request waits for.
    eventually("it has answered twice", async || never.seen().len() >= 2).await;
    let failed = async || {
        let shown = sidebearer.status().await;
        shown["credentials"]["api"]["last_error"].is_object()
    };
    eventually("the attempt has failed", failed).await;
    assert_eq!(never.seen().len(), 2);
    let shown = sidebearer.status().await;
    let error = &shown["credentials"]["api"]["last_error"];
    assert_eq!(
        error["kind"], "server_error",
        "the next attempt can succeed"
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("use_dpop_nonce")
    );
}

#[tokio::test]
async fn an_upstream_that_wants_a_nonce_gets_it_and_the_client_notices_nothing() {
    let issuer = Issuer::start();
    let (api, referee) = guarded(&issuer);
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    assert_eq!(status(&sidebearer, "/").await, 200);
    // The body is sent again too, and so is what is known from then on.
    for (nonce, after) in [("one", 4), ("two", 7)] {
        referee.want(nonce);
        for _ in 0..2 {
            let answer = post(sidebearer.address(), "/orders", "an order").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
            assert_eq!(answer.header("dpop-nonce"), "", "it is meant for us");
        }
        let seen = api.seen();
        assert_eq!(seen.len(), after, "one more request for each new nonce");
        assert_eq!(seen.last().unwrap().body, "an order");
    }
    assert_eq!(sidebearer.metric(REJECTIONS).await, 0.0);
    assert_eq!(issuer.issued(), 1);
}

#[tokio::test]
async fn a_nonce_longer_than_max_nonce_bytes_is_not_repeated() {
    let nonce: &'static str = "n".repeat(65).leak();
    for (max, status_of_api) in [("65B", 200), ("64B", 401)] {
        let issuer = Issuer::start();
        let (api, referee) = guarded(&issuer);
        referee.want(nonce);
        let lines = format!("dpop = true\nmax_nonce_bytes = \"{max}\"");
        let sidebearer = Sidebearer::start(&config(&api, &issuer, "", &lines));
        assert_eq!(status(&sidebearer, "/").await, status_of_api, "{max}");
    }
    for (max, patience, status_of_ours) in [("65B", "30s", 200), ("64B", "1s", 503)] {
        let issuer = Issuer::start();
        issuer.referee.want(nonce);
        let (api, _) = guarded(&issuer);
        let lines = format!(
            "dpop = true\nrefresh = \"lazy\"\nacquire_timeout = \"{patience}\"\nmax_nonce_bytes = \"{max}\""
        );
        let sidebearer = Sidebearer::start(&config(&api, &issuer, "", &lines));
        assert_eq!(status(&sidebearer, "/").await, status_of_ours, "{max}");
    }
}

#[tokio::test]
async fn a_nonce_on_any_answer_counts_for_the_next_proof() {
    let issuer = Issuer::start();
    issuer.referee.be_fickle();
    issuer.set_lifetime(3);
    let (api, referee) = guarded(&issuer);
    referee.be_fickle();
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    for _ in 0..20 {
        assert_eq!(status(&sidebearer, "/").await, 200);
    }
    assert_eq!(api.seen().len(), 21, "only the first proof lacked it");
    crate::support::eventually("renewed twice", async || issuer.issued() >= 3).await;
    // One may be under way.
    let more = issuer.forms().len() - issuer.issued();
    assert!((1..=2).contains(&more), "only the first proof lacked it");
}

#[tokio::test]
async fn upstreams_of_one_origin_share_what_it_wants() {
    let issuer = Issuer::start();
    let (api, referee) = guarded(&issuer);
    referee.want("shared");
    let config = config(&api, &issuer, "", "dpop = true");
    let more = format!(
        "\n[upstreams.other]\nurl = \"{}/other\"\ncredential = \"api\"\n\n\
         [[routes]]\npath = \"/other\"\nreplace_prefix = \"/\"\nupstream = \"other\"\n",
        api.url()
    );
    let sidebearer = Sidebearer::start(&(config + &more));
    for path in ["/", "/other/x", "/", "/other/y"] {
        assert_eq!(status(&sidebearer, path).await, 200, "{path}");
    }
    assert_eq!(api.seen().len(), 5);
}

#[tokio::test]
async fn an_upstream_that_is_never_content_is_asked_twice_and_its_answer_passed_on() {
    let issuer = Issuer::start();
    let api = Api::start(|seen| {
        let mut refusal = unauthorized("DPoP error=\"use_dpop_nonce\"");
        let nonce = format!("another-{}", seen.header("dpop").len());
        refusal
            .headers_mut()
            .insert("dpop-nonce", nonce.parse().unwrap());
        refusal
    });
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    for requests in [2, 4, 6] {
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("www-authenticate"),
            "DPoP error=\"use_dpop_nonce\""
        );
        assert_eq!(api.seen().len(), requests);
    }
    assert_eq!(
        sidebearer.metric(REJECTIONS).await,
        0.0,
        "the token is not to blame"
    );
    assert_eq!(issuer.issued(), 1);
}

#[tokio::test]
async fn without_a_nonce_to_use_nothing_is_sent_again() {
    let issuer = Issuer::start();
    let api = Api::start(|_| unauthorized("DPoP error=\"use_dpop_nonce\""));
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    assert_eq!(status(&sidebearer, "/").await, 401);
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_not_sent_again_but_the_next_request_knows() {
    let issuer = Issuer::start();
    let (api, referee) = guarded(&issuer);
    referee.want("late");
    let upstream = "replay_buffer = \"1KiB\"";
    let sidebearer = Sidebearer::start(&config(&api, &issuer, upstream, "dpop = true"));
    let large = vec![b'x'; 2048];
    let answer = post(sidebearer.address(), "/", large.clone()).await;
    assert_eq!(answer.status, 401);
    let answer = post(sidebearer.address(), "/", large).await;
    assert_eq!(answer.status, 200);
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn nonces_that_count_once_are_enough_for_many_at_once() {
    let issuer = Issuer::start();
    let (api, referee) = guarded(&issuer);
    referee.be_frugal();
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    let address = sidebearer.address();
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        clients.spawn(async move {
            let mut connection = Connection::open(address).await;
            for _ in 0..25 {
                let answer = connection.get("/").await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(referee.accepted(), 400);
}

#[tokio::test]
async fn two_hosts_at_one_address_have_nonces_of_their_own() {
    let issuer = Issuer::start();
    let [a, b] = [(); 2].map(|()| Referee::default());
    a.want("of-a");
    b.want("of-b");
    let theirs = issuer.clone();
    let api = Api::start(move |seen| {
        let referee = if seen.host == "a.example" { &a } else { &b };
        judged(&theirs, referee, seen)
    });
    let config = config(&api, &issuer, "host = \"a.example\"", "dpop = true");
    let more = format!(
        "\n[upstreams.b]\nurl = \"{}\"\nhost = \"b.example\"\ncredential = \"api\"\n\n\
         [[routes]]\npath = \"/b\"\nupstream = \"b\"\n",
        api.url()
    );
    let sidebearer = Sidebearer::start(&(config + &more));
    for path in ["/", "/b", "/", "/b", "/", "/b"] {
        assert_eq!(status(&sidebearer, path).await, 200, "{path}");
    }
    assert_eq!(api.seen().len(), 8, "one more request for each host");
}

#[tokio::test]
async fn a_grpc_answer_that_wants_a_nonce_says_nothing_about_the_token() {
    let issuer = Issuer::start();
    let api = Api::start(|_| {
        let mut refusal = server::response(200, "");
        let headers = refusal.headers_mut();
        headers.insert("grpc-status", "16".parse().unwrap());
        headers.insert(
            "www-authenticate",
            "DPoP error=\"use_dpop_nonce\"".parse().unwrap(),
        );
        headers.insert("dpop-nonce", "n".parse().unwrap());
        refusal
    });
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    assert_eq!(status(&sidebearer, "/").await, 200);
    assert_eq!(api.seen().len(), 2);
    assert_eq!(sidebearer.metric(REJECTIONS).await, 0.0);
    assert_eq!(issuer.issued(), 1);
}

#[tokio::test]
async fn credentials_of_one_server_share_what_it_wants_and_reloads_keep_it() {
    let issuer = Issuer::start();
    issuer.referee.want("for-all");
    let (api, _) = guarded(&issuer);
    let of_one = config(&api, &issuer, "", "dpop = true");
    let sidebearer = Sidebearer::start(&of_one);
    assert_eq!(status(&sidebearer, "/").await, 200);
    assert_eq!(issuer.forms().len(), 2);
    let more = of_one.split("[credentials.api]").nth(1).unwrap();
    let more = format!(
        "\n[upstreams.other]\nurl = \"{}/other\"\ncredential = \"other\"\n\n\
         [[routes]]\npath = \"/other\"\nupstream = \"other\"\n\n[credentials.other]{more}",
        api.url()
    );
    let both = format!("{of_one}{more}");
    sidebearer.reconfigure(&both).await.unwrap();
    assert_eq!(status(&sidebearer, "/other").await, 200);
    assert_eq!(issuer.forms().len(), 3, "another credential");
    let changed = both.replacen("billing", "invoices", 1);
    sidebearer.reconfigure(&changed).await.unwrap();
    assert_eq!(status(&sidebearer, "/").await, 200);
    assert_eq!(issuer.forms().len(), 4, "a changed one");
}
