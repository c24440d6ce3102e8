//! The series that exist before their first event: Prometheus sees an increase only from a value that was
//! there before.

use super::Metrics;
use super::outcomes::{CLIENT_ERRORS, CONNECT_OUTCOMES, TOKEN_OUTCOMES, UPSTREAM_ERRORS};

/// Statuses that every upstream may answer with, or we in its place.
const USUAL_CODES: [&str; 5] = ["200", "500", "502", "503", "504"];

/// The series of this many upstreams, credentials, or pairs of a listener and an upstream exist from the start.
/// Series for more of them would cost memory and scrape time, although they may never count anything.
pub(super) const MOST_AT_ZERO: usize = 100;

impl Metrics {
    /// Lets the series of these listeners, which only report what lists of callers would refuse, begin at 0.
    pub fn begin_reported<'n>(&self, listeners: impl Iterator<Item = &'n String>) {
        for name in listeners.take(MOST_AT_ZERO) {
            self.reported.with_label_values(&[name, ""]);
        }
    }

    /// Lets the series of these names begin at 0, so that the first event of all is an increase.
    /// `traffic` has pairs of a listener and an upstream that a route leads to.
    pub fn begin<'n>(
        &self,
        credentials: impl ExactSizeIterator<Item = &'n String>,
        upstreams: impl ExactSizeIterator<Item = &'n String>,
        listeners: impl ExactSizeIterator<Item = &'n String>,
        traffic: impl ExactSizeIterator<Item = (&'n str, &'n str)>,
    ) {
        if credentials.len() <= MOST_AT_ZERO {
            for (name, outcome) in each(credentials, &TOKEN_OUTCOMES) {
                self.token_requests.with_label_values(&[name, outcome]);
            }
        }
        if upstreams.len() <= MOST_AT_ZERO {
            for (name, outcome) in each(upstreams, &CONNECT_OUTCOMES) {
                self.upstream_connects.with_label_values(&[name, outcome]);
            }
        }
        if listeners.len() <= MOST_AT_ZERO {
            for (name, error) in each(listeners, &CLIENT_ERRORS) {
                self.errors.with_label_values(&[name, "", error, ""]);
            }
        }
        if traffic.len() <= MOST_AT_ZERO {
            for (listener, upstream) in traffic {
                for error in UPSTREAM_ERRORS {
                    let labels = [listener, upstream, error, ""];
                    self.errors.with_label_values(&labels);
                }
                for code in USUAL_CODES {
                    let labels = [listener, upstream, code, ""];
                    self.requests.with_label_values(&labels);
                }
            }
        }
    }
}

/// Every name with every value of another label.
fn each<'n>(
    names: impl Iterator<Item = &'n String>,
    values: &'static [&'static str],
) -> impl Iterator<Item = (&'n str, &'static str)> {
    names.flat_map(|name| values.iter().map(|value| (name.as_str(), *value)))
}
