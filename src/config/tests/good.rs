use std::path::PathBuf;
use std::time::Duration;

use http::Method;

use super::*;
use crate::config::{
    AccessLog, AuthorizationServer, BasicEncoding, ClientAuth, Config, HostPattern, HttpVersion,
    ListenAddress, Log, LogFormat, Refresh, SecretSource, Server, Tls,
};

fn config(parts: &[&str]) -> (TempDir, Config) {
    let (directory, loaded) = load_parts(parts);
    let loaded = loaded.unwrap_or_else(|refused| panic!("{refused}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    (directory, loaded.config)
}

#[test]
fn smallest_file_gets_the_documented_defaults() {
    let (directory, config) = config(&[LISTENER, UPSTREAM, CREDENTIAL]);
    let seconds = Duration::from_secs;
    assert_eq!(config.server.workers, 0);
    assert_eq!(config.server.shutdown_delay, Duration::ZERO);
    assert_eq!(config.server.drain_timeout, seconds(25));
    assert_eq!(config.server.max_header_bytes, 65_536);
    assert_eq!(config.server.header_timeout, seconds(10));
    assert_eq!(config.server.idle_timeout, seconds(120));
    assert_eq!(config.server.max_connections, 10_000);
    assert!(config.server.via);
    assert!(!config.server.request_id);
    let log = Log {
        format: LogFormat::Auto,
        level: tracing::Level::INFO,
        access: AccessLog::Errors,
        buffer: 4 << 20,
    };
    assert_eq!(config.log, log);
    assert_eq!(
        config.admin.as_ref().unwrap().address.to_string(),
        "127.0.0.1:7090"
    );
    assert_eq!(config.health, None);

    let [listener] = &config.listeners[..] else {
        panic!("one listener")
    };
    assert_eq!(listener.name, "127.0.0.1:7080");
    assert!(listener.hosts.is_empty() && listener.allow_origins.is_empty());
    assert!(!listener.allow_browsers);
    let [route] = &config.routes[..] else {
        panic!("one route")
    };
    assert_eq!(route.listener.as_deref(), Some("127.0.0.1:7080"));
    assert_eq!(route.host, HostPattern::Any);
    assert_eq!((&*route.path, &*route.upstream), ("/", "crm"));

    let upstream = &config.upstreams["crm"];
    assert_eq!(upstream.url.as_str(), "https://crm.example.com/");
    assert_eq!(upstream.credential.as_deref(), Some("crm"));
    assert_eq!(upstream.http, HttpVersion::Auto);
    assert_eq!(upstream.host, None);
    assert_eq!(upstream.connect_timeout, seconds(5));
    assert_eq!(upstream.response_timeout, seconds(60));
    assert_eq!(upstream.stream_idle_timeout, Some(seconds(300)));
    assert_eq!((upstream.pool_idle, upstream.replay_buffer), (256, 65_536));
    assert_eq!(upstream.pool_idle_timeout, seconds(50));
    assert_eq!(upstream.max_connection_age, Some(seconds(600)));
    assert!(upstream.retry_on_401);
    assert_eq!(upstream.header, "authorization");
    assert_eq!(upstream.header_prefix, None);
    assert_eq!(upstream.tls, Tls::default());

    let credential = &config.credentials["crm"];
    let secret = SecretSource::File(directory.path().join("secret").into());
    let encoding = BasicEncoding::Form;
    assert_eq!(
        credential.auth,
        ClientAuth::SecretBasic { secret, encoding }
    );
    let client_id = credential.client_id.as_ref().unwrap();
    assert_eq!(client_id.read().unwrap().expose(), "billing");
    assert_eq!(
        (credential.refresh, credential.required),
        (Refresh::Eager, true)
    );
    assert_eq!(credential.default_lifetime, seconds(300));
    assert_eq!(credential.max_lifetime, seconds(86_400));
    assert_eq!(credential.fetch_timeout, seconds(10));
    assert_eq!(credential.acquire_timeout, seconds(5));
    assert!(credential.scopes.is_empty() && credential.resources.is_empty());
    assert_eq!(credential.audience, None);
    assert_eq!(config.named_files(), [directory.path().join("secret")]);
}

#[test]
fn every_key_is_read() {
    let text = r#"
[server]
workers = 3
shutdown_delay = "1s"
drain_timeout = "2s"
max_header_bytes = "9KiB"
header_timeout = "3s"
idle_timeout = "4s"
max_connections = 5
via = false
request_id = true

[log]
format = "text"
level = "debug"
access = "all"

[health]
address = "0.0.0.0:7091"

[admin]
address = "0.0.0.0:7092"
allow_network = true

[[listeners]]
name = "app"
address = "unix:app.sock"
mode = "0600"

[[listeners]]
address = "0.0.0.0:8080"
allow_network = true
hosts = ["CRM.local.", "[::0]"]
allow_origins = ["HTTPS://App.example.com:443", "tauri://localhost"]

[[listeners]]
address = "127.0.0.1:8081"
allow_browsers = true

[upstreams.crm]
url = "https://CRM.example.com/v%7e"
http = "2"
host = "other.example:8443"
connect_timeout = "6s"
response_timeout = "7s"
stream_idle_timeout = "0s"
pool_idle = 8
pool_idle_timeout = "9s"
max_connection_age = "0s"
retry_on_401 = false
replay_buffer = "0B"
header = "X-Token"
header_prefix = ""
tls = { min_version = "1.3", server_name = "crm.internal" }

[[routes]]
listener = "app"
host = "*.CRM.local"
path = "/%61pp"
methods = ["GET", "PROPFIND"]
upstream = "crm"
replace_prefix = "/"

[[routes]]
host = "[0::1]"
upstream = "erp"

[upstreams.erp]
url = "http://127.0.0.1:1"
credential = "erp"

[credentials.erp]
issuer = "https://login.example.com/tenant/"
client_id = { file = "secret" }
client_secret = { env = "PATH" }
auth_method = "client_secret_post"
scopes = ["a", "b"]
audience = "erp"
resources = ["urn:erp"]
extra_parameters = { tenant = "t", key = { file = "secret" } }
token_headers = { X-Key = { file = "secret" } }
refresh = "lazy"
required = false
default_lifetime = "10s"
max_lifetime = "11s"
fetch_timeout = "12s"
acquire_timeout = "13s"

[[routes]]
path = "/plain"
upstream = "plain"

[upstreams.plain]
url = "http://plain.example"
credential = "plain"
allow_plaintext = true

[credentials.plain]
token_endpoint = "http://login.example/token"
client_id = "plain"
client_secret = { file = "secret" }
basic_encoding = "raw"
allow_plaintext = true
"#;
    let (directory, config) = config(&[text]);
    let path = |name| directory.path().join(name);
    let seconds = Duration::from_secs;
    let server = Server {
        workers: 3,
        shutdown_delay: seconds(1),
        drain_timeout: seconds(2),
        max_header_bytes: 9 << 10,
        header_timeout: seconds(3),
        idle_timeout: seconds(4),
        max_connections: 5,
        via: false,
        request_id: true,
        ..Server::default()
    };
    assert_eq!(config.server, server);
    let log = Log {
        format: LogFormat::Text,
        level: tracing::Level::DEBUG,
        access: AccessLog::All,
        buffer: 4 << 20,
    };
    assert_eq!(config.log, log);
    assert_eq!(config.health.unwrap().address.to_string(), "0.0.0.0:7091");
    assert_eq!(
        config.admin.as_ref().unwrap().address.to_string(),
        "0.0.0.0:7092"
    );
    let socket = ListenAddress::Unix {
        path: path("app.sock"),
        mode: 0o600,
    };
    assert_eq!(config.listeners[0].address, socket);
    assert_eq!(config.listeners[1].name, "0.0.0.0:8080");
    assert_eq!(config.listeners[1].hosts, ["crm.local", "[::]"]);
    assert!(!config.listeners[1].allow_browsers);
    assert!(config.listeners[2].allow_browsers);
    let origins = ["https://app.example.com", "tauri://localhost"];
    assert_eq!(config.listeners[1].allow_origins, origins);

    let crm = &config.upstreams["crm"];
    assert_eq!(crm.url.as_str(), "https://crm.example.com/v~");
    assert_eq!(crm.http, HttpVersion::Http2);
    assert_eq!(crm.host.as_deref(), Some("other.example:8443"));
    assert_eq!(crm.connect_timeout, seconds(6));
    assert_eq!(crm.response_timeout, seconds(7));
    assert_eq!((crm.stream_idle_timeout, crm.replay_buffer), (None, 0));
    assert_eq!((crm.pool_idle, crm.pool_idle_timeout), (8, seconds(9)));
    assert_eq!(crm.max_connection_age, None);
    assert!(!crm.retry_on_401);
    assert_eq!(
        (crm.header.as_str(), crm.header_prefix.as_deref()),
        ("x-token", Some(""))
    );
    assert!(crm.tls.tls13_only);
    assert_eq!(crm.tls.server_name.as_deref(), Some("crm.internal"));

    let route = &config.routes[0];
    assert_eq!(route.host, HostPattern::Wildcard("crm.local".into()));
    assert_eq!(
        (&*route.path, route.replace_prefix.as_deref()),
        ("/app", Some("/"))
    );
    assert_eq!(
        *route.methods,
        [Method::GET, Method::from_bytes(b"PROPFIND").unwrap()]
    );
    assert_eq!(config.routes[1].host, HostPattern::Exact("[::1]".into()));

    let erp = &config.credentials["erp"];
    let AuthorizationServer::Issuer(issuer, _) = &erp.server else {
        panic!("{erp:?}")
    };
    assert_eq!(issuer, "https://login.example.com/tenant/");
    let secret = SecretSource::Env("PATH".to_owned());
    assert_eq!(erp.auth, ClientAuth::SecretPost { secret });
    assert_eq!(erp.scopes, ["a", "b"]);
    assert_eq!(erp.resources, ["urn:erp"]);
    assert_eq!(erp.audience.as_deref(), Some("erp"));
    assert_eq!(
        erp.extra_parameters["key"],
        SecretSource::File(path("secret").into())
    );
    assert_eq!(erp.extra_parameters["tenant"].read().unwrap().expose(), "t");
    assert_eq!(erp.token_headers[0].0, "x-key");
    assert_eq!((erp.refresh, erp.required), (Refresh::Lazy, false));
    assert_eq!(erp.default_lifetime, seconds(10));
    assert_eq!(erp.max_lifetime, seconds(11));
    assert_eq!(erp.fetch_timeout, seconds(12));
    assert_eq!(erp.acquire_timeout, seconds(13));

    let plain = &config.credentials["plain"];
    assert!(plain.allow_plaintext);
    let ClientAuth::SecretBasic { encoding, .. } = plain.auth else {
        panic!("{plain:?}")
    };
    assert_eq!(encoding, BasicEncoding::Raw);
}

#[test]
fn files_of_a_directory_are_merged() {
    let directory = directory(&[
        ("a.toml", LISTENER),
        ("b.toml", UPSTREAM),
        (".c.toml", "not read"),
        ("d.txt", "not read"),
    ]);
    let linked = self::directory(&[("credential", CREDENTIAL)]);
    let link = directory.path().join("c.toml");
    std::os::unix::fs::symlink(linked.path().join("credential"), link).unwrap();
    std::fs::create_dir(directory.path().join("e.toml")).unwrap();
    let loaded = load(directory.path()).unwrap();
    let named = |path: &PathBuf| path.strip_prefix(directory.path()).unwrap().to_owned();
    let files: Vec<_> = loaded.files.iter().map(named).collect();
    let expected = ["", "a.toml", "b.toml", "c.toml"].map(PathBuf::from);
    assert_eq!(files, expected);
    // Relative to where the file is named, not to where a link leads.
    assert_eq!(
        loaded.config.named_files(),
        [directory.path().join("secret")]
    );
}

#[test]
fn examples_load() {
    for example in ["sidecar.toml", "gateway.toml", "egress.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("config")
            .join(example);
        let text = std::fs::read_to_string(path).unwrap();
        let directory = directory(&[]);
        let text = with_caller_keys(&directory, &text);
        add_certificate(&directory);
        let (ca, list) = super::listener_tls::issuer_with_list();
        std::fs::write(directory.path().join("clients-ca.pem"), ca).unwrap();
        std::fs::write(directory.path().join("clients.crl"), list).unwrap();
        let here = directory.path().join("secret").display().to_string();
        let secrets = replace_paths(&text, "/run/secrets/", &here);
        let text = secrets
            .replace("unix:/run/sidebearer/", "unix:")
            .replace("/etc/sidebearer/tls/gateway.", "server.")
            .replace("/etc/sidebearer/tls/", "")
            .replace("/var/log/sidebearer/", "");
        std::fs::write(directory.path().join(example), text).unwrap();
        let loaded = load(&directory.path().join(example)).unwrap_or_else(|e| panic!("{e}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert!(!loaded.config.credentials.is_empty());
    }
}

#[test]
fn the_example_of_a_gateway_has_thirty_callers_known_by_every_means() {
    let text = include_str!("../../../config/gateway.toml");
    let callers = text.lines().filter(|line| line.starts_with("[callers."));
    assert_eq!(callers.count(), 31, "with [callers.\"*\"]");
    for means in [
        "spiffe_id = ",
        "certificate_name = ",
        "service_account = ",
        ".token]",
        "user = ",
        "key = { file",
    ] {
        assert!(text.contains(means), "{means}");
    }
}

/// The text with a file for each key of a caller, whose value is like no other.
fn with_caller_keys(directory: &TempDir, text: &str) -> String {
    let mut parts = text.split("\"/run/secrets/callers/");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let (name, rest) = part.split_once('"').unwrap();
        let key = format!("{name}{}", "0".repeat(32));
        std::fs::write(directory.path().join(name), key).unwrap();
        format!("{text}\"{name}\"{rest}")
    })
}

/// Every string that begins with `prefix`, replaced whole.
fn replace_paths(text: &str, prefix: &str, with: &str) -> String {
    let start = format!("\"{prefix}");
    let mut parts = text.split(&start);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let (_, rest) = part.split_once('"').unwrap();
        format!("{text}\"{with}\"{rest}")
    })
}
