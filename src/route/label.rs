//! What people call a route.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::config::{HostPattern, Route};

/// What logs and pages call a route. That of a route of the configuration is put together when it is written: there may
/// be 100,000 of them, and few are ever spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteLabel<'s> {
    /// The host and the path of a route of the configuration.
    Written(&'s HostPattern, &'s str),
    /// What an own name of an upstream implies, or a rule about what may leave.
    Named(&'s str),
}

impl<'s> From<&'s Route> for RouteLabel<'s> {
    fn from(route: &'s Route) -> Self {
        Self::Written(&route.host, &route.path)
    }
}

impl fmt::Display for RouteLabel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(host, path) => write!(f, "{host}{path}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl Serialize for RouteLabel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_called_by_its_host_and_its_path() {
        let exact = HostPattern::Exact("crm.local".into());
        let below = HostPattern::Wildcard("crm.local".into());
        for (label, shown) in [
            (RouteLabel::Written(&HostPattern::Any, "/v2"), "*/v2"),
            (RouteLabel::Written(&exact, "/"), "crm.local/"),
            (RouteLabel::Written(&below, "/v2"), "*.crm.local/v2"),
            (RouteLabel::Named("unmatched"), "unmatched"),
        ] {
            assert_eq!(label.to_string(), shown);
            let json = serde_json::to_string(&label).unwrap();
            assert_eq!(json, format!("\"{shown}\""));
        }
    }
}
