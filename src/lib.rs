//! Sidebearer gives unmodified services OAuth 2.0: it obtains and refreshes tokens for each
//! upstream and injects them into the requests that pass through it.
//!
//! A module uses only those that stand below it in this list; `ARCHITECTURE.md` has the same order
//! with one line for each file that matters, and a test compares it with the imports.
//!
//! - [`cli`]: the commands, one file for each.
//! - [`app`] wires all parts: [`app::bind`], then [`app::Bound::run`].
//! - [`reload`] replaces what is served; [`sockets`] opens and closes what the configuration names;
//!   [`admin`] answers operators.
//! - [`server`] accepts connections and hands them to shards; [`proxy`] is the way of a request.
//! - [`snapshot`] is one immutable configuration with everything that was built from it.
//! - [`explanation`] says what would become of a request.
//! - [`caller`] is who is calling.
//! - [`token`] is the life of a token; [`oauth`] is what is sent to an authorization server, by
//!   [`http_client`], which sends requests of our own; [`trace`] is what is recorded of all this, for a collector.
//! - [`interception`] is what ends the TLS of clients, and what they need to trust it.
//! - [`upstream`] makes and keeps connections to APIs and authorization servers.
//! - [`audit`] records decisions; [`client_socket`] is the socket of a client.
//! - [`sampling`] leaves log lines out while many requests fail in the same way; [`telemetry`] is the log;
//!   [`route`] finds the route of a request; [`egress`] says what may leave that no route leads to.
//! - [`policy`] is what is decided about a request once its route and its caller are known.
//! - [`tls`] reads certificates, keys and CRLs, and is what a listener with TLS makes of them.
//! - [`handed_sockets`] are those that systemd has opened.
//! - [`config`] is what the TOML files say.
//! - [`ca`] makes a certification authority that may sign for few names alone, and signs with it.
//! - [`dpop`] proves that a token is ours (RFC 9449); [`jose`] is keys and signatures.
//! - [`http1`] and [`http2`] are the two versions of HTTP on the wire.
//! - [`service_manager`] tells systemd; [`watch`] tells when files change; [`files`] reads them within a
//!   time limit; [`supervisor`] tells which thread or task has died.
//! - The ground: [`path`], [`header_names`], [`address`], [`redact`], [`server_clock`], [`metrics`],
//!   [`limit`], [`deadline`], [`process`] and [`build_info`].

pub mod address;
pub mod admin;
pub mod app;
pub mod audit;
pub mod blocking;
pub mod build_info;
pub mod ca;
pub mod caller;
pub mod cli;
pub mod client_socket;
pub mod config;
pub mod deadline;
pub mod dpop;
pub mod egress;
pub mod explanation;
pub mod files;
pub mod handed_sockets;
pub mod header_names;
pub mod host;
pub mod http1;
pub mod http2;
pub mod http_client;
pub mod interception;
pub mod jose;
pub mod limit;
pub mod links;
pub mod metrics;
pub mod oauth;
pub mod path;
pub mod policy;
pub mod process;
pub mod proxy;
pub mod redact;
pub mod reload;
pub mod route;
pub mod sampling;
pub mod server;
pub mod server_clock;
pub mod service_manager;
pub mod snapshot;
pub mod sockets;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod trace;
pub mod upstream;
mod user_namespace;
pub mod watch;
