//! The file as a whole.

use super::super::declare::keys;
use super::super::tables::{Each, Named, Nested};
use super::{
    ADMIN_TABLE, CREDENTIAL_TABLE, HEALTH_TABLE, LISTENER_TABLE, LOG_TABLE, ROUTE_TABLE,
    SERVER_TABLE, UPSTREAM_TABLE,
};

keys! {
    /// What a file may hold.
    ROOT: Root, ROOT_TABLE = "the file" {
        /// The process as a whole.
        server: Nested = Nested(&SERVER_TABLE);

        /// The log on standard error.
        log: Nested = Nested(&LOG_TABLE);

        /// The address for health, metrics, status and reload.
        admin: Nested = Nested(&ADMIN_TABLE);

        /// A second address, for health and metrics only.
        health: Nested = Nested(&HEALTH_TABLE);

        /// Where the requests of the service arrive.
        listeners: Each = Each(&LISTENER_TABLE);

        /// Which requests go to which upstream.
        routes: Each = Each(&ROUTE_TABLE);

        /// The APIs.
        upstreams: Named = Named(&UPSTREAM_TABLE);

        /// The client registrations at authorization servers.
        credentials: Named = Named(&CREDENTIAL_TABLE);
    }
}
