//! What is counted of the requests and responses of clients.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::Metrics;
use super::callers::ByCaller;
use super::outcomes::{CLIENT_ERRORS, UPSTREAM_ERRORS};
use super::tunnels::{TunnelMetrics, TunnelSeries};

/// Counts what one listener sends to one upstream.
#[derive(Debug)]
pub struct TrafficMetrics {
    requests: IntCounterVec,
    errors: IntCounterVec,
    listener: String,
    upstream: String,
    /// One counter per status, by its hundreds and its rest; made when a status first occurs.
    codes: [OnceLock<Box<[OnceLock<IntCounter>; 100]>>; 9],
    callers: ByCaller,
    duration: Histogram,
    tunnel_series: TunnelSeries,
    /// Made for the first tunnel.
    tunnels: OnceLock<Arc<TunnelMetrics>>,
}

impl Metrics {
    /// The handles of one listener and upstream; an empty upstream stands for "none matched".
    pub fn traffic(&self, listener: &str, upstream: &str) -> TrafficMetrics {
        TrafficMetrics {
            requests: self.requests.clone(),
            errors: self.errors.clone(),
            listener: listener.to_owned(),
            upstream: upstream.to_owned(),
            codes: Default::default(),
            callers: ByCaller::default(),
            duration: self.request_duration.with_label_values(&[upstream]),
            tunnel_series: self.tunnels.clone(),
            tunnels: OnceLock::new(),
        }
    }

    /// A list of callers of this listener would have refused a request of this caller, which is served.
    pub fn count_reported(&self, listener: &str, caller: &str) {
        self.reported.with_label_values(&[listener, caller]).inc();
    }

    /// How many tunnels are open, by listener and upstream, where there have been any.
    pub fn open_tunnels(&self) -> Vec<(String, String, i64)> {
        self.tunnels.open()
    }
}

impl TrafficMetrics {
    /// A response head with this status was sent to this caller, who is given by index and name.
    pub fn count_response(&self, status: http::StatusCode, caller: Option<(u32, &str)>) {
        if let Some((caller, name)) = caller {
            let labels = [
                self.listener.as_str(),
                &self.upstream,
                status.as_str(),
                name,
            ];
            let make = || self.requests.with_label_values(&labels);
            return self.callers.count(caller, status.as_u16(), make);
        }
        let code = usize::from(status.as_u16());
        let Some(class) = self.codes.get(code / 100 - 1) else {
            return;
        };
        let class = class.get_or_init(|| Box::new([const { OnceLock::new() }; 100]));
        class[code % 100]
            .get_or_init(|| {
                let labels = [self.listener.as_str(), &self.upstream, status.as_str(), ""];
                self.requests.with_label_values(&labels)
            })
            .inc();
    }

    /// A request of this caller ended in an error of ours.
    pub fn count_error(&self, error: &'static str, caller: Option<&str>) {
        debug_assert!(
            [&CLIENT_ERRORS[..], &UPSTREAM_ERRORS]
                .concat()
                .contains(&error),
            "{error}"
        );
        let caller = caller.unwrap_or_default();
        let labels = [self.listener.as_str(), &self.upstream, error, caller];
        self.errors.with_label_values(&labels).inc();
    }

    /// Where tunnels are counted.
    pub fn tunnels(&self) -> &Arc<TunnelMetrics> {
        let handles = || self.tunnel_series.of(&self.listener, &self.upstream);
        self.tunnels.get_or_init(handles)
    }

    /// A request ended, its response body included.
    pub fn observe_duration(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}
