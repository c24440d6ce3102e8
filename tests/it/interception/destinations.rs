//! One destination for each connection: CONNECT, the server name and every host inside name the same one.

use http::Request;
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CRM, Site, config, get, over_http2, secure, trusted, trusting, upstream_open};
use crate::support::api::Api;
use crate::support::client::{self, Connection};
use crate::support::idp::Idp;
use crate::support::server::{self, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::tunnel;
use crate::support::{ip, loopback};

fn alert_of(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn a_server_name_that_differs_from_connect_is_refused() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    for name in ["open.example.com", "evil.example", "example.com"] {
        let refused = site.connect(CRM, name, &["h2", "http/1.1"]).await;
        let alert = alert_of(&refused.unwrap_err());
        assert_eq!(alert, Some(AlertDescription::UnrecognisedName), "{name}");
    }
    site.counted("misdirected", 3.0).await;
    assert_eq!(site.handshakes("success").await, 0.0);
}

#[tokio::test]
async fn a_connection_to_the_address_of_an_upstream_is_for_no_other_one() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let server = || ca.own_certificate().server(&["http/1.1"]);
    let crm = Api::with_tls(Some(server()), |_| response(200, "crm"));
    let open = Api::with_tls(Some(server()), |_| response(200, "open"));
    let at = format!("\"open.example.com:{}\"", crm.address.port());
    let upstream = upstream_open(&open, &ca).replace("\"open.example.com:443\"", &at);
    let sidebearer = Sidebearer::start(&(config(crm.address, "", &ca, &idp) + &upstream));
    let client = trusting(&trusted(&sidebearer), &["http/1.1"]);
    let stream = tunnel(sidebearer.address_of("proxy"), &crm.address.to_string()).await;
    let refused = secure(stream, "open.example.com", client).await;
    let alert = alert_of(&refused.unwrap_err());
    assert_eq!(alert, Some(AlertDescription::UnrecognisedName));
}

#[tokio::test]
async fn names_of_one_upstream_count_as_one() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let own = site.crm.address.to_string();
    let old = "crm.old.example.com";
    for (target, name, host) in [
        (CRM, "crm.example.com", "crm.example.com"),
        (CRM, "crm.example.com", "CRM.example.com:443"),
        (CRM, "crm.example.com", old),
        (CRM, "crm.example.com", "api.example.com"),
        (CRM, old, "crm.example.com"),
        ("crm.old.example.com:443", old, "crm.example.com"),
        ("CRM.example.com.:443", "crm.example.com", "crm.example.com"),
        (&own, &ip().to_string(), &own),
    ] {
        let stream = site.connect(target, name, &["http/1.1"]).await;
        let stream = stream.unwrap_or_else(|error| panic!("{target} {name}: {error}"));
        let mut connection = Connection::over(stream).await;
        let answer = connection.send(get("/x", host)).await.unwrap();
        assert_eq!(
            answer.status,
            200,
            "{target} {name} {host}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_request_for_another_destination_is_misdirected() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let mut stream = site
        .connect(CRM, "crm.example.com", &["http/1.1"])
        .await
        .unwrap();
    for (target, host) in [
        ("/x", "open.example.com"),
        ("/x", "evil.example"),
        ("/x", "crm.example.com:8443"),
        ("/x", "crm.example.com:80"),
        ("https://open.example.com/x", "crm.example.com"),
        ("http://crm.example.com/x", "crm.example.com"),
        ("http://crm.example.com:443/x", "crm.example.com"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = crate::support::server::read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 421 "), "{target} {host}: {head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("urn:sidebearer:error:misdirected"), "{body}");
    }
    assert!(site.crm.seen().is_empty() && site.open.seen().is_empty());
    let labels = "error=\"misdirected\",listener=\"proxy\",upstream=\"\"";
    let series = format!("sidebearer_errors_total{{{labels}}}");
    assert_eq!(site.sidebearer.metric(&series).await, 7.0);
}

#[tokio::test]
async fn a_connection_of_http2_that_is_used_for_another_host_is_told_so() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let mut sender = site.http2().await;
    for (uri, status) in [
        ("https://crm.example.com/x", 200),
        ("https://open.example.com/x", 421),
        ("https://crm.example.com:8443/x", 421),
        ("http://crm.example.com/x", 421),
        ("https://crm.old.example.com/x", 200),
    ] {
        let request = Request::get(uri).body(whole("")).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let answer = client::read(answer).await.unwrap();
        assert_eq!(answer.status, status, "{uri}");
    }
    assert_eq!(site.crm.seen().len(), 2);
    assert!(site.open.seen().is_empty());
}

#[tokio::test]
async fn a_connect_inside_is_refused() {
    let site = Site::speaking(&["http/1.1"]);
    let stream = site.connect(CRM, "crm.example.com", &["http/1.1"]).await;
    let mut stream = stream.unwrap();
    let connect = "CONNECT open.example.com:443 HTTP/1.1\r\nHost: open.example.com:443\r\n\r\n";
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut refused = String::new();
    stream.read_to_string(&mut refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn without_a_server_name_the_host_of_connect_counts() {
    let site = Site::speaking(&["http/1.1"]);
    let mut config = site.client(&["http/1.1"]);
    config.enable_sni = false;
    let stream = tunnel(site.proxy(), CRM).await;
    let stream = super::secure(stream, "crm.example.com", config).await;
    let mut connection = Connection::over(stream.unwrap()).await;
    let answer = connection.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_connect_to_an_address_takes_its_name_from_the_handshake() {
    let site = Site::speaking(&["h2", "http/1.1"]);
    let foreign = "192.0.2.7:443";
    let stream = site.connect(foreign, "crm.example.com", &["h2"]).await;
    let mut sender = over_http2(stream.unwrap()).await;
    for (uri, status) in [
        ("https://crm.example.com/x", 200),
        ("https://open.example.com/x", 421),
        ("https://192.0.2.7/x", 421),
    ] {
        let request = Request::get(uri).body(whole("")).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{uri}");
    }
    for name in ["evil.example", "nobody.example.com", "192.0.2.7"] {
        let refused = site.connect(foreign, name, &["h2"]).await;
        let alert = alert_of(&refused.unwrap_err());
        assert_eq!(alert, Some(AlertDescription::UnrecognisedName), "{name}");
    }
    assert_eq!(site.crm.seen().len(), 1);
}

#[tokio::test]
async fn a_host_that_nothing_names_is_refused_before_any_handshake() {
    let site = Site::speaking(&["http/1.1"]);
    for (target, code) in [
        ("evil.example:443", "destination_denied"),
        ("nobody.example.com:443", "destination_denied"),
        ("crm.example.com:8443", "destination_denied"),
    ] {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let refused = client::raw(site.proxy(), connect).await;
        let reason = format!(" 403 sidebearer {code}\r\n");
        assert!(refused.contains(&reason), "{target}: {refused}");
    }
    assert_eq!(site.handshakes("success").await, 0.0);
}

#[tokio::test]
async fn a_connect_to_an_address_passes_if_its_handshake_names_nothing_that_is_matched() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let tls = ca.certificate(&["elsewhere.example"]).server(&[]);
    let other = Api::with_tls(Some(tls), |_| response(200, "elsewhere"));
    let crm = Api::with_tls(Some(ca.own_certificate().server(&["http/1.1"])), |_| {
        response(200, "crm")
    });
    // An own name of the upstream at the port of the other server.
    let port = other.address.port();
    let config = super::config(crm.address, "unmatched = \"pass\"", &ca, &idp).replace(
        "hosts = [",
        &format!("hosts = [\"crm.example.com:{port}\", "),
    );
    let egress = format!("\n[egress]\naddresses = \"any\"\nports = [{port}]\n");
    let sidebearer = Sidebearer::start(&(config + &egress));
    let (proxy, target) = (sidebearer.address_of("proxy"), other.address.to_string());
    let ours = super::trusted(&sidebearer);
    for (name, pem, served) in [
        ("crm.example.com", &ours, "crm"),
        ("elsewhere.example", &ca.pem, "elsewhere"),
        ("crm.example.com", &ours, "crm"),
    ] {
        let stream = tunnel(proxy, &target).await;
        let client = super::trusting(pem, &["http/1.1"]);
        let stream = super::secure(stream, name, client).await;
        let mut connection = Connection::over(stream.unwrap()).await;
        let host = format!("{name}:{port}");
        let answer = connection.send(get("/x", &host)).await.unwrap();
        assert_eq!(answer.text(), served, "{name}");
    }
    assert_eq!(other.seen().len(), 1);
    assert_eq!(super::handshakes(&sidebearer, "success").await, 2.0);
}

#[tokio::test]
async fn a_connect_to_an_address_out_of_reach_is_for_what_its_handshake_names() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let crm = Api::with_tls(Some(ca.own_certificate().server(&["http/1.1"])), |_| {
        response(200, "crm")
    });
    let nobody = loopback();
    let port = nobody.port();
    let listener = "unmatched = \"pass\"\nhandshake_timeout = \"3s\"";
    let config = super::config(crm.address, listener, &ca, &idp).replace(
        "hosts = [",
        &format!("hosts = [\"crm.example.com:{port}\", "),
    );
    let egress = format!("\n[egress]\naddresses = \"any\"\nports = [{port}]\n");
    let sidebearer = Sidebearer::start(&(config + &egress));
    let (proxy, target) = (sidebearer.address_of("proxy"), nobody.to_string());
    let ours = super::trusted(&sidebearer);

    let stream = tunnel(proxy, &target).await;
    let client = super::trusting(&ours, &["http/1.1"]);
    let stream = super::secure(stream, "crm.example.com", client.clone()).await;
    let mut connection = Connection::over(stream.unwrap()).await;
    let host = format!("crm.example.com:{port}");
    let answer = connection.send(get("/x", &host)).await.unwrap();
    assert_eq!(answer.text(), "crm");

    // Nothing but the address is left for another name, for plain HTTP, and for one that says nothing.
    let errors =
        "sidebearer_errors_total{error=\"upstream_connect\",listener=\"proxy\",upstream=\"\"}";
    let stream = tunnel(proxy, &target).await;
    let ended = super::secure(stream, "elsewhere.example", client).await;
    assert!(ended.is_err());
    assert_eq!(sidebearer.metric(errors).await, 1.0);
    for sent in ["GET / HTTP/1.1\r\n\r\n", ""] {
        let mut stream = tunnel(proxy, &target).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"", "{sent:?}");
    }
    assert_eq!(sidebearer.metric(errors).await, 3.0);
    assert_eq!(super::handshakes(&sidebearer, "success").await, 1.0);
}

#[tokio::test]
async fn an_address_is_of_no_upstream_because_a_route_takes_any_host() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let crm = Api::with_tls(Some(ca.own_certificate().server(&["h2"])), |_| {
        response(200, "crm")
    });
    let open = Api::with_tls(Some(ca.own_certificate().server(&["http/1.1"])), |_| {
        response(200, "open")
    });
    let route = "\n[[routes]]\nlistener = \"proxy\"\nupstream = \"crm\"\n";
    let config = config(crm.address, "", &ca, &idp) + &upstream_open(&open, &ca) + route;
    let sidebearer = Sidebearer::start(&config);
    let stream = tunnel(sidebearer.address_of("proxy"), "192.0.2.7:443").await;
    let client = trusting(&trusted(&sidebearer), &["h2", "http/1.1"]);
    let stream = secure(stream, "open.example.com", client).await.unwrap();
    // What is offered is what that upstream speaks.
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut connection = Connection::over(stream).await;
    let answer = connection.send(get("/open", "open.example.com")).await;
    assert_eq!(answer.unwrap().text(), "open");
}

#[tokio::test]
async fn what_a_rule_lets_pass_by_name_is_not_read_on_a_connection_to_its_address() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let tls = ca.certificate(&["crm.example.com"]).server(&[]);
    let pinned = Api::with_tls(Some(tls), |_| response(200, "pinned"));
    let to = pinned.address;
    let elsewhere = server::bytes(move |_, mut stream| async move {
        let mut pinned = TcpStream::connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut pinned).await;
    });
    let port = elsewhere.port();
    let config = config(pinned.address, "unmatched = \"pass\"", &ca, &idp).replace(
        "hosts = [",
        &format!("hosts = [\"crm.example.com:{port}\", "),
    );
    let egress = format!(
        "\n[egress]\naddresses = \"any\"\nports = [{port}]\n\
         [[egress.rules]]\nhosts = [\"crm.example.com\"]\naction = \"pass\"\n"
    );
    let sidebearer = Sidebearer::start(&(config + &egress));
    let stream = tunnel(sidebearer.address_of("proxy"), &elsewhere.to_string()).await;
    let client = trusting(&ca.pem, &["http/1.1"]);
    let stream = secure(stream, "crm.example.com", client).await;
    let mut connection = Connection::over(stream.unwrap()).await;
    let answer = connection.send(get("/x", "crm.example.com")).await;
    assert_eq!(answer.unwrap().text(), "pinned");
    assert_eq!(pinned.seen()[0].authorization(), "");
}

#[tokio::test]
async fn what_may_not_be_dialled_or_opened_is_counted_as_that() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let crm = Api::with_tls(Some(ca.own_certificate().server(&["http/1.1"])), |_| {
        response(200, "crm")
    });
    let listener = "unmatched = \"pass\"\ncallers = [\"billing\"]";
    let key = "billing-key-0123456789abcdef0123456789abcdef";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(dir.path().join("billing.key"), key).unwrap();
    let config = config(crm.address, listener, &ca, &idp)
        + "\n[egress]\naddresses = \"public\"\n\
           [callers.billing]\nkey = { file = \"billing.key\" }\n\
           limits = { requests_per_second = 1, burst = 1 }\n";
    let sidebearer = Sidebearer::start_in(dir, &config);
    let counted = async |outcome: &str| {
        let labels = format!("listener=\"proxy\",outcome=\"{outcome}\",rule=\"unmatched\"");
        let series = format!("sidebearer_egress_total{{{labels}}}");
        sidebearer.metric(&series).await
    };
    let connect = |target: &str| {
        use base64::Engine;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("billing:{key}"));
        format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {basic}\r\n\r\n"
        )
    };
    let proxy = sidebearer.address_of("proxy");
    let denied = client::raw(proxy, connect("10.0.0.5:443")).await;
    assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");
    assert_eq!(counted("address_denied").await, 1.0);
    let limited = client::raw(proxy, connect("elsewhere.example:443")).await;
    assert!(limited.starts_with("HTTP/1.1 429 "), "{limited}");
    assert_eq!(counted("passed").await, 0.0);
}

#[tokio::test]
async fn a_connect_to_an_address_passes_whatever_its_protocol_is() {
    let (ca, idp) = (Ca::new(), Idp::start());
    let greets = server::bytes(|_, mut stream| async move {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut line = [0; 6];
        stream.read_exact(&mut line).await.unwrap();
        stream.write_all(&line).await.unwrap();
    });
    let port = greets.port();
    let config = super::config(greets, "unmatched = \"pass\"", &ca, &idp)
        .replace(
            &format!("url = \"https://{greets}\""),
            "url = \"https://crm.example.com\"",
        )
        .replace(
            "hosts = [",
            &format!("hosts = [\"crm.example.com:{port}\", "),
        );
    let egress = format!("\n[egress]\naddresses = \"any\"\nports = [{port}]\n");
    let sidebearer = Sidebearer::start(&(config + &egress));
    let target = greets.to_string();
    // One that waits for its server to begin, and one that does not.
    for begins in [false, true] {
        let mut stream = tunnel(sidebearer.address_of("proxy"), &target).await;
        if begins {
            stream.write_all(b"EHLO x").await.unwrap();
        }
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
        if !begins {
            stream.write_all(b"EHLO x").await.unwrap();
        }
        let mut back = [0; 6];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"EHLO x");
    }
}
