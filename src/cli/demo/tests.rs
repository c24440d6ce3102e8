use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::authorization_server::{AUDIENCE, LIFETIME, unix_time};
use super::*;

/// An answer as it came over the wire.
struct RawResponse {
    status: u16,
    head: String,
    body: Value,
}

impl RawResponse {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

async fn send(
    to: &Url,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> RawResponse {
    let mut stream = TcpStream::connect(to.authority()).await.unwrap();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
        to.authority(),
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    RawResponse {
        status: head[9..12].parse().unwrap(),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap(),
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn ask_for_token(demo: &Demo, form: &str) -> RawResponse {
    let secret = fs::read_to_string(demo.config_path.with_file_name("client-secret")).unwrap();
    let headers = [("authorization", &*basic(CLIENT_ID, &secret))];
    send(&demo.issuer, "POST", "/token", &headers, form).await
}

async fn call_api(demo: &Demo, authorization: &str) -> RawResponse {
    let headers = [("authorization", authorization)];
    send(&demo.api_url, "GET", "/hello?x=1", &headers, "").await
}

#[tokio::test]
async fn a_token_of_the_server_opens_the_api() {
    let demo = prepare([0, 0]).await.unwrap();
    let answer = ask_for_token(&demo, "grant_type=client_credentials&scope=read+write").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], LIFETIME);
    assert_eq!(answer.body["scope"], "read write");

    let token = answer.body["access_token"].as_str().unwrap();
    let answer = call_api(&demo, &format!("Bearer {token}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["hello"], CLIENT_ID);
    assert_eq!(answer.body["method"], "GET");
    assert_eq!(answer.body["path"], "/hello");
    let remaining = answer.body["token"]["remaining_seconds"].as_u64().unwrap();
    assert!((1..=LIFETIME).contains(&remaining), "{remaining}");
}

#[tokio::test]
async fn two_tokens_are_never_the_same() {
    let demo = prepare([0, 0]).await.unwrap();
    let one = ask_for_token(&demo, "grant_type=client_credentials").await;
    let two = ask_for_token(&demo, "grant_type=client_credentials").await;
    assert_eq!((one.status, two.status), (200, 200));
    assert_ne!(one.body["access_token"], two.body["access_token"]);
}

#[tokio::test]
async fn without_a_token_the_challenge_has_no_error() {
    let demo = prepare([0, 0]).await.unwrap();
    for headers in [&[][..], &[("authorization", "Basic YTpi")]] {
        let answer = send(&demo.api_url, "GET", "/hello", headers, "").await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"demo\"")
        );
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_and_the_challenge_says_why() {
    let demo = prepare([0, 0]).await.unwrap();
    let form = "grant_type=client_credentials&audience=https://other.test";
    let other = ask_for_token(&demo, form).await;
    let other = other.body["access_token"].as_str().unwrap();
    let good = ask_for_token(&demo, "grant_type=client_credentials").await;
    let good = good.body["access_token"].as_str().unwrap();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();

    for (token, why) in [
        (other, "the token is for another audience"),
        ("garbage", "the token is malformed"),
        (
            &*format!("{signed}.{signature}"),
            "the signature of the token is wrong",
        ),
    ] {
        let answer = call_api(&demo, &format!("Bearer {token}")).await;
        assert_eq!(answer.status, 401, "{why}");
        let challenge =
            format!("Bearer realm=\"demo\", error=\"invalid_token\", error_description=\"{why}\"");
        assert_eq!(answer.header("www-authenticate"), Some(&*challenge));
    }
}

#[test]
fn a_token_is_good_until_the_second_it_expires() {
    let issuer = "http://127.0.0.1:1";
    let server = |issuer: &str| {
        DemoAuthorizationServer::new(issuer.to_owned(), "c".to_owned(), Secret::new("s")).unwrap()
    };
    let ours = server(issuer);
    let api = Api::new(issuer, ours.public_key()).unwrap();
    let status = |server: &DemoAuthorizationServer, exp: u64| {
        let mut claims = server.claims(AUDIENCE, "read", unix_time()).unwrap();
        claims.exp = exp;
        let request = http::Request::get("/").header(
            "authorization",
            format!("Bearer {}", server.sign(&claims).unwrap()),
        );
        let (head, ()) = request.body(()).unwrap().into_parts();
        let answer = api.answer(&head, b"");
        (
            answer.status().as_u16(),
            answer.headers().get("www-authenticate").cloned(),
        )
    };

    assert_eq!(status(&ours, unix_time() + 30).0, 200);
    let (code, challenge) = status(&ours, unix_time());
    assert_eq!(code, 401);
    assert!(challenge.unwrap().to_str().unwrap().contains("has expired"));
    // Another server, even of the same name, has another key.
    let (code, challenge) = status(&server(issuer), unix_time() + 30);
    assert_eq!(code, 401);
    assert!(challenge.unwrap().to_str().unwrap().contains("signature"));
}

#[tokio::test]
async fn the_token_endpoint_errs_by_the_book() {
    let demo = prepare([0, 0]).await.unwrap();
    let good = "grant_type=client_credentials";
    for (id, secret) in [(CLIENT_ID, "wrong"), ("someone", "wrong"), (CLIENT_ID, "")] {
        let headers = [("authorization", &*basic(id, secret))];
        let answer = send(&demo.issuer, "POST", "/token", &headers, good).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.body["error"], "invalid_client");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Basic realm=\"demo\""));
    }
    for (form, error) in [
        ("", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=admin", "invalid_scope"),
        (
            "grant_type=client_credentials&scope=read&scope=read",
            "invalid_request",
        ),
    ] {
        let answer = ask_for_token(&demo, form).await;
        assert_eq!(answer.status, 400, "{form}");
        assert_eq!(answer.body["error"], error, "{form}");
    }
    let answer = send(&demo.issuer, "GET", "/token", &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn metadata_and_keys_lead_from_the_issuer_to_the_signature() {
    let demo = prepare([0, 0]).await.unwrap();
    let path = "/.well-known/oauth-authorization-server";
    let metadata = send(&demo.issuer, "GET", path, &[], "").await.body;
    let issuer = metadata["issuer"].as_str().unwrap();
    assert_eq!(format!("{issuer}/"), demo.issuer.as_str());
    assert_eq!(metadata["token_endpoint"], format!("{issuer}/token"));
    assert_eq!(metadata["jwks_uri"], format!("{issuer}/jwks"));

    let keys = send(&demo.issuer, "GET", "/jwks", &[], "").await.body;
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys).unwrap();
    let token = ask_for_token(&demo, "grant_type=client_credentials")
        .await
        .body;
    let token = token["access_token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys.find(&header.kid.unwrap()).unwrap();
    assert_eq!(key.common.key_algorithm.unwrap().to_string(), "ES256");
    let api = Api::new(issuer, key).unwrap();
    let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
    let (head, ()) = request.body(()).unwrap().into_parts();
    assert_eq!(api.answer(&head, b"").status(), 200);
}

#[tokio::test]
async fn the_files_are_private_and_go_with_the_demo() {
    let demo = prepare([0, 0]).await.unwrap();
    let directory = demo.config_path.parent().unwrap().to_owned();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("client-secret")), 0o600);
    let secret = fs::read_to_string(directory.join("client-secret")).unwrap();
    let config = fs::read_to_string(&demo.config_path).unwrap();
    assert!(!config.contains(&secret) && !demo.guide().contains(&secret));
    drop(demo);
    assert!(!directory.exists());
}

#[tokio::test]
async fn the_suggested_edit_adds_a_route() {
    let demo = prepare([0, 0]).await.unwrap();
    let before = fs::read_to_string(&demo.config_path).unwrap();
    let after = before.replace("\n#+ ", "\n");
    let [before, after] = [before, after].map(|text| text.parse::<toml::Table>().unwrap());
    let listener = &before["listeners"].as_array().unwrap()[0];
    assert_eq!(
        listener["address"].as_str(),
        Some(demo.proxy_url.authority())
    );
    assert!(!before.contains_key("routes"));
    assert_eq!(after["routes"][0]["upstream"].as_str(), Some("bare"));
    assert_eq!(
        after["upstreams"]["bare"]["url"],
        after["upstreams"]["api"]["url"]
    );
}

#[tokio::test]
async fn taken_ports_are_left_alone() {
    let taken = bind(0).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let [proxy, admin] = pick_ports([port, port]).await.unwrap();
    let ports = [Some(port), proxy.port(), admin.port()];
    assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
}

#[tokio::test]
async fn once_is_done_when_the_answer_is_there() {
    let mut demo = prepare([0, 0]).await.unwrap();
    let directory = demo.config_path.parent().unwrap().to_owned();
    let (listener, url) = listen().await.unwrap();
    demo.proxy_url = url;
    let answers = async |config: &Path| {
        assert!(config.exists());
        let answer = |head: &http::request::Parts, _: &[u8]| match head.uri.path() {
            "/hello" => service::json(StatusCode::OK, &Value::Null),
            _ => service::json(StatusCode::NOT_FOUND, &Value::Null),
        };
        service::serve(listener, answer).await;
        Ok(())
    };
    run(demo, true, answers).await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn once_fails_when_sidebearer_does() {
    let demo = prepare([0, 0]).await.unwrap();
    let refuses = async |_: &Path| Err(CommandError::Usage("refused".to_owned()));
    assert_eq!(run(demo, true, refuses).await.unwrap_err().exit_code(), 2);
    let demo = prepare([0, 0]).await.unwrap();
    let ends = async |_: &Path| Ok(());
    assert_eq!(run(demo, true, ends).await.unwrap_err().exit_code(), 1);
}
