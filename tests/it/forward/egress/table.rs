//! A table of destinations that no route leads to, and what becomes of them by each listener.

use std::net::IpAddr;

use super::{DENIED, Outside};

const BAD: &str = "bad_request";

#[tokio::test]
async fn every_destination_goes_where_the_rules_let_it() {
    let outside = Outside::start(
        r#"
[egress]
allow = ["IP", "198.18.0.0/15", "127.9.0.0/16"]
deny = ["192.0.2.0/24", "1.1.1.1", "2606:4700::/32"]
ports = [PORTS]

[[egress.rules]]
hosts = ["*.denied.example", "127.0.0.3", "[2001:db8::3]", "[::ffff:127.9.9.8]"]

[[egress.rules]]
hosts = ["IP"]
listeners = ["closed", "network"]
action = "pass"

[[egress.rules]]
hosts = ["localhost", "127.9.9.9", "10.0.0.1", "[::FFFF:7f09:907]"]
action = "pass"
"#,
    );
    let (ip, port) = (outside.origin.address.ip(), outside.origin.address.port());
    let crm_port = outside.crm.address.port();
    let IpAddr::V4(ipv4) = ip else {
        unreachable!("the tests' own address is of IPv4")
    };
    let [_, b, c, d] = ipv4.octets();
    let number = u32::from_be_bytes([127, b, c, d]);
    let [open, closed, network] =
        ["open", "closed", "network"].map(|name| outside.address_of(name));
    let admin = outside.sidebearer.admin();
    let everywhere = ["open", "closed", "network"];
    let (only_open, inner, outer) = (&everywhere[..1], &everywhere[..2], &everywhere[2..]);
    let rows: Vec<(&[&str], String, &str)> = vec![
        // By the rule for its address, or `unmatched`.
        (
            &everywhere,
            format!("http://{ip}:{port}/x?q=%41"),
            "origin /x?q=%41",
        ),
        (&everywhere, format!("http://{ip}:{port}"), "origin /"),
        (&everywhere, format!("HTTP://{ip}:0{port}/x"), "origin /x"),
        (
            &everywhere,
            format!("http://[::ffff:{ip}]:{port}/x"),
            "origin /x",
        ),
        (
            &everywhere,
            format!(
                "http://[::FFFF:7f{b:02x}:{:x}]:{port}/x",
                u16::from_be_bytes([c, d])
            ),
            "origin /x",
        ),
        // Other spellings of the same address.
        (&everywhere, format!("http://{number}:{port}/x"), DENIED),
        (
            &everywhere,
            format!("http://0x{number:08x}:{port}/x"),
            DENIED,
        ),
        (
            &everywhere,
            format!("http://0X{number:08X}:{port}/x"),
            DENIED,
        ),
        (&everywhere, format!("http://0{number:o}:{port}/x"), DENIED),
        (
            &everywhere,
            format!(
                "http://127.{b}.{}:{port}/x",
                u32::from(c) * 256 + u32::from(d)
            ),
            DENIED,
        ),
        (
            &everywhere,
            format!("http://0177.{b}.{c}.{d}:{port}/x"),
            DENIED,
        ),
        (&everywhere, format!("http://{ip}.:{port}/x"), "origin /x"),
        (&everywhere, format!("http://{ip}..:{port}/x"), BAD),
        (
            &everywhere,
            format!("http://127.{b}.{c}.{d}%00:{port}/x"),
            BAD,
        ),
        (
            &everywhere,
            format!("http://127%2e{b}.{c}.{d}:{port}/x"),
            BAD,
        ),
        (&everywhere, format!("http://{ip}@1.1.1.1/x"), BAD),
        (&everywhere, format!("http://1.1.1.1@{ip}:{port}/x"), BAD),
        (&everywhere, format!("http://[{ip}]:{port}/x"), BAD),
        (
            &everywhere,
            format!("http://[::ffff:{ip}%25lo]:{port}/x"),
            BAD,
        ),
        (
            &everywhere,
            format!("http://\u{ff11}27.{b}.{c}.{d}:{port}/x"),
            BAD,
        ),
        // Ports.
        (&everywhere, format!("http://{ip}:81/x"), DENIED),
        (&everywhere, format!("http://{ip}:22/x"), DENIED),
        (&everywhere, format!("http://{ip}:0/x"), DENIED),
        (&everywhere, format!("http://{ip}:65536/x"), BAD),
        // The named API gets its token, and what is beside it passes without one.
        (inner, "http://crm.example.com/x".to_owned(), "crm /x"),
        (inner, format!("http://{ip}:{crm_port}/x"), "crm /x"),
        (
            &everywhere,
            "http://crm.example.com:81/x".to_owned(),
            DENIED,
        ),
        // Hosts that a rule denies, at any depth, and none beside them.
        (&everywhere, "http://a.denied.example/".to_owned(), DENIED),
        (
            &everywhere,
            "https://a.b.denied.example./".to_owned(),
            DENIED,
        ),
        (
            &everywhere,
            "http://A.DENIED.EXAMPLE:443/".to_owned(),
            DENIED,
        ),
        (&everywhere, "http://127.0.0.3/".to_owned(), DENIED),
        (&everywhere, "http://[::ffff:127.0.0.3]/".to_owned(), DENIED),
        (&everywhere, "http://[2001:DB8:0:0::3]/".to_owned(), DENIED),
        // Addresses that are not public, are denied, or are never led to.
        (&everywhere, "http://10.0.0.1/".to_owned(), DENIED),
        (only_open, "http://172.16.0.1/".to_owned(), DENIED),
        (only_open, "http://192.168.0.1/".to_owned(), DENIED),
        (only_open, "http://100.64.0.1/".to_owned(), DENIED),
        (only_open, "http://0.0.0.0/".to_owned(), DENIED),
        (only_open, format!("http://127.0.0.1:{port}/"), DENIED),
        (only_open, "http://[::1]/".to_owned(), DENIED),
        (only_open, "http://[::]/".to_owned(), DENIED),
        (only_open, "http://[fe80::1]/".to_owned(), DENIED),
        (only_open, "http://[fd00::1]/".to_owned(), DENIED),
        (only_open, "http://[ff02::1]/".to_owned(), DENIED),
        (only_open, "http://224.0.0.1/".to_owned(), DENIED),
        (only_open, "http://255.255.255.255/".to_owned(), DENIED),
        (
            only_open,
            "http://169.254.169.254/latest/meta-data".to_owned(),
            DENIED,
        ),
        (
            only_open,
            "http://[::ffff:169.254.169.254]/".to_owned(),
            DENIED,
        ),
        (only_open, "http://[::a9fe:a9fe]/".to_owned(), DENIED),
        (only_open, "http://[64:ff9b::a9fe:a9fe]/".to_owned(), DENIED),
        (
            only_open,
            "http://[64:ff9b:1::a9fe:a9fe]/".to_owned(),
            DENIED,
        ),
        (only_open, "http://[2002:a9fe:a9fe::1]/".to_owned(), DENIED),
        (
            only_open,
            "http://[2001:0:101:101::5601:5601]/".to_owned(),
            DENIED,
        ),
        (only_open, "http://[fd00:ec2::254]/".to_owned(), DENIED),
        (only_open, "http://100.100.100.200/".to_owned(), DENIED),
        (only_open, "http://192.0.0.192/".to_owned(), DENIED),
        (only_open, "http://168.63.129.16/".to_owned(), DENIED),
        (only_open, "http://192.0.2.1/".to_owned(), DENIED),
        (only_open, "https://1.1.1.1/".to_owned(), DENIED),
        (only_open, "http://[64:ff9b::1.1.1.1]/".to_owned(), DENIED),
        (only_open, "http://[2606:4700::1111]/".to_owned(), DENIED),
        (&everywhere, format!("http://localhost:{port}/"), DENIED),
        (only_open, "http://nothing.invalid/".to_owned(), DENIED),
        // `allow` does not name it exactly, and nobody is there.
        (outer, format!("http://127.9.9.9:{port}/"), DENIED),
        (
            inner,
            format!("http://127.9.9.9:{port}/"),
            "upstream_connect",
        ),
        // A rule for an address of IPv4 that is written as one of IPv6 is for every spelling.
        (inner, format!("http://127.9.9.8:{port}/"), DENIED),
        (inner, format!("http://[::ffff:127.9.9.8]:{port}/"), DENIED),
        (inner, format!("http://[::ffff:7f09:908]:{port}/"), DENIED),
        (
            inner,
            format!("http://127.9.9.7:{port}/"),
            "upstream_connect",
        ),
        (
            inner,
            format!("http://[::ffff:127.9.9.7]:{port}/"),
            "upstream_connect",
        ),
        // This process itself.
        (&everywhere, format!("http://{open}/"), "loop"),
        (&everywhere, format!("http://{closed}/"), "loop"),
        (&everywhere, format!("http://{network}/"), "loop"),
        (
            &everywhere,
            format!("http://127.0.0.1:{}/", network.port()),
            "loop",
        ),
        (
            &everywhere,
            format!("http://localhost:{}/", network.port()),
            "loop",
        ),
        (
            &everywhere,
            format!("http://0.0.0.0:{}/", network.port()),
            "loop",
        ),
        (
            &everywhere,
            format!("http://[::ffff:{}]:{}/", open.ip(), open.port()),
            "loop",
        ),
        (&everywhere, format!("http://{admin}/metrics"), "loop"),
        // Nothing is named.
        (&everywhere, "/x".to_owned(), BAD),
        (&everywhere, "ftp://a.example/".to_owned(), BAD),
        (&everywhere, "http:///x".to_owned(), BAD),
    ];
    for (listeners, target, expected) in &rows {
        for listener in *listeners {
            let becomes = outside.becomes(listener, target).await;
            assert_eq!(becomes, *expected, "{listener} {target}");
        }
    }
    for listener in ["closed", "network"] {
        let becomes = outside.becomes(listener, "http://elsewhere.example/").await;
        assert_eq!(becomes, DENIED, "{listener}");
    }
}
