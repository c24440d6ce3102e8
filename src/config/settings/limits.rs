//! `limits`: how much a caller or a route may ask for.

/// `limits`; what is `None` has no limit
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second, over time. Never zero.
    pub requests_per_second: Option<u32>,
    /// Requests at once after a pause; as many as `requests_per_second` when absent. Never zero, and never without
    /// `requests_per_second`.
    pub burst: Option<u32>,
    /// Requests at the same time. Never zero.
    pub concurrent: Option<u32>,
    /// Tunnels at the same time. Never zero.
    pub tunnels: Option<u32>,
}

impl Limits {
    /// With those of `default` where nothing is said.
    pub(in crate::config) fn or(self, default: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(default.requests_per_second),
            burst: self.burst.or(default.burst),
            concurrent: self.concurrent.or(default.concurrent),
            tunnels: self.tunnels.or(default.tunnels),
        }
    }
}
