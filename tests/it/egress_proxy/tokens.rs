//! Token endpoints and their discovery through proxies.

use super::NAME;
use crate::support::api::Api;
use crate::support::egress_proxy::{HttpProxy, socks5};
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::{command, run};
use crate::support::scripted::{GOOD, Server, http, ok};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::{client, eventually, protected};

/// An open API with tokens of the server at `url`, and more lines of the credential.
fn config(api: &Api, url: &str, lines: &str) -> String {
    protected(
        &api.url(),
        url,
        "",
        &format!("allow_plaintext = true\n{lines}"),
    )
}

#[tokio::test]
async fn tokens_come_through_the_proxy_of_their_credential() {
    let (api, ca) = (Api::open(), Ca::new());
    let idp = Idp::start();
    let tls = ca.certificate(&[NAME]).server(&["http/1.1"]);
    let secure = Server::with_tls(Some(tls), |_| ok(GOOD)).await;
    let trusting = format!("tls = {{ ca_file = \"{}\" }}\n", ca.file().display());
    let by_http = HttpProxy::to(idp.address).wanting("Bearer abc").start();
    let by_connect = HttpProxy::to(secure.address).wanting("Bearer abc").start();
    let by_socks = socks5(secure.address, Some("a:b"), 0);
    for (proxy, url, scheme, lines, asked) in [
        (
            &by_http,
            "http://api.internal/token",
            "http",
            "proxy_authorization = \"Bearer abc\"",
            "POST http://api.internal/token HTTP/1.1",
        ),
        (
            &by_connect,
            "https://api.internal/token",
            "http",
            "proxy_authorization = \"Bearer abc\"",
            "CONNECT api.internal:443 HTTP/1.1",
        ),
        (
            &by_socks,
            "https://api.internal/token",
            "socks5h",
            "proxy_authorization = \"a:b\"",
            "api.internal:443",
        ),
    ] {
        let lines = format!("{trusting}proxy = \"{}\"\n{lines}", proxy.url(scheme));
        let lines = if url.starts_with("https") {
            lines
        } else {
            lines.replace(&trusting, "")
        };
        let sidebearer = Sidebearer::start(&config(&api, url, &lines));
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 200);
        assert!(proxy.asked()[0].starts_with(asked), "{:?}", proxy.asked());
    }
    for request in secure.requests() {
        assert!(
            !request.to_lowercase().contains("proxy-authorization"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_refusing_proxy_is_named_wherever_the_token_is_missed() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Healthy);
    for url in ["http://api.internal/token", "https://api.internal/token"] {
        let proxy = HttpProxy::to(idp.address).wanting("Bearer abc").start();
        let lines = format!(
            "proxy = \"{}\"\nacquire_timeout = \"300ms\"",
            proxy.url("http")
        );
        let config = config(&api, url, &lines);
        let sidebearer = Sidebearer::start(&config);
        let told = format!("the proxy {} answered 407", proxy.url("http"));
        let status = async || sidebearer.page("/status").await.contains(&told);
        eventually("the refusal in /status", status).await;
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!((answer.status, &*answer.code()), (503, "token_unavailable"));
        let path = sidebearer.dir().join("sidebearer.toml");
        for arguments in [["token", "api"], ["check", "--online"]] {
            let arguments = [&arguments[..], &["--config", path.to_str().unwrap()]].concat();
            let ended = run(command(&arguments)).await;
            assert_ne!(ended.code, 0);
            let shown = ended.stderr + &ended.stdout;
            assert!(
                shown.contains(&told) && shown.contains("set proxy_authorization"),
                "{shown}"
            );
        }
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn what_discovery_names_on_another_host_is_asked_only_if_it_is_listed() {
    let api = Api::open();
    for (host, hosts, expected) in [
        ("api.internal", "", 200),
        ("other.internal", "", 503),
        (
            "other.internal",
            "discovery_hosts = [\"other.internal\"]",
            200,
        ),
        ("127.0.0.1", "", 503),
        ("10.0.0.1", "", 503),
    ] {
        let document =
            format!(r#"{{"issuer":"http://api.internal","token_endpoint":"http://{host}/token"}}"#);
        let server = Server::start(move |head| {
            if head.starts_with("POST") {
                ok(GOOD)
            } else if head.contains("oauth-authorization-server") {
                ok(&document)
            } else {
                http("404 Not Found", "", "")
            }
        })
        .await;
        let proxy = HttpProxy::to(server.address).start();
        let lines = format!(
            "proxy = \"{}\"\nacquire_timeout = \"{}\"\n{hosts}",
            proxy.url("http"),
            if expected == 503 { "2s" } else { "30s" }
        );
        let config = config(&api, "http://api.internal", &lines);
        let config = config.replace("token_endpoint =", "issuer =");
        let sidebearer = Sidebearer::start(&config);
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!(answer.status, expected, "{host} {hosts}");
        if expected == 503 {
            eventually("it is told", async || {
                let status = sidebearer.page("/status").await;
                status.contains("discovery_hosts")
            })
            .await;
            assert!(proxy.asked().iter().all(|head| !head.starts_with("POST")));
        }
    }
}
