//! Fakes named by how they misbehave.

pub(crate) mod scripted;
pub(crate) mod tls;
