//! What may leave that no route leads to: judged by host and port, then at the address that is dialled.

mod table;

use std::net::SocketAddr;

use serde_json::json;

use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client;
use crate::support::idp::Idp;
use crate::support::server::response;
use crate::support::sidebearer::Sidebearer;

const DENIED: &str = "destination_denied";

/// What the configuration does not name, beside the API `crm` that it does.
struct Outside {
    origin: Api,
    crm: Api,
    idp: Idp,
    sidebearer: Sidebearer,
}

impl Outside {
    /// Three forward listeners: `closed`; `open`, by which everything passes; and `network`, which the network can
    /// reach. `egress` is the text of `[egress]`, with the ports of both APIs put in for `PORTS` and the IP address
    /// of both for `IP`.
    fn start(egress: &str) -> Self {
        let origin = Api::start(|_| response(200, "origin"));
        let crm = Api::start(|_| response(200, "crm"));
        let idp = Idp::start();
        let config = Self::config(egress, &origin, &crm, &idp);
        Self {
            sidebearer: Sidebearer::start(&config),
            origin,
            crm,
            idp,
        }
    }

    fn config(egress: &str, origin: &Api, crm: &Api, idp: &Idp) -> String {
        let ports = format!("80, 443, {}, {}", origin.address.port(), crm.address.port());
        let egress = egress.replace("PORTS", &ports);
        let egress = egress.replace("IP", &origin.address.ip().to_string());
        format!(
            r#"
[[listeners]]
name = "closed"
address = "{any}"
kind = "forward"

[[listeners]]
name = "open"
address = "{any}"
kind = "forward"
unmatched = "pass"

[[listeners]]
name = "network"
address = "0.0.0.0:0"
kind = "forward"
upstreams = []
allow_network = true

[upstreams.crm]
url = "http://{crm}"
hosts = ["crm.example.com:80"]
credential = "crm"

[credentials.crm]
token_endpoint = "{endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}

{egress}
"#,
            any = any_port(),
            crm = crm.address,
            endpoint = idp.endpoint(),
        )
    }

    /// As after an edit of `[egress]`.
    async fn change(&self, egress: &str) {
        let config = Self::config(egress, &self.origin, &self.crm, &self.idp);
        self.sidebearer.reconfigure(&config).await.unwrap();
    }

    fn address_of(&self, listener: &str) -> SocketAddr {
        let address = self.sidebearer.address_of(listener);
        match listener {
            "network" => (self.origin.address.ip(), address.port()).into(),
            _ => address,
        }
    }

    /// The whole answer to a GET with this header line.
    async fn answer(&self, listener: &str, target: &str, line: &str) -> String {
        let get = format!(
            "GET {target} HTTP/1.1\r\nHost: x.example\r\n{line}\r\nConnection: close\r\n\r\n"
        );
        client::raw(self.address_of(listener), get).await
    }

    /// What a GET of `target` becomes: where it arrived with which target, or the code of the error.
    async fn becomes(&self, listener: &str, target: &str) -> String {
        let before = (self.origin.seen().len(), self.crm.seen().len());
        let answer = self.answer(listener, target, "Authorization: Mine").await;
        let origin = self.origin.seen().split_off(before.0);
        let crm = self.crm.seen().split_off(before.1);
        match (&origin[..], &crm[..]) {
            ([seen], []) => {
                assert_eq!(seen.authorization(), "Mine", "{target}");
                format!("origin {}", seen.target)
            }
            ([], [seen]) => {
                assert_eq!(seen.authorization(), "Bearer token-1", "{target}");
                format!("crm {}", seen.target)
            }
            ([], []) => code_of(&answer).to_owned(),
            _ => panic!("{target} arrived more than once"),
        }
    }
}

/// The code of the error that an answer is.
fn code_of(answer: &str) -> &str {
    let code = answer.split("urn:sidebearer:error:").nth(1);
    code.and_then(|rest| rest.split('"').next())
        .unwrap_or(answer)
}

#[tokio::test]
async fn a_refusal_names_the_rule_and_nothing_of_the_address() {
    let outside = Outside::start(
        "[egress]\nallow = [\"127.0.0.8\"]\ndeny = [\"127.0.0.0/24\"]\nports = [PORTS, 1]\n\
         [[egress.rules]]\nhosts = [\"*.denied.example\"]\n[[egress.rules]]\nhosts = [\"10.0.0.1\", \"localhost\"]\n\
         listeners = [\"network\"]\naction = \"pass\"\n",
    );
    let detail = async |listener: &str, target: &str| {
        let answer = outside.answer(listener, target, "X: y").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        let detail = answer.split("\"detail\":\"").nth(1).unwrap();
        detail.split("\"}").next().unwrap().replace("\\\"", "\"")
    };
    for (listener, target, rule) in [
        (
            "open",
            "http://a.denied.example/",
            "\"*.denied.example\" in [[egress.rules]]",
        ),
        (
            "closed",
            "http://a.example/",
            "`unmatched` of the listener is \"deny\"",
        ),
        (
            "open",
            "http://10.0.0.1:22/",
            "port 22 is none of `ports` of [egress]",
        ),
        (
            "open",
            "http://10.0.0.1/",
            "`addresses = \"public\"` of [egress]",
        ),
        (
            "network",
            "http://10.0.0.1/",
            "`addresses = \"public\"` of [egress]",
        ),
        ("open", "http://localhost/", "`deny` of [egress]"),
        ("open", "http://127.0.0.1/", "`deny` of [egress]"),
    ] {
        let detail = detail(listener, target).await;
        assert!(detail.contains(rule), "{target}: {detail}");
        assert!(!detail.contains("127."), "{target}: {detail}");
    }
    // A name of this network cannot be told from one that nobody has.
    let unknown = detail("open", "http://nothing.invalid/").await;
    outside.change("[egress]\nports = [PORTS]\n").await;
    assert_eq!(detail("open", "http://localhost/").await, unknown);
    for (series, value) in [
        ("outcome=\"denied\",rule=\"*.denied.example\"", 1.0),
        ("outcome=\"port_denied\",rule=\"unmatched\"", 1.0),
        ("outcome=\"address_denied\",rule=\"unmatched\"", 5.0),
    ] {
        let series = format!("sidebearer_egress_total{{listener=\"open\",{series}}}");
        assert_eq!(outside.sidebearer.metric(&series).await, value, "{series}");
    }
}

#[tokio::test]
async fn what_passes_keeps_its_way_and_says_which_rule_let_it() {
    let outside = Outside::start("[egress]\nallow = [\"IP\"]\nports = [PORTS]\n");
    let target = format!("http://{}/x", outside.origin.address);
    let line = "Proxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nX-Own: 1";
    let answer = outside.answer("open", &target, line).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = outside.origin.seen().remove(0);
    assert_eq!(seen.host, outside.origin.address.to_string());
    assert_eq!(seen.header("x-own"), "1");
    for header in ["proxy-authorization", "proxy-connection", "authorization"] {
        assert!(!seen.headers.contains_key(header), "{header}");
    }
    // A page of another site may cause it, as it may without a proxy: no token goes along.
    let page = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site";
    let answer = outside.answer("open", &target, page).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let refused = outside
        .answer("open", "http://crm.example.com/", page)
        .await;
    assert_eq!(code_of(&refused), "browser_request");
    let series = "sidebearer_egress_total{listener=\"open\",outcome=\"passed\",rule=\"unmatched\"}";
    assert_eq!(outside.sidebearer.metric(series).await, 2.0);
    let connects = "sidebearer_upstream_connects_total{outcome=\"success\",upstream=\"\"}";
    assert!(outside.sidebearer.metric(connects).await >= 1.0);
}

#[tokio::test]
async fn the_next_request_after_a_reload_is_decided_anew() {
    let outside = Outside::start("[egress]\nallow = [\"IP\"]\nports = [PORTS]\n");
    let address = outside.origin.address;
    let target = format!("http://{address}/x");
    let allowed = "[egress]\nallow = [\"IP\"]\nports = [PORTS]\n";
    for (egress, open, closed) in [
        (allowed.to_owned(), "origin /x", DENIED),
        ("[egress]\nports = [PORTS]\n".to_owned(), DENIED, DENIED),
        (
            "[egress]\naddresses = \"any\"\nports = [PORTS]\n".to_owned(),
            "origin /x",
            DENIED,
        ),
        ("[egress]\naddresses = \"any\"\n".to_owned(), DENIED, DENIED),
        (
            format!("{allowed}[[egress.rules]]\nhosts = [\"IP\"]\naction = \"pass\"\n"),
            "origin /x",
            "origin /x",
        ),
        (
            format!("{allowed}[[egress.rules]]\nhosts = [\"IP\"]\naction = \"deny\"\n"),
            DENIED,
            DENIED,
        ),
        (allowed.to_owned(), "origin /x", DENIED),
    ] {
        outside.change(&egress).await;
        assert_eq!(outside.becomes("open", &target).await, open, "{egress}");
        assert_eq!(outside.becomes("closed", &target).await, closed, "{egress}");
    }
}

#[tokio::test]
async fn an_upstream_that_leads_to_a_listener_of_this_process_is_a_loop_before_a_byte_is_sent() {
    let config = |url: &str| {
        format!(
            "\n[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"back\"\nallow_browsers = true\n\
             [upstreams.back]\nurl = \"{url}\"\n[server]\nvia = false\n"
        )
    };
    let api = Api::open();
    let sidebearer = Sidebearer::start(&config(&format!("http://{}", api.address)));
    let (app, admin) = (sidebearer.address_of("app"), sidebearer.admin());
    assert_eq!(client::get(app, "/x").await.status, 200);
    for url in [
        format!("http://{app}"),
        format!("http://localhost:{}", app.port()),
        format!("http://0.0.0.0:{}", app.port()),
        format!("http://[::ffff:127.0.0.1]:{}", app.port()),
        format!("http://{admin}"),
    ] {
        sidebearer.reconfigure(&config(&url)).await.unwrap();
        let answer = client::get(app, "/x").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (508, "loop"),
            "{url}"
        );
    }
    let connects = "sidebearer_upstream_connects_total{outcome=\"loop\",upstream=\"back\"}";
    assert_eq!(sidebearer.metric(connects).await, 5.0);
}

#[tokio::test]
async fn the_status_shows_whose_requests_a_rule_decides_about() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "0123456789abcdef0123456789abcdef").unwrap();
    let rule = |host: &str, lines: &str| {
        format!("[[egress.rules]]\nhosts = [\"{host}\"]\naction = \"pass\"\n{lines}\n")
    };
    let listener = format!(
        "[[listeners]]\nname = \"way\"\naddress = \"{}\"\nkind = \"forward\"\ncallers = [\"*\"]\n\
         [callers.billing]\nkey = {{ file = \"key\" }}\n",
        any_port()
    );
    let rules = [
        rule("a.example", "callers = [\"billing\"]"),
        rule("b.example", "callers = [\"*\"]\nlisteners = [\"way\"]"),
        rule("c.example", ""),
    ];
    let sidebearer = Sidebearer::start_in(dir, &(listener + &rules.concat()));
    let shown = |host: &str, listeners: &[&str], callers: &[&str]| json!({ "hosts": [host], "listeners": listeners, "callers": callers, "action": "pass" });
    assert_eq!(
        sidebearer.status().await["egress"]["rules"],
        json!([
            shown("a.example", &[], &["billing"]),
            shown("b.example", &["way"], &["*"]),
            shown("c.example", &[], &[]),
        ])
    );
}
