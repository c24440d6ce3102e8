//! What the process takes from the system, under the names that Prometheus has for it in every program, and
//! whether its threads answer.

use prometheus::{Counter, Gauge, IntGauge};

use super::families::{SeriesFamily, VALID, unix_now};
use crate::process::Usage;

/// The series about the process.
#[derive(Debug, Clone)]
pub(super) struct ProcessSeries {
    start: Gauge,
    cpu: Counter,
    resident: Gauge,
    open_files: Gauge,
    open_files_limit: Gauge,
    threads_responding: IntGauge,
    client_connections: IntGauge,
    client_connections_limit: IntGauge,
}

/// What is found out about the process for each look at the metrics.
#[derive(Debug, Clone)]
pub struct ProcessState {
    /// What it takes from the system, unless the system does not tell.
    pub usage: Option<Usage>,
    /// Whether every thread that serves answers.
    pub responding: bool,
    /// Open connections of clients.
    pub client_connections: usize,
    /// How many of them there may be.
    pub client_connections_limit: usize,
}

impl ProcessSeries {
    pub(super) fn new() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect(VALID);
        let whole = |name: &str, help: &str| IntGauge::new(name, help).expect(VALID);
        let series = Self {
            start: gauge(
                "process_start_time_seconds",
                "When the process started, Unix time.",
            ),
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Time of CPUs that the process has used.",
            )
            .expect(VALID),
            resident: gauge(
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM.",
            ),
            open_files: gauge("process_open_fds", "Open files, sockets included."),
            open_files_limit: gauge("process_max_fds", "How many files may be open."),
            threads_responding: whole(
                "sidebearer_threads_responding",
                "Whether every thread that serves answers: 1, or 0 if one is stuck.",
            ),
            client_connections: whole(
                "sidebearer_client_connections",
                "Open connections of clients.",
            ),
            client_connections_limit: whole(
                "sidebearer_client_connections_limit",
                "How many connections of clients may be open: `server.max_connections`.",
            ),
        };
        series.start.set(unix_now());
        series
    }

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 8] {
        [
            Box::new(self.start.clone()),
            Box::new(self.cpu.clone()),
            Box::new(self.resident.clone()),
            Box::new(self.open_files.clone()),
            Box::new(self.open_files_limit.clone()),
            Box::new(self.threads_responding.clone()),
            Box::new(self.client_connections.clone()),
            Box::new(self.client_connections_limit.clone()),
        ]
    }

    /// Shows the process as it is now.
    pub(super) fn show(&self, state: &ProcessState) {
        if let Some(usage) = &state.usage {
            let used = usage.cpu.as_secs_f64() - self.cpu.get();
            self.cpu.inc_by(used.max(0.0));
        }
        let told = |number: Option<u64>| number.map_or(f64::NAN, |number| number as f64);
        let usage = state.usage.as_ref();
        self.resident
            .set(told(usage.map(|usage| usage.resident_bytes)));
        self.open_files
            .set(told(usage.map(|usage| usage.open_files)));
        let limit = usage.map(|usage| usage.open_files_limit.map_or(f64::INFINITY, |n| n as f64));
        self.open_files_limit.set(limit.unwrap_or(f64::NAN));
        self.threads_responding.set(i64::from(state.responding));
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.client_connections.set(whole(state.client_connections));
        self.client_connections_limit
            .set(whole(state.client_connections_limit));
    }
}
