//! Servers that want a nonce of their own in each proof.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::Method;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::dpop::{config, guarded, status};
use crate::support::api::{Api, unauthorized};
use crate::support::client::{self, http1, post, read, streaming};
use crate::support::dpop::{Issuer, Referee, guard};
use crate::support::keys::{key, part};
use crate::support::server::{self, fed, response};
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
    let config = config(&api, &issuer, "", "dpop = true\nrefresh = \"lazy\"");
    let config = config.replace(&issuer.endpoint(), &format!("{}/token", never.url()));
    let sidebearer = Sidebearer::start(&config);
    assert_eq!(status(&sidebearer, "/").await, 503);
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

/// Judges a request by its head, and reads its body only if that is good: it comes back. Tells the
/// status before.
fn judges_heads(
    issuer: &Issuer,
    referee: &Referee,
) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<u16>) {
    let (told, judgements) = mpsc::unbounded_channel();
    let (issuer, referee) = (issuer.clone(), referee.clone());
    let address = server::serve(None, move |request| {
        let (head, body) = request.into_parts();
        let host = head.headers["host"].to_str().unwrap();
        let url = format!("http://{host}{}", head.uri.path());
        let judged = guard(&issuer, &referee, head.method.as_str(), &url, &head.headers);
        let told = told.clone();
        async move {
            told.send(judged.status().as_u16()).unwrap();
            if judged.status() != 200 {
                return judged;
            }
            response(200, body.collect().await.unwrap().to_bytes())
        }
    });
    (address, judgements)
}

#[tokio::test]
async fn an_upload_under_way_when_the_nonce_is_asked_for_is_sent_whole() {
    const LIMIT: usize = 64 * 1024;
    // What is sent before the refusal and after it: nothing; under, at and over the limit.
    for (before, after) in [
        (0, 0),
        (0, 10),
        (10, 10),
        (10, LIMIT - 10),
        (LIMIT, 0),
        (10, LIMIT),
    ] {
        for sized in [false, true] {
            let issuer = Issuer::start();
            let referee = Referee::default();
            referee.want("for-uploads");
            let (address, mut judgements) = judges_heads(&issuer, &referee);
            let decoy = Api::open();
            let config = config(&decoy, &issuer, "", "dpop = true");
            let config = config.replace(&decoy.url(), &format!("http://{address}"));
            let sidebearer = Sidebearer::start(&config);
            sidebearer.ready().await;
            let (feed, body) = fed();
            let mut asked = streaming(Method::POST, "/", body);
            let whole = before + after;
            if sized {
                asked.headers_mut().insert("content-length", whole.into());
            }
            let mut connection = http1(sidebearer.address()).await;
            let answering = tokio::spawn(connection.send_request(asked));
            if before > 0 {
                let data = Frame::data(vec![b'x'; before].into());
                feed.send(Ok(data)).await.unwrap();
            }
            // Too large from the start, if its length is declared; else the rest need not be kept.
            let expected = if sized && whole > LIMIT { 401 } else { 200 };
            assert_eq!(judgements.recv().await, Some(401));
            if expected == 200 {
                // What follows is read by the second attempt alone.
                assert_eq!(judgements.recv().await, Some(200));
            }
            if after > 0 {
                let data = Frame::data(vec![b'x'; after].into());
                let _ = feed.send(Ok(data)).await;
            }
            drop(feed);
            let answer = read(answering.await.unwrap().unwrap()).await.unwrap();
            let case = format!("{before} and {after}, sized: {sized}");
            assert_eq!(answer.status, expected, "{case}");
            if expected == 200 {
                assert_eq!(answer.body, vec![b'x'; whole], "{case}");
            }
        }
    }
}
