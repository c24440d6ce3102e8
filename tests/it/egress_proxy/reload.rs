//! Proxies and their passwords that change.

use super::{secure, secure_api};
use crate::support::client::Connection;
use crate::support::egress_proxy::HttpProxy;
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;

#[tokio::test]
async fn new_connections_show_the_new_password_and_go_to_the_new_proxy() {
    let ca = Ca::new();
    let api = secure_api(&ca);
    let [first, second] = [(), ()].map(|()| HttpProxy::to(api.address).start());
    let config = |proxy: &crate::support::egress_proxy::Proxy| {
        let url = proxy.url("http");
        let shown = "proxy_authorization = { file = \"proxy\" }";
        secure(&ca, &format!("proxy = \"{url}\"\n{shown}"))
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy"), "Bearer one").unwrap();
    let sidebearer = Sidebearer::start_in(dir, &config(&first));
    let mut connection = Connection::open(sidebearer.address()).await;
    assert_eq!(connection.get("/").await.unwrap().status, 200);

    // Nothing has changed: the connection stays.
    sidebearer.reload().await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    assert_eq!(first.asked().len(), 1);

    sidebearer.write("proxy", "Bearer two");
    sidebearer.reload().await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    let asked = first.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0].contains("Bearer one") && asked[1].contains("Bearer two"),
        "{asked:?}"
    );

    sidebearer.reconfigure(&config(&second)).await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 200);
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));

    // What cannot be used changes nothing.
    sidebearer.write("proxy", "nobody");
    let refused = sidebearer.reload().await.unwrap_err().to_string();
    assert!(
        refused.contains("expected `user:password`") && !refused.contains("nobody"),
        "{refused}"
    );
    assert_eq!(connection.get("/").await.unwrap().status, 200);
}
