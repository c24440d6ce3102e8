use insta::assert_snapshot;

use super::*;

const REST: [&str; 3] = [LISTENER, UPSTREAM, CREDENTIAL];

fn refused_with_rest(text: &str) -> String {
    refused(&[&[text], &REST[..]].concat())
}

#[test]
fn token_in_plain_text_needs_consent() {
    let text = "\n[upstreams.crm]\nurl = \"http://crm.example.com\"\ncredential = \"crm\"\n";
    assert_snapshot!(refused(&[LISTENER, text, CREDENTIAL]), @r##"
    error: `url` in [upstreams.crm] would carry the token in plain text
      --> sidebearer.toml:7:7
       |
     7 | url = "http://crm.example.com"
       |       ^^^^^^^^^^^^^^^^^^^^^^^^ use https, or allow it with `allow_plaintext = true`
    "##);
}

#[test]
fn plain_text_is_fine_on_loopback_with_consent_or_without_a_token() {
    for text in [
        "url = \"http://127.0.0.1:8080\"\ncredential = \"crm\"\n",
        "url = \"http://crm.example.com\"\ncredential = \"crm\"\nallow_plaintext = true\n",
        "url = \"http://crm.example.com\"\n",
    ] {
        let upstream = format!("\n[upstreams.crm]\n{text}");
        let (_directory, loaded) = load_parts(&[LISTENER, &upstream, CREDENTIAL]);
        assert!(!loaded.unwrap().warnings.has_errors(), "{text}");
    }
}

#[test]
fn bad_urls_are_refused() {
    let text = r#"
[upstreams.a]
url = "crm.example.com"

[upstreams.b]
url = "ftp://crm.example.com"

[upstreams.c]
url = "https://crm.example.com/v1/../v2"

[upstreams.d]
url = "https://crm.example.com?tenant=1"

[upstreams.e]
url = "https://crm.example.com:port"

[upstreams.f]
credential = "crm"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    warning: upstream `a` is never used
      --> sidebearer.toml:2:1
       |
     2 | [upstreams.a]
       | ^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `url` in [upstreams.a]
      --> sidebearer.toml:3:7
       |
     3 | url = "crm.example.com"
       |       ^^^^^^^^^^^^^^^^^ expected a URL such as "https://api.example.com/v2"

    warning: upstream `b` is never used
      --> sidebearer.toml:5:1
       |
     5 | [upstreams.b]
       | ^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `url` in [upstreams.b]
      --> sidebearer.toml:6:7
       |
     6 | url = "ftp://crm.example.com"
       |       ^^^^^^^^^^^^^^^^^^^^^^^ expected a URL that begins with http:// or https://

    warning: upstream `c` is never used
      --> sidebearer.toml:8:1
       |
     8 | [upstreams.c]
       | ^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `url` in [upstreams.c]
      --> sidebearer.toml:9:7
       |
     9 | url = "https://crm.example.com/v1/../v2"
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the segments "." and ".." are not allowed in a path

    warning: upstream `d` is never used
       --> sidebearer.toml:11:1
        |
     11 | [upstreams.d]
        | ^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `url` in [upstreams.d]
       --> sidebearer.toml:12:7
        |
     12 | url = "https://crm.example.com?***"
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a query ("?") is not allowed here

    warning: upstream `e` is never used
       --> sidebearer.toml:14:1
        |
     14 | [upstreams.e]
        | ^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `url` in [upstreams.e]
       --> sidebearer.toml:15:7
        |
     15 | url = "https://crm.example.com:port"
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected a URL such as "https://api.example.com/v2"; invalid port number

    error: `url` is missing in [upstreams.f]
       --> sidebearer.toml:17:1
        |
     17 | [upstreams.f]
        | ^^^^^^^^^^^^^ expected a URL such as "https://api.example.com"

    warning: upstream `f` is never used
       --> sidebearer.toml:17:1
        |
     17 | [upstreams.f]
        | ^^^^^^^^^^^^^ no listener and no route names it
    "##);
}

#[test]
fn password_in_a_url_is_not_shown() {
    let shown = refused_with_rest("[upstreams.a]\nurl = \"https://user:hunter2@a.example\"\n");
    assert!(!shown.contains("hunter2"));
    assert_snapshot!(shown, @r##"
    warning: upstream `a` is never used
      --> sidebearer.toml:1:1
       |
     1 | [upstreams.a]
       | ^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `url` in [upstreams.a]
      --> sidebearer.toml:2:7
       |
     2 | url = "***"
       |       ^^^^^ a user name or password is not allowed in a URL
    "##);
}

#[test]
fn bad_headers_and_hosts_are_refused() {
    let text = r#"
[upstreams.erp]
url = "https://erp.example.com"
header = "Transfer.Encoding"
header_prefix = "Token "
host = "user@erp.example.com"
http = "3"

[upstreams.pim]
url = "https://pim.example.com"
header = "x token"
host = "pim.example.com:"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    warning: upstream `erp` is never used
      --> sidebearer.toml:2:1
       |
     2 | [upstreams.erp]
       | ^^^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `header` in [upstreams.erp]
      --> sidebearer.toml:4:10
       |
     4 | header = "Transfer.Encoding"
       |          ^^^^^^^^^^^^^^^^^^^ this header belongs to the connection and cannot be set

    error: invalid `header_prefix` in [upstreams.erp]
      --> sidebearer.toml:5:17
       |
     5 | header_prefix = "Token "
       |                 ^^^^^^^^ expected visible ASCII characters without spaces

    error: invalid `host` in [upstreams.erp]
      --> sidebearer.toml:6:8
       |
     6 | host = "***"
       |        ^^^^^ expected a host name with or without a port

    error: invalid `http` in [upstreams.erp]
      --> sidebearer.toml:7:8
       |
     7 | http = "3"
       |        ^^^ expected "auto", "1.1" or "2"

    warning: upstream `pim` is never used
      --> sidebearer.toml:9:1
       |
     9 | [upstreams.pim]
       | ^^^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `header` in [upstreams.pim]
       --> sidebearer.toml:11:10
        |
     11 | header = "x token"
        |          ^^^^^^^^^ expected a header name such as "authorization"

    error: invalid `host` in [upstreams.pim]
       --> sidebearer.toml:12:8
        |
     12 | host = "pim.example.com:"
        |        ^^^^^^^^^^^^^^^^^^ expected a host name with or without a port
    "##);
}

#[test]
fn tls_settings_of_a_plain_url_are_refused() {
    let text = "[upstreams.erp]\nurl = \"http://127.0.0.1\"\ntls = { min_version = \"1.3\" }\n";
    assert_snapshot!(refused_with_rest(text), @r##"
    warning: upstream `erp` is never used
      --> sidebearer.toml:1:1
       |
     1 | [upstreams.erp]
       | ^^^^^^^^^^^^^^^ no listener and no route names it

    error: `tls` in [upstreams.erp] has no effect
      --> sidebearer.toml:3:7
       |
     3 | tls = { min_version = "1.3" }
       |       ^^^^^^^^^^^^^^^^^^^^^^^ the URL is http://, not https://
    "##);
}

#[test]
fn bad_tls_files_are_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = r#"
[upstreams.a]
url = "https://a.example"
tls = { ca_file = "missing.pem", min_version = "1.1" }

[upstreams.b.tls]
ca_file = "secret"

[upstreams.b]
url = "https://b.example"

[upstreams.c]
url = "https://c.example"
tls.ca_file = "damaged.pem"
tls.certificate_file = "client.pem"

[upstreams.d]
url = "https://d.example"
tls = { certificate_file = "client.pem", key_file = "encrypted.pem" }

[upstreams.e]
url = "https://e.example"
tls = { certificate_file = "client.key", key_file = "client.pem" }

[upstreams.f]
url = "https://f.example"
tls = { certificate_file = "client.pem", key_file = "other.key", server_name = "a b" }
"#;
    let text = [&[text], &REST[..]].concat().concat();
    let directory = directory(&[
        ("sidebearer.toml", &text),
        ("client.pem", &certificate),
        ("client.key", &key.serialize_pem()),
        ("other.key", &other.serialize_pem()),
        ("encrypted.pem", encrypted),
        ("damaged.pem", damaged),
    ]);
    let refused = load(&directory.path().join("sidebearer.toml")).unwrap_err();
    let errors = refused
        .iter()
        .filter(|found| !found.message.contains("never used"));
    let errors = Diagnostics(errors.cloned().collect());
    assert_snapshot!(shown(&directory, &errors), @r##"
    error: invalid `ca_file` in [upstreams.a.tls]
      --> sidebearer.toml:4:19
       |
     4 | tls = { ca_file = "missing.pem", min_version = "1.1" }
       |                   ^^^^^^^^^^^^^ missing.pem: cannot read the file: No such file or directory (os error 2)

    error: invalid `min_version` in [upstreams.a.tls]
      --> sidebearer.toml:4:48
       |
     4 | tls = { ca_file = "missing.pem", min_version = "1.1" }
       |                                                ^^^^^ expected "1.2" or "1.3"

    error: invalid `ca_file` in [upstreams.b.tls]
      --> sidebearer.toml:7:11
       |
     7 | ca_file = "secret"
       |           ^^^^^^^^ secret: the file holds no PEM certificate

    error: invalid `ca_file` in [upstreams.c.tls]
       --> sidebearer.toml:14:15
        |
     14 | tls.ca_file = "damaged.pem"
        |               ^^^^^^^^^^^^^ damaged.pem: a certificate in the file is damaged: invalid peer certificate: BadEncoding

    error: `certificate_file` in [upstreams.c.tls] is set without `key_file`
       --> sidebearer.toml:15:24
        |
     15 | tls.certificate_file = "client.pem"
        |                        ^^^^^^^^^^^^ `certificate_file` and `key_file` belong together

    error: invalid `key_file` in [upstreams.d.tls]
       --> sidebearer.toml:19:53
        |
     19 | tls = { certificate_file = "client.pem", key_file = "encrypted.pem" }
        |                                                     ^^^^^^^^^^^^^^^ encrypted.pem: the key is encrypted; store it decrypted (openssl pkey -in KEY -out PLAIN)

    error: invalid `certificate_file` in [upstreams.e.tls]
       --> sidebearer.toml:23:28
        |
     23 | tls = { certificate_file = "client.key", key_file = "client.pem" }
        |                            ^^^^^^^^^^^^ client.key: the file holds no PEM certificate

    error: invalid `key_file` in [upstreams.e.tls]
       --> sidebearer.toml:23:53
        |
     23 | tls = { certificate_file = "client.key", key_file = "client.pem" }
        |                                                     ^^^^^^^^^^^^ client.pem: the file holds no PEM private key

    error: invalid `key_file` in [upstreams.f.tls]
       --> sidebearer.toml:27:53
        |
     27 | tls = { certificate_file = "client.pem", key_file = "other.key", server_name = "a b" }
        |                                                     ^^^^^^^^^^^ other.key: expected the key of `certificate_file`, this is another

    error: invalid `server_name` in [upstreams.f.tls]
       --> sidebearer.toml:27:80
        |
     27 | tls = { certificate_file = "client.pem", key_file = "other.key", server_name = "a b" }
        |                                                                                ^^^^^ expected a host name or IP address
    "##);
}
