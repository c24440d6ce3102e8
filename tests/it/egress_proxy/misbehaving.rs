//! Proxies that break the rules, or only stretch them.

use std::time::Duration;

use sidebearer::config::{EgressProxy, HttpVersion, ProxyScheme, Tls};
use sidebearer::upstream::{ConnectError, Connector, Protocols};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::{Host, Url};

use crate::support::egress_proxy::{HttpProxy, Proxy};
use crate::support::server;
use crate::support::{PATIENCE, eventually};

/// To a name that nobody resolves, through this proxy.
fn connector(proxy: &Proxy) -> Connector {
    let url = Url::parse("https://api.internal:8443").unwrap();
    let connector = Connector::new(&url, &Tls::default(), HttpVersion::Auto).unwrap();
    let proxy = EgressProxy {
        scheme: ProxyScheme::Http,
        host: Host::parse(&proxy.address.ip().to_string()).unwrap(),
        port: proxy.address.port(),
        tls: Tls::default(),
        authorization: None,
    };
    connector.through(Some(&proxy)).unwrap()
}

#[tokio::test]
async fn what_comes_behind_a_200_belongs_to_the_tunnel() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 Connection established\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let proxy = HttpProxy::closing_after(format!("{head}behind")).start();
        let opened = connector(&proxy).open_tunnel(PATIENCE).await;
        let (mut io, _) = opened.unwrap();
        io.write_all(b"hello").await.unwrap();
        let mut behind = String::new();
        io.read_to_string(&mut behind).await.unwrap();
        assert_eq!(behind, "behind", "{head:?}");
    }
}

#[tokio::test]
async fn what_is_no_tunnel_is_refused_at_once() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(100_000));
    for (proxy, told) in [
        (
            HttpProxy::closing_after(""),
            "closed the connection without an answer",
        ),
        (
            HttpProxy::closing_after("HTTP/1.1 200 O"),
            "closed the connection without an answer",
        ),
        (
            HttpProxy::answering(endless),
            "answered with a head that is too large",
        ),
        (
            HttpProxy::answering("SSH-2.0-OpenSSH\r\n"),
            "does not answer in HTTP/1.1",
        ),
        (
            HttpProxy::answering("HTTP/2 200\r\n\r\n"),
            "does not answer in HTTP/1.1",
        ),
        (
            HttpProxy::answering("HTTP/1.1 0 OK\r\n\r\n"),
            "does not answer in HTTP/1.1",
        ),
        (
            HttpProxy::closing_after(
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nConnection: close\r\n\r\n",
            ),
            "NTLM or Kerberos",
        ),
        (
            HttpProxy::answering("HTTP/1.1 302 Found\r\nLocation: http://login.corp/\r\n\r\n"),
            "answered 302",
        ),
    ] {
        let proxy = proxy.start();
        let failed = connector(&proxy).connect(Protocols::Any, PATIENCE).await;
        let error = failed.unwrap_err();
        assert!(
            matches!(error, ConnectError::ProxyRefused { .. }),
            "{error}"
        );
        let begins = format!(
            "no connection to api.internal:8443: the proxy http://{} ",
            proxy.address
        );
        let error = error.to_string();
        assert!(
            error.starts_with(&begins) && error.contains(told),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_timeout_names_the_stage_at_the_proxy() {
    let within = Duration::from_millis(300);
    let silent = HttpProxy::answering("HTTP/1.1 200 O").start();
    let failed = connector(&silent).connect(Protocols::Any, within).await;
    assert_eq!(
        failed.unwrap_err().to_string(),
        "no connection to api.internal:8443 within 300ms: the tunnel that the proxy was asked for did not finish"
    );
    // A tunnel to something that does not begin TLS.
    let mute = server::bytes(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let proxy = HttpProxy::to(mute).start();
    let connector = connector(&proxy);
    // On a loaded machine it may take longer to get there.
    eventually("it gets to the handshake", async || {
        let failed = connector.connect(Protocols::Any, within).await;
        let error = failed.unwrap_err().to_string();
        error.ends_with(": the TLS handshake did not finish")
    })
    .await;
}
