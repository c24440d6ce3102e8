use insta::assert_snapshot;

use super::*;

/// What is shown for these upstreams, and a credential `crm` with or without a certificate.
fn bound(upstreams: &str, certificate: bool) -> Result<Loaded, String> {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let tls = if certificate {
        "tls = { certificate_file = \"client.pem\", key_file = \"client.key\" }\n"
    } else {
        ""
    };
    let text = [LISTENER, upstreams, CREDENTIAL, tls].concat();
    let files = [
        ("sidebearer.toml", text.as_str()),
        ("client.pem", &pem),
        ("client.key", &key.serialize_pem()),
    ];
    let directory = directory(&files);
    let loaded = load(&directory.path().join("sidebearer.toml"));
    loaded.map_err(|refused| shown(&directory, &refused))
}

fn refused_bound(upstreams: &str, certificate: bool) -> String {
    bound(upstreams, certificate).unwrap_err()
}

#[test]
fn an_upstream_may_present_the_certificate_of_its_credential() {
    let text = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
tls = { certificate_from = "crm", server_name = "crm" }

[upstreams.free]
url = "https://crm.example.com"
credential = "crm"

[[routes]]
path = "/free"
upstream = "free"
"#;
    let loaded = bound(text, true).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    assert!(
        config.upstreams["crm"].certificate_bound && !config.upstreams["free"].certificate_bound
    );
    let tls = &config.upstreams["crm"].tls;
    assert_eq!(tls.server_name.as_deref(), Some("crm"));
    assert!(tls.certificate_file.is_none());
    assert_eq!(config.certificate_bound_credentials(), ["crm"].into());
}

#[test]
fn a_certificate_comes_from_the_credential_whose_token_is_sent() {
    let text = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
tls = { certificate_from = "cmr" }

[upstreams.bare]
url = "https://crm.example.com"
tls = { certificate_from = "crm" }

[[routes]]
path = "/bare"
upstream = "bare"
"#;
    assert_snapshot!(refused_bound(text, true), @r##"
    error: `certificate_from` in [upstreams.crm.tls] is not the upstream's `credential`
      --> sidebearer.toml:9:28
       |
     9 | tls = { certificate_from = "cmr" }
       |                            ^^^^^ expected `crm`, whose token is sent

    error: `certificate_from` in [upstreams.bare.tls] needs `credential`
       --> sidebearer.toml:13:28
        |
     13 | tls = { certificate_from = "crm" }
        |                            ^^^^^ its token is what the certificate is for; without one, name `certificate_file`
    "##);
}

#[test]
fn a_credential_without_a_certificate_has_none_to_present() {
    let text = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
tls = { certificate_from = "crm" }
"#;
    assert_snapshot!(refused_bound(text, false), @r##"
    error: credential `crm` has no certificate
      --> sidebearer.toml:9:28
       |
     9 | tls = { certificate_from = "crm" }
       |                            ^^^^^ give it `tls.certificate_file` and `tls.key_file`
    "##);
}

#[test]
fn an_upstream_presents_one_certificate_and_over_tls_alone() {
    let text = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
tls = { certificate_from = "crm", certificate_file = "client.pem", key_file = "client.key" }

[upstreams.plain]
url = "http://127.0.0.1:8080"
credential = "crm"
tls = { certificate_from = "crm" }

[[routes]]
path = "/plain"
upstream = "plain"
"#;
    assert_snapshot!(refused_bound(text, true), @r##"
    error: `certificate_from` in [upstreams.crm.tls] stands beside `certificate_file`
      --> sidebearer.toml:9:28
       |
     9 | tls = { certificate_from = "crm", certificate_file = "client.pem", key_file = "client.key" }
       |                            ^^^^^ keep one: the certificate of a credential, or one of the upstream's own

    error: `tls` in [upstreams.plain] has no effect
       --> sidebearer.toml:14:7
        |
     14 | tls = { certificate_from = "crm" }
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the URL is http://, not https://
    "##);
}

#[test]
fn an_unknown_credential_is_reported_once() {
    let text = r#"
[upstreams.crm]
url = "https://crm.example.com"
credential = "cmr"
tls = { certificate_from = "cmr" }
"#;
    let shown = refused_bound(text, true);
    assert_eq!(shown.matches("error: ").count(), 1, "{shown}");
    assert!(shown.contains("did you mean `crm`?"), "{shown}");
}

#[test]
fn a_credential_takes_its_certificate_from_nowhere_else() {
    let credential = format!("{CREDENTIAL}tls = {{ certificate_from = \"crm\" }}\n");
    let shown = refused(&[LISTENER, UPSTREAM, &credential]);
    assert_snapshot!(shown, @r##"
    error: unknown key `certificate_from` in [credentials.crm.tls]
       --> sidebearer.toml:14:9
        |
     14 | tls = { certificate_from = "***" }
        |         ^^^^^^^^^^^^^^^^ did you mean `certificate_file`?
    "##);
}
