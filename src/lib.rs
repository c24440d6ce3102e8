//! Sidebearer gives unmodified services OAuth 2.0: it obtains and refreshes tokens for each
//! upstream and injects them into the requests that pass through it.
//!
//! The map of the house; arrows point down only:
//!
//! - [`cli`] is what can be asked on the command line: one file a command.
//! - [`app`] wires everything: [`app::bind`], then [`app::Bound::run`].
//! - [`reload`] and [`admin`] sit beside it: new snapshots in, health and metrics out. [`sockets`]
//!   opens and closes what the configuration names; [`watch`] tells when files change.
//! - [`server`] accepts connections and hands them to shards; [`proxy`] is the path of a request.
//! - [`snapshot`] is one immutable configuration with everything built from it:
//!   [`route`] (which upstream), [`token`] (the life of a token).
//! - [`oauth`] is the wire to the authorization server, over [`http_client`], which sends requests of
//!   our own; [`upstream`] makes the connections under both.
//! - [`http1`] is HTTP/1.1 on the wire, towards clients and upstreams, [`http2`] is HTTP/2 towards
//!   upstreams; [`client_socket`] a client's socket.
//! - [`config`], [`metrics`], [`limit`], [`deadline`], [`path`] (one meaning for every path) and
//!   [`address`] (what kind of place an IP address is), [`header_names`] (which names some server
//!   takes for one), [`redact`] (which cleans what servers say) and [`server_clock`] are the ground; [`jose`], keys and
//!   signatures, is under both `config` and `oauth`, and with it
//!   [`dpop`]: proofs that a token is ours, for the token endpoint and for every proxied request.
//! - [`files`] looks at files within a bound, [`supervisor`] tells who has died, and [`service_manager`]
//!   tells systemd.
//! - [`process`], [`telemetry`] and [`sampling`]: what we ask of the system, the log, and which lines
//!   of it are left out.

pub mod address;
pub mod admin;
pub mod app;
pub mod cli;
pub mod client_socket;
pub mod config;
pub mod deadline;
pub mod dpop;
pub mod files;
pub mod header_names;
pub mod http1;
pub mod http2;
pub mod http_client;
pub mod jose;
pub mod limit;
pub mod metrics;
pub mod oauth;
pub mod path;
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
pub mod token;
pub mod upstream;
pub mod watch;
