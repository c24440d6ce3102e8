//! Every limit has a key: what it is by default, that it is read, that a bad value is named.

use std::time::Duration;

use super::*;
use crate::config::Config;

/// A limit: where it is, its key, its default, what it may be, and what it may not.
type Limit = (
    &'static str,
    &'static str,
    u128,
    (&'static str, u128),
    (&'static str, &'static str),
);

const LOG: &str = "log";
const EGRESS: &str = "egress";
const SERVER: &str = "server";
const UPSTREAM_CRM: &str = "upstreams.crm";
const CREDENTIAL_CRM: &str = "credentials.crm";
const ADMIN: &str = "admin";
const HEALTH: &str = "health";

const SOME_TIME: &str = "expected 1ms to 8760h (a year)";
const KIB: u128 = 1024;

/// Durations in milliseconds, sizes in bytes.
#[rustfmt::skip]
const LIMITS: [Limit; 52] = [
    (LOG, "buffer", 4 * KIB * KIB, ("\"4KiB\"", 4 * KIB), ("\"2GiB\"", "expected 4KiB to 1GiB")),
    (SERVER, "max_headers", 256, ("7", 7), ("0", "from 1 to 10000")),
    (SERVER, "linger_timeout", 1000, ("\"0s\"", 0), ("\"9000h\"", "expected 0s to 8760h (a year)")),
    (SERVER, "backlog", 1024, ("7", 7), ("0", "from 1 to 1000000")),
    (SERVER, "reserved_files", 32, ("0", 0), ("1000001", "from 0 to 1000000")),
    (SERVER, "body_buffer", 64 * KIB, ("\"8KiB\"", 8 * KIB), ("\"7KiB\"", "expected 8KiB to 16MiB")),
    (SERVER, "tunnel_buffer", 32 * KIB, ("\"1KiB\"", KIB), ("\"2MiB\"", "expected 1KiB to 1MiB")),
    (SERVER, "max_interim_bytes", 64 * KIB, ("\"0B\"", 0), ("\"17MiB\"", "expected 0B to 16MiB")),
    (SERVER, "window_budget", 64 * KIB * KIB, ("\"8MiB\"", 8 * KIB * KIB), ("\"65GiB\"", "expected 0B to 64GiB")),
    (SERVER, "max_concurrent_fetches", 32, ("7", 7), ("0", "from 1 to 10000")),
    (SERVER, "max_file_bytes", KIB * KIB, ("\"1KiB\"", KIB), ("\"1000B\"", "expected 1KiB to 64MiB")),
    (SERVER, "reload_retry_interval", 10_000, ("\"7s\"", 7000), ("\"99ms\"", "expected 100ms to 8760h (a year)")),
    (SERVER, "file_timeout", 5000, ("\"7s\"", 7000), ("\"99ms\"", "expected 100ms to 8760h (a year)")),
    (SERVER, "max_streams", 250, ("7", 7), ("0", "from 1 to 100000")),
    (SERVER, "stream_window", 64 * KIB, ("\"4KiB\"", 4 * KIB), ("\"1B\"", "expected 4KiB to 16MiB")),
    (SERVER, "ping_interval", 30_000, ("\"0s\"", 0), ("\"9000h\"", "expected 0s to 8760h (a year)")),
    (SERVER, "ping_timeout", 20_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (UPSTREAM_CRM, "continue_timeout", 1000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (UPSTREAM_CRM, "connect_protocol_timeout", 1000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (UPSTREAM_CRM, "max_connections", 10_000, ("7", 7), ("0", "from 1 to 1000000")),
    (UPSTREAM_CRM, "max_connecting", 64, ("7", 7), ("0", "from 1 to 1000000")),
    (UPSTREAM_CRM, "max_retries", 3, ("0", 0), ("101", "from 0 to 100")),
    (UPSTREAM_CRM, "body_buffer", 64 * KIB, ("\"8KiB\"", 8 * KIB), ("\"1GiB\"", "expected 8KiB to 16MiB")),
    (UPSTREAM_CRM, "max_response_header_bytes", 64 * KIB, ("\"8KiB\"", 8 * KIB), ("\"2MiB\"", "expected 8KiB to 1MiB")),
    (UPSTREAM_CRM, "max_response_headers", 100, ("7", 7), ("0", "from 1 to 10000")),
    (UPSTREAM_CRM, "max_streams", 100, ("7", 7), ("0", "from 1 to 100000")),
    (UPSTREAM_CRM, "stream_window", 64 * KIB, ("\"4KiB\"", 4 * KIB), ("\"17MiB\"", "expected 4KiB to 16MiB")),
    (UPSTREAM_CRM, "ping_interval", 360_000, ("\"0s\"", 0), ("\"9000h\"", "expected 0s to 8760h (a year)")),
    (UPSTREAM_CRM, "ping_timeout", 20_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (CREDENTIAL_CRM, "max_response_bytes", 64 * KIB, ("\"8KiB\"", 8 * KIB), ("\"2MiB\"", "expected 8KiB to 1MiB")),
    (CREDENTIAL_CRM, "max_token_bytes", 16 * KIB, ("\"1KiB\"", KIB), ("\"1B\"", "expected 1KiB to 1MiB")),
    (CREDENTIAL_CRM, "max_nonce_bytes", 4 * KIB, ("\"64B\"", 64), ("\"65KiB\"", "expected 64B to 64KiB")),
    (CREDENTIAL_CRM, "max_retry_pause", 30_000, ("\"7s\"", 7000), ("\"499ms\"", "expected 500ms to 8760h (a year)")),
    (CREDENTIAL_CRM, "max_refused_pause", 300_000, ("\"7s\"", 7000), ("\"1s\"", "expected 2s to 8760h (a year)")),
    (CREDENTIAL_CRM, "max_retry_after", 300_000, ("\"7s\"", 7000), ("\"0s\"", "expected 500ms to 8760h (a year)")),
    (CREDENTIAL_CRM, "address_delay", 250, ("\"7s\"", 7000), ("\"9ms\"", "expected 10ms to 8760h (a year)")),
    (UPSTREAM_CRM, "address_delay", 250, ("\"7s\"", 7000), ("\"9ms\"", "expected 10ms to 8760h (a year)")),
    (UPSTREAM_CRM, "keepalive_time", 60_000, ("\"7s\"", 7000), ("\"0s\"", "expected whole seconds, 1s to 32767s")),
    (UPSTREAM_CRM, "keepalive_interval", 15_000, ("\"7s\"", 7000), ("\"1500ms\"", "expected whole seconds, 1s to 32767s")),
    (UPSTREAM_CRM, "keepalive_retries", 9, ("7", 7), ("0", "from 1 to 127")),
    (EGRESS, "tunnel_idle_timeout", 3_600_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (ADMIN, "max_connections", 64, ("7", 7), ("0", "from 1 to 10000")),
    (ADMIN, "header_timeout", 10_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (HEALTH, "max_connections", 64, ("7", 7), ("0", "from 1 to 10000")),
    (HEALTH, "header_timeout", 10_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    // Keys of before, which are limits too.
    (SERVER, "max_header_bytes", 64 * KIB, ("\"8KiB\"", 8 * KIB), ("\"7KiB\"", "expected 8KiB to 1MiB")),
    (SERVER, "header_timeout", 10_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (SERVER, "idle_timeout", 120_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (SERVER, "max_connections", 10_000, ("7", 7), ("0", "from 1 to 1000000")),
    (UPSTREAM_CRM, "connect_timeout", 5000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (UPSTREAM_CRM, "response_timeout", 60_000, ("\"7s\"", 7000), ("\"0s\"", SOME_TIME)),
    (UPSTREAM_CRM, "replay_buffer", 64 * KIB, ("\"0B\"", 0), ("\"1GiB\"", "expected 0B to 64MiB")),
];

/// The value of a limit in a configuration.
fn value(config: &Config, section: &str, key: &str) -> u128 {
    let (server, crm) = (&config.server, &config.upstreams["crm"]);
    let credential = &config.credentials["crm"];
    let http2 = match section {
        SERVER => &server.http2,
        _ => &crm.http2,
    };
    let page = match section {
        ADMIN => config.admin.as_ref().unwrap(),
        _ => config.health.as_ref().unwrap(),
    };
    let count = |count: usize| count as u128;
    let time = |time: Duration| time.as_millis();
    match (section, key) {
        (SERVER | UPSTREAM_CRM, "max_streams") => http2.max_streams.into(),
        (SERVER | UPSTREAM_CRM, "stream_window") => http2.stream_window.into(),
        (SERVER | UPSTREAM_CRM, "ping_interval") => time(http2.ping_interval),
        (SERVER | UPSTREAM_CRM, "ping_timeout") => time(http2.ping_timeout),
        (SERVER, "max_header_bytes") => count(server.max_header_bytes),
        (SERVER, "max_headers") => count(server.max_headers),
        (SERVER, "header_timeout") => time(server.header_timeout),
        (SERVER, "idle_timeout") => time(server.idle_timeout),
        (SERVER, "linger_timeout") => time(server.linger_timeout),
        (SERVER, "max_connections") => count(server.max_connections),
        (SERVER, "backlog") => server.backlog.try_into().unwrap(),
        (SERVER, "reserved_files") => server.reserved_files.into(),
        (SERVER, "body_buffer") => count(server.body_buffer),
        (SERVER, "tunnel_buffer") => count(server.tunnel_buffer),
        (SERVER, "max_interim_bytes") => count(server.max_interim_bytes),
        (SERVER, "window_budget") => count(server.window_budget),
        (SERVER, "max_file_bytes") => count(server.max_file_bytes),
        (SERVER, "file_timeout") => time(server.file_timeout),
        (SERVER, "reload_retry_interval") => time(server.reload_retry_interval),
        (SERVER, "max_concurrent_fetches") => count(server.max_concurrent_fetches),
        (UPSTREAM_CRM, "connect_timeout") => time(crm.connect_timeout),
        (UPSTREAM_CRM, "response_timeout") => time(crm.response_timeout),
        (UPSTREAM_CRM, "continue_timeout") => time(crm.continue_timeout),
        (UPSTREAM_CRM, "connect_protocol_timeout") => time(crm.connect_protocol_timeout),
        (UPSTREAM_CRM, "max_connections") => count(crm.max_connections),
        (UPSTREAM_CRM, "max_connecting") => count(crm.max_connecting),
        (UPSTREAM_CRM, "max_retries") => count(crm.max_retries),
        (UPSTREAM_CRM, "replay_buffer") => count(crm.replay_buffer),
        (UPSTREAM_CRM, "body_buffer") => count(crm.body_buffer),
        (UPSTREAM_CRM, "max_response_header_bytes") => count(crm.max_response_header_bytes),
        (UPSTREAM_CRM, "max_response_headers") => count(crm.max_response_headers),
        (CREDENTIAL_CRM, "max_response_bytes") => count(credential.max_response_bytes),
        (CREDENTIAL_CRM, "max_token_bytes") => count(credential.max_token_bytes),
        (CREDENTIAL_CRM, "max_nonce_bytes") => count(credential.max_nonce_bytes),
        (CREDENTIAL_CRM, "max_retry_pause") => time(credential.pauses.retry),
        (CREDENTIAL_CRM, "max_refused_pause") => time(credential.pauses.refused),
        (CREDENTIAL_CRM, "max_retry_after") => time(credential.pauses.retry_after),
        (CREDENTIAL_CRM, "address_delay") => time(credential.dialing.address_delay),
        (UPSTREAM_CRM, "address_delay") => time(crm.dialing.address_delay),
        (UPSTREAM_CRM, "keepalive_time") => time(crm.dialing.keepalive.time),
        (UPSTREAM_CRM, "keepalive_interval") => time(crm.dialing.keepalive.interval),
        (UPSTREAM_CRM, "keepalive_retries") => crm.dialing.keepalive.retries.into(),
        (EGRESS, "tunnel_idle_timeout") => time(config.egress.tunnel_idle_timeout),
        (LOG, "buffer") => count(config.log.buffer),
        (ADMIN | HEALTH, "max_connections") => count(page.max_connections),
        (ADMIN | HEALTH, "header_timeout") => time(page.header_timeout),
        _ => panic!("{key} in [{section}]"),
    }
}

/// The smallest file, and a line in one of its sections.
fn with(section: &str, line: &str) -> (TempDir, Result<Loaded, Diagnostics>) {
    let mut text = [
        LISTENER,
        UPSTREAM,
        CREDENTIAL,
        "[health]\naddress = \"127.0.0.1:7091\"\n",
    ]
    .concat();
    let header = format!("[{section}]\n");
    if !text.contains(&header) {
        text += &header;
    }
    load_parts(&[&text.replace(&header, &format!("{header}{line}\n"))])
}

#[test]
fn every_limit_has_a_key_and_the_documented_default() {
    let operations = include_str!("../../../docs/operations.md");
    let (_, limits) = operations.split_once("\n## Limits").unwrap();
    let (limits, _) = limits.split_once("\n## ").unwrap();
    for (section, key, default, ..) in LIMITS {
        let (_directory, loaded) = with(section, "");
        assert_eq!(
            value(&loaded.unwrap().config, section, key),
            default,
            "{key}"
        );
        let name = format!("`{}.{key}`", section.replace("crm", "NAME"));
        assert!(limits.contains(&name), "{name} is not among the limits");
    }
}

#[test]
fn every_limit_is_read() {
    for (section, key, _, (text, expected), _) in LIMITS {
        let (_directory, loaded) = with(section, &format!("{key} = {text}"));
        assert_eq!(
            value(&loaded.unwrap().config, section, key),
            expected,
            "{key}"
        );
    }
}

#[test]
fn a_limit_beyond_its_bounds_is_named_with_them() {
    for (section, key, _, _, (text, bounds)) in LIMITS {
        let (_directory, loaded) = with(section, &format!("{key} = {text}"));
        let refused = loaded.unwrap_err().to_string();
        let named = format!("invalid `{key}` in [{section}]");
        assert!(refused.contains(&named), "{named}: {refused}");
        assert!(refused.contains(bounds), "{bounds}: {refused}");
    }
}

#[test]
fn the_window_of_a_connection_holds_those_of_its_streams() {
    let (_directory, loaded) = with(SERVER, "");
    let config = loaded.unwrap().config;
    assert_eq!(config.server.http2.connection_window(), 250 * 64 * 1024);
    let crm = &config.upstreams["crm"];
    assert_eq!(crm.http2.connection_window(), 100 * 64 * 1024);
    let largest = "max_streams = 100000\nstream_window = \"16MiB\"";
    let (_directory, loaded) = with(SERVER, largest);
    let http2 = loaded.unwrap().config.server.http2;
    assert_eq!(http2.connection_window(), i32::MAX as u32);
    let (_directory, loaded) = with(SERVER, "max_streams = 1\nstream_window = \"4KiB\"");
    let http2 = loaded.unwrap().config.server.http2;
    assert_eq!(http2.connection_window(), 65_535);
}
