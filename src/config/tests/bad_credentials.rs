use insta::assert_snapshot;

use super::*;

fn refused_credential(text: &str) -> String {
    refused(&[text, LISTENER, UPSTREAM])
}

#[test]
fn needed_keys_are_named() {
    assert_snapshot!(refused_credential("[credentials.crm]\nclient_id = \"\"\n"), @r##"
    error: `token_endpoint` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `token_endpoint`, or `issuer` for discovery

    error: `client_secret` is missing in [credentials.crm]
      --> sidebearer.toml:1:1
       |
     1 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ expected `{ file = "PATH" }` or `{ env = "NAME" }`

    error: `client_id` in [credentials.crm] is empty
      --> sidebearer.toml:2:13
       |
     2 | client_id = ""
       |             ^^ expected a value of at least one character
    "##);
}

#[test]
fn issuer_and_token_endpoint_exclude_each_other() {
    let text = r#"
[credentials.crm]
issuer = "https://login.example.com"
token_endpoint = "https://login.example.com/token"
client_id = "billing"
client_secret = { file = "secret" }
"#;
    assert_snapshot!(refused_credential(text), @r##"
    error: `token_endpoint` in [credentials.crm] stands beside `issuer`
      --> sidebearer.toml:4:18
       |
     4 | token_endpoint = "https://login.example.com/token"
       |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ keep one: `issuer` finds the token endpoint by discovery
    "##);
}

#[test]
fn discovery_hosts_are_hosts_of_a_discovery() {
    let text = r#"
[credentials.crm]
token_endpoint = "https://login.example.com/token"
discovery_hosts = ["sso.example.com"]
client_id = "billing"
client_secret = { file = "secret" }
[credentials.erp]
issuer = "https://login.example.com"
discovery_hosts = ["https://sso.example.com", "*.example.com", "fd00::1", "SSO.example.com."]
client_id = "billing"
client_secret = { file = "secret" }
"#;
    assert_snapshot!(refused_credential(text), @r##"
    error: `discovery_hosts` in [credentials.crm] stands beside `token_endpoint`
      --> sidebearer.toml:4:19
       |
     4 | discovery_hosts = ["sso.example.com"]
       |                   ^^^^^^^^^^^^^^^^^^^ it says where the discovery of an `issuer` may lead

    warning: credential `erp` is never used
      --> sidebearer.toml:7:1
       |
     7 | [credentials.erp]
       | ^^^^^^^^^^^^^^^^^ no upstream names it

    error: invalid `discovery_hosts` in [credentials.erp]
      --> sidebearer.toml:9:20
       |
     9 | discovery_hosts = ["https://sso.example.com", "*.example.com", "fd00::1", "SSO.example.com."]
       |                    ^^^^^^^^^^^^^^^^^^^^^^^^^ expected a host name or IP address, without port

    error: invalid `discovery_hosts` in [credentials.erp]
      --> sidebearer.toml:9:47
       |
     9 | discovery_hosts = ["https://sso.example.com", "*.example.com", "fd00::1", "SSO.example.com."]
       |                                               ^^^^^^^^^^^^^^^ expected a host name or IP address, without port

    error: invalid `discovery_hosts` in [credentials.erp]
      --> sidebearer.toml:9:64
       |
     9 | discovery_hosts = ["https://sso.example.com", "*.example.com", "fd00::1", "SSO.example.com."]
       |                                                                ^^^^^^^^^ write an IPv6 address in brackets: "[fd00::1]"
    "##);
}

#[test]
fn client_secret_in_plain_text_needs_consent() {
    let text = r#"
[credentials.crm]
token_endpoint = "http://login.example.com/token"
client_id = "billing"
client_secret = { file = "secret" }
"#;
    assert_snapshot!(refused_credential(text), @r##"
    error: `token_endpoint` in [credentials.crm] would carry credentials and tokens in plain text
      --> sidebearer.toml:3:18
       |
     3 | token_endpoint = "http://login.example.com/token"
       |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ use https, or allow it with `allow_plaintext = true`
    "##);
    let allowed = format!("{text}allow_plaintext = true\n");
    assert_eq!(accepted(&[&allowed, LISTENER, UPSTREAM]), "");
}

#[test]
fn bad_endpoints_are_refused() {
    let text = r#"
[credentials.crm]
issuer = "https://login.example.com?tenant=1"
client_id = "billing"
client_secret = { file = "secret" }

[credentials.erp]
token_endpoint = "https://login.example.com/token#x"
client_id = "billing"
client_secret = { file = "secret" }
"#;
    assert_snapshot!(refused_credential(text), @r##"
    error: invalid `issuer` in [credentials.crm]
      --> sidebearer.toml:3:10
       |
     3 | issuer = "https://login.example.com?***"
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a query ("?") is not allowed here

    warning: credential `erp` is never used
      --> sidebearer.toml:7:1
       |
     7 | [credentials.erp]
       | ^^^^^^^^^^^^^^^^^ no upstream names it

    error: invalid `token_endpoint` in [credentials.erp]
      --> sidebearer.toml:8:18
       |
     8 | token_endpoint = "https://login.example.com/token#x"
       |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a fragment ("#") is not allowed here
    "##);
}

#[test]
fn fields_that_are_sent_anyway_cannot_be_added() {
    let text = r#"
[credentials.crm.extra_parameters]
grant_type = "password"
scope = "a"
resource = "b"
audience = "c"
client_assertion = "d"
"" = "e"
tenant = "f"

[credentials.crm.token_headers]
Authorization = "a"
Content_Length = "1"
"x tenant" = "b"
X-Tenant = "c"
x-tenant = "d"
x-line = "e\nf"
"#;
    assert_snapshot!(refused(&[CREDENTIAL, text, LISTENER, UPSTREAM]), @r##"
    error: invalid parameter `grant_type` in [credentials.crm.extra_parameters]
      --> sidebearer.toml:8:1
       |
     8 | grant_type = "***"
       | ^^^^^^^^^^ use `grant`

    error: invalid parameter `scope` in [credentials.crm.extra_parameters]
      --> sidebearer.toml:9:1
       |
     9 | scope = "***"
       | ^^^^^ use `scopes`

    error: invalid parameter `resource` in [credentials.crm.extra_parameters]
       --> sidebearer.toml:10:1
        |
     10 | resource = "***"
        | ^^^^^^^^ use `resources`

    error: invalid parameter `audience` in [credentials.crm.extra_parameters]
       --> sidebearer.toml:11:1
        |
     11 | audience = "***"
        | ^^^^^^^^ use the key `audience`

    error: invalid parameter `client_assertion` in [credentials.crm.extra_parameters]
       --> sidebearer.toml:12:1
        |
     12 | client_assertion = "***"
        | ^^^^^^^^^^^^^^^^ use the key `client_assertion`

    error: invalid parameter `` in [credentials.crm.extra_parameters]
       --> sidebearer.toml:13:1
        |
     13 | "" = "***"
        | ^^ expected a name

    error: invalid header `Authorization` in [credentials.crm.token_headers]
       --> sidebearer.toml:17:1
        |
     17 | Authorization = "***"
        | ^^^^^^^^^^^^^ sidebearer sets this header itself

    error: invalid header `Content_Length` in [credentials.crm.token_headers]
       --> sidebearer.toml:18:1
        |
     18 | Content_Length = "***"
        | ^^^^^^^^^^^^^^ this header belongs to the connection and cannot be set

    error: invalid header `x tenant` in [credentials.crm.token_headers]
       --> sidebearer.toml:19:1
        |
     19 | "x tenant" = "***"
        | ^^^^^^^^^^ expected a header name such as "authorization"

    error: invalid header `x-tenant` in [credentials.crm.token_headers]
       --> sidebearer.toml:21:1
        |
     21 | x-tenant = "***"
        | ^^^^^^^^ header names differ by more than case

    error: `x-line` in [credentials.crm.token_headers] cannot be a header's value
       --> sidebearer.toml:22:10
        |
     22 | x-line = "***"
        |          ^^^^^ expected visible characters and spaces
    "##);
}

#[test]
fn bad_lists_are_refused() {
    let text = r#"
scopes = ["read write", "", "a\"b", 1, "ok"]
resources = ["crm", "https://crm.example.com/#a", "urn:ok"]
auth_method = "private_key"
basic_encoding = "base64"
refresh = "sometimes"
required = "no"
default_lifetime = "500ms"
"#;
    assert_snapshot!(refused(&[CREDENTIAL.trim(), text, LISTENER, UPSTREAM]), @r##"
    error: invalid `scopes` in [credentials.crm]
      --> sidebearer.toml:5:11
       |
     5 | scopes = ["read write", "", "a\"b", 1, "ok"]
       |           ^^^^^^^^^^^^ write one scope a string: ["a", "b"]

    error: invalid `scopes` in [credentials.crm]
      --> sidebearer.toml:5:25
       |
     5 | scopes = ["read write", "", "a\"b", 1, "ok"]
       |                         ^^ expected visible ASCII characters except `"` and `\`

    error: invalid `scopes` in [credentials.crm]
      --> sidebearer.toml:5:29
       |
     5 | scopes = ["read write", "", "a\"b", 1, "ok"]
       |                             ^^^^^^ expected visible ASCII characters except `"` and `\`

    error: wrong type of `scopes` in [credentials.crm]
      --> sidebearer.toml:5:37
       |
     5 | scopes = ["read write", "", "a\"b", 1, "ok"]
       |                                     ^ expected a string, found an integer

    error: invalid `resources` in [credentials.crm]
      --> sidebearer.toml:6:14
       |
     6 | resources = ["crm", "https://crm.example.com/#a", "urn:ok"]
       |              ^^^^^ expected an absolute URI without fragment

    error: invalid `resources` in [credentials.crm]
      --> sidebearer.toml:6:21
       |
     6 | resources = ["crm", "https://crm.example.com/#a", "urn:ok"]
       |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected an absolute URI without fragment

    error: invalid `auth_method` in [credentials.crm]
      --> sidebearer.toml:7:15
       |
     7 | auth_method = "private_key"
       |               ^^^^^^^^^^^^^ expected "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "client_assertion", "tls_client_auth", "self_signed_tls_client_auth" or "none"

    error: invalid `basic_encoding` in [credentials.crm]
      --> sidebearer.toml:8:18
       |
     8 | basic_encoding = "base64"
       |                  ^^^^^^^^ expected "form" or "raw"

    error: invalid `refresh` in [credentials.crm]
      --> sidebearer.toml:9:11
       |
     9 | refresh = "sometimes"
       |           ^^^^^^^^^^^ expected "eager" or "lazy"

    error: wrong type of `required` in [credentials.crm]
       --> sidebearer.toml:10:12
        |
     10 | required = "no"
        |            ^^^^ expected true or false, found a string

    error: invalid `default_lifetime` in [credentials.crm]
       --> sidebearer.toml:11:20
        |
     11 | default_lifetime = "500ms"
        |                    ^^^^^^^ expected 1s to 8760h (a year)
    "##);
}

#[test]
fn raw_client_id_cannot_hold_a_colon() {
    let text = r#"
[credentials.crm]
token_endpoint = "https://login.example.com/token"
client_id = "a:b"
client_secret = { file = "secret" }
basic_encoding = "raw"
"#;
    assert_snapshot!(refused_credential(text), @r##"
    error: `client_id` in [credentials.crm] holds a colon
      --> sidebearer.toml:4:13
       |
     4 | client_id = "***"
       |             ^^^^^ with `basic_encoding = "raw"` it could not be told from the secret (RFC 7617)
    "##);
    let form = text.replace("raw", "form");
    assert_eq!(accepted(&[&form, LISTENER, UPSTREAM]), "");
}

#[test]
fn thousands_of_findings_are_placed_without_reading_the_file_for_each() {
    use rustix::time::{ClockId, clock_gettime};

    const MANY: usize = 3000;
    let mut text = [LISTENER, UPSTREAM, CREDENTIAL].concat();
    for number in 0..MANY {
        text += &format!(
            "[credentials.c{number}]\ntoken_endpoint = \"https://as.example/token\"\n\
             client_id = \"billing\"\nclient_secret = \"hunter2\"\n"
        );
    }
    // Of this thread: other tests do not count.
    let start = clock_gettime(ClockId::ThreadCPUTime).tv_sec;
    let (directory, loaded) = load_parts(&[&text]);
    let seconds = clock_gettime(ClockId::ThreadCPUTime).tv_sec - start;
    let warnings = loaded.unwrap().warnings;
    let secrets = warnings
        .iter()
        .filter(|found| found.help.starts_with("prefer "));
    assert_eq!(secrets.map(|found| found.count).sum::<usize>(), MANY);
    // Every one of them has a place, that of the last included.
    let found = shown(&directory, &warnings);
    let last = format!("from here to sidebearer.toml:{}:17", text.lines().count());
    assert!(found.contains(&last), "{found}");
    assert!(!found.contains("hunter2"));
    assert!(seconds <= 3, "{seconds} s");
}
