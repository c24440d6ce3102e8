use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::record::RECORD_BYTES;
use super::*;
use crate::config::AuditFile;
use crate::metrics::{AuditMetrics, Metrics};

const LONG: Duration = Duration::from_secs(30);

fn reload() -> Record {
    Record::Reload(ReloadEvent {
        at: std::time::UNIX_EPOCH + Duration::from_micros(1_500_000),
        success: true,
    })
}

/// With room for this many records without text.
fn trail(path: &Path, records: usize) -> Arc<AuditTrail> {
    let metrics = Metrics::new().audit().clone();
    let file = AuditFile::Path(path.to_owned());
    let most = records * RECORD_BYTES;
    let opened = AuditTrail::start(&file, metrics, None, LONG, most, Box::new(|_| None));
    opened.unwrap().0
}

/// That of the newest configuration from now on.
fn newest(trails: &Arc<AuditTrails>, path: &Path, metrics: &AuditMetrics) -> Arc<AuditTrail> {
    let file = AuditFile::Path(path.to_owned());
    let trail = trails.open(&file, metrics.clone(), None, LONG).unwrap();
    trails.set_newest(Some(Arc::clone(&trail)));
    trail
}

fn is_flushed(trail: &AuditTrail, patience: Duration) -> bool {
    trail.ask_to_flush().recv_timeout(patience).is_ok()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG);
        std::thread::yield_now();
    }
}

#[test]
fn a_line_has_its_time_to_the_microsecond_and_no_field_that_does_not_apply() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let trail = trail(&file, 10);
    trail.record(reload(), None);
    trail.count_refused("app", "tls_failed");
    trail.count_refused("app", "tls_failed");
    assert!(is_flushed(&trail, LONG));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let reloaded = r#"{"time":"1970-01-01T00:00:01.5Z","event":"reload","decision":"allowed"}"#;
    assert_eq!(lines[0], reloaded);
    let refused: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(refused["event"], "refused");
    assert_eq!(
        (&refused["count"], &refused["error"]),
        (&2.into(), &"tls_failed".into())
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn what_there_is_no_room_for_is_dropped_and_counted_or_refused_beforehand() {
    let trail = trail(Path::new("/dev/full"), 4);
    let places: Vec<_> = (0..3).map(|_| trail.reserve(0).unwrap()).collect();
    assert_eq!(trail.reserve(1000).unwrap_err(), AuditUnavailable::Full);
    // Two of five have room.
    let mut places = places.into_iter();
    drop(places.next());
    for _ in 0..5 {
        trail.record(reload(), None);
    }
    assert_eq!(trail.shared.metrics.dropped.get(), 3);
    // A reserved place is there whatever waits.
    for place in places {
        trail.record(reload(), Some(place));
    }
    assert_eq!(trail.shared.metrics.dropped.get(), 3);
    assert!(
        !is_flushed(&trail, Duration::from_millis(1)),
        "nothing can be written"
    );
    assert_eq!(trail.shared.waiting.load(Relaxed), 4 * RECORD_BYTES);
}

#[test]
fn the_thread_ends_with_the_trail_and_what_it_could_not_write_is_counted() {
    let metrics = Metrics::new().audit().clone();
    let file = AuditFile::Path("/dev/full".into());
    let trails = Arc::<AuditTrails>::default();
    let trail = trails.open(&file, metrics.clone(), None, LONG).unwrap();
    trail.record(reload(), None);
    wait_until(|| metrics.failing.get() == 1);
    assert!(!trails.status().unwrap().writing);
    drop(trail);
    wait_until(|| trails.status().is_none());
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (0, 1));
    assert_eq!(metrics.failing.get(), 0);
}

struct Nobody;

impl NameBook for Nobody {
    fn names(&self, _: &Subject) -> SubjectNames<'_> {
        SubjectNames::default()
    }
}

fn request(names: Arc<dyn NameBook>) -> Record {
    Record::Request(Box::new(RequestEvent {
        at: std::time::UNIX_EPOCH,
        is_tunnel: false,
        names,
        subject: Subject {
            caller: None,
            peer: crate::client_socket::Peer::Unix(None),
            listener: 0,
            route: None,
            upstream: None,
            text: RequestText::new("GET", "crm.example.com", "/"),
            token_id: None,
            decision: AuditDecision::Allowed,
            rule: None,
            trace_id: None,
        },
        outcome: AuditOutcome::default(),
    }))
}

#[test]
fn a_record_that_waits_for_the_disk_holds_nothing_of_its_configuration() {
    let trail = trail(Path::new("/dev/full"), 1000);
    let names: Arc<dyn NameBook> = Arc::new(Nobody);
    for _ in 0..500 {
        trail.record(request(Arc::clone(&names)), None);
    }
    wait_until(|| Arc::strong_count(&names) == 1);
    assert_eq!(trail.shared.unwritten.load(Relaxed), 500);
    drop(trail);
}

#[test]
fn what_the_file_of_before_does_not_take_is_in_that_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let (metrics, trails) = (Metrics::new().audit().clone(), Arc::default());
    let before = newest(&trails, Path::new("/dev/full"), &metrics);
    for _ in 0..5 {
        before.record(reload(), None);
    }
    wait_until(|| metrics.failing.get() == 1);
    let now = newest(&trails, &file, &metrics);
    wait_until(|| lines(&file) == 5);
    wait_until(|| metrics.failing.get() == 0);
    // A tunnel of before has ended.
    let errors = metrics.write_errors.get();
    before.record(reload(), None);
    wait_until(|| lines(&file) == 6);
    drop(before);
    now.record(reload(), None);
    trails.flush(LONG);
    assert_eq!(lines(&file), 7);
    assert_eq!(metrics.write_errors.get(), errors, "it is left alone");
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (7, 0));
    let status = trails.status().unwrap();
    assert_eq!((status.writing, status.last_error), (true, None));
    assert_eq!(status.waiting_bytes, 0);
}

#[test]
fn the_end_waits_for_the_trails_of_all_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let (metrics, trails) = (Metrics::new().audit().clone(), Arc::default());
    let path = |name: &str| dir.path().join(name);
    let mut held = Vec::new();
    for round in 0..20 {
        for name in ["ended", "open", "newest"] {
            let trail = newest(&trails, &path(&format!("{name}{round}")), &metrics);
            for _ in 0..20 {
                trail.record(reload(), None);
            }
            if name == "open" {
                // A tunnel holds it until the process ends.
                held.push(trail);
            }
        }
        trails.flush(LONG);
        for name in ["ended", "open", "newest"] {
            assert_eq!(lines(&path(&format!("{name}{round}"))), 20, "{name}");
        }
    }
}

#[test]
fn what_is_lost_at_the_end_is_counted_whoever_still_holds_its_trail() {
    let (metrics, trails) = (Metrics::new().audit().clone(), Arc::default());
    let trail = newest(&trails, Path::new("/dev/full"), &metrics);
    for _ in 0..3 {
        trail.record(reload(), None);
    }
    trails.flush(Duration::from_millis(100));
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (0, 3));
}

#[test]
fn nothing_is_lost_by_moving_the_file_however_often() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let trail = trail(&file, 100_000);
    for round in 0..20 {
        for _ in 0..50 {
            trail.record(reload(), None);
        }
        std::fs::rename(&file, dir.path().join(format!("{round}"))).unwrap();
        trail.record(reload(), None);
        assert!(is_flushed(&trail, LONG));
    }
    let lines = |entry: std::io::Result<std::fs::DirEntry>| lines(&entry.unwrap().path());
    let all: usize = std::fs::read_dir(dir.path()).unwrap().map(lines).sum();
    assert_eq!(all, 20 * 51);
}
