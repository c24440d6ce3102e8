//! What is counted for each caller.

use std::sync::OnceLock;

use prometheus::IntCounter;
use prometheus::proto::MetricFamily;

/// The label with the name of a caller.
pub(super) const CALLER: &str = "caller";

/// How many callers have their place in the first block. Each further one has twice as many, so that they are found
/// in one step, however many there are.
const FIRST_BLOCK: u32 = 64;
/// Enough for every index.
const BLOCKS: usize = 27;

/// The counters of responses of each caller, by its index. Callers that send nothing take little room.
#[derive(Debug, Default)]
pub(super) struct ByCaller([OnceLock<Box<[ByStatus]>>; BLOCKS]);

/// Counters by status: a caller sees few of them, so that they are looked for one after another.
#[derive(Debug, Default)]
struct ByStatus(OnceLock<Box<StatusCounter>>);

#[derive(Debug)]
struct StatusCounter {
    status: u16,
    counter: IntCounter,
    next: ByStatus,
}

impl ByCaller {
    /// Counts a response; `make` makes the counter of its status and caller.
    pub(super) fn count(&self, caller: u32, status: u16, make: impl FnOnce() -> IntCounter) {
        let (block, place) = place(caller);
        let length = (FIRST_BLOCK as usize) << block;
        let callers = self.0[block].get_or_init(|| {
            let callers = std::iter::repeat_with(ByStatus::default);
            callers.take(length).collect()
        });
        callers[place].count(status, make);
    }
}

/// The block of a caller, and its place there.
fn place(caller: u32) -> (usize, usize) {
    let block = (caller / FIRST_BLOCK + 1).ilog2();
    let before = ((1 << block) - 1) * FIRST_BLOCK;
    (block as usize, (caller - before) as usize)
}

impl ByStatus {
    fn count(&self, status: u16, make: impl FnOnce() -> IntCounter) {
        let (mut cell, mut make) = (self, Some(make));
        loop {
            // Another thread may have put another status here meanwhile.
            let known = cell.0.get();
            let known = known.or_else(|| {
                let counter = make.take()?();
                let new = StatusCounter {
                    status,
                    counter,
                    next: Self::default(),
                };
                Some(cell.0.get_or_init(|| Box::new(new)))
            });
            match known {
                Some(known) if known.status == status => return known.counter.inc(),
                Some(other) => cell = &other.next,
                None => return,
            }
        }
    }
}

/// A series without a caller has no such label.
pub(super) fn leave_out_nobody(families: &mut [MetricFamily]) {
    for series in families.iter_mut().flat_map(MetricFamily::mut_metric) {
        let labels = series.get_label();
        if labels
            .iter()
            .any(|label| label.name() == CALLER && label.value().is_empty())
        {
            let mut labels = labels.to_vec();
            labels.retain(|label| label.name() != CALLER);
            series.set_label(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn every_caller_has_a_place_of_its_own() {
        let mut last = None;
        for caller in (0..20_000).chain([u32::MAX - 1, u32::MAX]) {
            let (block, at) = place(caller);
            assert!(
                block < BLOCKS && at < (FIRST_BLOCK as usize) << block,
                "{caller}"
            );
            assert!(last < Some((block, at)), "{caller}");
            last = Some((block, at));
        }
    }

    #[test]
    fn requests_are_counted_for_each_caller_and_for_nobody() {
        let metrics = Metrics::new();
        let traffic = metrics.traffic("in", "crm");
        for (caller, name) in [(0, "a"), (70, "b"), (0, "a")] {
            traffic.count_response(http::StatusCode::OK, Some((caller, name)));
        }
        traffic.count_response(http::StatusCode::FORBIDDEN, Some((0, "a")));
        traffic.count_response(http::StatusCode::OK, None);
        let text = metrics.render();
        for line in [
            r#"sidebearer_requests_total{caller="a",code="200",listener="in",upstream="crm"} 2"#,
            r#"sidebearer_requests_total{caller="a",code="403",listener="in",upstream="crm"} 1"#,
            r#"sidebearer_requests_total{caller="b",code="200",listener="in",upstream="crm"} 1"#,
            r#"sidebearer_requests_total{code="200",listener="in",upstream="crm"} 1"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }
}
