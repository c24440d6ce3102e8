//! What the program finds in its environment.

use std::collections::BTreeMap;
use std::process::Command;

use super::{CALL, World};
use crate::support::api::Api;
use crate::support::collector::Collector;
use crate::support::egress_proxy::HttpProxy;
use crate::support::eventually;
use crate::support::process::run;

/// The largest string that the system gives to a program (execve(2)).
const LONGEST: usize = 128 << 10;

/// What `env` says within `exec`.
async fn variables(mut exec: Command) -> BTreeMap<String, String> {
    exec.env_remove("LD_PRELOAD");
    let ended = run(exec).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = ended.stdout.split('\0');
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_proxy_is_named_to_everyone_who_reads_variables() {
    let world = World::start();
    let found = variables(world.exec(&["env", "-0"])).await;
    let proxy = &found["http_proxy"];
    let port = proxy.strip_prefix("http://127.0.0.1:").unwrap();
    assert_ne!(port.parse::<u16>().unwrap(), 0);
    for name in ["HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] {
        assert_eq!(&found[name], proxy, "{name}");
    }
    assert_eq!(found["NODE_USE_ENV_PROXY"], "1");
    assert_eq!(found["NO_PROXY"], found["no_proxy"]);
    for direct in ["169.254.169.254", "169.254.0.0/16", "fd00:ec2::254"] {
        assert!(found["no_proxy"].split(',').any(|entry| entry == direct));
    }
    // httpx does not start with a network of IPv6.
    let is_network_of_ipv6 = |entry: &str| entry.contains(':') && entry.contains('/');
    assert!(!found["no_proxy"].split(',').any(is_network_of_ipv6));
    let java = &found["JAVA_TOOL_OPTIONS"];
    for option in [
        "-Dhttp.proxyHost=127.0.0.1",
        &format!("-Dhttps.proxyPort={port}"),
        "-Djdk.http.auth.tunneling.disabledSchemes=",
    ] {
        assert!(java.split(' ').any(|it| it == option), "{java}");
    }
    // Nobody asked for these.
    assert!(!found.contains_key("ALL_PROXY") && !found.contains_key("grpc_proxy"));
}

#[tokio::test]
async fn an_upstream_on_loopback_is_called_by_the_proxy_and_other_loopback_is_not() {
    let world = World::start();
    let found = variables(world.exec(&["env", "-0"])).await;
    assert!(!found["no_proxy"].contains("127.0.0.0/8"), "{found:?}");
    assert!(!found["JAVA_TOOL_OPTIONS"].contains("127.*"));
    let config = world.config(&world.api.url());
    let config = config.replace(&world.api.url(), "https://crm.example.com");
    world.configure(&config);
    let found = variables(world.exec(&["env", "-0"])).await;
    let entries: Vec<_> = found["no_proxy"].split(',').collect();
    for direct in ["localhost", "127.0.0.1", "127.0.0.0/8", "::1"] {
        assert!(entries.contains(&direct), "{entries:?}");
    }
    assert!(found["JAVA_TOOL_OPTIONS"].contains("-Dhttp.nonProxyHosts=localhost|127.*|[::1]|"));
}

#[tokio::test]
async fn secrets_of_the_configuration_stay_with_sidebearer() {
    let world = World::start();
    let config = world.config(&world.api.url());
    let config = config.replace("{ file = \"secret\" }", "{ env = \"CRM_SECRET\" }");
    // Also those of what `exec` does not use.
    let unused = "[callers.b]\nkey = { env = \"CALLER_KEY\" }\n\
                  [tracing]\nendpoint = \"http://127.0.0.1:1\"\nheaders = { x-key = { env = \"TRACING_KEY\" } }\n";
    world.configure(&(config + unused));
    let mut exec = world.exec(&["env", "-0"]);
    exec.env("CALLER_KEY", "c".repeat(32));
    exec.env("TRACING_KEY", "t".repeat(32));
    exec.env("CRM_SECRET", "s3cret");
    exec.env("CRM_SECRET_HINT", "another one");
    let found = variables(exec).await;
    for name in ["CRM_SECRET", "CALLER_KEY", "TRACING_KEY"] {
        assert!(!found.contains_key(name), "{name}: {found:?}");
    }
    assert_eq!(found["CRM_SECRET_HINT"], "another one");
}

#[tokio::test]
async fn what_others_have_said_stays() {
    let world = World::start();
    let socket = world.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_nonblocking(true).unwrap();
    let kept = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("LISTEN_FDS", "1"),
        ("WATCHDOG_USEC", "1000000"),
        ("NOTIFY_SOCKET", socket.to_str().unwrap()),
    ];
    let mut exec = world.exec(&["env", "-0"]);
    exec.envs(kept).env("JAVA_TOOL_OPTIONS", "-Xmx64m");
    let found = variables(exec).await;
    for (name, value) in kept {
        assert_eq!(found[name], value);
    }
    assert!(found["JAVA_TOOL_OPTIONS"].starts_with("-Xmx64m -Dhttp.proxyHost="));
    // It is for the program to say that it is ready.
    assert!(manager.recv(&mut [0; 64]).is_err());
}

#[tokio::test]
async fn variables_of_traces_are_for_the_program_and_the_file_is_for_sidebearer() {
    let (named, written) = (Collector::start(), Collector::start());
    let world = World::start();
    let endpoint = format!("http://{}", named.address);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_SERVICE_NAME", "program"),
        // Sidebearer would refuse it, if it read it.
        ("OTEL_TRACES_SAMPLER", "no such sampler"),
    ];
    let exec = |script: &str| {
        let mut exec = world.exec(&["sh", "-c", script]);
        exec.envs(variables);
        run(exec)
    };
    let ended = exec(&format!("{CALL}; env")).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.starts_with("ok"), "{ended:?}");
    for (name, value) in variables {
        let line = format!("{name}={value}");
        assert!(
            ended.stdout.lines().any(|it| it == line),
            "{line}: {ended:?}"
        );
    }
    let traced = world.config(&world.api.url()) + &written.config("sample = 1");
    world.configure(&traced);
    // The program ends when spans have come.
    let seen = world.path("seen");
    let script = format!(
        "{CALL}; until [ -e {} ]; do sleep 0.05; done",
        seen.display()
    );
    let ended = tokio::spawn(exec(&script));
    eventually("spans", async || !written.spans().is_empty()).await;
    std::fs::write(seen, "").unwrap();
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(written.resource("service.name"), "sidebearer");
    assert_eq!(named.requests(), 0);
}

#[tokio::test]
async fn inherited_proxies_become_those_of_sidebearer() {
    let world = World::start();
    let elsewhere = Api::open();
    let proxy = HttpProxy::to(elsewhere.address).start();
    let script = format!("{CALL}; curl -sS http://passes.example.com:8123/; env");
    let mut exec = world.exec(&["sh", "-c", &script]);
    exec.env("HTTP_PROXY", proxy.url("http"));
    exec.env("ALL_PROXY", proxy.url("http"));
    exec.env("NO_PROXY", "somewhere.example.com");
    let ended = run(exec).await;
    assert!(ended.stdout.starts_with("okok"), "{ended:?}");
    // What passes takes the way that it would have taken; loopback, where the API is, takes none.
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET http://passes.example.com:8123/"));
    assert_eq!(world.api.seen().len(), 1);
    assert!(!ended.stdout.contains(&proxy.url("http")), "{ended:?}");
    assert!(!ended.stdout.contains("somewhere.example.com"), "{ended:?}");
}

#[tokio::test]
async fn an_inherited_proxy_that_cannot_be_used_is_an_error_and_shows_no_password() {
    let world = World::start();
    let mut exec = world.exec(&["true"]);
    exec.env("HTTPS_PROXY", "socks4://user:hunter2@proxy.corp:1080");
    let ended = run(exec).await;
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.stderr.contains("HTTPS_PROXY") && ended.stderr.contains("`proxy` in [egress]"));
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[tokio::test]
async fn a_megabyte_of_environment_goes_through() {
    let world = World::start();
    let mut exec = world.exec(&["sh", "-c", &format!("printf %s \"$BIG_7\" | wc -c; {CALL}")]);
    for number in 0..10 {
        exec.env(format!("BIG_{number}"), "x".repeat(100 << 10));
    }
    let ended = run(exec).await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (0, "102400\nok"),
        "{:?}",
        ended.stderr
    );
}

#[tokio::test]
async fn an_environment_that_is_too_large_ends_with_126_and_says_so() {
    let world = World::start();
    let mut exec = world.exec(&["true"]);
    // With the options for the proxy it is longer than any string may be.
    let mut longest = "-Dx=".to_owned();
    longest.push_str(&"y".repeat(LONGEST - "JAVA_TOOL_OPTIONS=".len() - longest.len() - 16));
    exec.env("JAVA_TOOL_OPTIONS", longest);
    let ended = run(exec).await;
    assert_eq!(ended.code, 126, "{ended:?}");
    assert!(
        ended.stderr.contains("too large for the system") && ended.stderr.contains("environment 1"),
        "{ended:?}"
    );
}
