//! Tokens that someone else issued: assertions for the client, and grants.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sidebearer::config::{ClientAuth, Credential, Grant, SecretSource, SecurityToken};
use sidebearer::oauth::{Client, TokenEndpoint, TokenErrorKind};

use crate::support::eventually;
use crate::support::keys::form;
use crate::support::scripted::{GOOD, Server, credential, fetch, http, literal, ok};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A JWT of someone else that ends this many seconds from now.
fn jwt(name: &str, ends_in: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let exp = now.as_secs() as i64 + ends_in;
    let claims = json!({"sub": name, "exp": exp}).to_string();
    format!(
        "e30.{}.c2lnbmF0dXJlLW9mLXNvbWVvbmU",
        URL_SAFE_NO_PAD.encode(claims)
    )
}

/// Proves itself with the assertion in `file` alone.
fn asserting(file: &Path, server: &Server) -> Credential {
    Credential {
        client_id: None,
        auth: ClientAuth::ClientAssertion {
            assertion: SecretSource::File(file.to_owned().into()),
        },
        ..credential(&server.url("/token"))
    }
}

fn expected<const N: usize>(
    fields: [(&str, &str); N],
) -> std::collections::HashMap<String, String> {
    fields.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

#[tokio::test]
async fn a_public_client_says_its_id_alone() {
    let server = Server::always(ok(GOOD)).await;
    let credential = Credential {
        auth: ClientAuth::None,
        ..credential(&server.url("/token"))
    };
    fetch(&credential).await.unwrap();
    let request = server.requests().remove(0);
    assert!(!request.contains("authorization:"), "{request}");
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", "billing"),
    ];
    assert_eq!(form(&request), expected(fields));
}

#[tokio::test]
async fn an_assertion_of_someone_else_is_read_for_each_request_and_never_sent_stale() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let credential = asserting(&file, &server);
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let client = Client::new(&credential).unwrap();
    for (text, reason) in [
        (jwt("workload", -60), "it holds a token that expired 6"),
        ("half a tok".to_owned(), "it holds something that is no JWT"),
    ] {
        write(&text);
        let error = client.request().await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Local);
        let reason = format!("file {}: {reason}", file.display());
        assert!(error.message.starts_with(&reason), "{error}");
        assert!(!client.secret_changed());
    }
    assert!(server.requests().is_empty(), "nothing stale was sent");

    for life in [3600, 7200] {
        let jwt = jwt("workload", life);
        write(&format!("{jwt}\n"));
        assert!(client.secret_changed());
        client.request().await.unwrap();
        assert!(!client.secret_changed());
        let fields = [
            ("grant_type", "client_credentials"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", &jwt),
        ];
        assert_eq!(form(server.requests().last().unwrap()), expected(fields));
    }
}

#[tokio::test]
async fn a_half_written_assertion_is_never_sent_and_the_one_before_is() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let place = || SecretSource::File(file.clone().into());
    let asserting = asserting(&file, &server);
    let granted = |grant| Credential {
        auth: ClientAuth::None,
        grant,
        ..credential(&server.url("/token"))
    };
    let bearer = granted(Grant::JwtBearer { assertion: place() });
    let exchange = granted(Grant::TokenExchange {
        subject: SecurityToken {
            token: place(),
            token_type: JWT.to_owned(),
        },
        actor: None,
        requested_token_type: None,
    });
    for (credential, field) in [
        (asserting, "client_assertion"),
        (bearer, "assertion"),
        (exchange, "subject_token"),
    ] {
        let (before, next) = (jwt("before", 600), jwt("next", 3600));
        write(&before);
        let client = Client::new(&credential).unwrap();
        for broken in [&next[..next.len() / 2], "", &jwt("stale", -1)] {
            write(broken);
            client.request().await.unwrap();
            let sent = form(server.requests().last().unwrap());
            assert_eq!(sent[field], before);
            assert_eq!(client.faults().len(), 1, "{broken}");
            assert_eq!(client.faults()[0].file, file.display().to_string());
            assert!(!client.secret_changed());
        }
        write(&next);
        assert!(client.secret_changed());
        assert_eq!(client.faults(), []);
        client.request().await.unwrap();
        assert_eq!(form(server.requests().last().unwrap())[field], next);
    }
}

#[tokio::test]
async fn an_assertion_serves_on_for_a_broken_one_until_it_expires() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(&jwt("before", 3));
    let client = Client::new(&asserting(&file, &server)).unwrap();
    write("half a tok");
    eventually("the one before has expired", async || {
        client.request().await.is_err()
    })
    .await;
    // The first may have expired on its way from the file into the request.
    let error = client.request().await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Local);
    let place = format!("file {}", file.display());
    let reason = format!("{place}: it holds something that is no JWT");
    assert_eq!(error.message, reason);
    assert!(!server.requests().is_empty(), "until then it was sent");

    write(&jwt("next", 60));
    assert!(client.secret_changed());
    client.request().await.unwrap();
}

#[tokio::test]
async fn an_assertion_can_be_the_grant() {
    let server = Server::always(ok(GOOD)).await;
    let jwt = jwt("workload", 3600);
    let grant = Grant::JwtBearer {
        assertion: literal(&jwt),
    };
    let asked = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &jwt),
        ("scope", "a b"),
    ];
    let scopes = vec!["a".to_owned(), "b".to_owned()];
    let public = Credential {
        client_id: None,
        auth: ClientAuth::None,
        grant: grant.clone(),
        scopes: scopes.clone(),
        ..credential(&server.url("/token"))
    };
    fetch(&public).await.unwrap();
    assert_eq!(form(&server.requests()[0]), expected(asked));

    // The client may prove itself besides.
    let confidential = Credential {
        grant,
        scopes,
        ..credential(&server.url("/token"))
    };
    fetch(&confidential).await.unwrap();
    let request = &server.requests()[1];
    assert!(request.contains("\r\nauthorization: Basic "), "{request}");
    assert_eq!(form(request), expected(asked));
}

#[tokio::test]
async fn a_token_can_be_exchanged() {
    let issued = json!({
        "access_token": "tok", "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
    });
    let server = Server::always(ok(&issued.to_string())).await;
    let (subject, actor) = (jwt("subject", 60), "opaque.actor");
    let exchange = |actor: Option<SecurityToken>, requested: Option<&str>| Credential {
        client_id: None,
        auth: ClientAuth::None,
        grant: Grant::TokenExchange {
            subject: SecurityToken {
                token: literal(&subject),
                token_type: JWT.to_owned(),
            },
            actor,
            requested_token_type: requested.map(str::to_owned),
        },
        audience: Some("api".to_owned()),
        ..credential(&server.url("/token"))
    };
    let least = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &subject),
        ("subject_token_type", JWT),
        ("audience", "api"),
    ];
    fetch(&exchange(None, None)).await.unwrap();
    assert_eq!(form(&server.requests()[0]), expected(least));

    let acting = SecurityToken {
        token: literal(actor),
        token_type: "urn:x:actor".to_owned(),
    };
    let token = fetch(&exchange(Some(acting), Some(ACCESS_TOKEN))).await;
    assert_eq!(token.unwrap().access_token.expose(), "tok");
    let mut all = expected(least);
    all.extend(expected([
        ("actor_token", actor),
        ("actor_token_type", "urn:x:actor"),
        ("requested_token_type", ACCESS_TOKEN),
    ]));
    assert_eq!(form(&server.requests()[1]), all);
}

#[tokio::test]
async fn a_stale_grant_is_not_sent() {
    let server = Server::always(ok(GOOD)).await;
    let stale = literal(&jwt("workload", -5));
    let fresh = literal(&jwt("workload", 60));
    let exchanged = |subject: &SecretSource, actor: &SecretSource| {
        let token = |token: &SecretSource| SecurityToken {
            token: token.clone(),
            token_type: JWT.to_owned(),
        };
        Grant::TokenExchange {
            subject: token(subject),
            actor: Some(token(actor)),
            requested_token_type: None,
        }
    };
    let bearer = Grant::JwtBearer {
        assertion: stale.clone(),
    };
    for grant in [bearer, exchanged(&stale, &fresh), exchanged(&fresh, &stale)] {
        let credential = Credential {
            grant,
            ..credential(&server.url("/token"))
        };
        let error = fetch(&credential).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Local);
        assert!(error.message.contains("expired"), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn what_no_request_can_carry_is_no_token() {
    for (token_type, issued, reason) in [
        (
            "N_A",
            "urn:ietf:params:oauth:token-type:saml2",
            "a token_type of N_A",
        ),
        (
            "n_a",
            "urn:ietf:params:oauth:token-type:id_token",
            "a token_type of N_A",
        ),
        (
            "Bearer",
            "urn:ietf:params:oauth:token-type:refresh_token",
            "a refresh token (issued_token_type)",
        ),
    ] {
        let body = json!({
            "access_token": "tok", "token_type": token_type, "issued_token_type": issued,
        });
        let server = Server::always(ok(&body.to_string())).await;
        let error = fetch(&credential(&server.url("/token"))).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::BadResponse);
        assert!(error.message.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn an_echoed_grant_reaches_no_message() {
    let jwt = jwt("workload", 60);
    let echo = format!("got {jwt} of c2lnbmF0dXJlLW9mLXNvbWVvbmU");
    let body = json!({"error": "invalid_grant", "error_description": echo}).to_string();
    let server = Server::always(http("400 No", "", &body)).await;
    let credential = Credential {
        grant: Grant::JwtBearer {
            assertion: literal(&jwt),
        },
        fetch_timeout: Duration::from_secs(20),
        ..credential(&server.url("/token"))
    };
    let error = fetch(&credential).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Refused);
    assert!(
        error.message.contains("(got [redacted] of [redacted])"),
        "{error}"
    );
    assert!(
        error.message.contains("who signed the assertion"),
        "{error}"
    );
}
