//! Which destination leads where: no spelling leads a token, or a request, to what the configuration did not name.

use std::net::IpAddr;

use super::World;
use crate::support::api::Api;
use crate::support::server::response;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, client};

const DENIED: &str = "destination_denied";
const BAD: &str = "bad_request";

#[tokio::test]
async fn every_destination_leads_to_what_it_names_or_nowhere() {
    let world = World::start();
    let (crm, plain) = (&world.crm.address, &world.plain.address);
    let (crm_ip, crm_port) = (crm.ip(), crm.port());
    let [_, b, c, d] = match crm_ip {
        std::net::IpAddr::V4(ip) => ip.octets(),
        std::net::IpAddr::V6(_) => unreachable!("the tests' own address is of IPv4"),
    };
    let number = u32::from_be_bytes([127, b, c, d]);
    let own = world.address();
    let table: Vec<(String, &str)> = [
        // The own names of the https upstream, by http on port 80 and on that of its url.
        ("http://crm.example.com/v2/x", "crm /v2/x"),
        ("http://crm.example.com/v2", "crm /v2"),
        ("http://crm.example.com/v2/x?q=%41#", BAD),
        ("http://crm.example.com/v2/x?q=%41", "crm /v2/x?q=%41"),
        ("http://crm.example.com:80/v2/x", "crm /v2/x"),
        ("http://CRM.Example.COM/v2/x", "crm /v2/x"),
        ("http://crm.example.com./v2/x", "crm /v2/x"),
        ("HTTP://crm.example.com/v2/x", "crm /v2/x"),
        ("http://crm.example.com:0080/v2/x", "crm /v2/x"),
        ("http://[2001:db8::1]/v2/x", "crm /v2/x"),
        ("http://[2001:DB8:0:0::1]/v2/x", "crm /v2/x"),
        // A name with a port stands for that port alone.
        ("http://crm.old.internal:8443/v2/x", "crm /v2/x"),
        ("https://crm.old.internal:8443/v2/x", "crm /v2/x"),
        ("http://crm.old.internal/v2/x", DENIED),
        ("https://crm.old.internal/v2/x", DENIED),
        // https is matched as http is, on the port of the url alone.
        ("https://crm.example.com/v2/x", DENIED),
        ("https://crm.example.com:80/v2/x", DENIED),
        // Other ports, paths and hosts.
        ("http://crm.example.com:443/v2/x", DENIED),
        ("http://crm.example.com:81/v2/x", DENIED),
        ("http://crm.example.com:0/v2/x", DENIED),
        ("http://crm.example.com:65536/v2/x", BAD),
        ("http://crm.example.com:/v2/x", BAD),
        ("http://crm.example.com:+80/v2/x", BAD),
        ("http://crm.example.com:80:80/v2/x", BAD),
        ("http://crm.example.com/", DENIED),
        ("http://crm.example.com", DENIED),
        ("http://crm.example.com/v22", DENIED),
        ("http://crm.example.com/V2/x", DENIED),
        ("http://crm.example.com/v2/../x", BAD),
        ("http://crm.example.com/%76%32/x", "crm /%76%32/x"),
        ("http://example.com/v2/x", DENIED),
        ("http://x.crm.example.com/v2/x", DENIED),
        ("http://crm.example.com.evil.example/v2/x", DENIED),
        ("http://evil.example/http://crm.example.com/v2/x", DENIED),
        ("http://localhost/v2/x", DENIED),
        ("http://.crm.example.com/v2/x", BAD),
        ("http://crm.example.com../v2/x", BAD),
        ("http://crm..example.com/v2/x", BAD),
        ("http://crm%2eexample.com/v2/x", BAD),
        ("http://*.example.com/v2/x", BAD),
        ("http:///v2/x", BAD),
        // User information.
        ("http://crm.example.com@evil.example/v2/x", BAD),
        ("http://evil.example@crm.example.com/v2/x", BAD),
        ("http://user:pass@crm.example.com/v2/x", BAD),
        ("http://crm.example.com:80@evil.example/v2/x", BAD),
        ("http://@crm.example.com/v2/x", BAD),
        // Addresses in brackets, zones included.
        ("http://[2001:db8::1]:81/v2/x", DENIED),
        ("http://[2001:db8::2]/v2/x", DENIED),
        ("http://[2001:db8::1%25eth0]/v2/x", BAD),
        ("http://[2001:db8::1%eth0]/v2/x", BAD),
        ("http://2001:db8::1/v2/x", BAD),
        ("http://[crm.example.com]/v2/x", BAD),
        ("http://[::ffff:169.254.169.254]/v2/x", DENIED),
        ("http://169.254.169.254/latest/meta-data", DENIED),
        // The http upstream.
        ("http://plain.old.internal/x", "plain /x"),
        ("http://plain.old.internal:80/x", "plain /x"),
        ("http://plain.old.internal:81/x", DENIED),
        ("http://plain.example.com/x", DENIED),
        ("https://plain.old.internal:80/x", DENIED),
        ("https://plain.old.internal/x", DENIED),
        ("https://plain.example.com/x", DENIED),
        // Other schemes and forms.
        ("ftp://crm.example.com/v2/x", BAD),
        ("ws://crm.example.com/v2/x", BAD),
        ("crm.example.com/v2/x", BAD),
        ("//crm.example.com/v2/x", BAD),
        ("/v2/x", BAD),
        ("*", BAD),
    ]
    .into_iter()
    .map(|(target, becomes)| (target.to_owned(), becomes))
    .chain([
        (format!("http://{crm}/v2/x"), "crm /v2/x"),
        (format!("https://{crm}/v2/x"), "crm /v2/x"),
        (format!("http://{crm_ip}/v2/x"), "crm /v2/x"),
        (format!("https://{crm_ip}/v2/x"), DENIED),
        (
            format!("http://crm.example.com:{crm_port}/v2/x"),
            "crm /v2/x",
        ),
        (
            format!("https://crm.example.com:{crm_port}/v2/x"),
            "crm /v2/x",
        ),
        (format!("http://{plain}/x"), "plain /x"),
        (format!("https://{plain}/x"), DENIED),
        (
            format!("http://plain.example.com:{}/x", plain.port()),
            "plain /x",
        ),
        // Other spellings of an upstream's own address.
        (format!("http://{number}:{crm_port}/v2/x"), DENIED),
        (format!("http://0x{number:08x}:{crm_port}/v2/x"), DENIED),
        (format!("http://0{number:o}:{crm_port}/v2/x"), DENIED),
        (
            format!(
                "http://127.{b}.{}:{crm_port}/v2/x",
                u32::from(c) * 256 + u32::from(d)
            ),
            DENIED,
        ),
        (format!("http://0177.{b}.{c}.{d}:{crm_port}/v2/x"), DENIED),
        // That within IPv6 is the same to every system.
        (
            format!("http://[::ffff:{crm_ip}]:{crm_port}/v2/x"),
            "crm /v2/x",
        ),
        (
            format!(
                "http://[::FFFF:7f{b:02x}:{:x}]:{crm_port}/v2/x",
                u16::from_be_bytes([c, d])
            ),
            "crm /v2/x",
        ),
        (
            format!("http://[64:ff9b::{crm_ip}]:{crm_port}/v2/x"),
            DENIED,
        ),
        // This process itself.
        (format!("http://{own}/"), "loop"),
        (
            format!("http://[::ffff:{}]:{}/", own.ip(), own.port()),
            "loop",
        ),
        (
            format!("http://{}/metrics", world.sidebearer.admin()),
            "loop",
        ),
    ])
    .collect();
    for (target, expected) in &table {
        let becomes = world.becomes(target, "elsewhere.example").await;
        assert_eq!(becomes, *expected, "{target}");
    }
}

#[tokio::test]
async fn an_upstream_is_led_to_by_every_spelling_of_its_address_and_gets_the_host_of_its_url() {
    let api = Api::start(|_| response(200, "api"));
    let (ip, port) = (api.address.ip(), api.address.port());
    let IpAddr::V4(ipv4) = ip else {
        unreachable!("the tests' own address is of IPv4")
    };
    let [a, b, c, d] = ipv4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let spellings = [
        format!("{ip}:{port}"),
        format!("[::ffff:{ip}]:{port}"),
        format!("[::ffff:{high:x}:{low:x}]:{port}"),
    ];
    for (url, sent) in [(0, 0), (1, 1), (2, 1)] {
        let (url, sent) = (&spellings[url], &spellings[sent]);
        let sidebearer = Sidebearer::start(&format!(
            "[[listeners]]\naddress = \"{}\"\nkind = \"forward\"\n[upstreams.api]\nurl = \"http://{url}/\"\n",
            any_port()
        ));
        for asked in &spellings {
            let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: {asked}\r\n");
            let get = format!("GET http://{asked}/x");
            let direct = head(&get) + "Connection: close\r\n\r\n";
            let inside = head(&format!("CONNECT {asked}")) + "\r\n" + &direct;
            for request in [direct, inside] {
                let answer = client::raw(sidebearer.address(), request).await;
                assert!(
                    answer.starts_with("HTTP/1.1 200 "),
                    "{url} {asked}: {answer}"
                );
                assert!(answer.ends_with("api"), "{url} {asked}: {answer}");
                assert_eq!(api.seen().last().unwrap().host, *sent, "{asked}");
            }
        }
    }
}

#[tokio::test]
async fn the_target_counts_whatever_the_host_header_says() {
    let world = World::start();
    let target = "http://crm.example.com/v2/x";
    for host in ["evil.example", "plain.old.internal", "crm.example.com:99"] {
        assert_eq!(world.becomes(target, host).await, "crm /v2/x", "{host}");
        let seen = world.crm.seen();
        assert_eq!(seen.last().unwrap().host, world.authority, "{host}");
    }
    let becomes = world.becomes("http://evil.example/v2/x", "crm.example.com");
    assert_eq!(becomes.await, DENIED);
    let becomes = world.becomes("/v2/x", "crm.example.com");
    assert_eq!(becomes.await, BAD);
    assert_eq!(world.becomes(target, "a b").await, BAD);
}

#[tokio::test]
async fn a_written_route_wins_over_the_own_name_of_an_upstream_unless_that_is_more_specific() {
    let lines = r#"
[[routes]]
host = "crm.example.com"
path = "/v2"
upstream = "plain"

[[routes]]
host = "crm.example.com"
path = "/"
upstream = "plain"
replace_prefix = "/rest"

[[routes]]
host = "*.old.internal"
upstream = "plain"

[[routes]]
path = "/anywhere"
upstream = "crm"

[[routes]]
path = "/here"
listener = "proxy"
upstream = "plain"
"#;
    let world = World::with(lines, |_| super::response(200, "crm"));
    for (target, expected) in [
        ("http://crm.example.com/v2/x", "plain /v2/x"),
        ("http://crm.example.com/x", "plain /rest/x"),
        ("http://crm.old.internal:8443/v2/x", "crm /v2/x"),
        ("http://crm.old.internal/v2/x", "plain /v2/x"),
        ("http://other.old.internal:81/x", DENIED),
        ("https://crm.old.internal/x", DENIED),
        // A route for any host leads there only if it names the listener.
        ("http://elsewhere.example/anywhere", DENIED),
        ("http://elsewhere.example/here", "plain /here"),
    ] {
        let becomes = world.becomes(target, "elsewhere.example").await;
        assert_eq!(becomes, expected, "{target}");
    }
}
