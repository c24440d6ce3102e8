//! Who may use a listener and the admin pages: programs, no web pages.

use http::{HeaderValue, Method};
use hyper::ext::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::api::Api;
use crate::support::client::{self, Answer, request};
use crate::support::idp::Idp;
use crate::support::server::whole;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, smallest};

mod network;

/// What a browser sends along for pages that are not ours.
const PAGES: [&[(&str, &str)]; 7] = [
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
    // What a certificate makes it ask for.
    &[("sec-fetch-site", "none"), ("sec-fetch-mode", "no-cors")],
    // Where it sends nothing else.
    &[("origin", "https://attacker.example")],
    // Of another port of this machine.
    &[
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "same-site"),
    ],
    &[("origin", "null")],
    &[("origin", "null"), ("sec-fetch-site", "same-origin")],
];

async fn ask(
    address: std::net::SocketAddr,
    (method, path): (Method, &str),
    headers: &[(&'static str, &str)],
) -> Answer {
    let mut request = request(method, path, "");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().insert(*name, value);
    }
    client::send(address, request).await
}

fn listener(lines: &str, api: &Api, idp: &Idp) -> Sidebearer {
    let config = smallest(api, idp);
    let line = "upstream = \"api\"\n";
    Sidebearer::start(&config.replacen(line, &format!("{line}{lines}\n"), 1))
}

#[tokio::test]
async fn a_foreign_host_gets_no_token() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = listener("hosts = [\"crm.local\"]", &api, &idp);
    let address = sidebearer.address();
    for own in [
        "localhost",
        "LOCALHOST:80",
        "127.0.0.1",
        "[::1]:7080",
        "[0:0::0:1]",
        "127.1.2.3:7080",
        "crm.local",
        "CRM.local.:1",
    ] {
        let answer = ask(address, (Method::GET, "/"), &[("host", own)]).await;
        assert_eq!(answer.status, 200, "{own}");
    }
    let before = api.seen().len();
    for foreign in [
        "attacker.example",
        "localhost.attacker.example",
        "x.crm.local",
        "0.0.0.0",
        "10.1.2.3",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
    ] {
        let answer = ask(address, (Method::GET, "/"), &[("host", foreign)]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "no_route"),
            "{foreign}"
        );
        let detail = answer.json()["detail"].to_string();
        assert!(
            detail.contains("`hosts`") && detail.contains(foreign),
            "{detail}"
        );
    }
    assert_eq!(api.seen().len(), before);
}

#[tokio::test]
async fn a_host_that_is_an_address_is_own_in_every_spelling() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = smallest(&api, &idp)
        + "\n[[routes]]\nupstream = \"api\"\nhost = \"[::ffff:10.9.9.9]\"\npath = \"/only\"\n\
           [[routes]]\nupstream = \"far\"\npath = \"/far\"\n\
           [upstreams.far]\nurl = \"http://[::ffff:10.8.8.8]:81\"\n";
    let sidebearer = Sidebearer::start(&config);
    let address = sidebearer.address();
    for own in ["10.9.9.9", "[::ffff:10.9.9.9]", "[::FFFF:a09:909]:80"] {
        let answer = ask(address, (Method::GET, "/only"), &[("host", own)]).await;
        assert_eq!(answer.status, 200, "{own}");
    }
    // It ends here: nothing is sent to that address.
    let last = ("max-forwards", "0");
    for (host, status) in [
        ("10.8.8.8", 204),
        ("[::ffff:a08:808]", 204),
        ("10.8.8.9", 404),
        ("[::ffff:127.0.0.1]", 404),
    ] {
        let answer = ask(address, (Method::OPTIONS, "/far"), &[("host", host), last]).await;
        assert_eq!(answer.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_loopback_address_that_is_named_is_own_in_no_other_spelling() {
    let (api, idp) = (Api::open(), Idp::start());
    let route = "\n[[routes]]\nupstream = \"api\"\nhost = \"127.0.0.1\"\npath = \"/only\"\n";
    let by_route = Sidebearer::start(&(smallest(&api, &idp) + route));
    let by_hosts = listener("hosts = [\"127.0.0.1\"]", &api, &idp);
    let as_ipv6 = listener("hosts = [\"[::FFFF:127.0.0.1]\"]", &api, &idp);
    for (sidebearer, mapped) in [(by_route, 404), (by_hosts, 404), (as_ipv6, 200)] {
        for (host, status) in [
            ("127.0.0.1", 200),
            ("[::ffff:127.0.0.1]", mapped),
            ("[::ffff:7f00:1]:80", mapped),
            ("[::ffff:127.0.0.2]", 404),
        ] {
            let answer = ask(
                sidebearer.address(),
                (Method::GET, "/only"),
                &[("host", host)],
            )
            .await;
            assert_eq!(answer.status, status, "{host}");
        }
    }
}

#[tokio::test]
async fn a_star_accepts_every_host() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = listener("hosts = [\"*\"]", &api, &idp);
    let answer = ask(
        sidebearer.address(),
        (Method::GET, "/"),
        &[("host", "any.example")],
    )
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_get_no_token_unless_browsers_are_allowed() {
    let (api, idp) = (Api::open(), Idp::start());
    let careful = listener("", &api, &idp);
    let (open_api, open_idp) = (Api::open(), Idp::start());
    let open = listener("allow_browsers = true", &open_api, &open_idp);
    for page in PAGES {
        let answer = ask(careful.address(), (Method::POST, "/"), page).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "browser_request"),
            "{page:?}"
        );
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("allow_browsers"), "{detail}");
        // Else a browser that shows it asks for an icon, as a page of ours may.
        let policy = answer.header("content-security-policy");
        assert_eq!(policy, "default-src 'none'");
        assert_eq!(
            ask(open.address(), (Method::POST, "/"), page).await.status,
            200,
            "{page:?}"
        );
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn listed_origins_and_the_listeners_own_pages_are_let_in() {
    let (api, idp) = (Api::open(), Idp::start());
    let lines = "allow_origins = [\"https://app.example.com\"]\nhosts = [\"crm.local\"]";
    let sidebearer = listener(lines, &api, &idp);
    let address = sidebearer.address();
    let own = format!("http://{address}");
    let here = address.to_string();
    let admitted: [&[(&'static str, &str)]; 5] = [
        &[
            ("origin", "https://app.example.com"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[("host", &here), ("origin", &own)],
        &[
            ("host", &here),
            ("origin", &own),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
        &[("host", "crm.local"), ("origin", "http://crm.local")],
    ];
    for page in admitted {
        let answer = ask(address, (Method::POST, "/"), page).await;
        assert_eq!(answer.status, 200, "{page:?}");
    }
    let before = api.seen().len();
    for page in PAGES {
        let answer = ask(address, (Method::POST, "/"), page).await;
        assert_eq!(answer.status, 403, "{page:?}");
    }
    let other = [("origin", "https://other.example.com")];
    let answer = ask(address, (Method::GET, "/"), &other).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "browser_request")
    );
    let detail = answer.json()["detail"].to_string();
    assert!(
        detail.contains("https://other.example.com") && detail.contains("`allow_origins`"),
        "{detail}"
    );
    assert_eq!(api.seen().len(), before);
}

#[tokio::test]
async fn a_browser_that_asks_by_name_gets_no_token_where_it_does_not_say_for_whom() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = listener("hosts = [\"crm.local\"]", &api, &idp);
    let browser = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
    let program = ("user-agent", "billing/3.1");
    for (host, agent, sign, status) in [
        (
            "crm.local",
            browser,
            ("upgrade-insecure-requests", "1"),
            403,
        ),
        ("crm.local", browser, ("accept", "text/html,*/*;q=0.8"), 403),
        ("crm.local", browser, ("accept-language", "en"), 403),
        ("crm.local", browser, ("accept", "application/json"), 200),
        ("crm.local", program, ("accept-language", "en"), 200),
        ("localhost", browser, ("accept-language", "en"), 200),
    ] {
        let headers = [("host", host), agent, sign];
        let answer = ask(sidebearer.address(), (Method::GET, "/"), &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}

/// A web page's handshake, as Chromium sends it.
fn handshake(address: std::net::SocketAddr, origin: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Origin: {origin}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YSBub25jZSBvZiBpdHMgb3c=\r\n\r\n"
    )
}

#[tokio::test]
async fn a_page_cannot_open_a_websocket() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = listener("", &api, &idp);
    let address = sidebearer.address();
    let foreign = handshake(address, "http://attacker.example");
    // Each request of a connection is judged, and one that is refused does not end it.
    let good = format!("GET /good HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let last = handshake(address, "null").replacen("Upgrade\r\n", "Upgrade, close\r\n", 1);
    let answer = client::raw(address, [good.as_str(), &foreign, &good, &last].concat()).await;
    let statuses: Vec<_> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, start)| &answer[at + start.len()..][..3])
        .collect();
    assert_eq!(statuses, ["200", "403", "200", "403"], "{answer}");
    assert!(answer.contains("http://attacker.example"), "{answer}");
    let paths: Vec<_> = api.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(paths, ["/good", "/good"]);
}

#[tokio::test]
async fn a_page_gets_no_token_by_http2_and_extended_connect() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = listener("", &api, &idp);
    let mut sender = client::http2(sidebearer.address()).await;
    for connect in [false, true] {
        for (origin, status) in [("http://localhost:1", 403), ("null", 403)] {
            let mut request = client::streaming(Method::GET, "/", whole(""));
            request
                .headers_mut()
                .insert("origin", HeaderValue::from_static(origin));
            if connect {
                *request.method_mut() = Method::CONNECT;
                request
                    .extensions_mut()
                    .insert(Protocol::from_static("websocket"));
            }
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), status, "{origin} {connect}");
        }
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn admin_is_closed_to_pages_and_foreign_hosts() {
    let (api, idp) = (Api::open(), Idp::start());
    // What a listener allows, admin does not.
    let sidebearer = listener("hosts = [\"*\"]\nallow_browsers = true", &api, &idp);
    let pages = [
        (Method::GET, "/status"),
        (Method::GET, "/metrics"),
        (Method::GET, "/livez"),
        (Method::POST, "/reload"),
    ];
    for asked in pages {
        for page in PAGES {
            let answer = ask(sidebearer.admin(), asked.clone(), page).await;
            assert_eq!(answer.status, 403, "{asked:?} {page:?}");
            assert_eq!(answer.json()["error"], "browser_request");
        }
        let foreign = [("host", "attacker.example")];
        let answer = ask(sidebearer.admin(), asked, &foreign).await;
        assert_eq!(answer.status, 404);
        let detail = answer.json()["detail"].to_string();
        assert!(
            !detail.contains("hosts`"),
            "admin has no such key: {detail}"
        );
    }
    // By no other name than the ones of its socket, which is on loopback.
    for (own, status) in [
        ("127.0.0.1:7090", 200),
        ("[::1]", 200),
        ("10.1.2.3", 404),
        ("0.0.0.0", 404),
    ] {
        let answer = ask(
            sidebearer.admin(),
            (Method::GET, "/metrics"),
            &[("host", own)],
        )
        .await;
        assert_eq!(answer.status, status, "{own}");
    }
    let reloads = r#"sidebearer_config_reloads_total{outcome="success"}"#;
    assert_eq!(sidebearer.metric(reloads).await, 0.0);
}

#[tokio::test]
async fn a_unix_socket_is_for_whom_its_permissions_admit() {
    let (api, idp) = (Api::open(), Idp::start());
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("app.sock");
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    let address = format!("\"unix:{}\"", socket.display());
    let any = format!("\"{}\"", any_port());
    let config = smallest(&api, &idp).replacen(&any, &address, 1);
    let _sidebearer = Sidebearer::start_in(dir, &config);
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let head = "GET / HTTP/1.1\r\nhost: any.example\r\nsec-fetch-site: cross-site\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(api.seen()[0].authorization(), "Bearer token-1");
}
