//! Behaviour of the whole, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access_log;
mod connect;
mod errors;
mod oauth;
mod oauth_discovery;
mod proxy;
mod support;
mod token;
