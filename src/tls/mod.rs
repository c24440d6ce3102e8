//! TLS from files: certificates, keys and CRLs, and what a listener makes of them; and whose turn it is to compute.

mod client_verifier;
mod pem;
mod reason;
mod revocation;
mod server_certificates;
mod server_tls;
#[cfg(test)]
pub mod test_certificates;
#[cfg(test)]
mod tests;
mod turns;
mod validity;

pub use client_verifier::ClientVerifier;
pub use pem::{FileError, certificates_of, key_of, roots_of};
pub use reason::{reason, without_documentation_link};
pub use server_certificates::ServerCertificate;
pub use server_tls::ServerTls;
pub use turns::HandshakeTurns;
pub use validity::since_epoch;
