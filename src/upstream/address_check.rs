//! Which addresses a connection may be made to.

use std::fmt;
use std::net::SocketAddr;

/// Judges the addresses of a host that was not named by the operator. It is asked for every connection,
/// after the name was resolved, about the addresses that are then dialled.
pub trait AddressCheck: fmt::Debug + Send + Sync {
    /// Whether a connection to `address` may be made.
    ///
    /// # Errors
    /// Why not.
    fn judge(&self, address: SocketAddr) -> Result<(), ForbiddenAddress>;

    /// The rule that is given where a name has no address at all. With one, a client cannot tell such a name
    /// from one whose addresses are forbidden.
    fn rule_for_none(&self) -> Option<&'static str>;
}

/// Why a connection to an address may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForbiddenAddress {
    /// For the operator, in words that follow the address.
    pub reason: String,
    /// The rule for the client, in words that say nothing of the address.
    pub rule: &'static str,
}
