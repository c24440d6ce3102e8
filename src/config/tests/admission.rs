//! Who may use what.

use insta::assert_snapshot;

use super::callers::{TEAMS, findings};
use super::*;

/// Who is let in by the listeners of these tests.
pub(super) const BILLING: &str =
    "\ncallers = [\"billing\"]\n\n[callers.billing]\nkey = { file = \"keys\" }\n";

#[test]
fn names_of_callers_that_do_not_exist_are_refused_wherever_they_stand() {
    let text = r#"
callers = ["billing", "bilings", "*"]

[[routes]]
upstream = "crm"
path = "/a"
callers = ["biling"]

[[routes]]
upstream = "crm"
path = "/b"
callers = []

[[listeners]]
address = "127.0.0.1:3128"
kind = "forward"
callers = ["other"]

[[egress.rules]]
hosts = ["example.org"]
callers = ["search"]

[callers.billing]
certificate_name = "a.internal"

[upstreams.crm]
url = "https://crm.example.com"
credentials = { "*" = "crm", bilin = "crn", billing = "" }
"#;
    assert_snapshot!(findings(&[TEAMS, text, CREDENTIAL]), @r##"
    8: error: `callers` in [[listeners]] names callers beside "*"
        "*" stands for all of them
    13: error: unknown caller `biling`
        did you mean `billing`?
    18: error: invalid `callers` in [[routes]]
        expected the names of those who may use it, or nothing
    23: error: unknown caller `other`
        defined: `billing`
    27: error: unknown caller `search`
        defined: `billing`
    34: error: unknown caller `bilin`
        did you mean `billing`?
    34: error: unknown credential `crn`
        did you mean `crm`?
    34: error: invalid `billing` in [upstreams.crm.credentials]
        expected a string that is not empty
    "##);
}

#[test]
fn what_needs_to_know_the_caller_is_refused_where_nobody_is_identified() {
    let text = r#"
[[listeners]]
name = "local"
address = "127.0.0.1:7080"

[[listeners]]
name = "proxy"
address = "127.0.0.1:3128"
kind = "forward"

[[routes]]
upstream = "crm"
callers = ["billing"]

[[egress.rules]]
hosts = ["example.org"]
callers = ["*"]

[upstreams.crm]
url = "https://crm.example.com"
credentials = { "*" = "crm" }
"#;
    assert_snapshot!(findings(&[TEAMS, BILLING, text, CREDENTIAL]), @r##"
    22: error: this route is for callers, and listener `local` identifies nobody
        give the listener `callers`, or name other listeners here
    26: error: this rule is for callers, and listener `proxy` identifies nobody
        give the listener `callers`, or name other listeners here
    30: error: `credentials` of upstream `crm` needs to know the caller, and listener `local` identifies nobody
        give that listener `callers`, or do not let it lead to this upstream
    "##);
}

#[test]
fn who_may_use_nothing_is_warned_of() {
    let text = r#"
[callers.search]
key = { file = "other-keys" }

[callers.spare]
user = 7

[[listeners]]
name = "batch"
address = "127.0.0.1:7080"
callers = ["search"]

[[routes]]
upstream = "crm"
listener = "teams"
path = "/search"
callers = ["search"]

[[routes]]
upstream = "crm"
listener = "teams"
path = "/both"
callers = ["billing", "search"]

[upstreams.crm]
url = "https://crm.example.com"
credentials = { billing = "crm", search = "crm", "*" = "crm" }

[upstreams.free]
url = "https://free.example.com"
forward_caller = "x-caller"

[[routes]]
upstream = "free"
host = "free"

[[listeners]]
name = "open"
address = "127.0.0.1:7081"
upstream = "plain"

[upstreams.plain]
url = "https://plain.example.com"
forward_caller = "x-caller"
"#;
    // The route to `free` is for the open listener too, and `forward_caller` still has an effect by others.
    assert_snapshot!(findings(&[TEAMS, BILLING, text, CREDENTIAL]), @r##"
    16: warning: caller `spare` is never let in
        no listener names it in `callers`
    24: warning: this route refuses everyone
        its listeners let none of its `callers` in
    30: warning: caller `search` of this route is let in by none of its listeners
        name it in `callers` of a listener, or not here
    36: warning: credential `crm` is never chosen for caller `*` of upstream `crm`
        every caller that may use the upstream has its own
    36: warning: credential `crm` is never chosen for caller `search` of upstream `crm`
        no listener and no route lets this caller reach the upstream
    53: warning: `forward_caller` of upstream `plain` has no effect
        none of the listeners that lead to it has `callers`
    "##);
}

#[test]
fn a_route_promises_no_caller_what_the_upstream_has_no_credential_for() {
    let text = r#"
[callers.search]
key = { file = "other-keys" }

[[routes]]
upstream = "crm"
path = "/both"
callers = ["billing", "search"]

[upstreams.crm]
url = "https://crm.example.com"
credentials = { billing = "crm" }
"#;
    let callers = BILLING.replace("[\"billing\"]", "[\"*\"]");
    assert_snapshot!(findings(&[TEAMS, &callers, text, CREDENTIAL]), @r##"
    21: warning: caller `search` may use a route to upstream `crm`, which has no credential for it
        every such request is refused: name the caller in `credentials`, or not in the route
    "##);
}

#[test]
fn credentials_of_callers_stand_alone() {
    let text = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
credentials = { billing = "crm" }
tls = { certificate_from = "crm" }
forward_caller = "Authorization"

[upstreams.plain]
url = "http://crm.example.com"
credentials = { billing = "crm" }

[upstreams.nobody]
url = "https://crm.example.com"
credentials = {}
"#;
    assert_snapshot!(findings(&[TEAMS, BILLING, text, CREDENTIAL]), @r##"
    15: error: `credential` in [upstreams.crm] stands beside `credentials`
        keep one: `credentials` has one for each caller
    17: error: `certificate_from` in [upstreams.crm.tls] stands beside `credentials`
        it belongs to one `credential`: give the upstream `certificate_file` and `key_file`, or each caller an upstream
    18: error: `forward_caller` in [upstreams.crm] is the header of the token
        expected another one, such as "x-caller"
    20: warning: credential `crm` is never chosen for caller `billing` of upstream `plain`
        no listener and no route lets this caller reach the upstream
    20: warning: upstream `plain` is never used
        no listener and no route names it
    21: error: `url` in [upstreams.plain] would carry the token in plain text
        use https, or allow it with `allow_plaintext = true`
    24: warning: upstream `nobody` is never used
        no listener and no route names it
    26: error: `credentials` in [upstreams.nobody] names nobody
        expected at least one caller and its credential; without `credentials` requests carry no token
    "##);
}

#[test]
fn a_burst_needs_a_rate() {
    let text = r#"
[callers.search]
user = 1
limits = { burst = 1 }

[[routes]]
upstream = "crm"
path = "/a"
limits = { burst = 1, concurrent = 1 }
"#;
    assert_snapshot!(findings(&[TEAMS, BILLING, text, UPSTREAM, CREDENTIAL]), @r##"
    13: error: caller `search` has `burst` without `requests_per_second`
        a burst is what may come at once within a rate: expected both, or neither
    13: warning: caller `search` is never let in
        no listener names it in `callers`
    20: error: `limits` in [[routes]] has `burst` without `requests_per_second`
        a burst is what may come at once within a rate: expected both, or neither
    "##);
    let default = "\n[callers.\"*\"]\nlimits = { requests_per_second = 1 }\n[callers.billing.limits]\nburst = 2\n";
    assert_eq!(
        findings(&[TEAMS, BILLING, default, UPSTREAM, CREDENTIAL]),
        ""
    );
    let alone = "\n[callers.\"*\"]\nlimits = { burst = 2 }\n";
    assert!(findings(&[TEAMS, BILLING, alone, UPSTREAM, CREDENTIAL]).contains("burst"));
}

#[test]
fn service_accounts_and_kubernetes_belong_together() {
    let account = "\n[callers.app]\nservice_account = \"a/b\"\n";
    let callers = BILLING.replace("[\"billing\"]", "[\"*\"]");
    assert_snapshot!(findings(&[TEAMS, &callers, account, UPSTREAM, CREDENTIAL]), @r##"
    13: error: `service_account` of caller `app` needs [kubernetes]
        add [kubernetes]: within a pod it needs no key of its own
    "##);
    let kubernetes = "\n[kubernetes]\n";
    assert_snapshot!(findings(&[
        TEAMS, &callers, kubernetes, UPSTREAM, CREDENTIAL
    ]), @r##"
    13: warning: [kubernetes] has no effect
        no caller has a `service_account`
    "##);
    assert_eq!(
        findings(&[TEAMS, &callers, kubernetes, account, UPSTREAM, CREDENTIAL]),
        ""
    );
}

#[test]
fn a_rule_decides_after_one_for_other_callers() {
    let forward = FORWARD.to_owned() + "callers = [\"*\"]\n";
    let two = |first: &str, second: &str| {
        let callers = "\n[callers.a]\nkey = { file = \"other-keys\" }\n[callers.b]\nkey = { file = \"keys\" }\n";
        let rule =
            |callers: &str| format!("\n[[egress.rules]]\nhosts = [\"example.org\"]\n{callers}\n");
        let found = findings(&[
            &forward,
            callers,
            &rule(first),
            &rule(second),
            UPSTREAM,
            CREDENTIAL,
        ]);
        !found.contains("never decides")
    };
    let (any, a, b) = (
        "callers = [\"*\"]",
        "callers = [\"a\"]",
        "callers = [\"b\"]",
    );
    for (first, second) in [(a, b), (a, any), (a, "")] {
        assert!(two(first, second), "{first} {second}");
    }
    for (first, second) in [(a, a), (any, a), ("", a), ("", any), ("", ""), (any, "")] {
        assert!(!two(first, second), "{first} {second}");
    }
}
