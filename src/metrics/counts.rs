//! What has been counted of requests, for `/status`.

use std::collections::{BTreeMap, HashMap};

use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;

use super::Metrics;
use super::callers::CALLER;

/// What has been counted of requests since the start, by the names of the configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestCounts {
    /// By listener.
    pub listeners: HashMap<String, AnswerCounts>,
    /// By upstream.
    pub upstreams: HashMap<String, UpstreamCounts>,
    /// By caller.
    pub callers: HashMap<String, CallerCounts>,
}

/// How requests were answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AnswerCounts {
    /// Those answered, by the class of the status, such as `2xx`.
    pub responses: BTreeMap<String, u64>,
    /// Those that sidebearer itself answered with an error or cut off, by the code of the error.
    pub errors: BTreeMap<String, u64>,
}

/// What one upstream answered.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct UpstreamCounts {
    /// How requests to it were answered.
    #[serde(flatten)]
    pub answers: AnswerCounts,
    /// From the request heads to the ends of the responses.
    pub duration: DurationCounts,
    /// Its open connections.
    pub connections: ConnectionCounts,
}

/// How long requests took.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DurationCounts {
    /// How many have ended.
    pub count: u64,
    /// All together, in seconds.
    pub sum: f64,
    /// How many took at most so many seconds: pairs of a bound and a number, in ascending order.
    pub buckets: Vec<(f64, u64)>,
}

/// The open connections to one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ConnectionCounts {
    /// With a request.
    pub active: i64,
    /// Kept for the next one.
    pub idle: i64,
}

/// What one caller asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CallerCounts {
    /// Its requests that have been answered.
    pub requests: u64,
    /// Those of them that a limit refused.
    pub rate_limited: u64,
}

impl Metrics {
    /// What has been counted of requests since the start.
    pub fn request_counts(&self) -> RequestCounts {
        let mut counts = RequestCounts::default();
        for series in all(&self.requests.collect()) {
            let [listener, upstream, code, caller] =
                labels(series, ["listener", "upstream", "code", CALLER]);
            let number = whole(series.get_counter().get_value());
            let class = code.get(..1).unwrap_or_default();
            counts.add(listener, upstream, number, |answers| {
                answers.responses.entry(format!("{class}xx")).or_default()
            });
            if !caller.is_empty() {
                counts
                    .callers
                    .entry(caller.to_owned())
                    .or_default()
                    .requests += number;
            }
        }
        for series in all(&self.errors.collect()) {
            let [listener, upstream, error, caller] =
                labels(series, ["listener", "upstream", "error", CALLER]);
            let number = whole(series.get_counter().get_value());
            counts.add(listener, upstream, number, |answers| {
                answers.errors.entry(error.to_owned()).or_default()
            });
            if !caller.is_empty() && error == "rate_limited" {
                counts
                    .callers
                    .entry(caller.to_owned())
                    .or_default()
                    .rate_limited += number;
            }
        }
        for series in all(&self.request_duration.collect()) {
            let [upstream] = labels(series, ["upstream"]);
            let histogram = series.get_histogram();
            let buckets = histogram.get_bucket().iter();
            counts.upstream(upstream).duration = DurationCounts {
                count: histogram.get_sample_count(),
                sum: histogram.get_sample_sum(),
                buckets: buckets
                    .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                    .collect(),
            };
        }
        for series in all(&self.upstream_connections.collect()) {
            let [upstream, state] = labels(series, ["upstream", "state"]);
            let number = series.get_gauge().get_value() as i64;
            let connections = &mut counts.upstream(upstream).connections;
            match state {
                "active" => connections.active = number,
                _ => connections.idle = number,
            }
        }
        counts
    }
}

impl RequestCounts {
    /// Adds to a number of a listener and of an upstream, which may be none.
    fn add(
        &mut self,
        listener: &str,
        upstream: &str,
        number: u64,
        of: impl Fn(&mut AnswerCounts) -> &mut u64,
    ) {
        if number == 0 {
            return;
        }
        let listener = self.listeners.entry(listener.to_owned()).or_default();
        *of(listener) += number;
        if !upstream.is_empty() {
            *of(&mut self.upstream(upstream).answers) += number;
        }
    }

    fn upstream(&mut self, name: &str) -> &mut UpstreamCounts {
        self.upstreams.entry(name.to_owned()).or_default()
    }
}

fn all(families: &[MetricFamily]) -> impl Iterator<Item = &Metric> {
    families.iter().flat_map(MetricFamily::get_metric)
}

/// The values of these labels.
fn labels<'s, const N: usize>(series: &'s Metric, names: [&str; N]) -> [&'s str; N] {
    names.map(|name| {
        let mut labels = series.get_label().iter();
        let label = labels.find(|label| label.name() == name);
        label.map_or("", |label| label.value())
    })
}

fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    #[test]
    fn requests_are_counted_by_listener_upstream_and_caller() {
        let metrics = Metrics::new();
        let (crm, nowhere) = (metrics.traffic("in", "crm"), metrics.traffic("in", ""));
        for (caller, name) in [(0, "a"), (70, "b"), (0, "a")] {
            crm.count_response(StatusCode::OK, Some((caller, name)));
        }
        crm.count_response(StatusCode::TOO_MANY_REQUESTS, Some((0, "a")));
        crm.count_error("rate_limited", Some("a"));
        crm.count_response(StatusCode::BAD_GATEWAY, None);
        crm.count_error("upstream_connect", None);
        nowhere.count_response(StatusCode::NOT_FOUND, None);
        nowhere.count_error("no_route", None);
        crm.observe_duration(Duration::from_millis(30));
        metrics.upstream("crm").idle.set(2);

        let counts = metrics.request_counts();
        let callers = [("a", 3, 1), ("b", 1, 0)].map(|(name, requests, rate_limited)| {
            let counts = CallerCounts {
                requests,
                rate_limited,
            };
            (name.to_owned(), counts)
        });
        assert_eq!(counts.callers, HashMap::from(callers));
        let listener = serde_json::json!({
            "responses": { "2xx": 3, "4xx": 2, "5xx": 1 },
            "errors": { "no_route": 1, "rate_limited": 1, "upstream_connect": 1 },
        });
        assert_eq!(serde_json::json!(counts.listeners["in"]), listener);
        let upstream = &counts.upstreams["crm"];
        assert_eq!(upstream.answers.responses["4xx"], 1);
        assert!(!upstream.answers.errors.contains_key("no_route"));
        assert_eq!(
            upstream.connections,
            ConnectionCounts { active: 0, idle: 2 }
        );
        assert_eq!(upstream.duration.count, 1);
        let below = |bound: f64| {
            let mut buckets = upstream.duration.buckets.iter();
            buckets.find(|(at, _)| *at == bound).unwrap().1
        };
        assert_eq!((below(0.025), below(0.05)), (0, 1));
    }
}
