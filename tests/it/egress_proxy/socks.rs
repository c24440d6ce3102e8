//! Proxies that speak SOCKS 5.

use super::{plain, secure, secure_api};
use crate::support::api::Api;
use crate::support::client::{self, Connection};
use crate::support::egress_proxy::{Proxy, socks5};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;

fn through(proxy: &Proxy, more: &str) -> String {
    format!("proxy = \"{}\"\n{more}", proxy.url("socks5h"))
}

#[tokio::test]
async fn every_kind_of_api_is_reached_by_a_name_that_the_proxy_resolves() {
    let ca = Ca::new();
    let (api, open) = (secure_api(&ca), Api::open());
    for (is_secure, version, asked) in [
        (true, "1.1", "api.internal:8443"),
        (true, "2", "api.internal:8443"),
        (false, "1.1", "api.internal:80"),
        (false, "2", "api.internal:80"),
    ] {
        let target = if is_secure { api.address } else { open.address };
        for password in [None, Some("me:secret")] {
            let proxy = socks5(target, password, 0);
            let shown = password.map_or(String::new(), |password| {
                format!("proxy_authorization = \"{password}\"\n")
            });
            let lines = through(&proxy, &format!("{shown}http = \"{version}\""));
            let config = if is_secure {
                secure(&ca, &lines)
            } else {
                plain(&lines)
            };
            let sidebearer = Sidebearer::start(&config);
            let mut connection = Connection::open(sidebearer.address()).await;
            for _ in 0..2 {
                assert_eq!(connection.get("/").await.unwrap().status, 200);
            }
            assert_eq!(proxy.asked(), [asked], "the connection is used again");
        }
    }
    // Nobody but the API reads these requests.
    assert!(
        open.seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("proxy-authorization"))
    );
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code() {
    let api = Api::open();
    for (password, shown, reply, told) in [
        (None, "", 2, "SOCKS reply 2 (not allowed by its rules)"),
        (None, "", 5, "SOCKS reply 5 (connection refused)"),
        (None, "", 99, "SOCKS reply 99 (unassigned)"),
        (Some("a:b"), "", 0, "set proxy_authorization"),
        (
            Some("a:b"),
            "proxy_authorization = \"a:c\"",
            0,
            "does not take what proxy_authorization",
        ),
    ] {
        let proxy = socks5(api.address, password, reply);
        let sidebearer = Sidebearer::start(&plain(&through(&proxy, shown)));
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!((answer.status, &*answer.code()), (502, "egress_proxy"));
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    assert!(api.seen().is_empty());
}
