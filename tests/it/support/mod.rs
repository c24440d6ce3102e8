//! Fakes named by how they misbehave.

pub(crate) mod tls;
