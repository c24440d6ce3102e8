//! A configuration as `sidebearer exec` uses it: the APIs and credentials of the files, and in place of their ways in
//! one listener for the program that it starts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use tracing::Level;

use super::draft::{Draft, EgressPlaces};
use super::file_rules::{FileRules, FileUses};
use super::keys::{INTERCEPTION, INTERCEPTION_TABLE, ROOT_TABLE, UPSTREAM};
use super::read::Section;
use super::report::{Report, SourceSpan};
use super::sections;
use super::settings::{
    AccessLog, AuditFile, Egress, EgressAddresses, EgressPorts, EgressRule, HostPattern,
    Interception, Log, LogFormat, ProxyChoice, Route, Scheme, Server, Upstream,
};
use super::source_file::SourceFile;
use super::words::QuotedWord;
use crate::ca::CertifiedName;
use crate::process;

/// What of it is not in the files.
#[derive(Debug, Clone)]
pub struct ProgramSettings {
    /// The user whose connections are served.
    pub uid: u32,
    /// Whether the log is as `[log]` says; else it tells of failures alone.
    pub verbose: bool,
    /// A directory that only this user may use, for a CA that lives no longer than the program; `None` where none can be
    /// made, which matters if an API is called by `https`.
    pub directory: Option<PathBuf>,
}

/// The name of the listener.
pub const PROGRAM_LISTENER: &str = "exec";

/// The listener, as a file would have it.
const LISTENER: &str = r#"
[[listeners]]
name = "exec"
address = "127.0.0.1:0"
kind = "forward"
unmatched = "pass"
"#;
/// One more line of it, where an API is called by `https`.
const INTERCEPT: &str = "intercept = true\n";

/// Shards, where the configuration does not say how many: more would make the start slower, and serve one program no
/// faster.
const WORKERS: usize = 2;

/// What the program leaves behind has this long to finish its requests, at most.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);

/// Adds the listener to what was read of the files, without their ways in, and takes away what is for other
/// listeners. What the program does besides calling APIs goes on as before: it passes, to every address and port that
/// nothing denies.
pub(super) fn adapt(draft: &mut Draft, settings: &ProgramSettings, report: &Report<'_>) {
    let whole = SourceSpan {
        file: 0,
        span: None,
    };
    keep_what_is_for_all(draft);
    add_ca(draft, settings, (report, &whole));
    refuse_other_callers(draft, report);
    refuse_audit_on_stdout(draft, report);

    // What it says beside that is for the listeners of the files.
    draft.egress_places = EgressPlaces::default();
    draft.is_for_program = true;
    let default = || (Egress::default(), whole.clone());
    let (egress, place) = draft.egress.get_or_insert_with(default);
    egress.addresses = EgressAddresses::Any;
    egress.ports = EgressPorts::Any;
    egress.rules.retain(is_for_all);
    if egress.proxy == ProxyChoice::Unsaid {
        egress.proxy = ProxyChoice::inherited(report, place);
    }

    let default = || (Server::default(), whole.clone());
    let (server, _) = draft.server.get_or_insert_with(default);
    server.shutdown_delay = Duration::ZERO;
    server.drain_timeout = server.drain_timeout.min(LONGEST_DRAIN);
    if server.workers == 0 {
        server.workers = process::available_cpus().min(WORKERS);
    }

    let default = || (Log::default(), whole.clone());
    let (log, _) = draft.log.get_or_insert_with(default);
    if !settings.verbose {
        log.level = Level::WARN;
        log.access = AccessLog::Failures;
    }
    if log.format == LogFormat::Auto {
        // It stands among what the program writes for people.
        log.format = LogFormat::Text;
    }
    add_listener(draft, settings, &whole);
}

/// Routes without a host are for paths of a listener of their own; what names listeners or callers is for others.
fn keep_what_is_for_all(draft: &mut Draft) {
    let is_kept = |route: &Route| {
        route.listener.is_none() && route.callers.is_unsaid() && route.host != HostPattern::Any
    };
    draft.routes.retain(|(route, _)| is_kept(route));
    draft.route_listeners.clear();
    draft.references.listeners.clear();
    draft.references.callers.clear();
    draft.egress_rules.retain(|rule| is_for_all(&rule.rule));
}

fn is_for_all(rule: &EgressRule) -> bool {
    rule.listeners.is_empty() && rule.callers.is_unsaid()
}

/// The program is nobody that the configuration knows.
fn refuse_other_callers(draft: &mut Draft, report: &Report<'_>) {
    for (name, slot) in &mut draft.upstreams {
        if let Some((Some(upstream), place)) = slot
            && !std::mem::take(&mut upstream.credentials).is_empty()
        {
            let message = format!(
                "`{}` of upstream {} needs to know the caller, and `exec` knows none",
                UPSTREAM.credentials.name,
                QuotedWord(name)
            );
            let help = "give `exec` a configuration in which it has one `credential`";
            report.error(place, message, help);
        }
    }
}

/// A CA for the hosts that are called by `https`, if there are any.
fn add_ca(
    draft: &mut Draft,
    settings: &ProgramSettings,
    (report, place): (&Report<'_>, &SourceSpan),
) {
    let upstreams = draft.upstreams.values().flatten();
    let upstreams = upstreams.filter_map(|(upstream, _)| upstream.as_ref());
    let destinations = upstreams.flat_map(Upstream::destinations);
    let by_https = destinations.filter(|(scheme, _, _)| *scheme == Scheme::Https);
    let mut hosts: BTreeSet<String> = by_https.map(|(_, host, _)| host).collect();
    for (route, _) in &draft.routes {
        let upstream = draft.upstreams.get(route.upstream.as_str());
        let upstream = upstream.and_then(|slot| slot.as_ref()?.0.as_ref());
        if let HostPattern::Exact(host) | HostPattern::Wildcard(host) = &route.host
            && upstream.is_some_and(|upstream| upstream.url.scheme() == "https")
        {
            hosts.insert(host.to_string());
        }
    }
    // What no certificate can be for cannot be called by `https` either.
    let hosts = hosts
        .into_iter()
        .filter(|host| CertifiedName::parse(host).is_some());
    let domains: Vec<_> = hosts.collect();
    if domains.is_empty() {
        return;
    }
    let Some(directory) = &settings.directory else {
        let message =
            "an API that is called by https needs a directory for a CA, and none can be made";
        let help = "expected TMPDIR, XDG_RUNTIME_DIR, /dev/shm or /tmp to be a directory that this user may write in";
        report.error(place, message, help);
        return;
    };
    let interception = Interception {
        key_directory: directory.join("ca"),
        trust_directory: directory.join("trust"),
        domains,
        roots_file: None,
        leaf_lifetime: Section::unwritten(&INTERCEPTION_TABLE, |section| {
            section.read(&INTERCEPTION.leaf_lifetime)
        }),
    };
    draft.interception = Some((Some(interception), place.clone()));
}

fn refuse_audit_on_stdout(draft: &Draft, report: &Report<'_>) {
    if let Some((Some(audit), place)) = &draft.audit
        && audit.file == AuditFile::Stdout
    {
        let message = "the record of [audit] would mix with what the program writes to stdout";
        report.error(place, message, "name a file");
    }
}

fn add_listener(draft: &mut Draft, settings: &ProgramSettings, place: &SourceSpan) {
    let intercepts = draft.interception.is_some();
    let text = [LISTENER, if intercepts { INTERCEPT } else { "" }].concat();
    let sources = [SourceFile::new(PathBuf::new(), text)];
    // It has no mistakes.
    let report = Report::new(&sources);
    let (table, _) = DeTable::parse_recoverable(&sources[0].text);
    let root = Section::root(&report, 0, table.get_ref(), &ROOT_TABLE);
    let files = FileRules {
        base: Path::new(""),
        max_bytes: 0,
        uses: &FileUses::default(),
    };
    sections::read_ways_in(&root, &files, draft);
    // Mistakes of others that show only with it are told of the files.
    for (listener, at) in &mut draft.listeners {
        listener.only_uid = Some(settings.uid);
        at.clone_from(place);
    }
    for (_, at) in &mut draft.listener_names {
        at.clone_from(place);
    }
    for (_, at) in &mut draft.forward_listeners {
        at.clone_from(place);
    }
    for (_, at) in &mut draft.sockets {
        at.clone_from(place);
    }
}
