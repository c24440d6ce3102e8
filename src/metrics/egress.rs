//! What becomes of destinations that no route leads to.

use prometheus::IntCounter;

use super::Metrics;
use super::series::MOST_AT_ZERO;

/// Counts what one rule decided about the requests and tunnels of one listener.
#[derive(Debug)]
pub struct EgressMetrics {
    /// They went on to where their clients named.
    pub passed: IntCounter,
    /// The rule denies the host.
    pub denied: IntCounter,
    /// The rule lets the host pass, but not on that port.
    pub denied_port: IntCounter,
    /// The rule lets the host pass, but no address of it may be dialled.
    pub denied_address: IntCounter,
}

impl Metrics {
    /// The counters of one listener and rule, which is the host of the rule, or `unmatched`.
    pub fn egress(&self, listener: &str, rule: &str) -> EgressMetrics {
        let of = |outcome| self.egress.with_label_values(&[listener, rule, outcome]);
        EgressMetrics {
            passed: of("passed"),
            denied: of("denied"),
            denied_port: of("port_denied"),
            denied_address: of("address_denied"),
        }
    }

    /// Lets the series of these listeners begin at 0, with each rule.
    pub fn begin_egress<'n>(
        &self,
        listeners: impl Iterator<Item = &'n String> + Clone,
        rules: impl Iterator<Item = &'n str> + Clone,
    ) {
        if listeners.clone().count() * rules.clone().count() <= MOST_AT_ZERO {
            for listener in listeners {
                for rule in rules.clone() {
                    self.egress(listener, rule);
                }
            }
        }
    }
}
