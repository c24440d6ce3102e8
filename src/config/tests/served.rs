//! Who gets through a listener, the list of a route and the credentials of an upstream together.

use insta::assert_snapshot;

use super::callers::{TEAMS, findings};
use super::*;

/// Callers with keys, and one whose certificate alone shows it.
const CALLERS: &str = r#"
[callers.j]
key = { file = "keys" }

[callers.k]
key = { file = "other-keys" }

[callers.certified]
certificate_name = "a.internal"
"#;

/// A listener of this machine.
fn listener(name: &str, port: u16, callers: &str, more: &str) -> String {
    format!(
        "\n[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\ncallers = {callers}\n{more}\n"
    )
}

/// The upstream `crm` with these credentials.
fn upstream(credentials: &str) -> String {
    format!("\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n{credentials}\n")
}

/// What is found of these parts, with the callers.
fn found(parts: &[&str]) -> String {
    findings(&[&parts.concat(), CALLERS, CREDENTIAL])
}

const TO_CRM: &str = "upstream = \"crm\"";
const SINGLE: &str = "credential = \"crm\"";
const OF_K: &str = "credentials = { k = \"crm\" }";
/// Lets in whom the tests need not hear of.
const OTHERS: &str = "\n[[listeners]]\nname = \"others\"\naddress = \"127.0.0.1:7999\"\ncallers = [\"*\"]\nupstream = \"free\"\n[upstreams.free]\nurl = \"https://free.example.com\"\n";

#[test]
fn a_listener_whose_callers_have_no_credential_is_told_of() {
    let one = |callers: &str| listener("one", 7080, callers, TO_CRM);
    let two = listener("two", 7081, "[\"k\"]", TO_CRM);
    let crm = upstream(OF_K);
    assert_snapshot!(found(&[&one("[\"j\"]"), &two, &crm, OTHERS]), @r"
    6: warning: this route refuses everyone
        its upstream has a credential for none of the callers that may use it
    ");
    for callers in ["[\"j\", \"k\"]", "[\"*\"]"] {
        assert_eq!(found(&[&one(callers), &two, &crm, OTHERS]), "", "{callers}");
    }
    for credentials in [
        "credentials = { k = \"crm\", \"*\" = \"crm\" }",
        "credential = \"crm\"",
        "",
    ] {
        let found = found(&[&one("[\"j\"]"), &two, &upstream(credentials), OTHERS]);
        assert!(
            !found.contains("refuses everyone"),
            "{credentials}: {found}"
        );
    }
}

#[test]
fn a_route_for_callers_that_cannot_be_known_where_they_come_in_is_told_of() {
    let route = |callers: &str, listener: &str| {
        format!(
            "\n[[routes]]\nupstream = \"crm\"\npath = \"/a\"\ncallers = {callers}\n{listener}\n"
        )
    };
    let plain = listener("plain", 7080, "[\"*\"]", "");
    let with = |callers: &str| {
        let route = route(callers, "listener = \"plain\"");
        found(&[&plain, &route, OTHERS, &upstream(SINGLE)])
    };
    assert_snapshot!(with("[\"certified\"]"), @r"
    8: warning: this route refuses everyone
        its listeners can know none of its `callers`, by a certificate, a user or a key
    ");
    assert_snapshot!(with("[\"j\", \"certified\"]"), @r"
    8: warning: caller `certified` of this route can be known by none of its listeners
        it is known by certificate, and the listener has no `tls` with `client_ca_file`
    ");
    assert_eq!(with("[\"j\"]"), "");
    // Another listener of the route can know it.
    let tls = TEAMS.to_owned() + "callers = [\"certified\"]\n";
    let route = route("[\"certified\"]", "");
    let both = [&plain, &*tls, &route, OTHERS, &upstream(SINGLE)];
    assert_snapshot!(found(&both), @r"
    2: warning: listener `plain` refuses everyone
        no route of it lets a caller through that can be known there, and whose credential the upstream has
    ");
}

#[test]
fn a_listener_none_of_whose_ways_is_for_its_callers_is_told_of_once() {
    let routes = "\n[[routes]]\nupstream = \"crm\"\npath = \"/a\"\n\n[[routes]]\nupstream = \"crm\"\npath = \"/b\"\ncallers = [\"k\"]\n";
    let one = listener("one", 7080, "[\"j\"]", "");
    let two = listener("two", 7081, "[\"k\"]", "");
    let crm = upstream(OF_K);
    let expected = "refuses everyone\n    no route of it lets a caller through that can be known there, and whose credential the upstream has\n";
    let all = found(&[&one, &two, routes, &crm, OTHERS]);
    assert_eq!(all, format!("2: warning: listener `one` {expected}"));
    // By the names of upstreams, and what may pass beside them.
    let forward = |more: &str| {
        let more = format!("kind = \"forward\"\nupstreams = [\"crm\"]\n{more}");
        let forward = listener("forward", 7082, "[\"j\"]", &more);
        found(&[&forward, &two, routes, &crm, OTHERS])
    };
    assert_eq!(
        forward(""),
        format!("2: warning: listener `forward` {expected}")
    );
    assert_eq!(forward("unmatched = \"pass\""), "");
}

#[test]
fn where_lists_only_report_they_refuse_nobody_and_credentials_do() {
    let report = |callers: &str, credentials: &str| {
        let more = "enforcement = \"report\"";
        let listener = listener("one", 7080, callers, more);
        let route = "\n[[routes]]\nupstream = \"crm\"\ncallers = [\"k\"]\n";
        found(&[&listener, route, &upstream(credentials)])
    };
    // Everyone with a key is served, whatever the lists say, with the credential that is its own.
    for credentials in [SINGLE, OF_K, "credentials = { j = \"crm\" }"] {
        let found = report("[\"j\"]", credentials);
        assert!(
            !found.contains("refuses everyone"),
            "{credentials}: {found}"
        );
        assert!(!found.contains("never"), "{credentials}: {found}");
        assert!(!found.contains("let in by none"), "{credentials}: {found}");
    }
    assert_snapshot!(report("[\"j\"]", "credentials = { certified = \"crm\" }"), @r"
    8: warning: this route refuses everyone
        its upstream has a credential for none of the callers that may use it
    12: warning: credential `crm` is never chosen for caller `certified` of upstream `crm`
        none of the listeners that let this caller reach the upstream can know it
    ");
}

#[test]
fn a_credential_of_a_caller_that_cannot_be_known_is_never_chosen() {
    let crm = upstream(
        "credentials = { certified = \"crm\", j = \"crm\", k = \"crm\", \"*\" = \"crm\" }",
    );
    let plain = listener("plain", 7080, "[\"*\"]", TO_CRM);
    assert_snapshot!(found(&[&plain, &crm]), @r"
    8: warning: credential `crm` is never chosen for caller `*` of upstream `crm`
        every caller that may use the upstream has its own
    8: warning: credential `crm` is never chosen for caller `certified` of upstream `crm`
        none of the listeners that let this caller reach the upstream can know it
    ");
}

#[test]
fn a_rule_for_callers_that_cannot_be_known_is_told_of() {
    let rule = |callers: &str| {
        format!(
            "\n[[egress.rules]]\nhosts = [\"a.example\"]\naction = \"pass\"\ncallers = {callers}\n"
        )
    };
    let forward = listener(
        "proxy",
        7080,
        "[\"*\"]",
        "kind = \"forward\"\nupstreams = [\"*\"]",
    );
    let with = |callers: &str| found(&[&rule(callers), &forward, OTHERS, &upstream(SINGLE)]);
    assert_snapshot!(with("[\"certified\"]"), @r"
    2: warning: this rule never decides
        its listeners can know none of its `callers`, by a certificate, a user or a key
    ");
    assert_snapshot!(with("[\"j\", \"certified\"]"), @r"
    2: warning: caller `certified` of this rule can be known by none of its listeners
        it is known by certificate, and the listener has no `tls` with `client_ca_file`
    ");
}

#[test]
fn a_route_for_any_host_is_for_no_forward_listener_that_it_does_not_name() {
    let open = "\n[[listeners]]\nname = \"open\"\naddress = \"127.0.0.1:3128\"\nkind = \"forward\"\nupstreams = [\"free\"]\n";
    let route = "\n[[routes]]\nupstream = \"crm\"\npath = \"/a\"\ncallers = [\"k\"]\n";
    let one = listener("one", 7080, "[\"k\"]", "");
    assert_eq!(found(&[&one, open, route, &upstream(OF_K), OTHERS]), "");
}
