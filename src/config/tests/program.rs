//! Configurations for the program that `exec` starts.

use std::time::Duration;

use tempfile::TempDir;
use tracing::Level;

use super::{CREDENTIAL, UPSTREAM};
use crate::config::{
    AccessLog, Config, ConfigSource, Diagnostics, EgressAction, EgressAddresses, EgressPorts,
    HostPattern, Loaded, LogFormat, ProgramSettings,
};

fn load(text: &str, verbose: bool) -> (TempDir, Result<Loaded, Diagnostics>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.toml");
    std::fs::write(directory.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(&path, text).unwrap();
    let program = Some(ProgramSettings {
        uid: 1000,
        verbose,
        directory: Some("/private".into()),
    });
    let loaded = ConfigSource {
        origin: path.into(),
        program,
    }
    .load();
    (directory, loaded)
}

fn config(parts: &[&str]) -> Config {
    let (_directory, loaded) = load(&parts.concat(), false);
    loaded.unwrap_or_else(|refused| panic!("{refused}")).config
}

#[test]
fn it_has_one_listener_of_its_own_whatever_the_files_say() {
    let ways_in = r#"
[admin]
address = "0.0.0.0:1"

[health]
nonsense = 1

[callers.billing]
key = { file = "not-there" }

[[listeners]]
name = "app"
address = "unix:/nowhere/app.sock"
upstream = "nobody"
"#;
    for ways_in in ["", ways_in] {
        let config = config(&[ways_in, UPSTREAM, CREDENTIAL]);
        assert_eq!((config.admin, config.health), (None, None));
        assert!(config.callers.is_empty());
        let [listener] = &*config.listeners else {
            panic!("{:?}", config.listeners);
        };
        assert!(!listener.address.is_on_network());
        assert_eq!(listener.only_uid, Some(1000));
        let forward = listener.forward.as_ref().unwrap();
        assert_eq!(forward.upstreams, ["*"]);
        assert_eq!(forward.unmatched, EgressAction::Pass);
    }
}

#[test]
fn what_the_program_does_besides_passes_unless_it_is_denied() {
    let config_without = config(&[UPSTREAM, CREDENTIAL]);
    assert_eq!(config_without.egress.addresses, EgressAddresses::Any);
    assert_eq!(config_without.egress.ports, EgressPorts::Any);
    let egress = r#"
[egress]
deny = ["10.0.0.0/8"]

[[egress.rules]]
hosts = ["one.example.org"]

[[egress.rules]]
hosts = ["two.example.org"]
listeners = ["proxy"]
"#;
    let config = config(&[egress, UPSTREAM, CREDENTIAL]);
    assert_eq!(config.egress.deny.len(), 1);
    let [rule] = &*config.egress.rules else {
        panic!("{:?}", config.egress.rules);
    };
    let one = HostPattern::Exact("one.example.org".into());
    assert_eq!(rule.hosts, [one]);
}

#[test]
fn the_ca_is_for_the_hosts_that_are_called_by_https_alone() {
    let other = "[interception]\nkey_directory = \"/nowhere\"\n";
    let upstreams = r#"
[upstreams.erp]
url = "https://erp.example.com:8443/v2"
hosts = ["erp.internal", "odd_name.internal:443"]

[upstreams.plain]
url = "http://plain.example.com"
"#;
    let with = config(&[other, UPSTREAM, upstreams, CREDENTIAL]);
    assert!(with.listeners[0].forward.as_ref().unwrap().intercept);
    let ca = with.interception.unwrap();
    let hosts = [
        "crm.example.com",
        "erp.example.com",
        "erp.internal",
        "odd_name.internal",
    ];
    assert_eq!(ca.domains, hosts);
    assert!(ca.key_directory.starts_with("/private"));
    assert_ne!(ca.key_directory, ca.trust_directory);

    let plain = UPSTREAM.replace("https://", "http://") + "allow_plaintext = true\n";
    let without = config(&[&plain, CREDENTIAL]);
    assert!(!without.listeners[0].forward.as_ref().unwrap().intercept);
    assert_eq!(without.interception, None);
}

#[test]
fn routes_are_kept_that_are_for_a_host_and_every_listener() {
    let routes = r#"
[[routes]]
path = "/crm"
upstream = "crm"

[[routes]]
listener = "app"
host = "old.example.com"
path = "/"
upstream = "crm"

[[routes]]
host = "crm.internal"
path = "/"
upstream = "crm"
"#;
    let config = config(&[routes, UPSTREAM, CREDENTIAL]);
    let hosts: Vec<_> = config.routes.iter().map(|route| &route.host).collect();
    let kept = HostPattern::Exact("crm.internal".into());
    assert_eq!(hosts, [&kept]);
}

#[test]
fn it_is_quiet_and_small_and_ends_soon_unless_something_else_is_written() {
    let usual = config(&[UPSTREAM, CREDENTIAL]);
    assert_eq!(usual.log.level, Level::WARN);
    assert_eq!(usual.log.access, AccessLog::Failures);
    assert_eq!(usual.log.format, LogFormat::Text);
    assert!((1..=2).contains(&usual.server.workers));
    assert_eq!(usual.server.shutdown_delay, Duration::ZERO);
    assert_eq!(usual.server.drain_timeout, Duration::from_secs(5));

    let written = "[server]\nworkers = 3\ndrain_timeout = \"1s\"\nshutdown_delay = \"9s\"\n\
                   [log]\nformat = \"json\"\nlevel = \"debug\"\naccess = \"all\"\n";
    let text = [written, UPSTREAM, CREDENTIAL].concat();
    let (_directory, loaded) = load(&text, true);
    let config = loaded.unwrap().config;
    assert_eq!(config.log.level, Level::DEBUG);
    assert_eq!(config.log.access, AccessLog::All);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.server.workers, 3);
    assert_eq!(config.server.shutdown_delay, Duration::ZERO);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(1));
}

#[test]
fn a_program_without_an_upstream_or_with_other_callers_is_refused() {
    let by_caller =
        "[upstreams.erp]\nurl = \"https://erp.example.com\"\ncredentials = { a = \"crm\" }\n";
    for (text, said) in [
        (
            "[log]\nlevel = \"info\"\n".to_owned(),
            "there is no upstream",
        ),
        (
            [by_caller, CREDENTIAL].concat(),
            "`credentials` of upstream `erp` needs to know the caller",
        ),
        (
            ["[audit]\nfile = \"stdout\"\n", UPSTREAM, CREDENTIAL].concat(),
            "would mix with what the program writes",
        ),
    ] {
        let refused = load(&text, false).1.unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}
