//! The log lines about failed requests, while many fail for one reason: each of the first ones has a line, the others
//! are counted, and the counts are written from time to time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::ACCESS;

/// How many failures of one kind get a line of their own before the others are counted.
const LINES_BEFORE_COUNTS: u32 = 10;
/// The time until the first count is written. Failures that are further apart than this are never left out.
const FIRST_PERIOD: Duration = Duration::from_secs(10);
/// Each period is twice as long as the one before it, up to this.
const LONGEST_PERIOD: Duration = Duration::from_secs(60);

/// Failures that have one cause, as far as the log can tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The listener's name.
    pub listener: String,
    /// The upstream's name; empty when none matched.
    pub upstream: String,
    /// The code of an error of ours.
    pub error: Option<&'static str>,
    /// The status that was sent.
    pub status: Option<u16>,
}

/// The failures of one kind that were left out since the last count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    failure: Failure,
    requests: u64,
    period: Duration,
    last_cause: Option<Box<str>>,
}

/// Decides which lines are written. One for the process; its lock is taken for failed requests alone.
#[derive(Debug, Default)]
pub struct Sampling(Mutex<HashMap<Failure, Period>>);

#[derive(Debug)]
struct Period {
    since: Instant,
    length: Duration,
    /// How many failures still get a line of their own.
    lines_left: u32,
    /// The last of these lines was written in this period: from then on failures are counted.
    used_up: bool,
    left_out: u64,
    last_cause: Option<Box<str>>,
}

impl Sampling {
    /// Whether this failure gets a line of its own; else it is counted.
    pub fn admit(&self, failure: Failure, cause: Option<&str>, now: Instant) -> bool {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let period = periods.entry(failure).or_insert_with(|| Period {
            since: now,
            length: FIRST_PERIOD,
            lines_left: LINES_BEFORE_COUNTS,
            used_up: false,
            left_out: 0,
            last_cause: None,
        });
        if period.lines_left > 0 {
            period.lines_left -= 1;
            period.used_up = period.lines_left == 0;
            return true;
        }
        period.left_out += 1;
        period.last_cause = cause.map(Into::into);
        false
    }

    /// Writes what was left out in periods that are over.
    pub fn write_counts(&self, now: Instant) {
        self.counts(now).iter().for_each(Count::write);
    }

    /// Writes all that was left out so far, at the end of the process.
    pub fn write_all_counts(&self, now: Instant) {
        self.take(|_| true, now).iter().for_each(Count::write);
    }

    /// Takes the counts of the periods that are over. A kind of failure that has become rare gets lines of its own again.
    fn counts(&self, now: Instant) -> Vec<Count> {
        self.take(
            |period| now.duration_since(period.since) >= period.length,
            now,
        )
    }

    fn take(&self, is_over: impl Fn(&Period) -> bool, now: Instant) -> Vec<Count> {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = Vec::new();
        periods.retain(|failure, period| {
            if !is_over(period) {
                return true;
            }
            let goes_on = std::mem::take(&mut period.used_up) || period.left_out > 0;
            if period.left_out > 0 {
                counts.push(Count {
                    failure: failure.clone(),
                    requests: std::mem::take(&mut period.left_out),
                    period: now.duration_since(period.since),
                    last_cause: period.last_cause.take(),
                });
            }
            period.since = now;
            period.length = (period.length * 2).min(LONGEST_PERIOD);
            goes_on
        });
        counts
    }
}

impl Count {
    fn write(&self) {
        let failure = &self.failure;
        tracing::info!(
            target: ACCESS,
            listener = failure.listener,
            upstream = failure.upstream,
            status = failure.status,
            error = failure.error,
            cause = self.last_cause.as_deref(),
            requests = self.requests,
            period_s = self.period.as_millis() as f64 / 1e3,
            "more requests failed in the same way",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(upstream: &str) -> Failure {
        Failure {
            listener: "app".to_owned(),
            upstream: upstream.to_owned(),
            error: Some("upstream_connect"),
            status: Some(502),
        }
    }

    /// Lines written of an outage with this many failures a second, whole ones and counts.
    fn outage(seconds: u64, each: u64) -> (u64, Vec<Count>) {
        let (sampling, start) = (Sampling::default(), Instant::now());
        let (mut whole, mut counts) = (0, Vec::new());
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            for _ in 0..each {
                whole += u64::from(sampling.admit(failure("crm"), Some("refused"), now));
            }
            counts.extend(sampling.counts(now));
        }
        counts.extend(sampling.take(|_| true, start + Duration::from_secs(seconds)));
        (whole, counts)
    }

    #[test]
    fn an_outage_is_told_by_its_first_lines_and_a_few_counts_that_miss_nothing() {
        for each in [1, 1000] {
            let (whole, counts) = outage(300, each);
            assert_eq!(whole, u64::from(LINES_BEFORE_COUNTS));
            assert!(counts.len() <= 8, "{counts:?}");
            let left_out: u64 = counts.iter().map(|count| count.requests).sum();
            assert_eq!(whole + left_out, 300 * each);
            counts.iter().for_each(assert_is_sound);
        }
    }

    fn assert_is_sound(count: &Count) {
        assert_eq!(count.failure, failure("crm"));
        assert_eq!(count.last_cause.as_deref(), Some("refused"));
        assert!(count.period <= LONGEST_PERIOD, "{count:?}");
    }

    #[test]
    fn failures_now_and_then_are_all_written_whole() {
        let (sampling, start) = (Sampling::default(), Instant::now());
        for minute in 0..100 {
            let now = start + Duration::from_secs(60 * minute);
            assert_eq!(sampling.counts(now), []);
            assert!(sampling.admit(failure("crm"), None, now), "{minute}");
        }
    }

    #[test]
    fn another_cause_is_written_whole_beside_one_that_is_counted() {
        let (sampling, now) = (Sampling::default(), Instant::now());
        let admitted = (0..100).filter(|_| sampling.admit(failure("crm"), None, now));
        assert_eq!(admitted.count(), LINES_BEFORE_COUNTS as usize);
        assert!(sampling.admit(failure("stock"), None, now));
        let other = Failure {
            error: Some("upstream_timeout"),
            ..failure("crm")
        };
        assert!(sampling.admit(other, None, now));
    }

    #[test]
    fn after_a_quiet_period_the_first_lines_are_whole_again() {
        let (sampling, mut now) = (Sampling::default(), Instant::now());
        for _ in 0..100 {
            sampling.admit(failure("crm"), None, now);
        }
        now += FIRST_PERIOD;
        assert_eq!(sampling.counts(now).len(), 1);
        assert!(!sampling.admit(failure("crm"), None, now));
        now += LONGEST_PERIOD;
        assert_eq!(sampling.counts(now)[0].requests, 1);
        now += LONGEST_PERIOD;
        assert_eq!(sampling.counts(now), []);
        assert!(sampling.admit(failure("crm"), None, now));
    }
}
