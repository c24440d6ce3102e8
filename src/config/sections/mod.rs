//! Which sections a file has, and who reads each.

mod audit;
mod callers;
mod certificate_choice;
mod client_auth;
mod credentials;
mod dialing;
mod dpop;
mod egress;
mod egress_proxy;
mod forward;
mod general;
mod grant;
mod interception;
mod kubernetes;
pub(super) mod limits;
mod listener_tls;
mod listeners;
mod only_with;
mod retry_pauses;
mod revocation;
mod routes;
mod secret_headers;
mod secret_source;
mod tls;
mod tracing;
mod upstreams;
mod user;
mod validity;

use super::draft::{Defined, Draft, Tables};
use super::file_rules::FileRules;
use super::keys::ROOT;
use super::read::Section;
use super::report::{Report, SourceSpan};
use super::settings::caller::EVERY_CALLER;
use super::settings::{
    Audit, Egress, Interception, Kubernetes, ListenAddress, Log, OperatorListener, Server,
};
use super::words::QuotedWord;

/// Adds to the draft what one file says of clients and operators: where they come in, who they are, and whom they trust.
pub(super) fn read_ways_in<'a>(root: &Section<'a>, files: &FileRules<'_>, draft: &mut Draft) {
    let report = root.report;
    if let Some(section) = root.read(&ROOT.admin) {
        let place = section.place.clone();
        let (admin, address) = OperatorListener::read_admin(section);
        draft
            .sockets
            .push((ListenAddress::Tcp(admin.address), address));
        once(report, "[admin]", &mut draft.admin, (admin, place));
    }
    if let Some(section) = root.read(&ROOT.health) {
        let place = section.place.clone();
        let health = OperatorListener::read_health(section).map(|(health, place)| {
            draft
                .sockets
                .push((ListenAddress::Tcp(health.address), place));
            health
        });
        once(report, "[health]", &mut draft.health, (health, place));
    }
    draft.note_mistakes(Tables::Listeners, report, |draft| {
        for section in root.read(&ROOT.listeners) {
            draft.has_listeners = true;
            draft.written_listeners += 1;
            if let Some(section) = section {
                listeners::read(section, files, draft);
            }
        }
    });
    draft.note_mistakes(Tables::Callers, report, |draft| {
        read_callers(root, files, draft);
    });
    if let Some(section) = root.read(&ROOT.kubernetes) {
        let place = section.place.clone();
        let kubernetes = (Kubernetes::read(&section, files), place);
        once(report, "[kubernetes]", &mut draft.kubernetes, kubernetes);
    }
    if let Some(section) = root.read(&ROOT.interception) {
        let place = section.place.clone();
        let interception = (Interception::read(&section, files), place);
        once(
            report,
            "[interception]",
            &mut draft.interception,
            interception,
        );
    }
}

/// Adds all other sections of one file to the draft.
pub(super) fn read<'a>(root: &Section<'a>, files: &FileRules<'_>, draft: &mut Draft) {
    let report = root.report;
    if let Some(section) = root.read(&ROOT.server) {
        let place = section.place.clone();
        let server = (Server::read(section), place);
        once(report, "[server]", &mut draft.server, server);
    }
    if let Some(section) = root.read(&ROOT.log) {
        let place = section.place.clone();
        once(report, "[log]", &mut draft.log, (Log::read(section), place));
    }
    draft.note_mistakes(Tables::Routes, report, |draft| {
        for section in root.read(&ROOT.routes).into_iter().flatten() {
            routes::read(section, draft);
        }
    });
    draft.note_mistakes(Tables::Egress, report, |draft| {
        if let Some(section) = root.read(&ROOT.egress) {
            let place = section.place.clone();
            let egress = (Egress::read(section, files, draft), place);
            once(report, "[egress]", &mut draft.egress, egress);
        }
    });
    draft.note_mistakes(Tables::Upstreams, report, |draft| {
        read_upstreams(root, files, draft);
    });
    if let Some(section) = root.read(&ROOT.audit) {
        let place = section.place.clone();
        let audit = (Audit::read(&section, files), place);
        once(report, "[audit]", &mut draft.audit, audit);
    }
    if let Some(section) = root.read(&ROOT.tracing) {
        let place = section.place.clone();
        let tracing = (tracing::read(&section, files), place);
        once(report, "[tracing]", &mut draft.tracing, tracing);
    }
    for (name, section) in root.read(&ROOT.credentials) {
        let place = section.place.clone();
        let credential = credentials::read(name, section, files);
        let slot = draft.credentials.entry(name.to_owned()).or_default();
        once(
            report,
            &format!("credential {}", QuotedWord(name)),
            slot,
            (credential, place),
        );
    }
}

fn read_upstreams<'a>(root: &Section<'a>, files: &FileRules<'_>, draft: &mut Draft) {
    for (name, section) in root.read(&ROOT.upstreams) {
        let place = section.place.clone();
        let upstream = upstreams::read(name, section, files, draft);
        let what = format!("upstream {}", QuotedWord(name));
        let slot = draft.upstreams.entry(name.to_owned()).or_default();
        once(root.report, &what, slot, (upstream, place));
    }
}

fn read_callers<'a>(root: &Section<'a>, files: &FileRules<'_>, draft: &mut Draft) {
    let report = root.report;
    for (name, section) in root.read(&ROOT.callers) {
        let place = section.place.clone();
        let what = format!("caller {}", QuotedWord(name));
        if name == EVERY_CALLER {
            let limits = (callers::read_defaults(&section), place);
            once(report, &what, &mut draft.caller_limits, limits);
        } else {
            let caller = callers::read(name, &section, files, draft);
            let slot = draft.callers.entry(name.to_owned()).or_default();
            once(report, &what, slot, (caller, place));
        }
    }
}

/// Fills a slot that only one definition may fill.
fn once<T>(
    report: &Report<'_>,
    what: &str,
    slot: &mut Defined<T>,
    (value, place): (T, SourceSpan),
) {
    match slot {
        None => *slot = Some((value, place)),
        Some((_, first)) => {
            let help = format!("already defined at {}", report.locate(first));
            report.error(&place, format!("{what} is defined twice"), help);
        }
    }
}
