//! The path of a request, end to end.

use http::Method;
use tokio::io::AsyncWriteExt;

use crate::support::api::Api;
use crate::support::client::{self, Connection, raw, status_of};
use crate::support::idp::Idp;
use crate::support::server::{self, read_head, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, smallest};

/// As [`smallest`], with more lines for the upstream.
fn with_upstream(api: &Api, idp: &Idp, lines: &str) -> String {
    let place = "credential = \"api\"\n";
    smallest(api, idp).replacen(place, &format!("{place}{lines}\n"), 1)
}

#[tokio::test]
async fn a_request_gets_the_token_and_its_answer_comes_back() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));

    let answer = client::get(sidebearer.address(), "/orders?page=2").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let seen = api.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, "GET");
    assert_eq!(seen[0].target, "/orders?page=2");
    assert_eq!(seen[0].authorization(), "Bearer token-1");
    assert_eq!(seen[0].header("host"), api.address.to_string());
}

#[tokio::test]
async fn a_connection_carries_one_request_after_another() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));

    let mut connection = Connection::open(sidebearer.address()).await;
    for number in 0..10 {
        let answer = connection.get(&format!("/{number}")).await.unwrap();
        assert_eq!(answer.status, 200);
    }

    assert_eq!(idp.requests(), 1);
    assert_eq!(sidebearer.connects("api").await, 1.0);
}

#[tokio::test]
async fn no_header_of_the_client_stands_beside_the_token_or_removes_it() {
    let idp = Idp::start();
    let api = Api::open();
    for (header, lines, ours) in [
        ("authorization", "", "Bearer token-1"),
        (
            "x-api-key",
            "header = \"x-api-key\"\nheader_prefix = \"\"",
            "token-",
        ),
        (
            "x-api-key",
            "header = \"X-Api-Key\"\nheader_prefix = \"Token\"",
            "Token token-",
        ),
    ] {
        let sidebearer = Sidebearer::start(&with_upstream(&api, &idp, lines));
        let copies = [
            header.to_uppercase(),
            header.to_owned(),
            header.replace('-', "_"),
        ];
        let mut head = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: a/b\r\n".to_owned();
        for copy in &copies {
            head.push_str(&format!("{copy}: theirs\r\nConnection: {copy}\r\n"));
        }
        head.push_str("Connection: close\r\n\r\n");
        let answer = raw(sidebearer.address(), head).await;
        assert_eq!(status_of(&answer).unwrap(), 200);

        let seen = api.seen().pop().unwrap();
        let values: Vec<_> = seen.headers.get_all(header).iter().collect();
        assert_eq!(values.len(), 1, "{header}");
        assert!(seen.header(header).starts_with(ours), "{header}");
        assert_eq!(seen.headers.values().filter(|v| *v == "theirs").count(), 0);
        assert_eq!(seen.header("accept"), "a/b");
        assert_eq!(seen.header("connection"), "");
    }
}

#[tokio::test]
async fn an_upstream_without_a_credential_keeps_the_clients_authorization() {
    let api = Api::open();
    let config = format!(
        "[[listeners]]\naddress = \"{}\"\nupstream = \"api\"\n[upstreams.api]\nurl = \"{}\"\n",
        any_port(),
        api.url()
    );
    let sidebearer = Sidebearer::start(&config);
    let mut request = client::request(Method::GET, "/", "");
    let theirs = "Basic dTpw".parse().unwrap();
    request.headers_mut().insert("authorization", theirs);
    assert_eq!(
        client::send(sidebearer.address(), request).await.status,
        200
    );
    assert_eq!(api.seen()[0].authorization(), "Basic dTpw");
}

#[tokio::test]
async fn a_redirect_is_passed_and_never_followed() {
    let idp = Idp::start();
    let elsewhere = Api::open();
    let location = elsewhere.url();
    let api = Api::start(move |_| {
        let mut found = response(307, "");
        let location = location.parse().unwrap();
        found.headers_mut().insert("location", location);
        found
    });
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let answer = client::post(sidebearer.address(), "/", "x").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, &*elsewhere.url())
    );
    assert_eq!((api.seen().len(), elsewhere.seen().len()), (1, 0));
}

#[tokio::test]
async fn via_names_us_unless_it_is_off() {
    let idp = Idp::start();
    let api = Api::open();
    let config = smallest(&api, &idp);
    let sidebearer = Sidebearer::start(&config);
    let mut request = client::request(Method::GET, "/", "");
    request
        .headers_mut()
        .insert("via", "1.0 before".parse().unwrap());
    client::send(sidebearer.address(), request).await;
    let seen = api.seen().pop().unwrap();
    let via: Vec<_> = seen.headers.get_all("via").iter().collect();
    assert_eq!(via[0], "1.0 before");
    assert!(via[1].to_str().unwrap().starts_with("1.1 sidebearer-"));
    let mut sender = client::http2(sidebearer.address()).await;
    let request = client::streaming(Method::GET, "/", server::whole(""));
    let answer = sender.send_request(request).await.unwrap();
    assert!(
        !answer.headers().contains_key("via"),
        "a gateway need not say it"
    );
    let seen = api.seen().pop().unwrap();
    assert!(seen.header("via").starts_with("2.0 sidebearer-"));

    let sidebearer = Sidebearer::start(&format!("[server]\nvia = false\n{config}"));
    client::get(sidebearer.address(), "/").await;
    assert!(!api.seen().pop().unwrap().headers.contains_key("via"));
}

#[tokio::test]
async fn options_is_answered_here_where_nobody_may_pass_it_on() {
    let (idp, api) = (Idp::start(), Api::open());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let mut statuses = Vec::new();
    for left in ["0", "1", "many"] {
        let mut request = client::request(Method::OPTIONS, "/", "");
        let headers = request.headers_mut();
        headers.insert("max-forwards", left.parse().unwrap());
        statuses.push(client::send(sidebearer.address(), request).await.status);
    }
    assert_eq!(statuses, [204, 200, 400]);
    let seen = api.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("max-forwards"), "0");
}

#[tokio::test]
async fn a_request_that_comes_round_is_a_loop() {
    let idp = Idp::start();
    let api = Api::open();
    let config = smallest(&api, &idp);
    let sidebearer = Sidebearer::start(&config);
    let own = format!("http://{}", sidebearer.address());
    let looping = config.replacen(&api.url(), &own, 1);
    sidebearer.reconfigure(&looping).await.unwrap();
    let answer = client::get(sidebearer.address(), "/").await;
    assert_eq!((answer.status, &*answer.code()), (508, "loop"));
    assert_eq!(api.seen().len(), 0);
}

#[tokio::test]
async fn the_target_is_matched_canonical_rewritten_and_keeps_its_spelling_and_query() {
    let api = Api::open();
    let any = any_port();
    let config = format!(
        r#"
[[listeners]]
address = "{any}"
hosts = ["crm.local", "a.example.com", "a.b.example.com"]
[upstreams.based]
url = "{url}/v2"
host = "crm.example.com:8443"
[upstreams.plain]
url = "{url}"
[[routes]]
upstream = "plain"
[[routes]]
path = "/crm"
upstream = "based"
replace_prefix = "/"
[[routes]]
path = "/keep"
upstream = "based"
[[routes]]
host = "crm.local"
upstream = "based"
[[routes]]
host = "*.example.com"
path = "/wild"
upstream = "based"
replace_prefix = "/w"
"#,
        url = api.url()
    );
    let sidebearer = Sidebearer::start(&config);
    let plain = api.address.to_string();
    let based = "crm.example.com:8443";
    for (host, asked, target, sent_host) in [
        ("localhost", "/a/b?x=%2f&y=a+b", "/a/b?x=%2f&y=a+b", &*plain),
        (
            "localhost",
            "/%61/%7Eb%2f%c3%a4",
            "/%61/%7Eb%2f%c3%a4",
            &*plain,
        ),
        ("localhost", "/crm/x?q=1", "/v2/x?q=1", based),
        ("localhost", "/crm", "/v2/", based),
        ("localhost", "/crm/", "/v2/", based),
        ("localhost", "/crm?q", "/v2/?q", based),
        ("localhost", "/%63rm/x", "/v2/x", based),
        ("localhost", "/crmx", "/crmx", &*plain),
        ("localhost", "/keep/%7e?", "/v2/keep/%7e?", based),
        ("crm.local", "/", "/v2/", based),
        ("CRM.local.:80", "/a", "/v2/a", based),
        ("crm.local", "/crm/x", "/v2/crm/x", based),
        ("a.example.com", "/wild/1", "/v2/w/1", based),
        ("a.b.example.com", "/wild/1", "/wild/1", &*plain),
    ] {
        let head = format!("GET {asked} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(sidebearer.address(), head).await;
        assert_eq!(status_of(&answer).unwrap(), 200, "{host} {asked}: {answer}");
        let seen = api.seen().pop().unwrap();
        assert_eq!(
            (&*seen.target, seen.header("host")),
            (target, sent_host),
            "{host} {asked}"
        );
    }
    let before = api.seen().len();
    for asked in [
        "/a/../crm",
        "/a/%2e%2E/crm",
        "/a/..%2fcrm",
        "/a/..;/crm",
        "/a/.;x/crm",
        "/a%5c..%5ccrm",
        "/a%00",
        "/a\\b",
        "/%zz",
    ] {
        let head = format!("GET {asked} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(sidebearer.address(), head).await;
        assert_eq!(status_of(&answer).unwrap(), 400, "{asked}: {answer}");
    }
    assert_eq!(api.seen().len(), before);
}

#[tokio::test]
async fn switching_protocols_unasked_is_an_error() {
    let idp = Idp::start();
    let api = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    let config = smallest(&Api::open(), &idp);
    let start = config.find("url = \"").unwrap() + 7;
    let end = start + config[start..].find('"').unwrap();
    let config = format!("{}http://{api}{}", &config[..start], &config[end..]);
    let sidebearer = Sidebearer::start(&config);
    let answer = client::get(sidebearer.address(), "/").await;
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_protocol"));
}
