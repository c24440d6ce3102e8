use std::time::Duration;

use insta::assert_snapshot;

use super::*;
use crate::config::{Config, EgressAction, EgressAddresses, EgressPorts};

fn loaded(parts: &[&str]) -> Config {
    let (_directory, loaded) = load_parts(parts);
    loaded.unwrap().config
}

#[test]
fn apps_reach_what_they_reached_before_unless_that_is_forbidden() {
    let config = loaded(&[REDIRECTED, UPSTREAM, CREDENTIAL]);
    let listener = &config.listeners[0];
    let forward = listener.forward.as_ref().unwrap();
    assert_eq!(forward.unmatched, EgressAction::Pass);
    let detect_timeout = listener.redirection().unwrap().detect_timeout;
    assert_eq!(detect_timeout, Duration::from_secs(1));
    assert_eq!(config.forwarded_by(listener).count(), 1);
    let redirected = &config.egress.redirected;
    assert_eq!(
        (redirected.addresses, &redirected.ports),
        (EgressAddresses::Any, &EgressPorts::Any)
    );

    let written = "[egress]\naddresses = \"public\"\nports = [443]\n";
    let config = loaded(&[
        REDIRECTED,
        "unmatched = \"deny\"\ndetect_timeout = \"2s\"\n",
        UPSTREAM,
        CREDENTIAL,
        written,
    ]);
    let listener = &config.listeners[0];
    assert_eq!(
        listener.forward.as_ref().unwrap().unmatched,
        EgressAction::Deny
    );
    assert_eq!(
        listener.redirection().unwrap().detect_timeout,
        Duration::from_secs(2)
    );
    let redirected = &config.egress.redirected;
    assert_eq!(redirected.addresses, EgressAddresses::Public);
    assert_eq!(redirected.ports, EgressPorts::Only(vec![443]));
}

#[test]
fn one_loopback_address_stands_for_both() {
    for (written, other) in [
        ("127.0.0.1:15001", "[::1]:15001"),
        ("[::1]:15001", "127.0.0.1:15001"),
        ("[::ffff:127.0.0.1]:2", "[::1]:2"),
    ] {
        let listener = REDIRECTED.replace("127.0.0.1:15001", written);
        let config = loaded(&[&listener, UPSTREAM, CREDENTIAL]);
        let sockets: Vec<_> = config
            .tcp_sockets()
            .map(|socket| socket.to_string())
            .collect();
        assert_eq!(sockets[..2], [written, other], "{sockets:?}");
    }
    let taken = "[[listeners]]\naddress = \"[::1]:15001\"\nupstream = \"crm\"\n";
    assert_snapshot!(refused(&[REDIRECTED, taken, UPSTREAM, CREDENTIAL]), @r##"
    error: address `[::1]:15001` is used twice
      --> sidebearer.toml:7:11
       |
     7 | address = "[::1]:15001"
       |           ^^^^^^^^^^^^^ already used at sidebearer.toml:4:11
    "##);
}

#[test]
fn what_needs_clients_that_know_of_the_listener_is_refused() {
    let keys = r#"
upstream = "crm"
hosts = ["crm.local"]
allow_network = true
allow_plaintext = true
callers = ["billing"]
caller_header = "x-key"
enforcement = "report"
detect_timeout = "0s"
mode = "0600"
"#;
    let caller = "[callers.billing]\nuser = 1000\n";
    assert_snapshot!(refused(&[REDIRECTED, keys, UPSTREAM, CREDENTIAL, caller]), @r##"
    warning: caller `billing` cannot be known by listener `apps`
      --> sidebearer.toml:2:1
       |
     2 | [[listeners]]
       | ^^^^^^^^^^^^^ it is known as a user, and the listener is no unix socket

    error: `upstream` in [[listeners]] does not belong to `kind = "redirected"`
      --> sidebearer.toml:7:12
       |
     7 | upstream = "crm"
       |            ^^^^^ it belongs to "reverse"

    error: `hosts` in [[listeners]] does not belong to `kind = "redirected"`
      --> sidebearer.toml:8:9
       |
     8 | hosts = ["crm.local"]
       |         ^^^^^^^^^^^^^ it belongs to "reverse"

    error: `allow_network` in [[listeners]] does not belong to `kind = "redirected"`
      --> sidebearer.toml:9:17
       |
     9 | allow_network = true
       |                 ^^^^ it belongs to "reverse" or "forward"

    error: `allow_plaintext` in [[listeners]] does not belong to `kind = "redirected"`
       --> sidebearer.toml:10:19
        |
     10 | allow_plaintext = true
        |                   ^^^^ it belongs to "reverse" or "forward"

    error: `callers` in [[listeners]] does not belong to `kind = "redirected"`
       --> sidebearer.toml:11:11
        |
     11 | callers = ["billing"]
        |           ^^^^^^^^^^^ it belongs to "reverse" or "forward"

    error: `caller_header` in [[listeners]] does not belong to `kind = "redirected"`
       --> sidebearer.toml:12:17
        |
     12 | caller_header = "x-key"
        |                 ^^^^^^^ it belongs to "reverse" or "forward"

    error: `enforcement` in [[listeners]] does not belong to `kind = "redirected"`
       --> sidebearer.toml:13:15
        |
     13 | enforcement = "report"
        |               ^^^^^^^^ it belongs to "reverse" or "forward"

    error: invalid `detect_timeout` in [[listeners]]
       --> sidebearer.toml:14:18
        |
     14 | detect_timeout = "0s"
        |                  ^^^^ expected 1ms to 8760h (a year)

    error: `mode` in [[listeners]] has no effect
       --> sidebearer.toml:15:8
        |
     15 | mode = "0600"
        |        ^^^^^^ only a unix socket has a mode
    "##);
}

#[test]
fn it_has_no_certificate() {
    let (directory, tls) = (
        directory(&[]),
        "tls = { certificate_file = \"server.pem\", key_file = \"server.key\" }\n",
    );
    add_certificate(&directory);
    let path = directory.path().join("sidebearer.toml");
    std::fs::write(&path, [REDIRECTED, tls, UPSTREAM, CREDENTIAL].concat()).unwrap();
    let refused = load(&path).unwrap_err().to_string();
    let expected = "error: `tls` in [[listeners]] does not belong to `kind = \"redirected\"`";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn it_is_on_loopback_and_its_own_keys_are_of_no_other_kind() {
    let text = r#"
[[listeners]]
address = "0.0.0.0:15001"
kind = "redirected"

[[listeners]]
address = "unix:apps.sock"
kind = "redirected"

[[listeners]]
address = "127.0.0.1:2"
kind = "forward"
detect_timeout = "1s"
"#;
    assert_snapshot!(refused(&[text, UPSTREAM, CREDENTIAL]), @r##"
    error: `address` in [[listeners]] is no loopback address
      --> sidebearer.toml:3:11
       |
     3 | address = "0.0.0.0:15001"
       |           ^^^^^^^^^^^^^^^ the system redirects connections to one: write "127.0.0.1:15001", which stands for "[::1]:15001" as well

    error: `address` in [[listeners]] is no loopback address
      --> sidebearer.toml:7:11
       |
     7 | address = "unix:apps.sock"
       |           ^^^^^^^^^^^^^^^^ the system redirects connections to one: write "127.0.0.1:15001", which stands for "[::1]:15001" as well

    error: `detect_timeout` in [[listeners]] does not belong to `kind = "forward"`
       --> sidebearer.toml:13:18
        |
     13 | detect_timeout = "1s"
        |                  ^^^^ it belongs to "redirected"
    "##);
}

#[test]
fn what_is_redirected_goes_by_no_proxy_so_that_its_addresses_can_be_checked() {
    let egress = "[egress]\naddresses = \"public\"\nproxy = \"http://proxy.example.com:3128\"\n";
    assert_eq!(accepted(&[REDIRECTED, UPSTREAM, CREDENTIAL, egress]), "");
}

#[test]
fn another_loopback_address_than_the_two_that_rules_name_is_refused() {
    let listener =
        |ip: &str| format!("\n[[listeners]]\naddress = \"{ip}:15001\"\nkind = \"redirected\"\n");
    let said = refused(&[&listener("127.9.9.9"), UPSTREAM, CREDENTIAL]);
    assert!(
        said.contains("is neither 127.0.0.1 nor ::1")
            && said.contains("write \"127.0.0.1:15001\", which stands for \"[::1]:15001\" as well"),
        "{said}"
    );
    for good in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        accepted(&[&listener(good), UPSTREAM, CREDENTIAL]);
    }
}
