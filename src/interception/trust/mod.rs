//! What clients need to trust the CA: files in the form that each kind of client reads, and variables that name them.

mod directory;
mod files;
mod java;
#[cfg(test)]
mod tests;
mod truststore;
mod variables;

pub use directory::write;
pub use java::{JAVA_TUNNEL_SCHEMES, with_java_options};
pub use variables::variables;
