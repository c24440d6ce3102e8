//! Proxies that the variables of the environment name.

use std::path::Path;

use super::{NAME, plain, secure, secure_api};
use crate::support::api::Api;
use crate::support::client;
use crate::support::egress_proxy::HttpProxy;
use crate::support::process::{Process, command, run};
use crate::support::tls::Ca;
use crate::support::unprotected;

const VARIABLES: [&str; 8] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// One key of an issuer.
const JWKS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A process with this configuration and no other proxy variables than these.
async fn start(config: &str, variables: &[(&str, &str)]) -> Process {
    let dir = tempfile::tempdir().unwrap();
    let spawn = |mut command: std::process::Command, dir| {
        VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.envs(variables.iter().copied());
        Process::spawn(command, dir)
    };
    Process::start_by(spawn, dir, config).await
}

/// What `check` says of this file, which has no errors, with no other proxy variables than these.
async fn check(path: &Path, variables: &[(&str, &str)]) -> String {
    let mut check = command(&["check", "--config", path.to_str().unwrap()]);
    VARIABLES.iter().for_each(|name| {
        check.env_remove(name);
    });
    check.envs(variables.iter().copied());
    let ended = run(check).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stderr + &ended.stdout
}

#[tokio::test]
async fn the_environment_is_used_where_the_configuration_says_so() {
    let ca = Ca::new();
    let api = secure_api(&ca);
    let proxy = HttpProxy::to(api.address)
        .wanting("Basic bWU6cEBzcw==")
        .start();
    let url = format!("me:p%40ss@{}", proxy.address);
    let config = secure(&ca, "proxy = \"environment\"");
    let process = start(
        &config,
        &[("HTTPS_PROXY", &url), ("http_proxy", "127.0.0.1:1")],
    )
    .await;
    assert_eq!(client::get(process.address(), "/").await.status, 200);
    assert_eq!(proxy.asked().len(), 1);
    assert!(!process.log().contains("p@ss") && !process.log().contains("p%40ss"));

    // What is exempt is reached directly, which this name cannot be.
    let exempt = [("HTTPS_PROXY", &*url), ("no_proxy", "other, .internal")];
    let process = start(&config, &exempt).await;
    let answer = client::get(process.address(), "/").await;
    assert_eq!(&*answer.code(), "upstream_connect");
    assert!(!answer.text().contains("proxy"), "{}", answer.text());
    assert_eq!(proxy.asked().len(), 1);
}

#[tokio::test]
async fn a_proxy_of_the_environment_that_is_not_used_is_told_in_one_line() {
    let api = Api::open();
    let proxy = HttpProxy::to(api.address).start();
    let told = "the proxy that http_proxy names is not used";
    let variables = [("http_proxy", &*proxy.url("http"))];
    let process = start(&unprotected(&api.url(), ""), &variables).await;
    assert_eq!(client::get(process.address(), "/").await.text(), "ok");
    assert!(proxy.asked().is_empty());
    assert_eq!(process.log().matches(told).count(), 1, "{}", process.log());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    for (lines, variable, count) in [
        ("", "http_proxy", 1),
        ("proxy = \"none\"", "http_proxy", 0),
        ("", "HTTP_PROXY", 0),
        ("", "https_proxy", 0),
    ] {
        std::fs::write(&path, plain(lines)).unwrap();
        let shown = check(&path, &[(variable, &*proxy.url("http"))]).await;
        assert_eq!(
            shown.matches(told).count(),
            count,
            "{NAME} {lines} {variable}: {shown}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_only_what_passes_or_verifies_callers_could_use_is_told_of_too() {
    let ca = Ca::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(dir.path().join("token"), "s3cret").unwrap();
    std::fs::write(dir.path().join("jwks"), JWKS).unwrap();
    let listener = |lines: &str| {
        format!("[[listeners]]\nname = \"way\"\naddress = \"127.0.0.1:3128\"\n{lines}\n")
    };
    let passing = listener("kind = \"forward\"\nunmatched = \"pass\"");
    let by_rule = |host: &str, action: &str| {
        listener("kind = \"forward\"")
            + &format!("[[egress.rules]]\nhosts = [\"{host}\"]\naction = \"{action}\"\n")
    };
    let upstream = "[upstreams.api]\nurl = \"https://api.internal\"\nproxy = \"none\"\n";
    let called = |caller: &str| {
        listener("upstream = \"api\"\ncallers = [\"billing\"]")
            + upstream
            + &format!("[callers.billing]\n{caller}\n")
    };
    let issuer = called("token = { issuer = \"https://login.example.com\", audience = \"x\" }");
    let known = called(
        "token = { issuer = \"https://login.example.com\", audience = \"x\", jwks_file = \"jwks\" }",
    );
    let kubernetes = |lines: &str| {
        let files = format!(
            "token_file = \"token\"\nca_file = \"{}\"\n",
            ca.file().display()
        );
        called("service_account = \"billing/app\"") + "[kubernetes]\n" + lines + &files
    };
    let api_server = kubernetes("api_server = \"https://10.0.0.1\"\n");
    let (http, https) = ("http_proxy", "https_proxy");
    let said = |config: &str| format!("{config}[egress]\nproxy = \"none\"\n");
    for (config, variable, exempt, is_told) in [
        (&passing, https, "", true),
        (&passing, http, "other", true),
        (&passing, https, "*", false),
        (&said(&passing), https, "", false),
        (&listener("kind = \"forward\""), https, "", false),
        // It goes on to its own address.
        (&listener("kind = \"redirected\""), https, "", false),
        (&by_rule("*.github.com", "pass"), https, "", true),
        (
            &by_rule("*.github.com", "pass"),
            https,
            ".github.com",
            false,
        ),
        (&by_rule("github.com", "pass"), http, "", true),
        (&by_rule("github.com", "pass"), http, "github.com", false),
        (&by_rule("github.com", "deny"), http, "", false),
        (&issuer, https, "", true),
        (&issuer, http, "", false),
        (&issuer, https, "login.example.com", false),
        (&said(&issuer), https, "", false),
        (&known, https, "", false),
        (&api_server, https, "", true),
        (&api_server, https, "10.0.0.0/8", false),
        // The environment of a pod names the server.
        (&kubernetes(""), https, "", false),
    ] {
        std::fs::write(&path, config).unwrap();
        let shown = check(
            &path,
            &[(variable, "http://127.0.0.1:9"), ("no_proxy", exempt)],
        )
        .await;
        let told = format!(
            "the proxy that {variable} names is not used: `proxy = \"environment\"` in [egress] uses it"
        );
        let count = usize::from(is_told);
        let context = format!("{config} {variable} {exempt}: {shown}");
        assert_eq!(shown.matches(&told).count(), count, "{context}");
        assert_eq!(shown.matches("is not used").count(), count, "{context}");
    }
}
