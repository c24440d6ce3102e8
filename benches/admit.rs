//! What limits and the audit cost a request on its own thread.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sidebearer::audit::{
    AuditDecision, AuditOutcome, AuditTrails, NameBook, Record, RequestEvent, RequestText, Subject,
    SubjectNames,
};
use sidebearer::client_socket::Peer;
use sidebearer::config::{AuditFile, Limits};
use sidebearer::metrics::Metrics;
use sidebearer::policy::{LimitState, RequestKind};

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 100)]
fn limits(bencher: divan::Bencher<'_, '_>) {
    let all = Limits {
        requests_per_second: Some(1_000_000_000),
        burst: None,
        concurrent: Some(100),
        tunnels: Some(100),
    };
    let state = LimitState::build(all, None).expect("there are limits");
    bencher.bench_local(|| state.admit(RequestKind::Response).is_ok());
}

struct Nobody;

impl NameBook for Nobody {
    fn names(&self, _: &Subject) -> SubjectNames<'_> {
        SubjectNames::default()
    }
}

#[divan::bench(sample_size = 100)]
fn audit(bencher: divan::Bencher<'_, '_>) {
    let file = AuditFile::Path("/dev/null".into());
    let metrics = Metrics::new().audit().clone();
    let trails = Arc::<AuditTrails>::default();
    let trail = trails.open(&file, metrics, None, Duration::from_secs(5));
    let trail = trail.expect("it can be opened");
    let names: Arc<dyn NameBook> = Arc::new(Nobody);
    bencher.bench_local(|| {
        let place = trail.reserve(40).ok();
        let event = RequestEvent {
            at: SystemTime::now(),
            is_tunnel: false,
            names: Arc::clone(&names),
            subject: Subject {
                caller: Some((7, "key")),
                peer: Peer::Unix(None),
                listener: 0,
                route: Some(3),
                upstream: Some(2),
                text: RequestText::new("GET", "crm.example.com", "/v1/customers/4711"),
                token_id: None,
                decision: AuditDecision::Allowed,
                rule: None,
                trace_id: None,
            },
            outcome: AuditOutcome::default(),
        };
        trail.record(Record::Request(Box::new(event)), place);
    });
}
