//! What the program finds in its environment: this process's own, with a proxy, and without secrets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use url::Host;

use crate::config::{Config, NoProxy};
use crate::interception::trust;

/// The names of the proxy variables, which programs read in one case or the other.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"];
/// Those that only some programs read, before all others: they are replaced where they were inherited.
const OTHER_PROXIES: [&str; 5] = [
    "all_proxy",
    "ALL_PROXY",
    "grpc_proxy",
    "npm_config_proxy",
    "npm_config_https_proxy",
];
const NO_PROXIES: [&str; 2] = ["no_proxy", "NO_PROXY"];
const OTHER_NO_PROXIES: [&str; 2] = ["no_grpc_proxy", "npm_config_noproxy"];

/// Node's own switch, from version 24 on.
const NODE: &str = "NODE_USE_ENV_PROXY";
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// The process that sockets and a watchdog are for (sd_listen_fds(3), sd_watchdog_enabled(3)).
pub(super) const PROCESS_NUMBERS: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// What is on this machine or beside it: loopback, link-local, and the metadata services of clouds. As `NO_PROXY` has
/// it, and as Java has it, if there are words for it there.
const DIRECT: [(&str, Option<&str>); 14] = [
    ("localhost", Some("localhost")),
    ("127.0.0.1", None),
    ("127.0.0.0/8", Some("127.*")),
    ("::1", Some("[::1]")),
    // Networks are not understood by every program: the addresses that are called stand for themselves too.
    ("169.254.169.254", None),
    ("169.254.170.2", None),
    ("169.254.170.23", None),
    ("169.254.0.0/16", Some("169.254.*")),
    ("fe80::/10", Some("[fe80:*")),
    ("fd00:ec2::254", Some("[fd00:ec2::254]")),
    ("100.100.100.200", Some("100.100.100.200")),
    ("192.0.0.192", Some("192.0.0.192")),
    ("168.63.129.16", Some("168.63.129.16")),
    ("metadata.google.internal", Some("metadata.google.internal")),
];

/// What is known of it before the proxy has a port.
#[derive(Debug)]
pub(super) struct Environment {
    inherited: BTreeMap<OsString, OsString>,
    /// Variables that the configuration reads secrets from.
    secrets: Vec<String>,
    /// The hosts of upstreams: the program must not go around the proxy to them.
    upstreams: Vec<Host>,
    /// Where what is needed to trust the CA is, if there is one.
    trust: Option<PathBuf>,
}

/// What differs for the program from what this process has inherited.
#[derive(Debug)]
pub(super) struct Variables {
    inherited: BTreeMap<OsString, OsString>,
    removed: Vec<String>,
    set: BTreeMap<&'static str, OsString>,
}

impl Environment {
    /// That of this process, for the program of this configuration.
    pub(super) fn new(config: &Config) -> Self {
        Self::of(std::env::vars_os(), config)
    }

    fn of(inherited: impl Iterator<Item = (OsString, OsString)>, config: &Config) -> Self {
        let upstreams = config.upstreams.values();
        let hosts = upstreams.flat_map(|upstream| upstream.destinations());
        Self {
            inherited: inherited.collect(),
            secrets: config.secret_variables.iter().cloned().collect(),
            upstreams: hosts
                .filter_map(|(_, host, _)| Host::parse(&host).ok())
                .collect(),
            trust: (config.interception.as_ref()).map(|ca| ca.trust_directory.clone()),
        }
    }

    /// With the proxy, which listens at `proxy`. Blocks: files that are named already are read.
    ///
    /// # Errors
    /// One of these files cannot be read.
    pub(super) fn with_proxy(self, proxy: SocketAddr) -> io::Result<Variables> {
        let mut set = match &self.trust {
            None => BTreeMap::new(),
            Some(directory) => {
                let inherited = |name: &str| self.inherited.get(OsStr::new(name)).cloned();
                let variables = trust::variables(directory, inherited)?;
                variables.into_iter().collect()
            }
        };
        let url = OsString::from(format!("http://{proxy}"));
        for name in PROXIES {
            set.insert(name, url.clone());
        }
        let direct: Vec<_> = DIRECT
            .into_iter()
            .filter(|(entry, _)| !self.exempts_an_upstream(entry))
            .collect();
        // Python's httpx does not start where it finds a network of IPv6.
        let entries: Vec<_> = direct
            .iter()
            .map(|(entry, _)| *entry)
            .filter(|entry| !(entry.contains(':') && entry.contains('/')))
            .collect();
        let entries = OsString::from(entries.join(","));
        for name in NO_PROXIES {
            set.insert(name, entries.clone());
        }
        let others = OTHER_PROXIES.map(|name| (name, &url)).into_iter();
        let others = others.chain(OTHER_NO_PROXIES.map(|name| (name, &entries)));
        for (name, value) in others {
            if self.inherited.contains_key(OsStr::new(name)) {
                set.insert(name, value.clone());
            }
        }
        set.insert(NODE, "1".into());
        let hosts: Vec<_> = direct.iter().filter_map(|(_, hosts)| *hosts).collect();
        let before = set.get(JAVA).or(self.inherited.get(OsStr::new(JAVA)));
        let options = java_options(proxy, &hosts.join("|"));
        let options = trust::with_java_options(before.cloned().unwrap_or_default(), &options);
        set.insert(JAVA, options);
        Ok(Variables {
            inherited: self.inherited,
            removed: self.secrets,
            set,
        })
    }

    fn exempts_an_upstream(&self, entry: &str) -> bool {
        let entry = NoProxy::new(entry);
        let borrowed = |host: &Host| match host {
            Host::Domain(name) => entry.exempts(&Host::Domain(name.as_str())),
            Host::Ipv4(ip) => entry.exempts(&Host::Ipv4(*ip)),
            Host::Ipv6(ip) => entry.exempts(&Host::Ipv6(*ip)),
        };
        self.upstreams.iter().any(borrowed)
    }
}

impl Variables {
    /// Makes them those of a program. Secrets are taken away first: what is set has a value of ours.
    pub(super) fn give_to(&self, program: &mut Command) {
        for name in &self.removed {
            program.env_remove(name);
        }
        program.envs(&self.set);
    }

    /// Whether variables hold the number of this process, which is to be that of the program. By these systemd tells for
    /// whom its sockets and its watchdog are, and only the program itself knows its number before it begins.
    pub(super) fn hold_number(&self) -> bool {
        let own = std::process::id().to_string();
        PROCESS_NUMBERS.iter().any(|name| {
            let value = self.inherited.get(OsStr::new(name));
            value.is_some_and(|value| value == own.as_str())
        })
    }

    /// How many bytes each takes.
    pub(super) fn sizes(&self) -> Vec<usize> {
        let is_kept = |name: &OsStr| {
            let is_removed = self
                .removed
                .iter()
                .any(|removed| name == OsStr::new(removed));
            let is_set = self.set.keys().any(|set| name == OsStr::new(set));
            !is_removed && !is_set
        };
        let kept = self.inherited.iter().filter(|(name, _)| is_kept(name));
        let kept = kept.map(|(name, value)| name.len() + value.len());
        let set = self
            .set
            .iter()
            .map(|(name, value)| name.len() + value.len());
        // An equals sign between them, and a zero at the end.
        kept.chain(set).map(|length| length + 2).collect()
    }
}

/// The properties that make a Java program use the proxy: it reads no other variable. With tunnels Java shows no password
/// by `Basic` unless it is told to.
fn java_options(proxy: SocketAddr, direct: &str) -> Vec<OsString> {
    let (host, port) = (proxy.ip(), proxy.port());
    let mut options: Vec<OsString> = ["http", "https"]
        .iter()
        .flat_map(|scheme| {
            [
                format!("-D{scheme}.proxyHost={host}").into(),
                format!("-D{scheme}.proxyPort={port}").into(),
            ]
        })
        .collect();
    options.push(format!("-Dhttp.nonProxyHosts={direct}").into());
    options.push(trust::JAVA_TUNNEL_SCHEMES.into());
    options
}
