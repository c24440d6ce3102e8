//! What shows who a caller is goes no further: not to an API, and not into the log.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};

use super::{credential, key, with_keys};
use crate::support::any_port;
use crate::support::api::{Api, unauthorized};
use crate::support::client::{self, request};
use crate::support::server::response;
use crate::support::sidebearer::Sidebearer;

/// Everything of what an API saw.
fn all(api: &Api) -> String {
    format!(
        "{:?}",
        api.seen()
            .iter()
            .map(|seen| (&seen.target, &seen.headers, &seen.body))
            .collect::<Vec<_>>()
    )
}

/// Two upstreams behind one listener, whose callers show keys in `header`: with a credential, and without.
fn site(dir: tempfile::TempDir, api: &Api, header: &str) -> Sidebearer {
    let callers = with_keys(dir.path(), &["alpha"]);
    let credential = credential("one", dir.path());
    let url = api.url();
    let config = format!(
        "{callers}[[listeners]]\nname = \"app\"\naddress = \"{}\"\ncallers = [\"alpha\"]\n\
         caller_header = \"{header}\"\n\
         [[routes]]\npath = \"/plain\"\nupstream = \"plain\"\n\
         [[routes]]\npath = \"/token\"\nupstream = \"token\"\n\
         [upstreams.plain]\nurl = \"{url}\"\n\
         [upstreams.token]\nurl = \"{url}\"\nheader = \"x-token\"\ncredential = \"one\"\n{credential}",
        any_port()
    );
    Sidebearer::start_in(dir, &config)
}

#[tokio::test]
async fn a_key_never_reaches_an_api() {
    for header in ["authorization", "x-caller-key"] {
        // Each request with a token is refused once, and sent again.
        let api = Api::start(|seen| {
            if seen.header("x-token").ends_with("-1") {
                unauthorized("Bearer error=\"invalid_token\"")
            } else {
                response(200, "ok")
            }
        });
        let site = site(tempfile::tempdir().unwrap(), &api, header);
        site.ready().await;
        let secret = format!("Bearer {}", key("alpha"));
        let spelled = header.replace('-', "_");
        for path in ["/plain/a", "/token/a"] {
            let mut one = request(Method::POST, path, "body");
            one.headers_mut().insert(header, secret.parse().unwrap());
            if spelled != header {
                let name: http::HeaderName = spelled.parse().unwrap();
                one.headers_mut().insert(name, secret.parse().unwrap());
            }
            assert_eq!(
                client::send(site.address(), one).await.status,
                200,
                "{path}"
            );

            let mut trailers = HeaderMap::new();
            for name in [header, "x-other"] {
                trailers.insert(
                    name.parse::<http::HeaderName>().unwrap(),
                    secret.parse().unwrap(),
                );
            }
            trailers.insert("x-other", "kept".parse().unwrap());
            let body = Full::new(Bytes::from("body")).with_trailers(async { Some(Ok(trailers)) });
            let body = body.map_err(|never| match never {}).boxed_unsync();
            let mut two = client::streaming(Method::POST, path, body);
            two.headers_mut().insert(header, secret.parse().unwrap());
            let mut sender = client::http2(site.address()).await;
            assert_eq!(sender.send_request(two).await.unwrap().status(), 200);

            let upgrade = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: test\r\n{header}: {secret}\r\n\r\n"
            );
            let answer = client::raw(site.address(), upgrade).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let seen = all(&api);
        assert!(api.seen().len() >= 6, "{seen}");
        assert!(!seen.contains(&key("alpha")), "{seen}");
    }
}

#[tokio::test]
async fn an_error_tells_nothing_of_others() {
    let api = Api::open();
    let site = site(tempfile::tempdir().unwrap(), &api, "authorization");
    for (secret, path) in [("x", "/plain"), ("x", "/nowhere"), ("alpha", "/nowhere")] {
        let mut asked = request(Method::GET, path, "");
        let value = format!("Bearer {}", key(secret)).parse().unwrap();
        asked.headers_mut().insert("authorization", value);
        let answer = client::send(site.address(), asked).await;
        let shown = format!("{:?} {}", answer.headers, answer.text());
        assert_eq!(answer.status, if secret == "x" { 401 } else { 404 });
        for hidden in ["alpha", "plain", &key(secret)] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
    }
    let status = site.status().await;
    assert_eq!(status["callers"]["alpha"]["requests"], 1);
    assert!(!status.to_string().contains(&key("alpha")));
}
