//! The file as a whole.

use super::super::declare::EveryName;
use super::super::kinds::{SubTable, TableArray, TablesByName};
use super::super::parse::caller::CALLER_NAME;
use super::super::settings::caller::EVERY_CALLER;
use super::limits::BURST_RULES;
use super::{
    ADMIN_TABLE, AUDIT_TABLE, CALLER_TABLE, CREDENTIAL_TABLE, EGRESS_TABLE, HEALTH_TABLE,
    INTERCEPTION_TABLE, KUBERNETES_TABLE, LISTENER_TABLE, LOG_TABLE, ROUTE_TABLE, SERVER_TABLE,
    TRACING_TABLE, UPSTREAM_TABLE,
};

/// What is said of every caller.
pub(in crate::config) const OF_EVERY_CALLER: EveryName = EveryName {
    name: EVERY_CALLER,
    keys: &["limits"],
    rules: BURST_RULES,
};

keys! {
    /// What a file may hold.
    ROOT: Root, ROOT_TABLE = "the file" {
        /// The process as a whole.
        server: SubTable = SubTable(&SERVER_TABLE);

        /// The log on standard error.
        log: SubTable = SubTable(&LOG_TABLE);

        /// The address for health, metrics, status and reload.
        admin: SubTable = SubTable(&ADMIN_TABLE);

        /// A second address, for health and metrics only.
        health: SubTable = SubTable(&HEALTH_TABLE);

        /// Where the requests of the service arrive.
        listeners: TableArray = TableArray(&LISTENER_TABLE);

        /// Which requests go to which upstream.
        routes: TableArray = TableArray(&ROUTE_TABLE);

        /// What may leave that no route leads to.
        egress: SubTable = SubTable(&EGRESS_TABLE);

        /// The CA that ends the TLS of clients.
        interception: SubTable = SubTable(&INTERCEPTION_TABLE);

        /// The APIs.
        upstreams: TablesByName = TablesByName::new(&UPSTREAM_TABLE);

        /// The client registrations at authorization servers.
        credentials: TablesByName = TablesByName::new(&CREDENTIAL_TABLE);

        /// Who may use listeners, and how they are known.
        callers: TablesByName = TablesByName::new(&CALLER_TABLE)
            .or_every(CALLER_NAME.pattern, OF_EVERY_CALLER);

        /// How the tokens of service accounts are checked.
        kubernetes: SubTable = SubTable(&KUBERNETES_TABLE);

        /// The record of every decision.
        audit: SubTable = SubTable(&AUDIT_TABLE);

        /// Traces, and the collector that gets them.
        tracing: SubTable = SubTable(&TRACING_TABLE);
    }
}
