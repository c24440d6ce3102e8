//! Behaviour of the whole, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "tests have threads enough")]

mod access_log;
mod admin;
mod audit;
mod bound;
mod bounds;
mod browser_guard;
mod build_script;
mod ca;
mod caller_token;
mod callers;
mod chaos;
mod cli;
mod connect;
mod documents;
mod dpop;
mod drain;
mod egress_proxy;
mod errors;
mod exec;
mod explain;
mod forward;
mod handed_sockets;
mod interception;
mod limits;
mod listener_tls;
mod log;
mod metrics;
mod moving_names;
mod no_threads;
mod oauth;
mod oauth_assertion;
mod oauth_discovery;
mod oauth_grant;
mod oauth_mtls;
mod oauth_secrets;
mod pool;
mod proxy;
mod redirected;

mod reload;
mod renewal;
mod secrets;
mod service_manager;
mod silent_files;
mod streaming;
mod strict;
mod structure;
mod support;
mod token;
mod token_echo;
mod traces;
mod vanished;
