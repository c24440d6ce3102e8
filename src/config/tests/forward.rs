use insta::assert_snapshot;

use super::*;

#[test]
fn the_smallest_forward_proxy_is_one_listener_upstream_and_credential() {
    assert_eq!(accepted(&[FORWARD, UPSTREAM, CREDENTIAL]), "");
    let (_directory, loaded) = load_parts(&[FORWARD, UPSTREAM, CREDENTIAL]);
    let config = loaded.unwrap().config;
    let leads_to: Vec<_> = config.forwarded_by(&config.listeners[0]).collect();
    assert_eq!(leads_to.len(), 1);
    let destinations = leads_to[0].destinations();
    let destinations = destinations.map(|(scheme, host, port)| format!("{scheme}://{host}:{port}"));
    assert_eq!(
        destinations.collect::<Vec<_>>(),
        [
            "http://crm.example.com:80",
            "http://crm.example.com:443",
            "https://crm.example.com:443"
        ]
    );
}

#[test]
fn a_destination_is_an_upstreams_if_it_is_one_of_those_that_it_has() {
    const OTHERS: &str = r#"
[upstreams.a]
url = "https://a.example.com:8443"
hosts = ["b.example.com", "c.example.com:80", "d.example.com:443", "[::ffff:10.0.0.1]:9"]

[upstreams.b]
url = "http://e.example.com"
hosts = ["b.example.com:8080", "[::1]:9", "f.example.com"]

[upstreams.c]
url = "http://[::ffff:10.0.0.2]:8080"
"#;
    let (_directory, loaded) = load_parts(&[FORWARD, UPSTREAM, CREDENTIAL, OTHERS]);
    let config = loaded.unwrap().config;
    let c = &config.upstreams["c"];
    assert!(c.has_destination(crate::config::Scheme::Http, "10.0.0.2", 8080));
    let all = config.upstreams.values();
    let all: Vec<_> = all
        .flat_map(crate::config::Upstream::destinations)
        .collect();
    for upstream in config.upstreams.values() {
        let own: Vec<_> = upstream.destinations().collect();
        for (_, host, _) in &all {
            for (scheme, port) in all.iter().map(|(scheme, _, port)| (*scheme, *port)) {
                let expected = own.contains(&(scheme, host.clone(), port));
                let has = upstream.has_destination(scheme, host, port);
                assert_eq!(has, expected, "{} {scheme}://{host}:{port}", upstream.name);
            }
        }
    }
}

#[test]
fn what_is_not_built_or_not_possible_is_refused() {
    let text = r#"
[[listeners]]
address = "127.0.0.1:1"
kind = "tproxy"
upstream = "crm"

[[listeners]]
address = "127.0.0.1:2"
kind = "forward"
unmatched = "pass"
upstream = "crm"
hosts = ["crm.local"]

[[listeners]]
address = "127.0.0.1:3"
upstream = "crm"
upstreams = ["crm"]
unmatched = "deny"

[[listeners]]
address = "127.0.0.1:4"
kind = "forward"
upstreams = ["*", "crn"]

[[listeners]]
address = "0.0.0.0:5"
kind = "forward"
allow_network = true
"#;
    assert_snapshot!(refused(&[text, UPSTREAM, CREDENTIAL]), @r##"
    error: invalid `kind` in [[listeners]]
      --> sidebearer.toml:4:8
       |
     4 | kind = "tproxy"
       |        ^^^^^^^^ expected "reverse", "forward" or "redirected"

    error: `upstream` in [[listeners]] does not belong to `kind = "forward"`
       --> sidebearer.toml:11:12
        |
     11 | upstream = "crm"
        |            ^^^^^ it belongs to "reverse"

    error: `hosts` in [[listeners]] does not belong to `kind = "forward"`
       --> sidebearer.toml:12:9
        |
     12 | hosts = ["crm.local"]
        |         ^^^^^^^^^^^^^ it belongs to "reverse"

    error: `upstreams` in [[listeners]] does not belong to `kind = "reverse"`
       --> sidebearer.toml:17:13
        |
     17 | upstreams = ["crm"]
        |             ^^^^^^^ it belongs to "forward" or "redirected"

    error: `unmatched` in [[listeners]] does not belong to `kind = "reverse"`
       --> sidebearer.toml:18:13
        |
     18 | unmatched = "deny"
        |             ^^^^^^ it belongs to "forward" or "redirected"

    error: `upstreams` in [[listeners]] names upstreams beside "*"
       --> sidebearer.toml:23:13
        |
     23 | upstreams = ["*", "crn"]
        |             ^^^^^^^^^^^^ "*" stands for all of them

    error: unknown upstream `crn`
       --> sidebearer.toml:23:13
        |
     23 | upstreams = ["*", "crn"]
        |             ^^^^^^^^^^^^ did you mean `crm`?

    error: `upstreams` is missing in [[listeners]]
       --> sidebearer.toml:25:1
        |
     25 | [[listeners]]
        | ^^^^^^^^^^^^^ expected the names of upstreams, since the network can reach the listener; ["*"] is all of them
    "##);
}

#[test]
fn hosts_that_could_never_match_are_refused() {
    let text = r#"
[upstreams.crm]
url = "http://crm.example.com"
hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
"#;
    assert_snapshot!(refused(&[FORWARD, text]), @r##"
    error: `hosts` in [upstreams.crm] names crm:443, the port of https
      --> sidebearer.toml:9:9
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ an https destination never leads to an http:// upstream

    error: invalid `hosts` in [upstreams.crm]
      --> sidebearer.toml:9:10
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |          ^^^^^^^ wildcards are not possible here: name each host

    error: invalid `hosts` in [upstreams.crm]
      --> sidebearer.toml:9:19
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |                   ^^^^^^^ expected a host name with or without a port, such as "crm.internal" or "crm.internal:8443"

    error: invalid `hosts` in [upstreams.crm]
      --> sidebearer.toml:9:28
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |                            ^^^^^^^ expected a host name with or without a port, such as "crm.internal" or "crm.internal:8443"

    error: invalid `hosts` in [upstreams.crm]
      --> sidebearer.toml:9:37
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |                                     ^^^^^ write an IPv6 address in brackets: "[::1]"

    error: invalid `hosts` in [upstreams.crm]
      --> sidebearer.toml:9:44
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |                                            ^^^^^^^^^^^^ expected a host name with or without a port, such as "crm.internal" or "crm.internal:8443"

    error: invalid `hosts` in [upstreams.crm]
      --> sidebearer.toml:9:69
       |
     9 | hosts = ["*.crm", "crm:0", "crm:x", "::1", "http://crm", "crm:443", ""]
       |                                                                     ^^ expected a host name with or without a port, such as "crm.internal" or "crm.internal:8443"
    "##);
}

#[test]
fn two_upstreams_at_one_destination_are_refused_on_one_listener() {
    let other = r#"
[upstreams.other]
url = "https://other.example.com"
hosts = ["crm.example.com"]
"#;
    let parts = [FORWARD, UPSTREAM, CREDENTIAL, other];
    assert_snapshot!(refused(&parts), @r##"
    error: listener `proxy` cannot tell upstream `other` from `crm`: both are http://crm.example.com:80/
      --> sidebearer.toml:2:1
       |
     2 | [[listeners]]
       | ^^^^^^^^^^^^^ name one of them in `upstreams`, or give them different `hosts`
    "##);
    let named = FORWARD.to_owned() + "upstreams = [\"crm\"]\n";
    assert_snapshot!(accepted(&[&named, UPSTREAM, CREDENTIAL, other]), @r##"
    warning: upstream `other` is never used
       --> sidebearer.toml:17:1
        |
     17 | [upstreams.other]
        | ^^^^^^^^^^^^^^^^^ no listener and no route names it
    "##);
}

#[test]
fn hosts_without_a_forward_listener_are_warned_of() {
    let text = "\n[upstreams.crm]\nurl = \"https://crm.example.com\"\nhosts = [\"crm.old\"]\n";
    assert_snapshot!(accepted(&[LISTENER, text]), @r##"
    warning: `hosts` of upstream `crm` has no effect
      --> sidebearer.toml:6:1
       |
     6 | [upstreams.crm]
       | ^^^^^^^^^^^^^^^ it is for listeners of `kind` "forward" or "redirected", and there is none
    "##);
}
