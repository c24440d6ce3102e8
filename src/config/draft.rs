//! What the files say, put together section by section.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::read::{Section, Value};
use super::report::{Place, Report, Shown};
use super::{
    Admin, Config, Credential, ListenAddress, Listener, Log, Route, Server, Upstream, credentials,
    general, listeners, routes, upstreams,
};

/// Something that may be defined once, and where it is.
pub(super) type Defined<T> = Option<(T, Place)>;

/// What was read so far, with the places that checks across sections name.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) listeners: Vec<Listener>,
    /// Those with mistakes included.
    pub(super) listener_names: Vec<(String, Place)>,
    pub(super) routes: Vec<(Route, Place)>,
    /// The listener of every route, those with mistakes included.
    pub(super) scopes: Vec<Option<String>>,
    pub(super) upstreams: BTreeMap<String, Defined<Option<Upstream>>>,
    pub(super) credentials: BTreeMap<String, Defined<Option<Credential>>>,
    pub(super) references: References,
    /// Every address that is listened on.
    pub(super) sockets: Vec<(ListenAddress, Place)>,
    /// Whether anything is written under `listeners`.
    pub(super) has_listeners: bool,
    server: Defined<Server>,
    log: Defined<Log>,
    admin: Defined<Admin>,
    health: Defined<Option<SocketAddr>>,
}

/// Names of something that is defined elsewhere.
#[derive(Default)]
pub(super) struct References {
    pub(super) listeners: Vec<Named>,
    pub(super) upstreams: Vec<Named>,
    pub(super) credentials: Vec<Named>,
}

/// A name, and where it is used.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Named {
    pub(super) fn new(name: &str, value: &Value<'_>) -> Self {
        Self {
            name: name.to_owned(),
            place: value.place.clone(),
        }
    }
}

/// What paths inside a configuration file are relative to.
pub(super) struct Files<'a>(pub(super) &'a Path);

impl Files<'_> {
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The directory, for people.
    pub(super) fn base(&self) -> String {
        match self.0.as_os_str().is_empty() {
            true => "the current directory".to_owned(),
            false => self.0.display().to_string(),
        }
    }
}

impl Draft {
    /// Adds one file.
    pub(super) fn read<'a>(&mut self, root: &Section<'a>, files: &Files<'_>) {
        let report = root.report;
        let single = |key: &'static str| root.get(key)?.section(format!("[{key}]"), "a table");
        if let Some(section) = single("server") {
            let place = section.place.clone();
            let server = (Server::read(section), place);
            once(report, "[server]", &mut self.server, server);
        }
        if let Some(section) = single("log") {
            let place = section.place.clone();
            once(report, "[log]", &mut self.log, (Log::read(section), place));
        }
        if let Some(section) = single("admin") {
            let place = section.place.clone();
            let (admin, address) = Admin::read(section);
            self.sockets
                .push((ListenAddress::Tcp(admin.address), address));
            once(report, "[admin]", &mut self.admin, (admin, place));
        }
        if let Some(section) = single("health") {
            let place = section.place.clone();
            let health = general::read_health(section).map(|(address, place)| {
                self.sockets.push((ListenAddress::Tcp(address), place));
                address
            });
            once(report, "[health]", &mut self.health, (health, place));
        }
        for section in array(root, "listeners") {
            self.has_listeners = true;
            if let Some(section) = section {
                listeners::read(section, files, self);
            }
        }
        for section in array(root, "routes").into_iter().flatten() {
            routes::read(section, self);
        }
        for (name, section) in tables(root, "upstreams") {
            let place = section.place.clone();
            let upstream = upstreams::read(name, section, files, self);
            let slot = self.upstreams.entry(name.to_owned()).or_default();
            once(
                report,
                &format!("upstream {}", Shown(name)),
                slot,
                (upstream, place),
            );
        }
        if let Some(credentials) = root.get("credentials") {
            credentials.hide();
        }
        for (name, section) in tables(root, "credentials") {
            let place = section.place.clone();
            let credential = credentials::read(name, section, files);
            let slot = self.credentials.entry(name.to_owned()).or_default();
            once(
                report,
                &format!("credential {}", Shown(name)),
                slot,
                (credential, place),
            );
        }
    }

    /// Where admin listens when nothing is said about it.
    pub(super) fn default_admin(&self) -> Option<SocketAddr> {
        self.admin.is_none().then(|| Admin::default().address)
    }

    /// The whole. Only for a draft without errors: what could not be read is left out.
    pub(super) fn finish(self) -> Config {
        fn first<T>(slot: Defined<T>) -> Option<T> {
            slot.map(|(value, _)| value)
        }
        fn values<T>(slots: BTreeMap<String, Defined<Option<T>>>) -> BTreeMap<String, T> {
            let value = |(name, slot)| Some((name, first(slot).flatten()?));
            slots.into_iter().filter_map(value).collect()
        }
        Config {
            server: first(self.server).unwrap_or_default(),
            log: first(self.log).unwrap_or_default(),
            admin: first(self.admin).unwrap_or_default(),
            health: first(self.health).flatten(),
            listeners: self.listeners,
            upstreams: values(self.upstreams),
            routes: self.routes.into_iter().map(|(route, _)| route).collect(),
            credentials: values(self.credentials),
        }
    }
}

/// Fills a slot that only one definition may fill.
fn once<T>(report: &Report<'_>, what: &str, slot: &mut Defined<T>, (value, place): (T, Place)) {
    match slot {
        None => *slot = Some((value, place)),
        Some((_, first)) => {
            let help = format!("already defined at {}", report.locate(first));
            report.error(&place, format!("{what} is defined twice"), help);
        }
    }
}

/// The elements of `[[key]]`; `None` for each that is something else.
fn array<'a>(root: &Section<'a>, key: &'static str) -> Vec<Option<Section<'a>>> {
    let Some(value) = root.get(key) else {
        return Vec::new();
    };
    let title = format!("[[{key}]]");
    let expected = format!("tables, each under {title}");
    match value.elements(&expected) {
        None => vec![None],
        Some(elements) => elements
            .into_iter()
            .map(|element| element.section(title.clone(), &expected))
            .collect(),
    }
}

/// The tables `[key.NAME]`, by name.
fn tables<'a>(root: &Section<'a>, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
    let expected = format!("tables, each under [{key}.NAME]");
    let value = root.get(key);
    let Some(section) = value.and_then(|value| value.section(format!("[{key}]"), &expected)) else {
        return Vec::new();
    };
    let report = section.report;
    let table = |(name, place, value): (&'a str, Place, Value<'a>)| {
        if let Err(help) = listeners::name(name) {
            report.error(&place, format!("invalid name {}", Shown(name)), help);
        }
        let title = format!("[{key}.{}]", name.escape_debug());
        Some((name, value.section(title, "a table")?))
    };
    section.entries().filter_map(table).collect()
}
