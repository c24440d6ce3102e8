//! Proxies that speak HTTP.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{NAME, plain, secure, secure_api};
use crate::support::api::Api;
use crate::support::client::{self, Connection, request};
use crate::support::egress_proxy::HttpProxy;
use crate::support::idp::Idp;
use crate::support::loopback;
use crate::support::server::{self, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey};

const CONNECT: &str = "CONNECT api.internal:8443 HTTP/1.1\r\nHost: api.internal:8443\r\n\r\n";

#[tokio::test]
async fn an_https_api_is_reached_through_one_tunnel_for_many_requests() {
    let ca = Ca::new();
    let api = secure_api(&ca);
    for version in ["1.1", "2", "auto"] {
        let proxy = HttpProxy::to(api.address).start();
        let lines = format!("http = \"{version}\"\nproxy = \"{}\"", proxy.url("http"));
        let sidebearer = Sidebearer::start(&secure(&ca, &lines));
        let mut connection = Connection::open(sidebearer.address()).await;
        let body = vec![b'x'; 300_000];
        for _ in 0..3 {
            let sent = connection
                .send(request(Method::POST, "/a", body.clone()))
                .await;
            let answer = sent.unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, body.len()));
        }
        assert_eq!(proxy.asked(), [CONNECT], "{version}");
    }
}

#[tokio::test]
async fn http2_by_prior_knowledge_goes_through_a_tunnel() {
    let api = Api::open();
    let proxy = HttpProxy::to(api.address).start();
    let lines = format!("http = \"2\"\nproxy = \"{}\"", proxy.url("http"));
    let sidebearer = Sidebearer::start(&plain(&lines));
    assert_eq!(client::get(sidebearer.address(), "/").await.text(), "ok");
    let connect = "CONNECT api.internal:80 HTTP/1.1\r\nHost: api.internal:80\r\n\r\n";
    assert_eq!(proxy.asked(), [connect]);
    assert_eq!(api.seen()[0].host, NAME);
}

#[tokio::test]
async fn requests_to_an_http_api_are_sent_to_the_proxy_in_absolute_form() {
    let api = Api::open();
    let wanted = "Basic dXNlcjpwYXNz";
    let proxy = HttpProxy::to(api.address).wanting(wanted).start();
    let lines = format!(
        "proxy = \"{}\"\nproxy_authorization = {{ file = \"proxy\" }}",
        proxy.url("http")
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy"), "user:pass\n").unwrap();
    let sidebearer = Sidebearer::start_in(dir, &plain(&lines));
    let mut connection = Connection::open(sidebearer.address()).await;
    for path in ["/a?b", "/c"] {
        let mut own = request(Method::GET, path, "");
        let client = "Basic b3duOm93bg==".parse().unwrap();
        own.headers_mut().insert("proxy-authorization", client);
        assert_eq!(connection.send(own).await.unwrap().status, 200);
    }
    let heads = proxy.asked();
    assert_eq!(heads.len(), 1, "the connection is used again: {heads:?}");
    assert!(
        heads[0].starts_with("GET http://api.internal/a?b HTTP/1.1\r\n"),
        "{heads:?}"
    );
    for seen in api.seen() {
        let shown: Vec<_> = seen.headers.get_all("proxy-authorization").iter().collect();
        assert_eq!(shown, [wanted]);
        assert_eq!(seen.header("host"), NAME);
    }
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn a_question_about_the_server_as_a_whole_has_no_path() {
    let api = Api::open();
    let proxy = HttpProxy::to(api.address).start();
    let lines = format!("proxy = \"{}\"", proxy.url("http"));
    let sidebearer = Sidebearer::start(&plain(&lines));
    let ask = "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = client::raw(sidebearer.address(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(proxy.asked()[0].starts_with("OPTIONS http://api.internal HTTP/1.1\r\n"));
}

#[tokio::test]
async fn the_way_to_the_proxy_may_have_tls_of_its_own() {
    let (ca, of_proxy) = (Ca::new(), Ca::new());
    let api = secure_api(&ca);
    let behind = Api::start(|seen| response(200, seen.body.clone()));
    let body = vec![b'x'; 1_000_000];
    for (version, is_secure) in [("1.1", true), ("2", true), ("1.1", false), ("2", false)] {
        let target = if is_secure {
            api.address
        } else {
            behind.address
        };
        let tls = of_proxy.own_certificate().server(&["http/1.1"]);
        let proxy = HttpProxy::to(target).over(tls).start();
        let lines = format!(
            "http = \"{version}\"\nproxy = \"{}\"\nproxy_tls = {{ ca_file = \"{}\" }}",
            proxy.url("https"),
            of_proxy.file().display()
        );
        let config = if is_secure {
            secure(&ca, &lines)
        } else {
            plain(&lines)
        };
        let sidebearer = Sidebearer::start(&config);
        let mut connection = Connection::open(sidebearer.address()).await;
        for _ in 0..3 {
            let sent = connection
                .send(request(Method::POST, "/a", body.clone()))
                .await;
            let answer = sent.unwrap();
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, body.len()),
                "{version}"
            );
        }
        let asked = proxy.asked();
        assert_eq!(asked.len(), 1, "the connection is used again: {asked:?}");
        let is_tunnel = asked[0].starts_with("CONNECT api.internal:");
        assert_eq!(is_tunnel, is_secure || version == "2", "{asked:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_wants_a_client_certificate_is_shown_that_of_proxy_tls() {
    let (ca, of_proxy, clients, strangers) = (Ca::new(), Ca::new(), Ca::new(), Ca::new());
    let api = secure_api(&ca);
    let behind = Api::open();
    let own = clients.certificate(&["sidebearer"]);
    let strange = strangers.certificate(&["sidebearer"]);
    let dir = tempfile::tempdir().unwrap();
    let files = |name: &str, pair: &CertificateAndKey| {
        let [certificate, key] = ["pem", "key"].map(|end| dir.path().join(format!("{name}.{end}")));
        std::fs::write(&certificate, &pair.certificate_pem).unwrap();
        std::fs::write(&key, &pair.key_pem).unwrap();
        let (certificate, key) = (certificate.display(), key.display());
        format!(", certificate_file = \"{certificate}\", key_file = \"{key}\"")
    };
    let (own, strange) = (files("own", &own), files("strange", &strange));
    for (shown, code) in [
        (own, ""),
        (strange, "upstream_tls"),
        (String::new(), "upstream_tls"),
    ] {
        for (target, is_secure) in [(api.address, true), (behind.address, false)] {
            let tls = of_proxy
                .own_certificate()
                .demanding(&clients, &["http/1.1"]);
            let proxy = HttpProxy::to(target).over(tls).start();
            let lines = format!(
                "proxy = \"{}\"\nproxy_tls = {{ ca_file = \"{}\"{shown} }}",
                proxy.url("https"),
                of_proxy.file().display()
            );
            let sidebearer = Sidebearer::start(&if is_secure {
                secure(&ca, &lines)
            } else {
                plain(&lines)
            });
            let answer = client::get(sidebearer.address(), "/").await;
            let status = if code.is_empty() { 200 } else { 502 };
            assert_eq!(
                (answer.status, &*answer.code()),
                (status, code),
                "{}",
                answer.text()
            );
            assert_eq!(proxy.asked().len(), usize::from(code.is_empty()));
            if !code.is_empty() {
                let told = answer.text();
                assert!(told.contains("the proxy on the way"), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn an_upgrade_to_an_http_api_goes_through_a_tunnel() {
    let api = server::bytes(|_, mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"GET /chat HTTP/1.1\r\n"));
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(!head.contains("proxy-authorization"), "{head}");
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let proxy = HttpProxy::to(api).wanting("Bearer abc").start();
    let lines = format!(
        "proxy = \"{}\"\nproxy_authorization = \"Bearer abc\"",
        proxy.url("http")
    );
    let sidebearer = Sidebearer::start(&plain(&lines));
    let mut tcp = TcpStream::connect(sidebearer.address()).await.unwrap();
    let ask =
        "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    tcp.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    tcp.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    tcp.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
    assert!(proxy.asked()[0].starts_with("CONNECT api.internal:80 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_407_is_the_proxys_and_names_it_whatever_the_way() {
    let ca = Ca::new();
    let (api, idp) = (secure_api(&ca), Idp::start());
    for (is_secure, shown, hint) in [
        (true, "", "set proxy_authorization"),
        (
            true,
            "proxy_authorization = \"user:wrong\"",
            "does not take what proxy_authorization holds",
        ),
        (false, "", "set proxy_authorization"),
        (
            false,
            "proxy_authorization = \"user:wrong\"",
            "does not take what proxy_authorization holds",
        ),
    ] {
        let proxy = HttpProxy::to(api.address)
            .wanting("Basic dXNlcjpwYXNz")
            .start();
        let lines = format!(
            "credential = \"api\"\nallow_plaintext = true\nproxy = \"{}\"\n{shown}",
            proxy.url("http")
        );
        let config = if is_secure {
            secure(&ca, &lines)
        } else {
            plain(&lines)
        };
        let before = idp.requests();
        let sidebearer = Sidebearer::start(&format!(
            "{config}\n[credentials.api]\ntoken_endpoint = \"{}\"\nclient_id = \"billing\"\nclient_secret = {{ file = \"secret\" }}\n",
            idp.endpoint()
        ));
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!((answer.status, &*answer.code()), (502, "egress_proxy"));
        let detail = answer.text();
        let told = format!("the proxy {} answered 407", proxy.url("http"));
        assert!(detail.contains(&told) && detail.contains(hint), "{detail}");
        assert!(!answer.headers.contains_key("proxy-authenticate"));
        assert_eq!(
            idp.requests(),
            before + 1,
            "it says nothing about the token"
        );
        let outcome =
            "sidebearer_upstream_connects_total{outcome=\"proxy_refused\",upstream=\"api\"}";
        if is_secure {
            assert!(sidebearer.metric(outcome).await >= 1.0);
        }
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn the_status_of_a_refused_tunnel_is_told() {
    let ca = Ca::new();
    for (status, hint) in [
        ("403 Forbidden", "ask who runs it"),
        ("502 Bad Gateway", "could not reach the server"),
        ("405 Method Not Allowed", "does not take CONNECT"),
        ("302 Found", "answered 302"),
        ("101 Switching Protocols", "answered 101"),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let proxy = HttpProxy::answering(answer).start();
        let lines = format!("proxy = \"{}\"", proxy.url("http"));
        let sidebearer = Sidebearer::start(&secure(&ca, &lines));
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!((answer.status, &*answer.code()), (502, "egress_proxy"));
        let detail = answer.text();
        let is_told =
            detail.contains(&format!("answered {}", &status[..3])) && detail.contains(hint);
        assert!(is_told, "{detail}");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_told_from_the_api() {
    let (ca, of_proxy) = (Ca::new(), Ca::new());
    let refusing = format!("http://{}", loopback());
    let unknown = HttpProxy::answering("").over(of_proxy.own_certificate().server(&[]));
    for (proxy, code) in [
        (refusing, "upstream_connect"),
        ("http://nothing.invalid:3128".to_owned(), "upstream_connect"),
        (unknown.start().url("https"), "upstream_tls"),
    ] {
        let lines = format!("proxy = \"{proxy}\"");
        let sidebearer = Sidebearer::start(&secure(&ca, &lines));
        let answer = client::get(sidebearer.address(), "/").await;
        assert_eq!((answer.status, &*answer.code()), (502, code), "{proxy}");
        assert!(
            answer.text().contains("the proxy on the way"),
            "{}",
            answer.text()
        );
    }
}
