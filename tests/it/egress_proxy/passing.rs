//! What passes by a forward listener, through the proxy of `[egress]`.

use crate::support::api::Api;
use crate::support::egress_proxy::{HttpProxy, Proxy};
use crate::support::sidebearer::Sidebearer;
use crate::support::tunnel::{comes_back, end_of, is_reset, tunnel};
use crate::support::{any_port, client, server};

/// A forward listener by which everything passes, through this proxy.
fn config(proxy: &Proxy) -> String {
    format!(
        r#"
[egress]
addresses = "any"
proxy = "{}"
proxy_authorization = "Bearer abc"

[[listeners]]
name = "app"
address = "{}"
kind = "forward"
unmatched = "pass"
"#,
        proxy.url("http"),
        any_port()
    )
}

#[tokio::test]
async fn requests_and_tunnels_pass_through_the_proxy() {
    let api = Api::open();
    let proxy = HttpProxy::to(api.address).wanting("Bearer abc").start();
    let sidebearer = Sidebearer::start(&config(&proxy));
    let ask =
        "GET http://far.internal/x HTTP/1.1\r\nHost: far.internal\r\nConnection: close\r\n\r\n";
    let answer = client::raw(sidebearer.address(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(proxy.asked()[0].starts_with("GET http://far.internal/x HTTP/1.1\r\n"));

    let proxy = HttpProxy::to(server::echo()).wanting("Bearer abc").start();
    let sidebearer = Sidebearer::start(&config(&proxy));
    let mut open = tunnel(sidebearer.address(), "far.internal:443").await;
    comes_back(&mut open, "hello").await;
    assert!(proxy.asked()[0].starts_with("CONNECT far.internal:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_refusal_by_the_proxy_is_told_to_who_asked() {
    let proxy = HttpProxy::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").start();
    let sidebearer = Sidebearer::start(&config(&proxy));
    let ask = "CONNECT far.internal:443 HTTP/1.1\r\nHost: far.internal:443\r\n\r\n";
    let answer = client::raw(sidebearer.address(), ask).await;
    assert!(
        answer.starts_with("HTTP/1.1 502 sidebearer egress_proxy\r\n"),
        "{answer}"
    );
    assert!(answer.contains("answered 403"), "{answer}");
}

#[tokio::test]
async fn a_reload_that_lets_only_public_addresses_pass_cuts_what_went_through_the_proxy() {
    let proxy = HttpProxy::to(server::echo()).start();
    let before = config(&proxy);
    let sidebearer = Sidebearer::start(&before);
    let mut open = tunnel(sidebearer.address(), "far.internal:443").await;
    comes_back(&mut open, "before").await;
    sidebearer.reload().await.unwrap();
    // It stays where only new connections go another way.
    let straight = before
        .replace("proxy = ", "# ")
        .replace("proxy_authorization = ", "# ");
    sidebearer.reconfigure(&straight).await.unwrap();
    comes_back(&mut open, "straight").await;
    let public = straight.replace("\"any\"", "\"public\"");
    sidebearer.reconfigure(&public).await.unwrap();
    assert!(is_reset(end_of(&mut open).await));
    let page = sidebearer.page("/metrics").await;
    let revoked = page.lines().filter(|line| line.contains("end=\"revoked\""));
    let revoked: Vec<_> = revoked.filter(|line| line.ends_with(" 1")).collect();
    assert_eq!(revoked.len(), 1, "{page}");
}
