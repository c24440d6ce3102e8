//! Clients that sign: what their assertions say, and which key signs them.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Theirs, DecodingKey};
use serde_json::json;
use sidebearer::config::{
    AssertionAudience, AssertionForm, ClientAuth, Credential, SecretSource, Tls,
};
use sidebearer::jose::Algorithm;
use sidebearer::oauth::{Client, TokenEndpoint, TokenErrorKind};

use crate::support::keys::{form, key, part, public, verified};
use crate::support::scripted::{GOOD, Server, credential, fetch, http, literal, ok};
use crate::support::tls::Ca;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn to_token_endpoint() -> AssertionForm {
    AssertionForm {
        key_id: None,
        audience: AssertionAudience::TokenEndpoint,
    }
}

/// Signs assertions for the token endpoint with this key, by the algorithm that the key names.
fn signed_with(key: SecretSource) -> ClientAuth {
    ClientAuth::PrivateKeyJwt {
        key,
        algorithm: None,
        form: to_token_endpoint(),
    }
}

fn keyed(url: &str, file: &Path) -> Credential {
    Credential {
        auth: signed_with(SecretSource::File(file.to_owned().into())),
        ..credential(url)
    }
}

#[tokio::test]
async fn an_assertion_says_who_asks_whom_and_for_how_long() {
    let server = Server::always(ok(GOOD)).await;
    let url = server.url("/token?tenant=1");
    let secret = "s".repeat(64);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let with_key = |jwk: &str, algorithm| ClientAuth::PrivateKeyJwt {
        key: literal(jwk),
        algorithm: Some(algorithm),
        form: to_token_endpoint(),
    };
    let with_secret = |algorithm| ClientAuth::SecretJwt {
        secret: literal(&secret),
        algorithm,
        form: to_token_endpoint(),
    };
    let shared = || DecodingKey::from_secret(secret.as_bytes());
    let (rsa, p256) = (key!("rsa.jwk"), key!("p256.jwk"));
    let (p384, ed25519) = (key!("p384.jwk"), key!("ed25519.jwk"));
    let cases = [
        (with_key(rsa, Algorithm::RS256), public(rsa), Theirs::RS256),
        (with_key(rsa, Algorithm::PS256), public(rsa), Theirs::PS256),
        (
            with_key(p256, Algorithm::ES256),
            public(p256),
            Theirs::ES256,
        ),
        (
            with_key(p384, Algorithm::ES384),
            public(p384),
            Theirs::ES384,
        ),
        (
            with_key(ed25519, Algorithm::EdDSA),
            public(ed25519),
            Theirs::EdDSA,
        ),
        (with_secret(Algorithm::HS256), shared(), Theirs::HS256),
        (with_secret(Algorithm::HS384), shared(), Theirs::HS384),
        (with_secret(Algorithm::HS512), shared(), Theirs::HS512),
    ];
    for (at, (auth, key, algorithm)) in cases.into_iter().enumerate() {
        let credential = Credential {
            auth,
            ..credential(&url)
        };
        fetch(&credential).await.unwrap();
        let request = server.requests().remove(at);
        assert!(!request.contains("authorization:"), "{request}");
        let mut form = form(&request);
        let assertion = form.remove("client_assertion").unwrap();
        let rest = [
            ("grant_type", "client_credentials"),
            ("client_id", "billing"),
            ("client_assertion_type", JWT_BEARER),
        ];
        assert_eq!(form, rest.map(|(k, v)| (k.to_owned(), v.to_owned())).into());

        let (header, mut claims) = verified(&assertion, &key, algorithm, &url);
        assert_eq!(
            header,
            json!({"alg": format!("{algorithm:?}"), "typ": "JWT"})
        );
        let claims = claims.as_object_mut().unwrap();
        let jti = claims.remove("jti").unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.decode(jti.as_str().unwrap()).unwrap().len(),
            16
        );
        let issued = claims["iat"].as_u64().unwrap();
        // A few seconds ago, for servers whose clock is behind.
        assert!((before.as_secs() - 3..before.as_secs() + 60).contains(&issued));
        let expected = json!({
            "iss": "billing", "sub": "billing", "aud": url,
            "iat": issued, "exp": issued + 60,
        });
        assert_eq!(json!(claims), expected);
    }
}

/// A server whose clock is this many seconds ahead of ours. It refuses what is dated after now, or a
/// minute before.
async fn with_clock(ahead: i64) -> Server {
    Server::start(move |request| {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64
            + ahead;
        let assertion = form(request).remove("client_assertion").unwrap();
        let claims = part(&assertion, 1);
        let issued = claims["iat"].as_i64().unwrap();
        let nbf = claims
            .get("nbf")
            .map_or(issued, |nbf| nbf.as_i64().unwrap());
        let date = UNIX_EPOCH + Duration::from_secs(clock as u64);
        let date = format!("date: {}\r\n", httpdate::fmt_http_date(date));
        if issued.max(nbf) <= clock && issued > clock - 60 {
            http("200 OK", &date, GOOD)
        } else {
            http("401 No", &date, r#"{"error":"invalid_client"}"#)
        }
    })
    .await
}

#[tokio::test]
async fn an_assertion_is_dated_by_the_clock_of_the_server_that_refuses_it() {
    // How far the server is ahead, the requests of the first fetch and of the second one.
    for (ahead, first, second) in [(-3, 1, 1), (-30, 2, 1), (120, 2, 1), (0, 1, 1)] {
        let server = with_clock(ahead).await;
        let credential = Credential {
            auth: signed_with(literal(key!("p256.jwk"))),
            assertion_nbf: true,
            ..credential(&server.url("/token"))
        };
        let client = Client::new(&credential).unwrap();
        client.request().await.unwrap();
        assert_eq!(server.requests().len(), first, "{ahead}");
        client.request().await.unwrap();
        assert_eq!(server.requests().len(), first + second, "{ahead}");
        let told = client.clock_difference();
        assert_eq!(told.is_some(), ahead != 0, "{ahead}: {told:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_more_than_five_minutes_off_is_not_followed() {
    let server = with_clock(3600).await;
    let credential = Credential {
        auth: signed_with(literal(key!("p256.jwk"))),
        ..credential(&server.url("/token"))
    };
    let client = Client::new(&credential).unwrap();
    for requests in [2, 3] {
        let error = client.request().await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Refused);
        assert_eq!(server.requests().len(), requests);
    }
    let latest = SystemTime::now() + Duration::from_secs(300);
    for request in server.requests() {
        let claims = part(&form(&request)["client_assertion"], 1);
        let issued = UNIX_EPOCH + Duration::from_secs(claims["iat"].as_u64().unwrap());
        assert!(issued < latest, "{claims}");
    }
}

#[tokio::test]
async fn every_attempt_has_an_assertion_of_its_own() {
    let server = Server::always(http("503 Busy", "", "")).await;
    let credential = Credential {
        auth: signed_with(literal(key!("p256.jwk"))),
        ..credential(&server.url("/token"))
    };
    let client = Client::new(&credential).unwrap();
    for _ in 0..5 {
        client.request().await.unwrap_err();
    }
    let requests = server.requests();
    let ids = requests
        .iter()
        .map(|request| part(&form(request)["client_assertion"], 1)["jti"].to_string());
    assert_eq!(ids.collect::<HashSet<_>>().len(), 5);
}

#[tokio::test]
async fn key_id_and_audience_are_what_was_configured() {
    let server = Server::always(ok(GOOD)).await;
    let named = key!("rsa.jwk").replacen('{', r#"{"kid":"of-jwk","#, 1);
    for (key_id, expected) in [(None, "of-jwk"), (Some("of-config"), "of-config")] {
        let credential = Credential {
            auth: ClientAuth::PrivateKeyJwt {
                key: literal(&named),
                algorithm: None,
                form: AssertionForm {
                    key_id: key_id.map(str::to_owned),
                    audience: AssertionAudience::Exactly("https://as.example/realm".to_owned()),
                },
            },
            ..credential(&server.url("/token"))
        };
        fetch(&credential).await.unwrap();
        let assertion = &form(server.requests().last().unwrap())["client_assertion"];
        let audience = "https://as.example/realm";
        let (header, _) = verified(assertion, &public(&named), Theirs::RS256, audience);
        assert_eq!(header["kid"], expected);
    }
}

#[tokio::test]
async fn a_certificate_is_named_when_it_is_of_the_key() {
    let server = Server::always(ok(GOOD)).await;
    let ca = Ca::new();
    let certified_key = ca.certificate(&["billing"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certified_key.certificate);
    let file = ca.dir().join("certificate");
    std::fs::write(&file, &certified_key.certificate_pem).unwrap();
    for (key, expected) in [
        (
            &*certified_key.key_pem,
            Some(URL_SAFE_NO_PAD.encode(digest)),
        ),
        (key!("p256.jwk"), None),
    ] {
        let credential = Credential {
            auth: signed_with(literal(key)),
            tls: Tls {
                certificate_file: Some(file.clone().into()),
                ..Tls::default()
            },
            ..credential(&server.url("/token"))
        };
        fetch(&credential).await.unwrap();
        let assertion = &form(server.requests().last().unwrap())["client_assertion"];
        let named = &part(assertion, 0)["x5t#S256"];
        assert_eq!(named.as_str().map(str::to_owned), expected);
    }
}

#[tokio::test]
async fn a_rotated_key_signs_the_next_request_and_a_broken_one_none() {
    let server = Server::always(ok(GOOD)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let client = Client::new(&keyed(&server.url("/token"), &file)).unwrap();
    let url = server.url("/token");

    for (text, reason) in [
        (
            None,
            format!("cannot read {}: No such file", file.display()),
        ),
        (
            Some("half a key"),
            format!("file {}: it holds neither", file.display()),
        ),
    ] {
        text.map(write);
        assert!(!client.secret_changed(), "no request can be made of it");
        let missing = client.request().await.unwrap_err();
        assert_eq!(missing.kind, TokenErrorKind::Local);
        assert!(missing.message.starts_with(&reason), "{missing}");
        assert!(!client.secret_changed());
    }
    assert!(server.requests().is_empty());

    let (one, two) = (key!("p256.jwk"), key!("ed25519.jwk"));
    let broken = &key!("ed25519.pkcs8.pem")[..60];
    for (text, good, algorithm) in [
        (one, one, Theirs::ES256),
        (broken, one, Theirs::ES256),
        (key!("ed25519.pkcs8.pem"), two, Theirs::EdDSA),
    ] {
        write(text);
        assert_eq!(client.secret_changed(), text != broken);
        assert_eq!(client.faults().is_empty(), text != broken);
        client.request().await.unwrap();
        assert!(!client.secret_changed());
        let assertion = &form(server.requests().last().unwrap())["client_assertion"];
        verified(assertion, &public(good), algorithm, &url);
    }
    std::fs::remove_file(&file).unwrap();
    client.request().await.unwrap();
    let assertion = &form(server.requests().last().unwrap())["client_assertion"];
    verified(assertion, &public(two), Theirs::EdDSA, &url);
}

#[tokio::test]
async fn an_echoed_assertion_reaches_no_message() {
    for whole in [true, false] {
        let server = Server::start(move |request| {
            let assertion = form(request).remove("client_assertion").unwrap();
            let signature = assertion.rsplit('.').next().unwrap().to_owned();
            let echo = if whole { assertion } else { signature };
            let description = format!("got {echo}!");
            let body = json!({"error": "invalid_client", "error_description": description});
            http("401 No", "", &body.to_string())
        })
        .await;
        let credential = Credential {
            auth: signed_with(literal(key!("p256.jwk"))),
            ..credential(&server.url("/token"))
        };
        let error = fetch(&credential).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Refused);
        assert!(error.message.contains("(got [redacted]!)"), "{error}");
        assert!(
            error.message.contains("public half of private_key"),
            "{error}"
        );
    }
}
