//! Tunnels to what no route leads to, and requests that go on over TLS.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::tunnels::{far, leading_to};
use crate::support::api::Api;
use crate::support::client;
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::server::{self, read_head, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;
use crate::support::tunnel::{comes_back, end_of, is_reset, tunnel};
use crate::support::{PATIENCE, any_port, eventually, loopback};

/// Two forward listeners: `open`, by which everything passes, and `network`, which the network can reach.
fn listeners() -> String {
    format!(
        "[[listeners]]\nname = \"open\"\naddress = \"{}\"\nkind = \"forward\"\nunmatched = \"pass\"\n\
         [[listeners]]\nname = \"network\"\naddress = \"0.0.0.0:0\"\nkind = \"forward\"\nupstreams = []\n\
         allow_network = true\n",
        any_port()
    )
}

/// The whole answer to a refused CONNECT.
async fn refused(sidebearer: &Sidebearer, listener: &str, target: &str) -> String {
    let mut address = sidebearer.address_of(listener);
    if address.ip().is_unspecified() {
        address.set_ip(crate::support::ip().into());
    }
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let answer = tokio::time::timeout(PATIENCE, client::raw(address, connect)).await;
    answer.unwrap_or_else(|_| panic!("{target} was not refused"))
}

#[tokio::test]
async fn a_tunnel_leads_where_a_request_may_pass() {
    let (far, _seen) = far();
    let (ip, port) = (far.ip(), far.port());
    let egress = format!(
        "[egress]\nallow = [\"{ip}\"]\nports = [80, {port}]\n[[egress.rules]]\nhosts = [\"*.denied.example\"]\n\
         [[egress.rules]]\nhosts = [\"{ip}\", \"localhost\"]\nlisteners = [\"network\"]\naction = \"pass\"\n"
    );
    let sidebearer = Sidebearer::start(&(listeners() + &egress));
    let mut open = tunnel(sidebearer.address_of("open"), &far.to_string()).await;
    comes_back(&mut open, "ping").await;
    let mut network = sidebearer.address_of("network");
    network.set_ip(ip);
    let mut mapped = tunnel(network, &format!("[::ffff:{ip}]:{port}")).await;
    comes_back(&mut mapped, "ping").await;
    for (listener, target, code) in [
        ("open", format!("{ip}:443"), "destination_denied"),
        ("open", format!("127.0.0.1:{port}"), "destination_denied"),
        ("open", "127.1:80".to_owned(), "destination_denied"),
        (
            "open",
            "a.denied.example:80".to_owned(),
            "destination_denied",
        ),
        (
            "open",
            "169.254.169.254:80".to_owned(),
            "destination_denied",
        ),
        ("open", format!("localhost:{port}"), "destination_denied"),
        (
            "open",
            "nothing.invalid:80".to_owned(),
            "destination_denied",
        ),
        ("network", format!("localhost:{port}"), "destination_denied"),
        (
            "network",
            "elsewhere.example:80".to_owned(),
            "destination_denied",
        ),
        ("open", network.to_string(), "loop"),
        ("network", format!("localhost:{}", network.port()), "loop"),
        ("network", sidebearer.admin().to_string(), "loop"),
        ("open", format!("{ip}:80"), "upstream_connect"),
    ] {
        let answer = refused(&sidebearer, listener, &target).await;
        let reason = format!(" sidebearer {code}\r\n");
        assert!(answer.contains(&reason), "{listener} {target}: {answer}");
    }
    let series = |listener: &str, outcome: &str, rule: &str| {
        format!(
            "sidebearer_egress_total{{listener=\"{listener}\",outcome=\"{outcome}\",rule=\"{rule}\"}}"
        )
    };
    let passed = series("open", "passed", "unmatched");
    // The one that nobody answers at passed, too.
    assert_eq!(sidebearer.metric(&passed).await, 2.0);
    let address = series("network", "address_denied", "localhost");
    assert_eq!(sidebearer.metric(&address).await, 1.0);
}

#[tokio::test]
async fn only_a_rule_for_the_very_host_opens_a_tunnel_past_a_token() {
    let ((far, _seen), idp) = (far(), Idp::start());
    let ip = far.ip();
    let credential = format!(
        "[credentials.far]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\nclient_secret = {{ file = \"secret\" }}\n",
        idp.endpoint()
    );
    let config = |egress: &str| {
        let url = format!("url = \"https://{far}\"\n");
        leading_to(far, &credential).replace(&url, &format!("{url}credential = \"far\"\n"))
            + &format!(
                "[egress]\naddresses = \"any\"\nports = [{}]\n{egress}",
                far.port()
            )
    };
    let pass = "unmatched = \"pass\"\n";
    let open = |egress: &str| {
        config(egress).replace(
            "kind = \"forward\"\n",
            &format!("kind = \"forward\"\n{pass}"),
        )
    };
    let sidebearer = Sidebearer::start(&open(""));
    let target = far.to_string();
    let off = " 403 sidebearer interception_off\r\n";
    assert!(refused(&sidebearer, "proxy", &target).await.contains(off));
    let rule =
        |action: &str| format!("[[egress.rules]]\nhosts = [\"{ip}\"]\naction = \"{action}\"\n");
    sidebearer
        .reconfigure(&config(&rule("deny")))
        .await
        .unwrap();
    assert!(refused(&sidebearer, "proxy", &target).await.contains(off));
    sidebearer
        .reconfigure(&config(&rule("pass")))
        .await
        .unwrap();
    let mut stream = tunnel(sidebearer.address(), &target).await;
    comes_back(&mut stream, "ping").await;
    // By the name that http goes by, a request still gets its token, and it goes on over TLS.
    let http = client::raw(
        sidebearer.address(),
        format!("GET http://{target}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    );
    assert!(http.await.contains("urn:sidebearer:error:upstream_tls"));
    sidebearer.reconfigure(&config("")).await.unwrap();
    assert!(is_reset(end_of(&mut stream).await));
}

#[tokio::test]
async fn a_tunnel_past_a_token_for_other_callers_is_reported_where_lists_only_report() {
    let ((far, _seen), idp) = (far(), Idp::start());
    let dir = tempfile::tempdir().unwrap();
    let key = |caller: &str| format!("{caller}-0123456789abcdef0123456789abcdef");
    for caller in ["alpha", "beta"] {
        std::fs::write(dir.path().join(caller), key(caller)).unwrap();
    }
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    let config = |listener: &str| {
        format!(
            "[callers.alpha]\nkey = {{ file = \"alpha\" }}\n[callers.beta]\nkey = {{ file = \"beta\" }}\n\
             [[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\ncallers = [\"*\"]\n\
             {listener}\n[upstreams.far]\nurl = \"https://{far}\"\ncredential = \"far\"\n\
             [credentials.far]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\n\
             client_secret = {{ file = \"secret\" }}\n\
             [egress]\naddresses = \"any\"\nports = [{}]\n\
             [[egress.rules]]\nhosts = [\"{}\"]\ncallers = [\"alpha\"]\naction = \"pass\"\n",
            any_port(),
            idp.endpoint(),
            far.port(),
            far.ip(),
        )
    };
    let sidebearer = Sidebearer::start_in(dir, &config(""));
    let answer = async |caller: &str| {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let shown = format!("Proxy-Authorization: Bearer {}\r\n", key(caller));
        let connect = format!("CONNECT {far} HTTP/1.1\r\nHost: {far}\r\n{shown}\r\n");
        stream.write_all(connect.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        head.lines().next().unwrap().to_owned()
    };
    let reported = r#"sidebearer_reported_total{caller="beta",listener="proxy"}"#;
    for (listener, of_beta, count) in [
        ("", "HTTP/1.1 403 sidebearer interception_off", 0.0),
        (
            "unmatched = \"pass\"",
            "HTTP/1.1 403 sidebearer interception_off",
            0.0,
        ),
        ("enforcement = \"report\"", "HTTP/1.1 200 OK", 1.0),
        (
            "enforcement = \"report\"\nunmatched = \"pass\"",
            "HTTP/1.1 200 OK",
            2.0,
        ),
    ] {
        sidebearer.reconfigure(&config(listener)).await.unwrap();
        assert_eq!(answer("alpha").await, "HTTP/1.1 200 OK", "{listener}");
        assert_eq!(answer("beta").await, of_beta, "{listener}");
        assert_eq!(sidebearer.metric(reported).await, count, "{listener}");
    }
}

#[tokio::test]
async fn a_reload_cuts_the_tunnels_that_may_not_pass_any_more() {
    let (far, _seen) = far();
    let (ip, port) = (far.ip(), far.port());
    let config = |unmatched: &str, egress: &str| {
        let unmatched = format!("unmatched = \"{unmatched}\"");
        let listeners = listeners().replace("unmatched = \"pass\"", &unmatched);
        format!("{listeners}[egress]\n{egress}\n")
    };
    let ports = format!("ports = [{port}]");
    let allowed = format!("{ports}\nallow = [\"{ip}\"]");
    let before = config("pass", &allowed);
    let rule = |action: &str| {
        format!("{before}[[egress.rules]]\nhosts = [\"{ip}\"]\naction = \"{action}\"\n")
    };
    for (what, after, stays) in [
        ("nothing", before.clone(), true),
        (
            "any address",
            config("pass", &format!("{ports}\naddresses = \"any\"")),
            true,
        ),
        ("a rule in place of unmatched", rule("pass"), true),
        ("a rule against the host", rule("deny"), false),
        ("unmatched", config("deny", &allowed), false),
        (
            "the port",
            config("pass", &format!("allow = [\"{ip}\"]")),
            false,
        ),
        ("the address", config("pass", &ports), false),
        (
            "a prefix against it",
            config(
                "pass",
                &format!("{ports}\nallow = [\"127.0.0.0/8\"]\ndeny = [\"{ip}\"]"),
            ),
            false,
        ),
    ] {
        let sidebearer = Sidebearer::start(&before);
        let mut stream = tunnel(sidebearer.address_of("open"), &far.to_string()).await;
        comes_back(&mut stream, "ping").await;
        sidebearer.reconfigure(&after).await.unwrap();
        if stays {
            comes_back(&mut stream, "pong").await;
        } else {
            assert!(is_reset(end_of(&mut stream).await), "{what}");
        }
    }
}

/// Switches protocols, and sends back what comes.
fn chat() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
}

#[tokio::test]
async fn a_reload_cuts_the_websockets_that_may_not_pass_any_more() {
    let chat = chat();
    let listener = "unmatched = \"pass\"\n";
    let ports = format!("ports = [{}]\naddresses = \"any\"\n", chat.port());
    let before = format!(
        "[egress]\n{ports}[[listeners]]\nname = \"app\"\naddress = \"{}\"\nkind = \"forward\"\n{listener}",
        any_port()
    );
    let with = |old: &str, new: &str| {
        assert!(before.contains(old), "{old}");
        before.replace(old, new)
    };
    let rule =
        |host: &str| format!("{before}[[egress.rules]]\nhosts = [\"{host}\"]\naction = \"deny\"\n");
    let upstream = |url: &str| format!("{before}[upstreams.chat]\nurl = \"{url}\"\n");
    for (change, after, stays) in [
        ("nothing", before.clone(), true),
        ("another host is denied", rule("other.example"), true),
        (
            "a route leads elsewhere",
            upstream("http://other.example"),
            true,
        ),
        (
            "a route leads to another path there",
            upstream(&format!("http://{chat}/other")),
            true,
        ),
        (
            "a route leads there",
            upstream(&format!("http://{chat}/chat")),
            false,
        ),
        ("the host is denied", rule(&chat.ip().to_string()), false),
        ("nothing passes", with(listener, ""), false),
        (
            "the port is closed",
            with(&ports, "addresses = \"any\"\n"),
            false,
        ),
        (
            "only public addresses",
            with("\"any\"", "\"public\""),
            false,
        ),
        (
            "the listener has another name",
            with("\"app\"", "\"new\""),
            false,
        ),
    ] {
        let sidebearer = Sidebearer::start(&before);
        let mut open = TcpStream::connect(sidebearer.address()).await.unwrap();
        let ask = format!(
            "GET http://{chat}/chat HTTP/1.1\r\nHost: {chat}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        open.write_all(ask.as_bytes()).await.unwrap();
        let head = read_head(&mut open).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        comes_back(&mut open, "before").await;
        let reloaded = sidebearer.reconfigure(&after).await;
        reloaded.unwrap_or_else(|refused| panic!("{change}: {refused}"));
        if stays {
            comes_back(&mut open, change).await;
        } else {
            assert!(is_reset(end_of(&mut open).await), "{change}");
        }
    }
}

#[tokio::test]
async fn an_https_target_passes_over_tls_that_is_verified() {
    let ca = Ca::new();
    let api = Api::with_tls(
        Some(ca.own_certificate().server(&["h2", "http/1.1"])),
        |_| response(200, "far"),
    );
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, &ca.pem).unwrap();
    let config = format!(
        "[[listeners]]\nname = \"app\"\naddress = \"{}\"\nkind = \"forward\"\nunmatched = \"pass\"\n\
         [egress]\naddresses = \"any\"\nports = [{}]\n[log]\nformat = \"json\"\naccess = \"all\"\n",
        loopback(),
        api.address.port()
    );
    let spawn = |mut command: std::process::Command, dir| {
        command.env("SSL_CERT_FILE", &roots);
        Process::spawn(command, dir)
    };
    let process = Process::start_by(spawn, dir, &config).await;
    let get = format!(
        "GET https://{}/x HTTP/1.1\r\nHost: x\r\nAuthorization: Mine\r\nConnection: close\r\n\r\n",
        api.address
    );
    let answer = client::raw(process.address(), &get).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = api.seen().remove(0);
    assert_eq!((seen.target.as_str(), seen.authorization()), ("/x", "Mine"));
    assert_eq!(seen.host, api.address.to_string());
    // The access line names the rule in place of a route.
    let named = || process.log().contains("\"route\":\"unmatched\"");
    eventually("the access line", async || named()).await;
    // Other CA certificates: the connection that is open is not used any more.
    std::fs::write(&roots, Ca::new().pem).unwrap();
    let reloaded = client::post(process.admin(), "/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let answer = client::raw(process.address(), &get).await;
    assert!(
        answer.contains("urn:sidebearer:error:upstream_tls"),
        "{answer}"
    );
}
