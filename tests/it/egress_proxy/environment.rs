//! Proxies that the variables of the environment name.

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
        let mut check = command(&["check", "--config", path.to_str().unwrap()]);
        VARIABLES.iter().for_each(|name| {
            check.env_remove(name);
        });
        check.env(variable, proxy.url("http"));
        let ended = run(check).await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let shown = ended.stderr + &ended.stdout;
        assert_eq!(
            shown.matches(told).count(),
            count,
            "{NAME} {lines} {variable}: {shown}"
        );
    }
}
