//! Behaviour of the whole, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access_log;
mod admin;
mod cli;
mod connect;
mod drain;
mod errors;
mod neighbours;
mod oauth;
mod oauth_discovery;
mod proxy;
mod secrets;
mod support;
mod token;
