//! How a request has come: what decides about it beside its head.

use super::client_connection::ClientConnection;
use crate::policy::CallerIndex;
use crate::snapshot::Snapshot;

/// How a request has come, to be decided about by one snapshot.
#[derive(Clone, Copy)]
pub struct Reception<'s, 'c> {
    /// What decides.
    pub snapshot: &'s Snapshot,
    /// The listener it came in by: an index of the snapshot.
    pub listener: usize,
    /// Who sent it; `None` where nobody has to be known.
    pub caller: Option<CallerIndex>,
    /// The connection that it came on.
    pub client: &'c ClientConnection,
}
