//! `proxy`, `proxy_tls` and `proxy_authorization`.

use super::*;
use crate::config::{Config, ProxyChoice, ProxyScheme};

fn upstream(lines: &str) -> String {
    format!("{LISTENER}\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n{lines}\n")
}

fn config(parts: &[&str]) -> Config {
    let (_directory, loaded) = load_parts(parts);
    loaded.unwrap_or_else(|refused| panic!("{refused}")).config
}

#[test]
fn a_proxy_is_named_with_what_it_is_shown() {
    let config = config(&[&upstream(
        "proxy = \"https://Proxy.corp:3128/\"\nproxy_tls = { server_name = \"inner\" }\nproxy_authorization = { file = \"pair\" }",
    )]);
    let ProxyChoice::Proxy(proxy) = &config.upstreams["crm"].proxy else {
        panic!("{:?}", config.upstreams["crm"].proxy);
    };
    assert_eq!(proxy.to_string(), "https://proxy.corp:3128");
    assert_eq!(proxy.scheme, ProxyScheme::Https);
    assert_eq!(proxy.tls.server_name.as_deref(), Some("inner"));
    let watched = config.named_files();
    assert!(
        watched.iter().any(|file| file.ends_with("pair")),
        "{watched:?}"
    );
}

#[test]
fn the_default_of_egress_is_everybodys_who_says_nothing() {
    let config = config(&[
        LISTENER,
        UPSTREAM,
        CREDENTIAL,
        "[egress]\nproxy = \"socks5h://proxy.corp:1080\"\n",
        "[upstreams.other]\nurl = \"https://b.example.com\"\nproxy = \"none\"\n",
        "[[routes]]\npath = \"/b\"\nupstream = \"other\"\n",
    ]);
    let proxy = |choice: &ProxyChoice| {
        let url = "https://a.example.com".parse().unwrap();
        choice.proxy_for(&url).map(ToString::to_string)
    };
    let default = Some("socks5h://proxy.corp:1080".to_owned());
    assert_eq!(proxy(&config.upstreams["crm"].proxy), default);
    assert_eq!(proxy(&config.credentials["crm"].proxy), default);
    assert_eq!(proxy(&config.egress.proxy), default);
    assert_eq!(proxy(&config.upstreams["other"].proxy), None);
}

#[test]
fn what_is_wrong_about_a_proxy_is_told() {
    for (lines, expected) in [
        (
            "proxy = \"http://user:hunter2@proxy.corp:3128\"",
            "name them in `proxy_authorization`",
        ),
        (
            "proxy = \"http://proxy.corp\"",
            "expected a port, such as \"http://proxy.corp:3128\"",
        ),
        (
            "proxy = \"socks5://proxy.corp:1080\"",
            "did you mean socks5h://",
        ),
        ("proxy = \"proxy.corp:3128\"", "expected a URL such as"),
        ("proxy = \"enviroment\"", "did you mean `environment`?"),
        ("proxy = \"nome\"", "did you mean `none`?"),
        ("proxy = 3128", "expected a URL such as"),
        (
            "proxy = { url = \"http://u:hunter2@a:1\" }",
            "expected a URL such as",
        ),
        (
            "proxy_authorisation = \"a:hunter2\"",
            "did you mean `proxy_authorization`?",
        ),
        (
            "proxy_tls = {}",
            "`proxy_tls` in [upstreams.crm] has no effect",
        ),
        (
            "proxy = \"http://a:1\"\nproxy_tls = {}",
            "`proxy` is not an https:// URL",
        ),
        (
            "proxy_authorization = \"a:b\"",
            "there is no `proxy` beside it",
        ),
        (
            "proxy = \"none\"\nproxy_authorization = \"a:b\"",
            "`proxy` is \"none\"",
        ),
        (
            "proxy = \"http://a:1\"\nproxy_authorization = \"hunter2\"",
            "expected `user:password`",
        ),
        (
            "proxy = \"socks5h://a:1\"\nproxy_authorization = \"Bearer hunter2\"",
            "SOCKS has no other",
        ),
        (
            "proxy = \"http://a:1\"\nproxy_authorization = { file = \"missing\" }",
            "cannot be read",
        ),
        (
            "proxy = \"https://a:1\"\nproxy_tls = { ca_file = \"missing\" }",
            "cannot read the file",
        ),
        (
            "proxy = \"https://a:1\"\nproxy_tls = { certificate_from = \"x\" }",
            "unknown key `certificate_from`",
        ),
    ] {
        let shown = refused(&[&upstream(lines)]);
        assert!(shown.contains(expected), "{lines}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn what_a_proxy_would_break_is_refused() {
    let http = "[upstreams.crm]\nurl = \"http://crm.example.com\"\n";
    let local = "[upstreams.crm]\nurl = \"http://localhost:8080\"\ncredential = \"crm\"\n";
    let proxy = "proxy = \"http://a:1\"\n";
    let credential = CREDENTIAL.replace("https://login.example.com", "http://localhost:9");
    for (parts, expected) in [
        (
            &[http, "host = \"other\"\n", proxy][..],
            "`host` of upstream `crm` cannot be `other`",
        ),
        (
            &[local, proxy, CREDENTIAL],
            "upstream `crm` would send secrets in plain text to the proxy http://a:1",
        ),
        (
            &[UPSTREAM, &credential, proxy],
            "credential `crm` would send secrets in plain text",
        ),
    ] {
        let shown = refused(&[&[LISTENER], parts].concat());
        assert!(shown.contains(expected), "{shown}");
    }
    for parts in [
        &[http, "host = \"crm.example.com\"\n", proxy][..],
        &[http, "host = \"other\"\n", "proxy = \"socks5h://a:1\"\n"],
        &[http, "host = \"other\"\nhttp = \"2\"\n", proxy],
        &[local, "allow_plaintext = true\n", proxy, CREDENTIAL],
    ] {
        config(&[&[LISTENER], parts].concat());
    }
}

#[test]
fn what_passes_goes_through_a_proxy_only_where_no_address_is_judged() {
    let forward =
        "[[listeners]]\naddress = \"127.0.0.1:3128\"\nkind = \"forward\"\nunmatched = \"pass\"\n";
    let parts = |more: &str| {
        format!("{forward}[egress]\nproxy = \"http://a:1\"\n{more}\n{UPSTREAM}{CREDENTIAL}")
    };
    let shown = refused(&[&parts("")]);
    assert!(
        shown.contains("goes through the proxy http://a:1, and its address cannot be checked"),
        "{shown}"
    );
    config(&[&parts("addresses = \"any\"")]);
    config(&[&parts("").replace("unmatched = \"pass\"", "")]);
}
