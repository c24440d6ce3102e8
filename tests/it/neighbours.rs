//! Who may use a loopback listener and the admin pages: programs of this machine, no web pages.

use http::{HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::api::Api;
use crate::support::client::{self, Answer, request};
use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, smallest};

const PAGES: [&[(&str, &str)]; 4] = [
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
    &[
        ("origin", "https://attacker.example"),
        ("sec-fetch-mode", "cors"),
    ],
    &[("origin", "null"), ("sec-fetch-mode", "navigate")],
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
        assert_eq!(
            ask(open.address(), (Method::POST, "/"), page).await.status,
            200,
            "{page:?}"
        );
    }
    assert!(api.seen().is_empty());
    // A program that sends Origin by itself is none.
    let program = &[("origin", "https://elsewhere.example")];
    assert_eq!(
        ask(careful.address(), (Method::GET, "/"), program)
            .await
            .status,
        200
    );
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
