//! Behaviour of the whole, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod connect;
mod heal;
mod oauth;
mod oauth_discovery;
mod pool;
mod proxy;
mod streaming;
mod support;
mod token;
