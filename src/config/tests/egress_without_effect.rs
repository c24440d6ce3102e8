//! Keys of `[egress]` and its rules that are without effect; and what differs by one word and is right.

use super::callers::findings;
use super::contradictions::{PASS, assert_differ};
use super::*;

/// A forward listener of the network that identifies nobody and leads to no upstream.
const NETWORK: &str = r#"
[[listeners]]
name = "net"
address = "0.0.0.0:3129"
kind = "forward"
allow_network = true
upstreams = []
"#;

const KEY: &str = "\n[callers.billing]\nkey = { file = \"keys\" }\n";

fn rule(host: &str, rest: &str) -> String {
    format!("\n[[egress.rules]]\nhosts = [\"{host}\"]\n{rest}\n")
}

/// What is found beside what a forward listener with an upstream and a credential has.
fn beside_forward(listener: &str, more: &str) -> String {
    findings(&[FORWARD, listener, UPSTREAM, CREDENTIAL, more])
}

#[test]
fn an_allowed_prefix_that_opens_nothing_is_warned_of() {
    let any = |more: &str| {
        let text = format!("\n[egress]\naddresses = \"any\"\nallow = [\"10.1.0.0/16\"]\n{more}");
        beside_forward(PASS, &text)
    };
    let expected = "warning: `allow` of [egress] names 10.1.0.0/16 without any effect";
    assert_differ(&any(""), expected, &any("deny = [\"10.0.0.0/8\"]\n"));
    // A longer one that is denied is no reason to allow the rest.
    assert!(any("deny = [\"10.1.2.0/24\"]\n").contains("without any effect"));

    let pass = rule("a.example.org", "action = \"pass\"");
    let network = |allow: &str, more: &str| {
        let text = format!("\n[egress]\nallow = [\"{allow}\"]\n{more}");
        findings(&[NETWORK, &pass, &text])
    };
    let expected = "warning: `allow` of [egress] names 169.254.0.0/16, which no listener leads to";
    assert_differ(
        &network("169.254.0.0/16", ""),
        expected,
        &network("169.254.169.254", ""),
    );
    assert_eq!(network("169.254.169.254", "addresses = \"any\"\n"), "");

    let public =
        |allow: &str| beside_forward(PASS, &format!("\n[egress]\nallow = [\"{allow}\"]\n"));
    let expected = "warning: `allow` of [egress] names 0.0.0.0/0, which is every address";
    assert_differ(&public("0.0.0.0/0"), expected, &public("10.0.0.0/8"));
}

#[test]
fn limits_of_what_passes_are_warned_of_where_nothing_does() {
    let text = "\n[egress]\naddresses = \"any\"\nports = [443]\ndeny = [\"10.0.0.0/8\"]\n";
    let found = beside_forward("", text);
    for key in ["addresses", "ports", "deny"] {
        let expected = format!("`{key}` of [egress] has no effect");
        assert!(found.contains(&expected), "{key}: {found}");
    }
    assert_eq!(beside_forward(PASS, text), "");
    let pass = rule("a.example.org", "action = \"pass\"");
    assert_eq!(beside_forward("", &[text, &pass].concat()), "");
    assert_eq!(findings(&[REDIRECTED, UPSTREAM, CREDENTIAL, text]), "");

    let idle = "\n[egress]\ntunnel_idle_timeout = \"1m\"\n";
    let expected = "warning: `tunnel_idle_timeout` of [egress] has no effect";
    let reverse = findings(&[LISTENER, UPSTREAM, CREDENTIAL, idle]);
    assert_differ(&reverse, expected, &beside_forward("", idle));
}

#[test]
fn rules_that_others_cover_together_are_warned_of() {
    let other = FORWARD.replace("proxy", "other").replace("3128", "3130");
    let listeners = |last: &str| {
        let first = rule("a.example.org", "listeners = [\"proxy\"]");
        let second = rule(
            "a.example.org",
            &format!("listeners = [\"{last}\"]\naction = \"pass\""),
        );
        let third = rule("a.example.org", "action = \"pass\"");
        findings(&[
            FORWARD, PASS, &other, UPSTREAM, CREDENTIAL, &first, &second, &third,
        ])
    };
    let found = listeners("other");
    let expected = "warning: this rule never decides about `a.example.org`";
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains(expected), "{found}");

    let callers = |named: &str| {
        let known = "callers = [\"billing\", \"search\"]\n";
        let search = "\n[callers.search]\nkey = { file = \"other-keys\" }\n";
        let first = rule(
            "a.example.org",
            &format!("callers = [{named}]\naction = \"pass\""),
        );
        let second = rule("a.example.org", "action = \"deny\"");
        findings(&[
            FORWARD, known, UPSTREAM, CREDENTIAL, KEY, search, &first, &second,
        ])
    };
    assert_differ(
        &callers("\"billing\", \"search\""),
        expected,
        &callers("\"billing\""),
    );
    assert_differ(&callers("\"*\""), expected, "");
}

#[test]
fn a_rule_that_denies_an_upstream_is_warned_of() {
    let deny = rule("crm.example.com", "action = \"deny\"");
    let expected =
        "warning: this rule refuses no request for `crm.example.com`, the host of upstream `crm`";
    // There it denies other ports.
    let passing = beside_forward(PASS, &deny);
    assert_differ(&beside_forward("", &deny), expected, &passing);
    let other = rule("example.com", "action = \"deny\"");
    assert_eq!(beside_forward("", &other), "");
}

#[test]
fn a_rule_that_lets_an_address_pass_which_nothing_allows_is_warned_of() {
    let found = |host: &str, egress: &str| {
        let pass = rule(host, "action = \"pass\"");
        beside_forward("", &format!("\n[egress]\n{egress}\n{pass}"))
    };
    for (host, egress, opened) in [
        ("10.0.0.5", "", "allow = [\"10.0.0.0/8\"]"),
        ("[fd00::1]", "", "addresses = \"any\""),
        ("192.0.31.8", "deny = [\"192.0.31.0/24\"]", ""),
    ] {
        let expected = format!("warning: this rule lets nothing pass to `{host}`");
        assert_differ(&found(host, egress), &expected, &found(host, opened));
    }
    let network = |allow: &str| {
        let pass = rule("127.0.0.7", "action = \"pass\"");
        findings(&[
            NETWORK,
            &format!("\n[egress]\nallow = [\"{allow}\"]\n{pass}"),
        ])
    };
    assert!(network("127.0.0.0/8").contains("lets nothing pass to `127.0.0.7`"));
    assert_eq!(network("127.0.0.7"), "");
    // Redirected listeners lead everywhere.
    let pass = rule("10.0.0.5", "action = \"pass\"");
    assert_eq!(
        findings(&[REDIRECTED, FORWARD, UPSTREAM, CREDENTIAL, &pass]),
        ""
    );
}

#[test]
fn a_rule_that_makes_a_proxy_to_everybody_for_everybody_is_warned_of() {
    let found = |host: &str| findings(&[NETWORK, &rule(host, "action = \"pass\"")]);
    let expected =
        "warning: this rule lets the whole network use listener `net` as a proxy to `*.com`";
    assert_differ(&found("*.com"), expected, &found("*.example.com"));
    assert_eq!(beside_forward("", &rule("*.org", "action = \"pass\"")), "");
}

#[test]
fn names_that_a_proxy_resolves_are_denied_by_nothing_here() {
    let found = |listener: &str| {
        let egress = "\n[egress]\naddresses = \"any\"\ndeny = [\"10.0.0.0/8\"]\nproxy = \"http://p.corp:1\"\n";
        findings(&[listener, PASS, UPSTREAM, CREDENTIAL, egress])
    };
    let expected =
        "warning: `deny` of [egress] does not hold for names that pass by listener `proxy`";
    assert_differ(&found(FORWARD), expected, &found(REDIRECTED));
}

#[test]
fn a_proxy_that_nothing_goes_through_is_warned_of() {
    let found = |of_upstream: &str| {
        let egress = "proxy = \"none\"\n[egress]\nproxy = \"http://p.corp:1\"\n";
        findings(&[LISTENER, UPSTREAM, of_upstream, CREDENTIAL, egress])
    };
    let expected = "warning: `proxy` of [egress] has no effect";
    assert_differ(&found("proxy = \"none\"\n"), expected, &found(""));
}
