//! Everything that is counted, and the text Prometheus reads.
//!
//! Handles are resolved when a snapshot is built; counting is then one atomic operation, without
//! lock, hash or allocation. Label values come from the configuration alone, so that their number
//! is bounded.

mod audit;
mod caller_tokens;
mod callers;
mod counts;
mod credentials;
mod egress;
mod families;
mod handshakes;
mod interception;
mod listeners;
mod outcomes;
mod process;
mod series;
mod spans;
mod traffic;
mod tunnels;
mod upstreams;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use audit::AuditMetrics;
pub use caller_tokens::{CallerKeyMetrics, CallerReviewMetrics};
pub use counts::{
    AnswerCounts, CallerCounts, ConnectionCounts, DurationCounts, RequestCounts, UpstreamCounts,
};
pub use credentials::CredentialMetrics;
pub use egress::EgressMetrics;
pub use listeners::ListenerExpiry;
pub use outcomes::{
    CLIENT_ERRORS, CONNECT_OUTCOMES, HANDSHAKE_OUTCOMES, REVIEW_OUTCOMES, TOKEN_OUTCOMES,
    UPSTREAM_ERRORS,
};
pub use process::ProcessState;
pub use spans::SpanMetrics;
pub use traffic::TrafficMetrics;
pub use tunnels::{TunnelEnd, TunnelMetrics};
pub use upstreams::UpstreamMetrics;

use crate::build_info;

use caller_tokens::CallerTokenSeries;
use callers::CALLER;
use families::{Families, SeriesFamily, VALID, counter, gauge, histogram, unix_now};
use handshakes::HandshakeSeries;
use interception::InterceptionSeries;
use process::ProcessSeries;
use tunnels::TunnelSeries;

/// From a cached answer on loopback to the slowest upstream that is still waited for.
const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Token requests are at least a round trip and at most `fetch_timeout`.
const TOKEN_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// All metrics of one process (one [`App`](crate::app) in tests).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    requests: IntCounterVec,
    errors: IntCounterVec,
    reported: IntCounterVec,
    egress: IntCounterVec,
    request_duration: HistogramVec,
    upstream_connections: IntGaugeVec,
    upstream_connects: IntCounterVec,
    token_requests: IntCounterVec,
    token_request_duration: HistogramVec,
    token_expiry: GaugeVec,
    settings_pending: IntGaugeVec,
    token_rejections: IntCounterVec,
    token_echoes: IntCounterVec,
    reloads: IntCounterVec,
    last_reload: Gauge,
    reload_successful: IntGauge,
    log_lines_dropped: IntCounter,
    audit: AuditMetrics,
    spans: SpanMetrics,
    tunnels: TunnelSeries,
    handshakes: HandshakeSeries,
    caller_tokens: CallerTokenSeries,
    interception: InterceptionSeries,
    process: ProcessSeries,
}

impl Metrics {
    /// An empty set, with the build information filled in.
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::new(),
            families: Families(Vec::new()),
            requests: counter(
                "sidebearer_requests_total",
                "Requests answered, by the status sent.",
                &["listener", "upstream", "code", CALLER],
            ),
            errors: counter(
                "sidebearer_errors_total",
                "Requests that sidebearer itself answered with an error, or cut off.",
                &["listener", "upstream", "error", CALLER],
            ),
            reported: counter(
                "sidebearer_reported_total",
                "Requests that a list of callers would have refused, and that were served.",
                &["listener", CALLER],
            ),
            egress: counter(
                "sidebearer_egress_total",
                "Requests and tunnels for destinations that no route leads to, by the rule that decided.",
                &["listener", "rule", "outcome"],
            ),
            request_duration: histogram(
                "sidebearer_request_duration_seconds",
                "From the request head to the end of the response.",
                "upstream",
                REQUEST_BUCKETS,
            ),
            upstream_connections: gauge(
                "sidebearer_upstream_connections",
                "Open connections to the upstream.",
                &["upstream", "state"],
            ),
            upstream_connects: counter(
                "sidebearer_upstream_connects_total",
                "Attempts to connect to the upstream.",
                &["upstream", "outcome"],
            ),
            token_requests: counter(
                "sidebearer_token_requests_total",
                "Token requests, by outcome.",
                &["credential", "outcome"],
            ),
            token_request_duration: histogram(
                "sidebearer_token_request_duration_seconds",
                "Duration of token requests.",
                "credential",
                TOKEN_BUCKETS,
            ),
            token_expiry: GaugeVec::new(
                Opts::new(
                    "sidebearer_token_expiry_timestamp_seconds",
                    "When the current token expires, Unix time; 0 without one.",
                ),
                &["credential"],
            )
            .expect(VALID),
            settings_pending: gauge(
                "sidebearer_credential_settings_pending",
                "1 while settings that a reload changed have not brought a token yet.",
                &["credential"],
            ),
            token_rejections: counter(
                "sidebearer_token_rejections_total",
                "Tokens that an upstream rejected before their expiry.",
                &["credential"],
            ),
            token_echoes: counter(
                "sidebearer_token_echoes_total",
                "Headers of responses in which the upstream sent the token back, which was masked.",
                &["upstream"],
            ),
            reloads: counter(
                "sidebearer_config_reloads_total",
                "Configuration reloads, by outcome.",
                &["outcome"],
            ),
            last_reload: Gauge::new(
                "sidebearer_config_last_reload_timestamp_seconds",
                "When the configuration was last loaded with success, Unix time.",
            )
            .expect(VALID),
            reload_successful: IntGauge::new(
                "sidebearer_config_last_reload_successful",
                "Whether the configuration that was last looked at is in place: 1, or 0 if it was refused.",
            )
            .expect(VALID),
            log_lines_dropped: IntCounter::new(
                "sidebearer_log_lines_dropped_total",
                "Log lines that were lost because stderr was not read in time.",
            )
            .expect(VALID),
            audit: AuditMetrics::new(),
            spans: SpanMetrics::new(),
            tunnels: TunnelSeries::new(),
            handshakes: HandshakeSeries::new(),
            caller_tokens: CallerTokenSeries::new(),
            interception: InterceptionSeries::new(),
            process: ProcessSeries::new(),
        };
        let build = gauge("sidebearer_build_info", "Always 1.", &["commit", "version"]);
        build
            .with_label_values(&[build_info::COMMIT, build_info::VERSION])
            .set(1);
        let all: [Box<dyn SeriesFamily>; 18] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.errors.clone()),
            Box::new(metrics.reported.clone()),
            Box::new(metrics.egress.clone()),
            Box::new(metrics.request_duration.clone()),
            Box::new(metrics.upstream_connections.clone()),
            Box::new(metrics.upstream_connects.clone()),
            Box::new(metrics.token_requests.clone()),
            Box::new(metrics.token_request_duration.clone()),
            Box::new(metrics.token_expiry.clone()),
            Box::new(metrics.settings_pending.clone()),
            Box::new(metrics.token_rejections.clone()),
            Box::new(metrics.token_echoes.clone()),
            Box::new(metrics.reloads.clone()),
            Box::new(metrics.last_reload.clone()),
            Box::new(metrics.reload_successful.clone()),
            Box::new(metrics.log_lines_dropped.clone()),
            Box::new(build),
        ];
        let all = all.into_iter().chain(metrics.tunnels.collectors());
        let all = all.chain(metrics.audit.collectors());
        let all = all.chain(metrics.spans.collectors());
        let all = all.chain(metrics.caller_tokens.collectors());
        let all = all.chain(metrics.interception.collectors());
        let all = all.chain(metrics.process.collectors());
        let all: Vec<_> = all.chain(metrics.handshakes.collectors()).collect();
        for family in &all {
            metrics.registry.register(family.collector()).expect(VALID);
        }
        metrics.families = Families(all);
        for outcome in ["success", "failure"] {
            metrics.reloads.with_label_values(&[outcome]);
        }
        Arc::new(metrics)
    }

    /// Counts the records of the audit.
    pub fn audit(&self) -> &AuditMetrics {
        &self.audit
    }

    /// Counts the spans of traces.
    pub fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// The handles of the keys of one issuer of callers' tokens, all of whose series are there from here on.
    pub fn caller_keys(&self, issuer: &str) -> CallerKeyMetrics {
        self.caller_tokens.keys(issuer)
    }

    /// Forgets an issuer that the configuration no longer has.
    pub fn forget_caller_keys(&self, issuer: &str) {
        self.caller_tokens.forget_keys(issuer);
    }

    /// The handles of reviews of callers' tokens, all of whose series are there from here on.
    pub fn caller_reviews(&self) -> CallerReviewMetrics {
        self.caller_tokens.reviews()
    }

    /// The configuration that the process starts with is in place.
    pub fn record_load(&self) {
        self.last_reload.set(unix_now());
        self.reload_successful.set(1);
    }

    /// Shows the process as it is now. What the system does not tell is NaN, which Prometheus takes for unknown.
    pub fn show_process(&self, state: &ProcessState) {
        self.process.show(state);
    }

    /// Shows which issuers of intercepted hosts there are, by their files, and when each ends, since the Unix epoch.
    pub fn show_issuers(&self, issuers: impl Iterator<Item = (PathBuf, Duration)>) {
        self.interception.show(issuers);
    }

    /// Forgets the series of what the configuration no longer has, as `keeps` says of a label and its value. What is
    /// counted by handles from before is lost.
    pub fn forget_series(&self, keeps: impl Fn(&str, &str) -> bool) {
        for family in &self.families.0 {
            family.forget(&keeps);
        }
    }

    /// Counts a reload.
    pub fn record_reload(&self, success: bool) {
        let outcome = if success { "success" } else { "failure" };
        self.reloads.with_label_values(&[outcome]).inc();
        if success {
            self.record_load();
        } else {
            self.reload_successful.set(0);
        }
    }

    /// The log has dropped this many lines since the start.
    pub fn set_log_lines_dropped(&self, lines: u64) {
        let counted = self.log_lines_dropped.get();
        self.log_lines_dropped.inc_by(lines.saturating_sub(counted));
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        let mut families = self.registry.gather();
        callers::leave_out_nobody(&mut families);
        let encoded = TextEncoder::new().encode(&families, &mut text);
        debug_assert!(encoded.is_ok(), "writing to memory does not fail");
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets every series begin that names something of a configuration.
    fn begin_all(metrics: &Metrics, name: &str) {
        let owned = name.to_owned();
        let names = || std::iter::once(&owned);
        let list = [&owned];
        let pairs = [(name, name)];
        metrics.begin(
            list.into_iter(),
            list.into_iter(),
            list.into_iter(),
            pairs.into_iter(),
        );
        metrics.begin_reported(names());
        metrics.begin_interception(names());
        metrics.count_reported(name, name);
        metrics.egress(name, name);
        let traffic = metrics.traffic(name, name);
        traffic.count_response(http::StatusCode::OK, Some((0, name)));
        traffic.count_error("rate_limited", Some(name));
        traffic.tunnels().count_begin();
        metrics.upstream(name);
        metrics.token_echoes(name);
        metrics.credential(name).set_settings_pending(true);
        metrics.caller_keys(name).count_fetch("success");
        metrics.count_handshake(name, "success");
        let expiry = ListenerExpiry {
            listener: name,
            certificates: vec![(std::path::Path::new("own.pem"), Duration::from_secs(1))],
            next_crl_update: Some(Duration::from_secs(1)),
        };
        metrics.show_expiry(std::iter::once(expiry));
    }

    #[test]
    fn series_of_what_is_gone_are_forgotten_and_all_others_stay() {
        let metrics = Metrics::new();
        let before = metrics.render();
        begin_all(&metrics, "gone");
        let whole = metrics.render();
        // Every family that has labels of the configuration is among them.
        let labels = [
            "listener",
            "upstream",
            "credential",
            "caller",
            "issuer",
            "rule",
        ];
        let names = |page: &str, name: &str| {
            let has = |line: &&str| {
                labels
                    .iter()
                    .any(|it| line.contains(&format!("{it}=\"{name}\"")))
            };
            let lines: Vec<_> = page.lines().filter(has).map(str::to_owned).collect();
            lines
        };
        for family in &metrics.families.0 {
            for desc in family.collector().desc() {
                let is_of_configuration =
                    (desc.variable_labels.iter()).any(|it| labels.contains(&it.as_str()));
                let is_there = names(&whole, "gone")
                    .iter()
                    .any(|line| line.starts_with(&desc.fq_name));
                assert_eq!(is_there, is_of_configuration, "{}", desc.fq_name);
            }
        }
        begin_all(&metrics, "kept");
        let kept = names(&metrics.render(), "kept");
        metrics.forget_series(|label, value| !labels.contains(&label) || value != "gone");
        assert_eq!(names(&metrics.render(), "gone"), Vec::<String>::new());
        assert_eq!(names(&metrics.render(), "kept"), kept);
        metrics.forget_series(|label, _| !labels.contains(&label));
        let left = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(left(&metrics.render()), left(&before));
    }
}
