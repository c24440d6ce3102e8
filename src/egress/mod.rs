//! What may leave that no route leads to: judged by its host and port, then at every address that is dialled.
//!
//! Pure: nothing is resolved and nothing is dialled here.

mod addresses;
mod hosts;
pub mod proxy;

use std::sync::Arc;

use crate::config::{Config, EgressAction, EgressPorts};
use crate::policy::{CallerNames, CallerSet};

pub use addresses::{AddressRefusal, AddressRules, PUBLIC_ONLY, Reach};
pub use hosts::EgressDecision;
use hosts::HostRules;

/// The rules of one configuration.
#[derive(Debug)]
pub struct EgressPolicy {
    /// Which addresses may be dialled.
    pub addresses: Arc<AddressRules>,
    ports: EgressPorts,
    /// By redirected listeners.
    redirected_ports: EgressPorts,
    hosts: HostRules,
    /// For each listener: who can reach it, and what becomes of what no rule names.
    listeners: Box<[(Reach, EgressAction)]>,
}

/// Stands for the key `unmatched` of a listener, which decides where no rule does.
pub const UNMATCHED: &str = "unmatched";

impl EgressPolicy {
    /// The rules of `config`.
    pub fn new(config: &Config) -> Self {
        let listeners = config.listeners.iter().map(|listener| {
            let reach = if listener.redirection().is_some() {
                Reach::Redirected
            } else if listener.address.is_on_network() {
                Reach::Network
            } else {
                Reach::Machine
            };
            let forward = listener.forward.as_ref();
            (
                reach,
                forward.map_or(EgressAction::Deny, |forward| forward.unmatched),
            )
        });
        Self {
            addresses: Arc::new(AddressRules::new(&config.egress)),
            ports: config.egress.ports.clone(),
            redirected_ports: config.egress.redirected.ports.clone(),
            hosts: HostRules::new(config, &CallerNames::new(&config.callers)),
            listeners: listeners.collect(),
        }
    }

    /// Whether anything passes by any listener.
    pub fn passes_any(&self) -> bool {
        let mut listeners = self.listeners.iter();
        listeners.any(|(_, unmatched)| *unmatched == EgressAction::Pass) || self.hosts.pass_any()
    }

    /// Who can reach the listener with this index.
    pub fn reach(&self, listener: usize) -> Reach {
        self.listeners[listener].0
    }

    /// What becomes of requests of a listener for this host, which is in its canonical form. Of rules for some callers
    /// only those count whose list of callers `is_listed`.
    pub fn decide(
        &self,
        listener: usize,
        host: &str,
        is_listed: impl Fn(&CallerSet) -> bool,
    ) -> EgressDecision {
        let unmatched = || EgressDecision {
            action: self.listeners[listener].1,
            rule: 0,
            by_exact_host: false,
        };
        self.hosts
            .find(listener, host, is_listed)
            .unwrap_or_else(unmatched)
    }

    /// How logs and metrics name the rules, by their index: [`UNMATCHED`] first, then the hosts of the rules as
    /// the configuration has them.
    pub fn rules(&self) -> impl Iterator<Item = &str> + Clone {
        std::iter::once(UNMATCHED).chain(self.hosts.labels())
    }

    /// Whether this port may be dialled for requests of the listener with this index.
    pub fn allows_port(&self, listener: usize, port: u16) -> bool {
        let ports = match self.reach(listener) {
            Reach::Redirected => &self.redirected_ports,
            Reach::Machine | Reach::Network => &self.ports,
        };
        ports.includes(port)
    }
}
