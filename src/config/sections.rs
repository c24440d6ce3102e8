//! Which sections a file has, and who reads each.

use super::draft::{Defined, Draft, Files};
use super::read::{Section, Value};
use super::report::{Place, Report, Shown};
use super::{ListenAddress, Log, Page, Server, credentials, listeners, routes, upstreams};

/// Adds the sections of one file to the draft.
pub(super) fn read<'a>(root: &Section<'a>, files: &Files<'_>, draft: &mut Draft) {
    let report = root.report;
    let single = |key: &'static str| root.get(key)?.section(format!("[{key}]"), "a table");
    if let Some(section) = single("server") {
        let place = section.place.clone();
        let server = (Server::read(section), place);
        once(report, "[server]", &mut draft.server, server);
    }
    if let Some(section) = single("log") {
        let place = section.place.clone();
        once(report, "[log]", &mut draft.log, (Log::read(section), place));
    }
    if let Some(section) = single("admin") {
        let place = section.place.clone();
        let (admin, address) = Page::read_admin(section);
        draft
            .sockets
            .push((ListenAddress::Tcp(admin.address), address));
        once(report, "[admin]", &mut draft.admin, (admin, place));
    }
    if let Some(section) = single("health") {
        let place = section.place.clone();
        let health = Page::read_health(section).map(|(health, place)| {
            draft
                .sockets
                .push((ListenAddress::Tcp(health.address), place));
            health
        });
        once(report, "[health]", &mut draft.health, (health, place));
    }
    for section in array(root, "listeners") {
        draft.has_listeners = true;
        if let Some(section) = section {
            listeners::read(section, files, draft);
        }
    }
    for section in array(root, "routes").into_iter().flatten() {
        routes::read(section, draft);
    }
    for (name, section) in tables(root, "upstreams") {
        let place = section.place.clone();
        let upstream = upstreams::read(name, section, files, draft);
        let slot = draft.upstreams.entry(name.to_owned()).or_default();
        once(
            report,
            &format!("upstream {}", Shown(name)),
            slot,
            (upstream, place),
        );
    }
    if let Some(credentials) = root.get("credentials") {
        // All of it but what turns out to be no secret.
        credentials.hide();
    }
    for (name, section) in tables(root, "credentials") {
        let place = section.place.clone();
        let credential = credentials::read(name, section, files);
        let slot = draft.credentials.entry(name.to_owned()).or_default();
        once(
            report,
            &format!("credential {}", Shown(name)),
            slot,
            (credential, place),
        );
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
