use std::path::Path;

use super::*;
use crate::metrics::Metrics;

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
    AuditTrail::open_with(&file, metrics, None, LONG, records * RECORD_BYTES).unwrap()
}

#[test]
fn a_line_has_its_time_to_the_microsecond_and_no_field_that_does_not_apply() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let trail = trail(&file, 10);
    trail.record(reload(), None);
    trail.count_refused("app", "tls_failed");
    trail.count_refused("app", "tls_failed");
    assert!(trail.flush(LONG));
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
        !trail.flush(Duration::from_millis(1)),
        "nothing can be written"
    );
    assert_eq!(trail.shared.waiting.load(Relaxed), 4 * RECORD_BYTES);
    assert_eq!(trail.status().waiting_bytes, 4 * RECORD_BYTES);
}

#[test]
fn the_thread_ends_with_the_trail_and_what_it_could_not_write_is_counted() {
    let metrics = Metrics::new().audit().clone();
    let file = AuditFile::Path("/dev/full".into());
    let trail = AuditTrail::open(&file, metrics.clone(), None, LONG).unwrap();
    trail.record(reload(), None);
    let shared = Arc::downgrade(&trail.shared);
    drop(trail);
    let begun = std::time::Instant::now();
    while shared.strong_count() > 0 {
        assert!(begun.elapsed() < LONG);
        std::thread::yield_now();
    }
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (0, 1));
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
        assert!(trail.flush(LONG));
    }
    let lines = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        text.lines().count()
    };
    let all: usize = std::fs::read_dir(dir.path()).unwrap().map(lines).sum();
    assert_eq!(all, 20 * 51);
}
