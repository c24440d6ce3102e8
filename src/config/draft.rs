//! What has been read of the files so far.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::file_rules::FileUse;
use super::otel::{self, CollectorSource, WrittenTracing};
use super::report::{Report, SourceSpan};
use super::settings::{
    Audit, Caller, Config, Credential, Egress, EgressRule, Forwarding, Interception, Kubernetes,
    Limits, ListenAddress, Listener, Log, OperatorListener, ProxyChoice, Route, Secret, Server,
    TokenIssuer, Tracing, Upstream,
};
use super::value::Value;

/// Something that may be defined once, and where it is.
pub(super) type Defined<T> = Option<(T, SourceSpan)>;

/// Tables that others use or are used by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tables {
    Listeners,
    Callers,
    Routes,
    Egress,
    Upstreams,
}

/// What was read so far, with the places that checks across sections name.
#[derive(Default)]
pub(super) struct Draft {
    /// Those without a mistake in what other tables are compared with.
    pub(super) listeners: Vec<(Listener, SourceSpan)>,
    /// Those with mistakes included.
    pub(super) listener_names: Vec<(String, SourceSpan)>,
    /// Forward listeners by name, those with mistakes included.
    pub(super) forward_listeners: Vec<((String, Forwarding), SourceSpan)>,
    pub(super) routes: Vec<(Route, SourceSpan)>,
    pub(super) egress: Defined<Egress>,
    pub(super) interception: Defined<Option<Interception>>,
    /// Where the keys of `egress` are written.
    pub(super) egress_places: EgressPlaces,
    /// The rules of `egress`, with their places.
    pub(super) egress_rules: Vec<DraftRule>,
    /// The listener of every route, those with mistakes included.
    pub(super) route_listeners: Vec<Option<String>>,
    pub(super) upstreams: BTreeMap<String, Defined<Option<Upstream>>>,
    pub(super) credentials: BTreeMap<String, Defined<Option<Credential>>>,
    pub(super) callers: BTreeMap<String, Defined<Option<Caller>>>,
    /// Variables that files name for secrets.
    pub(super) secret_variables: BTreeSet<String>,
    /// What each caller holds as its keys now.
    pub(super) caller_keys: Vec<(String, Secret)>,
    /// The issuers of the tokens of callers.
    token_issuers: HashSet<Arc<TokenIssuer>>,
    /// What `[callers."*"]` says.
    pub(super) caller_limits: Defined<Limits>,
    pub(super) references: References,
    /// The files that are read or written.
    pub(super) file_uses: Vec<FileUse>,
    /// Every address that is listened on.
    pub(super) sockets: Vec<(ListenAddress, SourceSpan)>,
    /// Tables of which some have mistakes.
    pub(super) mistaken: BTreeSet<Tables>,
    /// Whether it is for a program that `exec` starts: its listener is none of the files.
    pub(super) is_for_program: bool,
    /// How many listeners there are, those with mistakes included.
    pub(super) written_listeners: usize,
    /// Whether anything is written under `listeners`.
    pub(super) has_listeners: bool,
    pub(super) server: Defined<Server>,
    pub(super) log: Defined<Log>,
    pub(super) admin: Defined<OperatorListener>,
    pub(super) health: Defined<Option<OperatorListener>>,
    pub(super) kubernetes: Defined<Option<Kubernetes>>,
    pub(super) audit: Defined<Option<Audit>>,
    /// What the file says of traces.
    pub(super) tracing: Defined<WrittenTracing>,
    /// What follows from that and from the environment.
    pub(super) settled_tracing: Option<(Tracing, CollectorSource)>,
}

/// Names of something that is defined elsewhere.
#[derive(Default)]
pub(super) struct References {
    pub(super) listeners: Vec<NameUse>,
    pub(super) upstreams: Vec<NameUse>,
    pub(super) credentials: Vec<NameUse>,
    pub(super) callers: Vec<NameUse>,
    /// Credentials whose certificate an upstream presents.
    pub(super) certificates: Vec<NameUse>,
}

/// Where the keys of `egress` are written that are.
#[derive(Default)]
pub(super) struct EgressPlaces {
    /// Whether a rule with a mistake was left out.
    pub(super) has_bad_rules: bool,
    /// The prefixes of `allow`, each with its place.
    pub(super) allowed: Vec<(IpNet, SourceSpan)>,
    /// `addresses`, `allow`, `deny`, `ports`: what holds for what passes.
    pub(super) of_passing: Vec<(&'static str, SourceSpan)>,
    pub(super) addresses: Option<SourceSpan>,
    pub(super) deny: Option<SourceSpan>,
    pub(super) tunnel_idle_timeout: Option<SourceSpan>,
    pub(super) proxy: Option<SourceSpan>,
}

/// A rule about what may leave, and where it and what it names are written.
pub(super) struct DraftRule {
    pub(super) rule: EgressRule,
    pub(super) place: SourceSpan,
    /// One for each of its hosts.
    pub(super) hosts: Vec<SourceSpan>,
    /// One for each of its listeners.
    pub(super) listeners: Vec<SourceSpan>,
    /// A list of callers that is written and names nobody.
    pub(super) empty_callers: Option<SourceSpan>,
}

/// A name, and where it is used.
pub(super) struct NameUse {
    pub(super) name: String,
    pub(super) place: SourceSpan,
}

impl NameUse {
    pub(super) fn new(name: &str, value: &Value<'_>) -> Self {
        Self {
            name: name.to_owned(),
            place: value.place.clone(),
        }
    }
}

impl Draft {
    /// Whether every listener that is written could be read.
    pub(super) fn listeners_are_known(&self) -> bool {
        self.listeners.len() >= self.written_listeners
    }

    /// Whether none of these tables has a mistake. What has one may be left out in part or in whole, so that nothing follows
    /// from what is not there.
    pub(super) fn are_whole(&self, tables: &[Tables]) -> bool {
        !tables.iter().any(|tables| self.mistaken.contains(tables))
    }

    /// Notes whether there are mistakes in what is read.
    pub(super) fn note_mistakes(
        &mut self,
        tables: Tables,
        report: &Report<'_>,
        read: impl FnOnce(&mut Self),
    ) {
        let before = report.errors();
        read(self);
        if report.errors() > before {
            self.mistaken.insert(tables);
        }
    }

    /// The same issuer for all callers that name it alike.
    pub(super) fn shared_issuer(&mut self, issuer: TokenIssuer) -> Arc<TokenIssuer> {
        if let Some(known) = self.token_issuers.get(&issuer) {
            return Arc::clone(known);
        }
        let issuer = Arc::new(issuer);
        self.token_issuers.insert(Arc::clone(&issuer));
        issuer
    }

    /// Callers without mistakes, and where they are.
    pub(super) fn sound_callers(&self) -> impl Iterator<Item = (&Caller, &SourceSpan)> {
        let slots = self.callers.values().flatten();
        slots.filter_map(|(caller, place)| Some((caller.as_ref()?, place)))
    }

    /// The addresses that are listened on, with their places: `None` for a default. Without those whose port the system
    /// chooses, since it is not known which one that will be.
    pub(super) fn listening_addresses(&self) -> Vec<(SocketAddr, Option<&SourceSpan>)> {
        let written = self
            .sockets
            .iter()
            .filter_map(|(socket, place)| match socket {
                ListenAddress::Tcp(address) if address.port() != 0 => Some((*address, Some(place))),
                _ => None,
            });
        // Under `exec` there is none.
        let admin = self.default_admin().filter(|_| !self.is_for_program);
        written.chain(admin.map(|admin| (admin, None))).collect()
    }

    /// The admin address if none is configured.
    pub(super) fn default_admin(&self) -> Option<SocketAddr> {
        self.admin
            .is_none()
            .then(|| OperatorListener::default().address)
    }

    /// Gives the proxy of `[egress]` to every upstream and credential that says nothing of its own.
    pub(super) fn settle_proxies(&mut self) {
        let Some((egress, _)) = &self.egress else {
            return;
        };
        let upstreams = self.upstreams.values_mut().flatten();
        let upstreams = upstreams.filter_map(|(slot, _)| Some(&mut slot.as_mut()?.proxy));
        let credentials = self.credentials.values_mut().flatten();
        let credentials = credentials.filter_map(|(slot, _)| Some(&mut slot.as_mut()?.proxy));
        for choice in upstreams.chain(credentials) {
            if *choice == ProxyChoice::Unsaid {
                *choice = egress.proxy.clone();
            }
        }
    }

    /// Gives the limits of `[callers."*"]` to every caller, key by key, that says nothing of its own.
    pub(super) fn settle_limits(&mut self) {
        let Some((default, _)) = self.caller_limits else {
            return;
        };
        let callers = self.callers.values_mut().flatten();
        for caller in callers.filter_map(|(slot, _)| slot.as_mut()) {
            caller.limits = caller.limits.or(default);
        }
    }

    /// Adds to what the file says of traces what the variables say that `get` tells.
    pub(super) fn settle_tracing(
        &mut self,
        report: &Report<'_>,
        get: impl Fn(&str) -> Option<String>,
    ) {
        let written = self.tracing.take();
        self.settled_tracing = otel::settle(written, report, get);
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
        fn without_places<T>(placed: Vec<(T, SourceSpan)>) -> Vec<T> {
            // Into memory of its own: what `collect` returns would be the old piece, with room for the places too, and
            // for as many elements again as came last.
            let mut values = Vec::with_capacity(placed.len());
            values.extend(placed.into_iter().map(|(value, _)| value));
            values
        }
        Config {
            server: first(self.server).unwrap_or_default(),
            log: first(self.log).unwrap_or_default(),
            admin: Some(first(self.admin).unwrap_or_default()),
            health: first(self.health).flatten(),
            listeners: without_places(self.listeners),
            upstreams: values(self.upstreams),
            routes: without_places(self.routes),
            credentials: values(self.credentials),
            egress: first(self.egress).unwrap_or_default(),
            interception: first(self.interception).flatten(),
            callers: values(self.callers),
            audit: first(self.audit).flatten(),
            tracing: self.settled_tracing.map(|(tracing, _)| tracing),
            kubernetes: first(self.kubernetes).flatten(),
            secret_variables: self.secret_variables,
        }
    }
}
