//! Behaviour of the whole, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod connect;
mod oauth;
mod oauth_assertion;
mod oauth_discovery;
mod oauth_grant;
mod oauth_mtls;
mod proxy;
mod support;
mod token;
