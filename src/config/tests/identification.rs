//! What a listener needs to know who is calling, and what has no effect where it does not.

use insta::assert_snapshot;

use super::admission::BILLING;
use super::callers::{TEAMS, findings};
use super::*;

#[test]
fn a_listener_tells_who_cannot_be_known_there() {
    let text = r#"
[[listeners]]
name = "plain"
address = "127.0.0.1:7080"
callers = ["certified", "user", "both"]

[callers.certified]
certificate_name = "a.internal"

[callers.user]
user = 7

[callers.both]
spiffe_id = "spiffe://a/b"
user = 8

[[listeners]]
name = "everyone"
address = "unix:app.sock"
callers = ["user", "both"]
"#;
    assert_snapshot!(findings(&[TEAMS, BILLING, text, UPSTREAM, CREDENTIAL]), @r##"
    13: warning: caller `certified` cannot be known by listener `plain`
        it is known by certificate, and the listener has no `tls` with `client_ca_file`
    13: warning: caller `user` cannot be known by listener `plain`
        it is known as a user, and the listener is no unix socket
    13: warning: caller `both` cannot be known by listener `plain`
        it is known by certificate where `tls` has `client_ca_file`, and as a user by unix sockets
    13: warning: listener `plain` answers every request with 404
        it has no `upstream`, and no route is for it
    28: warning: listener `everyone` answers every request with 404
        it has no `upstream`, and no route is for it
    "##);
}

#[test]
fn a_listener_for_all_whom_it_cannot_know_is_told_to_refuse_them() {
    let listener = LISTENER.to_owned() + "callers = [\"*\"]\n";
    let user = "\n[callers.user]\nuser = 7\n";
    let found = findings(&[&listener, user, UPSTREAM, CREDENTIAL]);
    assert!(found.contains("refuses everyone"), "{found}");
    let unix = listener.replace("127.0.0.1:7080", "unix:app.sock");
    assert_eq!(findings(&[&unix, user, UPSTREAM, CREDENTIAL]), "");
}

#[test]
fn keys_in_plain_text_over_a_network_have_to_be_allowed() {
    let listener = "\n[[listeners]]\naddress = \"0.0.0.0:8080\"\nupstream = \"crm\"";
    for callers in ["callers = [\"billing\"]", "callers = [\"*\"]"] {
        let listener = format!("{listener}\n{callers}\n");
        let caller = "\n[callers.billing]\nkey = { file = \"keys\" }\n";
        let found = findings(&[&listener, caller, UPSTREAM, CREDENTIAL]);
        assert!(found.contains("in plain text"), "{found}");
        let allowed = format!("{listener}allow_plaintext = true\n");
        assert_eq!(findings(&[&allowed, caller, UPSTREAM, CREDENTIAL]), "");
    }
}

#[test]
fn passing_to_anywhere_by_a_network_needs_callers() {
    let listener = r#"
[[listeners]]
address = "0.0.0.0:3128"
kind = "forward"
upstreams = ["crm"]
unmatched = "pass"
tls = { certificate_file = "server.pem", key_file = "server.key" }
"#;
    let open = format!("{listener}allow_network = true\n");
    let found = findings(&[&open, UPSTREAM, CREDENTIAL]);
    assert!(found.contains("proxy to anywhere"), "{found}");
    assert_eq!(findings(&[listener, BILLING, UPSTREAM, CREDENTIAL]), "");
}

#[test]
fn keys_that_have_no_effect_without_callers_are_refused() {
    let text = r#"
[[listeners]]
address = "127.0.0.1:7080"
upstream = "crm"
caller_header = "x-key"
enforcement = "report"

[[listeners]]
address = "127.0.0.1:7081"
kind = "forward"
callers = ["*"]
caller_header = "authorization"

[[listeners]]
address = "127.0.0.1:7082"
upstream = "crm"
callers = ["*"]
caller_header = "proxy-authorization"

[[listeners]]
address = "127.0.0.1:7083"
upstream = "crm"
callers = ["*"]
caller_header = "host"
"#;
    assert_snapshot!(findings(&[text, UPSTREAM, CREDENTIAL]), @r##"
    5: error: `caller_header` in [[listeners]] has no effect
        `callers` is missing or empty: nobody is identified
    6: error: `enforcement` in [[listeners]] has no effect
        `callers` is missing or empty: nobody is identified
    8: warning: listener `127.0.0.1:7081` refuses everyone
        it is for every caller, and there is no [callers.NAME]
    12: error: `caller_header` in [[listeners]] is another header than clients of a proxy send
        leave it out: on a forward listener it is always `proxy-authorization`
    14: warning: listener `127.0.0.1:7082` refuses everyone
        it is for every caller, and there is no [callers.NAME]
    18: error: `caller_header` in [[listeners]] is a header that clients send to proxies alone
        expected another one, such as "authorization"
    20: warning: listener `127.0.0.1:7083` refuses everyone
        it is for every caller, and there is no [callers.NAME]
    24: error: invalid `caller_header` in [[listeners]]
        this header belongs to the connection and cannot be set
    "##);
}

#[test]
fn a_header_with_a_meaning_of_its_own_shows_no_caller() {
    let header = |header: &str| {
        let listener = LISTENER.to_owned() + &format!("caller_header = \"{header}\"\n") + BILLING;
        findings(&[&listener, UPSTREAM, CREDENTIAL])
    };
    for taken in [
        "cookie",
        "Content-Type",
        "content_type",
        "accept",
        "Accept-Encoding",
        "range",
        "If-None-Match",
        "Sec-Fetch-Site",
        "X-Forwarded-For",
        "user-agent",
        "te",
    ] {
        let found = header(taken);
        assert!(
            found.contains("invalid `caller_header`"),
            "{taken}: {found}"
        );
    }
    for free in [
        "authorization",
        "x-api-key",
        "cookies",
        "accepted",
        "x-content-key",
        "dated",
    ] {
        assert_eq!(header(free), "", "{free}");
    }
}

#[test]
fn handshakes_are_bounded_only_where_there_are_any() {
    let listener = LISTENER.to_owned() + "handshake_timeout = \"5s\"\nmax_handshakes = 7\n";
    assert_snapshot!(findings(&[&listener, UPSTREAM, CREDENTIAL]), @r##"
    5: error: `handshake_timeout` in [[listeners]] has no effect
        it belongs to `tls` and `intercept`, and neither is there
    6: error: `max_handshakes` in [[listeners]] has no effect
        it belongs to `tls` and `intercept`, and neither is there
    "##);
}
