//! What `check --online` says of clocks and secrets, and leaves out of the words of servers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::ask;
use crate::support::any_port;
use crate::support::api::{Api, unauthorized};
use crate::support::dpop::{Issuer, Referee, guard};
use crate::support::idp::{Behaviour, Idp};
use crate::support::jwt::{Signer, set};
use crate::support::keys::part;
use crate::support::process::{command, run};
use crate::support::server::response;
use crate::support::sidebearer::directory;
use crate::support::smallest;
use crate::support::tls::Ca;

/// By so much a server's clock is behind ours.
const BEHIND: Duration = Duration::from_secs(30);

fn their_time() -> SystemTime {
    SystemTime::now() - BEHIND
}

/// Says what time it is there.
fn dated<B>(mut response: http::Response<B>) -> http::Response<B> {
    let date = httpdate::fmt_http_date(their_time()).parse().unwrap();
    response.headers_mut().insert("date", date);
    response
}

/// Whether it says, in this line, that a clock is behind ours by about [`BEHIND`].
fn tells_of_the_clock(stderr: &str, start: &str) -> bool {
    let mut lines = stderr.lines().filter(|line| line.starts_with(start));
    let told = |line: &str| {
        (20..=31).any(|s| line.ends_with(&format!("; its clock is {s} s behind ours")))
    };
    lines.any(told)
}

#[tokio::test]
async fn check_online_says_how_far_the_clock_of_a_token_endpoint_is_off() {
    let (api, idp) = (Api::open(), Idp::start());
    for (status, body, start, code) in [
        (
            200,
            r#"{"access_token":"t","token_type":"Bearer"}"#,
            "ok      credential api: ",
            0,
        ),
        (
            401,
            r#"{"error":"invalid_client"}"#,
            "FAILED  credential api: ",
            1,
        ),
    ] {
        let server = Api::start(move |_| dated(response(status, body)));
        let endpoint = format!("{}/token", server.url());
        let (_dir, path) = directory(&smallest(&api, &idp).replace(&idp.endpoint(), &endpoint));
        let checked = ask(&["check", "--online", "--config", &path]).await;
        assert_eq!(checked.code, code, "{checked:?}");
        assert!(tells_of_the_clock(&checked.stderr, start), "{checked:?}");
        assert_eq!(checked.stderr.matches("clock").count(), 1, "{checked:?}");
    }
}

#[tokio::test]
async fn check_online_dates_a_proof_by_the_clock_of_the_api_that_refuses_it() {
    let (issuer, referee) = (Issuer::start(), Referee::default());
    let theirs = issuer.clone();
    let api = Api::start(move |seen| {
        let clock = their_time().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let answer = if part(seen.header("dpop"), 1)["iat"].as_u64().unwrap() <= clock {
            let url = format!("http://{}{}", seen.host, seen.target);
            guard(&theirs, &referee, &seen.method, &url, &seen.headers)
        } else {
            unauthorized("DPoP error=\"invalid_dpop_proof\"")
        };
        dated(answer)
    });
    let idp = Idp::start();
    let config = smallest(&api, &idp).replace(&idp.endpoint(), &issuer.endpoint());
    let (_dir, path) = directory(&format!("{config}dpop = true\n"));
    let check = [
        "check",
        "--config",
        &path,
        "--online",
        "--try",
        "api=/v2/me",
    ];
    let checked = ask(&check).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let start = "ok      try api: GET /v2/me answers 200";
    assert!(tells_of_the_clock(&checked.stderr, start), "{checked:?}");
    assert_eq!(api.seen().len(), 2, "only the first proof is refused");
}

#[tokio::test]
async fn check_online_shows_no_secret_that_a_certificate_names() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let tls = ca.certificate(&["s3cret.example.com"]).server(&[]);
    let api = Api::with_tls(Some(tls), |_| response(200, "ok"));
    let url = format!("https://{}", api.address);
    let config = smallest(&api, &idp).replace(&api.url(), &url);
    let ca = format!(
        "tls.ca_file = \"{}\"\n\n[credentials.api]",
        ca.file().display()
    );
    let (_dir, path) = directory(&config.replace("[credentials.api]", &ca));
    let tried = ["check", "--config", &path, "--online", "--try", "api=/"];
    // What was known before a token request failed is still a secret.
    for (status, failed) in [(None, 2), (Some(503), 3)] {
        if let Some(status) = status {
            idp.behave(Behaviour::Answers(status, String::new()));
        }
        let checked = ask(&tried).await;
        assert_eq!(checked.code, 1, "{checked:?}");
        let told = "FAILED  upstream api: ";
        assert!(checked.stderr.contains(told), "{checked:?}");
        assert!(
            checked
                .stderr
                .contains("the server's certificate is for [redacted].example.com, not for"),
            "{checked:?}"
        );
        assert!(!checked.stderr.contains("s3cret"), "{checked:?}");
        assert!(
            checked.stderr.contains(&format!("{failed} failed")),
            "{checked:?}"
        );
    }
}

#[tokio::test]
async fn a_secret_of_the_environment_loses_one_newline_as_a_file_does() {
    let (api, idp) = (Api::open(), Idp::start());
    let config =
        smallest(&api, &idp).replace("{ file = \"secret\" }", "{ env = \"SECRET_OF_BILLING\" }");
    let (_dir, path) = directory(&config);
    for (value, code) in [
        ("s3cret", 0),
        ("s3cret\n", 0),
        ("s3cret\r\n", 0),
        ("s3cret\n\n", 1),
    ] {
        let mut check = command(&["check", "--online", "--config", &path]);
        check.env("SECRET_OF_BILLING", value);
        let checked = run(check).await;
        assert_eq!(checked.code, code, "{value:?}: {checked:?}");
        let warned = checked.stderr.contains("begins or ends with white space");
        assert_eq!(warned, code == 1, "{value:?}: {checked:?}");
    }
    for empty in ["", "\n"] {
        let mut check = command(&["check", "--config", &path]);
        check.env("SECRET_OF_BILLING", empty);
        let checked = run(check).await;
        assert_eq!(checked.code, 2, "{checked:?}");
        assert!(checked.stderr.contains("is empty"), "{checked:?}");
    }
}

/// An issuer and an API server of Kubernetes in one, with these keys.
fn publisher(keys: serde_json::Value) -> Api {
    Api::start(move |seen| {
        let issuer = format!("http://{}", seen.host);
        let document = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks") });
        match seen.target.as_str() {
            "/.well-known/openid-configuration" => response(200, document.to_string()),
            "/openid/v1/jwks" => response(200, keys.to_string()),
            _ => response(404, "not here"),
        }
    })
}

#[tokio::test]
async fn check_online_reads_the_keys_of_the_issuers_of_callers() {
    let (api, idp, ca) = (Api::open(), Idp::start(), Ca::new());
    let [one, two] = ["a", "b"].map(Signer::new);
    let mut with_secret = set([&one]);
    let secret = json!({ "kty": "oct", "k": "AAAA" });
    with_secret["keys"].as_array_mut().unwrap().push(secret);
    let (login, cluster) = (publisher(set([&one, &two])), publisher(with_secret));
    let broken = Api::start(|_| response(503, "later"));
    let callers = format!(
        r#"
[[listeners]]
name = "callers"
address = "{}"
upstream = "api"
callers = ["*"]

[callers.billing]
token = {{ issuer = "{login}", audience = "sidebearer", claims = {{ sub = "billing" }} }}

[callers.search]
service_account = "shop/search"

[kubernetes]
audience = "sidebearer"
api_server = "{}"
token_file = "secret"
ca_file = "{}"
"#,
        any_port(),
        cluster.url(),
        ca.file().display(),
        login = login.url(),
    );
    let config = smallest(&api, &idp) + &callers;
    let (_dir, path) = directory(&config);
    let checked = ask(&["check", "--online", "--config", &path]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let told = [
        format!("ok      keys of {}: 2 keys\n", login.url()),
        format!(
            "ok      keys of kubernetes: 1 key and 1 left out, the first of which is a secret, which nobody publishes; the issuer is {}\n",
            cluster.url()
        ),
    ];
    for told in told {
        assert!(checked.stderr.contains(&told), "{told}: {checked:?}");
    }
    assert!(
        cluster
            .seen()
            .iter()
            .all(|seen| seen.authorization() == "Bearer s3cret")
    );
    assert!(
        login
            .seen()
            .iter()
            .all(|seen| seen.authorization().is_empty())
    );

    let (_dir, path) = directory(&config.replace(&login.url(), &broken.url()));
    let checked = ask(&["check", "--online", "--config", &path]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    let told = format!("FAILED  keys of {}: ", broken.url());
    let mut lines = checked.stderr.lines();
    let told = lines.find(|line| line.starts_with(&told));
    assert!(told.is_some_and(|line| line.contains("503")), "{checked:?}");
}
