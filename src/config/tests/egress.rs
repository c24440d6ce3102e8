use insta::assert_snapshot;

use super::callers::findings;
use super::*;
use crate::config::{EgressAction, EgressAddresses, EgressPorts};

#[test]
fn without_a_word_about_it_nothing_leaves_that_no_route_leads_to() {
    let (_directory, loaded) = load_parts(&[FORWARD, UPSTREAM, CREDENTIAL]);
    let config = loaded.unwrap().config;
    let forward = config.listeners[0].forward.as_ref().unwrap();
    assert_eq!(forward.unmatched, EgressAction::Deny);
    assert_eq!(config.egress.addresses, EgressAddresses::Public);
    assert_eq!(config.egress.ports, EgressPorts::Only(vec![80, 443]));
    assert!(config.egress.allow.is_empty() && config.egress.deny.is_empty());
    assert!(config.egress.rules.is_empty());
}

#[test]
fn prefixes_and_rules_are_read_as_they_are_written() {
    let text = r#"
[egress]
allow = ["10.20.0.0/16", "192.0.2.7", "2001:DB8::/32"]
deny = ["64:ff9b::/96", "::ffff:0:0/96"]
ports = [443, 8443]

[[egress.rules]]
hosts = ["*.Example.org", "Pinned.example.org.", "[2001:DB8:0::1]", "192.0.2.7"]
listeners = ["proxy"]
action = "pass"

[[egress.rules]]
hosts = ["secret.example.org"]
listeners = []
callers = []
"#;
    assert_eq!(accepted(&[FORWARD, text, UPSTREAM, CREDENTIAL]), "");
    let (_directory, loaded) = load_parts(&[FORWARD, text, UPSTREAM, CREDENTIAL]);
    let egress = loaded.unwrap().config.egress;
    let shown = |prefixes: &[ipnet::IpNet]| {
        let shown: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        shown.join(" ")
    };
    let allowed = "10.20.0.0/16 192.0.2.7/32 2001:db8::/32";
    assert_eq!(shown(&egress.allow), allowed);
    assert_eq!(shown(&egress.deny), "64:ff9b::/96 ::ffff:0.0.0.0/96");
    assert_eq!(egress.ports, EgressPorts::Only(vec![443, 8443]));
    let hosts: Vec<_> = egress.rules[0]
        .hosts
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "*.example.org",
        "pinned.example.org",
        "[2001:db8::1]",
        "192.0.2.7",
    ];
    assert_eq!(hosts, expected);
    let actions: Vec<_> = egress.rules.iter().map(|rule| rule.action).collect();
    assert_eq!(actions, [EgressAction::Pass, EgressAction::Deny]);
    let for_all = &egress.rules[1];
    assert!(for_all.listeners.is_empty() && for_all.callers.is_unsaid());
}

#[test]
fn what_is_written_wrong_is_refused() {
    let text = r#"
[egress]
adresses = "public"
addresses = "publik"
allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
deny = ["10.0.0.1/8", 7]
ports = [0, 80]

[[egress.rules]]
hosts = ["*", "a.*.b", "http://a", "example.com:443", "::1"]
action = "allow"

[[egress.rules]]
hosts = []

[[egress.rules]]
action = "pass"
listener = "proxy"
"#;
    assert_snapshot!(refused(&[FORWARD, text, UPSTREAM, CREDENTIAL]), @r##"
    error: unknown key `adresses` in [egress]
      --> sidebearer.toml:8:1
       |
     8 | adresses = "***"
       | ^^^^^^^^ did you mean `addresses`?

    error: invalid `addresses` in [egress]
      --> sidebearer.toml:9:13
       |
     9 | addresses = "publik"
       |             ^^^^^^^^ did you mean `public`?

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:10
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |          ^^^^^^^^^^^^^^^ has bits beyond its length: did you mean "10.20.0.0/16"?

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:27
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                           ^^^^^^^^^^^^^ expected an IP address or a prefix such as "10.20.0.0/16"

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:42
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                                          ^^^^^^^ write an IPv6 address here without brackets

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:51
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                                                   ^^^^^^^^^^^^^^^^^^^^^ these addresses embed IPv4 addresses, which are allowed as such: name those

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:74
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                                                                          ^^^^^^^^^^^^^^ these addresses embed IPv4 addresses, which are allowed as such: name those

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:90
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                                                                                          ^^^^^^^^^^^ these addresses embed IPv4 addresses, which are allowed as such: name those

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:103
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                                                                                                       ^^^^ expected an IP address or a prefix such as "10.20.0.0/16"

    error: invalid `allow` in [egress]
       --> sidebearer.toml:10:109
        |
     10 | allow = ["10.20.30.0/16", "10.0.0.0/33", "[::1]", "::ffff:10.0.0.0/104", "64:ff9b::/96", "2002::/16", "10", "example.com"]
        |                                                                                                             ^^^^^^^^^^^^^ expected an IP address or a prefix such as "10.20.0.0/16"

    error: invalid `deny` in [egress]
       --> sidebearer.toml:11:9
        |
     11 | deny = ["10.0.0.1/8", 7]
        |         ^^^^^^^^^^^^ has bits beyond its length: did you mean "10.0.0.0/8"?

    error: wrong type of `deny` in [egress]
       --> sidebearer.toml:11:23
        |
     11 | deny = ["10.0.0.1/8", 7]
        |                       ^ expected a string, found an integer

    error: invalid `ports` in [egress]
       --> sidebearer.toml:12:10
        |
     12 | ports = [0, 80]
        |          ^ expected a port number from 1 to 65535

    error: invalid `hosts` in [[egress.rules]]
       --> sidebearer.toml:15:10
        |
     15 | hosts = ["*", "a.*.b", "http://a", "example.com:443", "::1"]
        |          ^^^ what becomes of all other hosts is said by `unmatched` of the listener

    error: invalid `hosts` in [[egress.rules]]
       --> sidebearer.toml:15:15
        |
     15 | hosts = ["*", "a.*.b", "http://a", "example.com:443", "::1"]
        |               ^^^^^^^ "*" stands only for the whole first label: "*.example.com"

    error: invalid `hosts` in [[egress.rules]]
       --> sidebearer.toml:15:24
        |
     15 | hosts = ["*", "a.*.b", "http://a", "example.com:443", "::1"]
        |                        ^^^^^^^^^^ expected a host name or IP address, without port

    error: invalid `hosts` in [[egress.rules]]
       --> sidebearer.toml:15:36
        |
     15 | hosts = ["*", "a.*.b", "http://a", "example.com:443", "::1"]
        |                                    ^^^^^^^^^^^^^^^^^ expected a host name or IP address, without port

    error: invalid `hosts` in [[egress.rules]]
       --> sidebearer.toml:15:55
        |
     15 | hosts = ["*", "a.*.b", "http://a", "example.com:443", "::1"]
        |                                                       ^^^^^ write an IPv6 address in brackets: "[::1]"

    error: invalid `action` in [[egress.rules]]
       --> sidebearer.toml:16:10
        |
     16 | action = "allow"
        |          ^^^^^^^ expected "pass" or "deny"

    error: invalid `hosts` in [[egress.rules]]
       --> sidebearer.toml:19:9
        |
     19 | hosts = []
        |         ^^ expected host names such as ["*.example.com"]

    error: `hosts` is missing in [[egress.rules]]
       --> sidebearer.toml:21:1
        |
     21 | [[egress.rules]]
        | ^^^^^^^^^^^^^^^^ expected host names such as ["*.example.com"]

    error: unknown key `listener` in [[egress.rules]]
       --> sidebearer.toml:23:1
        |
     23 | listener = "***"
        | ^^^^^^^^ did you mean `listeners`?
    "##);
}

#[test]
fn ports_are_numbers_and_there_is_one_at_least() {
    for (ports, expected) in [
        ("[]", "expected one port at least"),
        ("[65536]", "expected a port number from 1 to 65535"),
        ("[\"443\"]", "expected a port number from 1 to 65535"),
        ("443", "expected an array of port numbers"),
    ] {
        let text = format!("\n[egress]\nports = {ports}\n");
        let refused = refused(&[FORWARD, &text, UPSTREAM, CREDENTIAL]);
        assert!(refused.contains(expected), "{ports}: {refused}");
    }
}

#[test]
fn contradictions_are_refused() {
    let text = r#"
[[listeners]]
name = "open"
address = "0.0.0.0:3129"
kind = "forward"
allow_network = true
upstreams = []
unmatched = "pass"

[egress]
allow = ["10.0.0.0/8"]
deny = ["10.0.0.0/8"]

[[egress.rules]]
hosts = ["a.example.org", "*.b.example.org", "a.example.org"]
listeners = ["proxy"]
action = "pass"

[[egress.rules]]
hosts = ["*.b.example.org"]
listeners = ["open"]

[[egress.rules]]
hosts = ["*.b.example.org"]

[[egress.rules]]
hosts = ["*.b.example.org"]
listeners = ["proxy", "open"]

[[egress.rules]]
hosts = ["c.example.org"]
listeners = ["prxoy", "7080"]

[[listeners]]
name = "7080"
address = "127.0.0.1:7080"
upstream = "crm"
"#;
    assert_snapshot!(refused(&[FORWARD, text, UPSTREAM, CREDENTIAL]), @r##"
    error: `unmatched` in [[listeners]] lets the whole network use the listener as a proxy to anywhere
       --> sidebearer.toml:13:13
        |
     13 | unmatched = "pass"
        |             ^^^^^^ say who may with `callers`, name the hosts in [[egress.rules]], or use a loopback address

    error: `allow` in [egress] names 10.0.0.0/8, which `deny` names too
       --> sidebearer.toml:16:9
        |
     16 | allow = ["10.0.0.0/8"]
        |         ^^^^^^^^^^^^^^ it is denied: leave it out of one of them

    error: this rule never decides about `a.example.org`
       --> sidebearer.toml:20:46
        |
     20 | hosts = ["a.example.org", "*.b.example.org", "a.example.org"]
        |                                              ^^^^^^^^^^^^^^^ the one at sidebearer.toml:20:10 comes first

    warning: this rule never decides about `*.b.example.org`
       --> sidebearer.toml:29:10
        |
     29 | hosts = ["*.b.example.org"]
        |          ^^^^^^^^^^^^^^^^^ others come first for all of its listeners and callers: sidebearer.toml:20:27 and sidebearer.toml:25:10

    error: this rule never decides about `*.b.example.org`
       --> sidebearer.toml:32:10
        |
     32 | hosts = ["*.b.example.org"]
        |          ^^^^^^^^^^^^^^^^^ the one at sidebearer.toml:29:10 comes first

    error: unknown listener `prxoy`
       --> sidebearer.toml:37:14
        |
     37 | listeners = ["prxoy", "7080"]
        |              ^^^^^^^ did you mean `proxy`?

    error: listener `7080` is neither a forward nor a redirected listener
       --> sidebearer.toml:37:23
        |
     37 | listeners = ["prxoy", "7080"]
        |                       ^^^^^^ only requests of such listeners go where no route leads
    "##);
}

#[test]
fn rules_for_one_address_in_two_spellings_are_for_the_same_host() {
    let rules = r#"
[[egress.rules]]
hosts = ["9.9.9.9"]
action = "pass"

[[egress.rules]]
hosts = ["[::ffff:9.9.9.9]"]
action = "deny"
"#;
    assert_snapshot!(refused(&[FORWARD, rules, UPSTREAM, CREDENTIAL]), @r##"
    error: this rule never decides about `9.9.9.9`
       --> sidebearer.toml:12:10
        |
     12 | hosts = ["[::ffff:9.9.9.9]"]
        |          ^^^^^^^^^^^^^^^^^^ the one at sidebearer.toml:8:10 comes first
    "##);
}

#[test]
fn rules_without_a_forward_listener_are_warned_of() {
    let text = "\n[[egress.rules]]\nhosts = [\"example.org\"]\naction = \"pass\"\n";
    assert_snapshot!(accepted(&[LISTENER, text, UPSTREAM, CREDENTIAL]), @r##"
    warning: the rules of [egress] have no effect
      --> sidebearer.toml:6:1
       |
     6 | [[egress.rules]]
       | ^^^^^^^^^^^^^^^^ they are for listeners of `kind` "forward" or "redirected", and there is none
    "##);
}

#[test]
fn a_listener_that_leads_to_no_upstream_but_lets_hosts_pass_is_of_use() {
    let listener = FORWARD.to_owned() + "upstreams = []\n";
    let rule = "\n[[egress.rules]]\nhosts = [\"*.example.org\"]\naction = \"pass\"\n";
    assert_eq!(accepted(&[&listener, rule]), "");
    let open = listener.clone() + "unmatched = \"pass\"\n";
    assert_eq!(accepted(&[&open]), "");
    assert!(accepted(&[&listener]).contains("leads nowhere"));
}

#[test]
fn an_empty_list_of_callers_that_lets_every_client_pass_is_warned_of() {
    let rule = |action: &str, callers: &str| {
        format!(
            "\n[[egress.rules]]\nhosts = [\"a.example.org\"]\naction = \"{action}\"\n{callers}\n"
        )
    };
    let callers = "callers = [\"*\"]\n\n[callers.billing]\nkey = { file = \"keys\" }\n";
    let found =
        |listener: &str, rule: &str| findings(&[FORWARD, listener, rule, UPSTREAM, CREDENTIAL]);
    assert_snapshot!(found(callers, &rule("pass", "callers = []")), @r##"
    14: warning: this rule is for every client of listener `proxy`
        name callers, or leave `callers` out if every client is meant
    "##);
    for (listener, rule) in [
        ("", rule("pass", "callers = []")),
        (callers, rule("pass", "")),
        (callers, rule("deny", "callers = []")),
        (callers, rule("pass", "callers = [\"*\"]")),
    ] {
        assert_eq!(found(listener, &rule), "", "{rule}");
    }
}
