//! Listeners that the network can reach: a page reaches them as well, where a browser runs near them.

use std::net::{Ipv4Addr, SocketAddr};

use http::Method;

use super::{PAGES, ask, handshake};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client;
use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::smallest;

struct Site {
    api: Api,
    _sidebearer: Sidebearer,
    address: SocketAddr,
}

/// A listener as a container has it, with these `lines`, before these `tables`.
fn on_network(lines: &str, tables: &str) -> Site {
    let (api, idp) = (Api::open(), Idp::start());
    let any = format!("\"{}\"", any_port());
    let config = smallest(&api, &idp).replacen(&any, "\"0.0.0.0:0\"", 1);
    let line = "upstream = \"api\"\n";
    let lines = if lines.contains("callers") {
        lines.to_owned()
    } else {
        format!("allow_network = true\n{lines}")
    };
    let leads_by_name = lines.contains("forward");
    let led = if leads_by_name { "" } else { line };
    let config = config.replacen(line, &format!("{led}{lines}\n"), 1);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    std::fs::write(dir.path().join("app.key"), "k".repeat(40)).unwrap();
    let sidebearer = Sidebearer::start_in(dir, &format!("{config}{tables}"));
    let address = (Ipv4Addr::LOCALHOST, sidebearer.address().port()).into();
    Site {
        api,
        _sidebearer: sidebearer,
        address,
    }
}

#[tokio::test]
async fn a_foreign_page_gets_no_token_by_an_address_of_the_network() {
    let site = on_network("", "");
    for page in PAGES {
        let answer = ask(site.address, (Method::POST, "/"), page).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (403, "browser_request".to_owned()), "{page:?}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("allow_browsers"), "{detail}");
    }
    let foreign = handshake(site.address, "http://attacker.example");
    let foreign = foreign.replacen("Upgrade\r\n", "Upgrade, close\r\n", 1);
    let answer = client::raw(site.address, foreign).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("http://attacker.example"), "{answer}");
    assert!(site.api.seen().is_empty());
}

#[tokio::test]
async fn programs_of_the_network_are_served_by_every_name() {
    let site = on_network("", "");
    let own = format!("http://{}", site.address);
    let here = site.address.to_string();
    let relayed = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
    let served: [&[(&'static str, &str)]; 5] = [
        &[("host", "crm.internal")],
        &[("host", "10.1.2.3:7080")],
        &[
            ("host", "crm.internal"),
            relayed,
            ("accept", "text/html"),
            ("accept-language", "en"),
        ],
        &[("host", &here), ("origin", &own)],
        &[
            ("host", "crm.internal:7080"),
            ("origin", "http://crm.internal:7080"),
            ("sec-fetch-site", "same-origin"),
        ],
    ];
    for headers in served {
        let answer = ask(site.address, (Method::POST, "/"), headers).await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_listener_of_the_network_can_be_told_which_pages_and_names_it_serves() {
    let origin = "https://app.example.com";
    let listed = [("origin", origin), ("sec-fetch-site", "cross-site")];
    let other = [("origin", "https://other.example.com")];
    let site = on_network(
        &format!("allow_origins = [\"{origin}\"]\nhosts = [\"crm.internal\"]"),
        "",
    );
    let judged: [(&[(&'static str, &str)], u16); 6] = [
        (&listed, 200),
        (&other, 403),
        (&[("host", "CRM.internal:7080")], 200),
        (&[("host", "localhost")], 200),
        (&[("host", "10.1.2.3")], 200),
        (&[("host", "attacker.example")], 404),
    ];
    for (headers, status) in judged {
        let answer = ask(site.address, (Method::POST, "/"), headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
    }
    let open = on_network("allow_browsers = true", "");
    for page in PAGES {
        let answer = ask(open.address, (Method::POST, "/"), page).await;
        assert_eq!(answer.status, 200, "{page:?}");
    }
}

#[tokio::test]
async fn a_page_is_refused_whoever_the_caller_is() {
    let caller = "[callers.app]\nkey = { file = \"app.key\" }\n";
    let site = on_network("callers = [\"app\"]\nallow_plaintext = true", caller);
    let key = format!("Bearer {}", "k".repeat(40));
    let known = ("authorization", key.as_str());
    let judged: [(&[(&'static str, &str)], u16); 3] = [
        (&[known], 200),
        (&[known, ("origin", "https://attacker.example")], 403),
        (&[("origin", "https://attacker.example")], 401),
    ];
    for (headers, status) in judged {
        let answer = ask(site.address, (Method::POST, "/"), headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn where_no_token_is_put_in_pages_of_every_site_are_served() {
    let public = Api::open();
    let tables = format!(
        "[[routes]]\npath = \"/public/\"\nupstream = \"public\"\n[upstreams.public]\nurl = \"{}\"\n",
        public.url()
    );
    let site = on_network("", &tables);
    for (path, status) in [("/public/x", 200), ("/x", 403)] {
        let answer = ask(site.address, (Method::GET, path), PAGES[0]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    assert_eq!((public.seen().len(), site.api.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_proxy_of_the_network_puts_no_token_into_requests_of_foreign_pages() {
    let site = on_network("kind = \"forward\"\nupstreams = [\"api\"]", "");
    let url = site.api.url();
    for (line, status) in [
        ("Accept: */*", "200"),
        ("Origin: https://attacker.example", "403"),
        ("Sec-Fetch-Site: cross-site", "403"),
    ] {
        let host = url.trim_start_matches("http://");
        let get =
            format!("GET {url}/x HTTP/1.1\r\nHost: {host}\r\n{line}\r\nConnection: close\r\n\r\n");
        let answer = client::raw(site.address, get).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
    }
    assert_eq!(site.api.seen().len(), 1);
}
