use insta::assert_snapshot;

use super::*;

const REST: [&str; 3] = [LISTENER, UPSTREAM, CREDENTIAL];

fn refused_with_rest(text: &str) -> String {
    refused(&[&[text], &REST[..]].concat())
}

#[test]
fn unknown_names_are_refused() {
    let text = r#"
[[routes]]
listener = "127.0.0.1:7081"
host = "a.local"
upstream = "crmm"

[[routes]]
listener = "nobody"
host = "b.local"
upstream = "warehouse"

[upstreams.erp]
url = "https://erp.example.com"
credential = "drm"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: unknown listener `127.0.0.1:7081`
      --> sidebearer.toml:3:12
       |
     3 | listener = "127.0.0.1:7081"
       |            ^^^^^^^^^^^^^^^^ defined: `127.0.0.1:7080`

    error: unknown upstream `crmm`
      --> sidebearer.toml:5:12
       |
     5 | upstream = "crmm"
       |            ^^^^^^ did you mean `crm`?

    error: unknown listener `nobody`
      --> sidebearer.toml:8:12
       |
     8 | listener = "nobody"
       |            ^^^^^^^^ defined: `127.0.0.1:7080`

    error: unknown upstream `warehouse`
       --> sidebearer.toml:10:12
        |
     10 | upstream = "warehouse"
        |            ^^^^^^^^^^^ defined: `crm`, `erp`

    warning: upstream `erp` is never used
       --> sidebearer.toml:12:1
        |
     12 | [upstreams.erp]
        | ^^^^^^^^^^^^^^^ no listener and no route names it

    error: unknown credential `drm`
       --> sidebearer.toml:14:14
        |
     14 | credential = "drm"
        |              ^^^^^ defined: `crm`
    "##);
}

#[test]
fn routes_that_tie_are_refused() {
    let text = r#"
[[routes]]
host = "CRM.local."
path = "/%7eme"
methods = ["GET", "PUT"]
upstream = "crm"

[[routes]]
host = "crm.local"
path = "/~me"
methods = ["POST", "GET"]
upstream = "crm"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: two routes match the same requests
      --> sidebearer.toml:8:1
       |
     8 | [[routes]]
       | ^^^^^^^^^^ same host, path, methods and listener as the one at sidebearer.toml:2:1
    "##);
}

#[test]
fn route_that_ties_with_the_upstream_of_a_listener_is_refused() {
    let text = "[[routes]]\nlistener = \"127.0.0.1:7080\"\nupstream = \"crm\"\n";
    assert_snapshot!(refused_with_rest(text), @r##"
    error: two routes match the same requests
      --> sidebearer.toml:1:1
       |
     1 | [[routes]]
       | ^^^^^^^^^^ same host, path, methods and listener as the one at sidebearer.toml:7:12
    "##);
}

#[test]
fn routes_that_differ_in_rank_do_not_tie() {
    let text = r#"
[[routes]]
host = "crm.local"
upstream = "crm"

[[routes]]
host = "*.crm.local"
upstream = "crm"

[[routes]]
host = "crm.local"
path = "/a"
upstream = "crm"

[[routes]]
host = "crm.local"
methods = ["GET"]
upstream = "crm"

[[routes]]
host = "crm.local"
methods = ["PUT"]
upstream = "crm"

[[routes]]
host = "crm.local"
listener = "127.0.0.1:7080"
upstream = "crm"

[[routes]]
upstream = "crm"
"#;
    assert_eq!(accepted(&[&[text], &REST[..]].concat()), "");
}

#[test]
fn bad_routes_are_refused() {
    let text = r#"
[[routes]]
host = "crm.local:8080"
path = "crm"
methods = ["get", "G T", "TRACE"]
replace_prefix = "v2"
upstream = "crm"

[[routes]]
host = "*"
path = "/a/%2e%2E/b"
upstream = "crm"

[[routes]]
host = "crm.*"
path = "/a?b"

[[routes]]
host = ""
path = ""
upstream = ""
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: invalid `host` in [[routes]]
      --> sidebearer.toml:3:8
       |
     3 | host = "crm.local:8080"
       |        ^^^^^^^^^^^^^^^^ expected a host name or IP address, without port

    error: invalid `path` in [[routes]]
      --> sidebearer.toml:4:8
       |
     4 | path = "crm"
       |        ^^^^^ a path begins with "/"

    error: invalid `methods` in [[routes]]
      --> sidebearer.toml:5:12
       |
     5 | methods = ["get", "G T", "TRACE"]
       |            ^^^^^ methods are upper case; did you mean "GET"?

    error: invalid `methods` in [[routes]]
      --> sidebearer.toml:5:19
       |
     5 | methods = ["get", "G T", "TRACE"]
       |                   ^^^^^ expected a method such as "GET"

    error: invalid `methods` in [[routes]]
      --> sidebearer.toml:5:26
       |
     5 | methods = ["get", "G T", "TRACE"]
       |                          ^^^^^^^ TRACE and CONNECT are never forwarded

    error: invalid `replace_prefix` in [[routes]]
      --> sidebearer.toml:6:18
       |
     6 | replace_prefix = "v2"
       |                  ^^^^ a path begins with "/"

    error: invalid `host` in [[routes]]
       --> sidebearer.toml:10:8
        |
     10 | host = "*"
        |        ^^^ leave `host` out to match any host

    error: invalid `path` in [[routes]]
       --> sidebearer.toml:11:8
        |
     11 | path = "/a/%2e%2E/b"
        |        ^^^^^^^^^^^^^ the segments "." and ".." are not allowed in a path

    error: `upstream` is missing in [[routes]]
       --> sidebearer.toml:14:1
        |
     14 | [[routes]]
        | ^^^^^^^^^^ expected the name of an upstream

    error: invalid `host` in [[routes]]
       --> sidebearer.toml:15:8
        |
     15 | host = "crm.*"
        |        ^^^^^^^ "*" stands only for the whole first label: "*.example.com"

    error: invalid `path` in [[routes]]
       --> sidebearer.toml:16:8
        |
     16 | path = "/a?b"
        |        ^^^^^^ a path ends before "?"; queries are forwarded as they come

    error: `upstream` is missing in [[routes]]
       --> sidebearer.toml:18:1
        |
     18 | [[routes]]
        | ^^^^^^^^^^ expected the name of an upstream

    error: invalid `host` in [[routes]]
       --> sidebearer.toml:19:8
        |
     19 | host = ""
        |        ^^ expected a host name or IP address, without port

    error: invalid `path` in [[routes]]
       --> sidebearer.toml:20:8
        |
     20 | path = ""
        |        ^^ a path begins with "/"
    "##);
}

#[test]
fn what_nothing_uses_is_warned_about() {
    let text = r#"
[[listeners]]
name = "idle"
address = "127.0.0.1:7081"

[upstreams.spare]
url = "https://spare.example.com"

[credentials.spare]
issuer = "https://login.example.com"
client_id = "spare"
client_secret = { file = "secret" }
"#;
    assert_snapshot!(accepted(&[&[text], &REST[..]].concat()), @r##"
    warning: listener `idle` answers every request with 404
      --> sidebearer.toml:2:1
       |
     2 | [[listeners]]
       | ^^^^^^^^^^^^^ it has no `upstream`, and no route is for it

    warning: upstream `spare` is never used
      --> sidebearer.toml:6:1
       |
     6 | [upstreams.spare]
       | ^^^^^^^^^^^^^^^^^ no listener and no route names it

    warning: credential `spare` is never used
      --> sidebearer.toml:9:1
       |
     9 | [credentials.spare]
       | ^^^^^^^^^^^^^^^^^^^ no upstream names it
    "##);
}
