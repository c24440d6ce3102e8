//! The lists of callers that can refuse a request.

/// The lists that can refuse a caller, as the log names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerRule {
    /// That of the listener.
    Listener,
    /// That of the route.
    Route,
    /// That of a rule about what may leave.
    Egress,
}

impl CallerRule {
    /// As the log has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "`callers` of the listener",
            Self::Route => "`callers` of the route",
            Self::Egress => "`callers` of a rule about what may leave",
        }
    }
}
