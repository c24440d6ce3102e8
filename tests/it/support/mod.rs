//! Fakes named by how they misbehave.
