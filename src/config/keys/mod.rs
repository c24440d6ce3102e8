//! The declaration of every key, one file for each table. What is said of a key here is what the
//! reader goes by, and what the documentation says.

mod credential;
mod listener;
mod log;
mod pages;
mod root;
mod route;
mod secret_source;
mod server;
mod tls;
mod upstream;

pub(super) use credential::{CREDENTIAL, CREDENTIAL_TABLE};
pub(super) use listener::{LISTENER, LISTENER_TABLE};
pub(super) use log::{LOG, LOG_TABLE};
pub(super) use pages::{ADMIN, ADMIN_TABLE, DEFAULT_ADMIN, HEALTH, HEALTH_TABLE};
pub(super) use root::{ROOT, ROOT_TABLE};
pub(super) use route::{ROUTE, ROUTE_TABLE};
pub(super) use secret_source::{SECRET_SOURCE, SECRET_SOURCE_TABLE};
pub(super) use server::{SERVER, SERVER_TABLE};
pub(super) use tls::{TLS, UPSTREAM_TLS};
pub(super) use upstream::{UPSTREAM, UPSTREAM_TABLE};
