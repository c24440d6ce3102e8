//! The status as it changes, made once for all who watch, and only while somebody does.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::blocking;

/// How many may watch at once. What is sent is the same for all; each has a connection, and reads at its own pace.
pub(super) const MOST_WATCHERS: usize = 16;
/// A status is made no more often than this.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Nor so often that making it takes more than this part of the time of a processor.
const SHARE: u32 = 20;

/// What those who watch share. Nothing of it is left when the last of them is gone.
#[derive(Debug, Default)]
pub(super) struct LiveStatus(AsyncMutex<Option<LatestStatus>>);

#[derive(Debug)]
struct LatestStatus {
    event: Arc<StatusEvent>,
    value: Value,
    /// Whether the process was about to end.
    draining: bool,
    made_at: Instant,
    took: Duration,
}

/// One state of the process, as server-sent events tell it.
#[derive(Debug)]
pub(super) struct StatusEvent {
    number: u64,
    whole: Bytes,
    /// What differs from the event before it.
    change: Bytes,
}

impl LiveStatus {
    /// Joins those who watch; `None` if there are too many. Whoever watches keeps what is returned.
    pub(super) fn join(watched: &Mutex<Weak<Self>>) -> Option<Arc<Self>> {
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.strong_count() >= MOST_WATCHERS {
            return None;
        }
        let live = watched.upgrade().unwrap_or_default();
        *watched = Arc::downgrade(&live);
        Some(live)
    }

    /// The present state: the one that another watcher has just asked for, or the one that `make` makes on a thread that may
    /// take its time. `draining` is what is known of the end of the process: a change of that is told at once.
    ///
    /// # Errors
    /// As [`blocking::run`].
    pub(super) async fn now(
        &self,
        draining: bool,
        make: impl FnOnce() -> Value + Send + 'static,
    ) -> io::Result<Arc<StatusEvent>> {
        let mut latest = self.0.lock().await;
        if let Some(latest) = &*latest
            && latest.draining == draining
            && latest.made_at.elapsed() < INTERVAL.max(latest.took * SHARE)
        {
            return Ok(Arc::clone(&latest.event));
        }
        let before = latest.take();
        let made = blocking::run(move || {
            let begun = Instant::now();
            let value = make();
            let event = match before {
                None => Arc::new(StatusEvent::first(&value)),
                Some(before) => before.event.followed_by(&before.value, &value),
            };
            LatestStatus {
                event,
                value,
                draining,
                made_at: Instant::now(),
                took: begun.elapsed(),
            }
        });
        Ok(Arc::clone(&latest.insert(made.await?).event))
    }
}

impl StatusEvent {
    fn first(value: &Value) -> Self {
        Self {
            number: 1,
            whole: event("status", value),
            change: Bytes::new(),
        }
    }

    /// The same again if nothing has changed but the time.
    fn followed_by(self: Arc<Self>, before: &Value, after: &Value) -> Arc<Self> {
        let change = merge_patch(before, after).unwrap_or_default();
        let changed = change.as_object().into_iter().flat_map(Map::keys);
        if changed.into_iter().all(|key| key == "time") {
            return self;
        }
        Arc::new(Self {
            number: self.number + 1,
            whole: event("status", after),
            change: event("patch", &change),
        })
    }

    /// What one is told who has seen the event of this number last; nothing if it was this one.
    pub(super) fn after(&self, seen: Option<u64>) -> Option<&Bytes> {
        match seen {
            Some(seen) if seen == self.number => None,
            Some(seen) if seen + 1 == self.number => Some(&self.change),
            _ => Some(&self.whole),
        }
    }

    /// Counts the states since somebody watches.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// One server-sent event: JSON has no line breaks when it is written tight.
fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// What makes `after` of `before` (RFC 7396), for which null and absent are the same. `None` if nothing does.
fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for (key, after) in after {
        let differs = match before.get(key) {
            Some(before) => merge_patch(before, after),
            None => Some(after.clone()),
        };
        if let Some(differs) = differs {
            patch.insert(key.clone(), differs);
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    patch.extend(gone.map(|key| (key.clone(), Value::Null)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7396 section 2, as it stands there.
    fn apply(target: &Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut target = target.as_object().cloned().unwrap_or_default();
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                let old = target.get(name).unwrap_or(&Value::Null);
                target.insert(name.clone(), apply(old, value));
            }
        }
        Value::Object(target)
    }

    #[test]
    fn a_patch_makes_the_later_of_the_earlier_state() {
        let states = [
            json!({}),
            json!({ "a": 1, "b": { "c": [1, 2], "d": { "e": "x" } } }),
            json!({ "a": 1, "b": { "c": [2], "d": { "e": "x", "f": true } } }),
            json!({ "a": { "g": 1 }, "b": 7 }),
            json!({ "b": { "d": {} } }),
        ];
        for before in &states {
            for after in &states {
                let patch = merge_patch(before, after);
                assert_eq!(patch.is_none(), before == after);
                let made = apply(before, &patch.unwrap_or(json!({})));
                assert_eq!(made, *after, "from {before}");
            }
        }
        let patch = merge_patch(
            &json!({ "a": { "b": 1, "c": 1 } }),
            &json!({ "a": { "b": null, "c": 1 } }),
        );
        assert_eq!(patch, Some(json!({ "a": { "b": null } })));
    }

    #[test]
    fn one_who_missed_an_event_is_told_all_and_the_others_what_changed() {
        let states = [1, 2, 2, 3].map(|n| json!({ "n": n, "same": true, "time": n }));
        let first = Arc::new(StatusEvent::first(&states[0]));
        let second = Arc::clone(&first).followed_by(&states[0], &states[1]);
        let third = Arc::clone(&second).followed_by(&states[2], &states[3]);
        let text = |bytes: Option<&Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        assert_eq!(text(second.after(None)), text(Some(&second.whole)));
        assert_eq!(
            text(second.after(Some(first.number()))),
            "event: patch\ndata: {\"n\":2,\"time\":2}\n\n"
        );
        assert_eq!(second.after(Some(second.number())), None);
        let whole = "event: status\ndata: {\"n\":3,\"same\":true,\"time\":3}\n\n";
        assert_eq!(text(third.after(Some(first.number()))), whole);
        // The time alone is no news.
        let later = json!({ "n": 3, "same": true, "time": 9 });
        let same = Arc::clone(&third).followed_by(&states[3], &later);
        assert!(Arc::ptr_eq(&same, &third));
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_made_once_for_all_who_ask_within_a_second() {
        let watched = Mutex::default();
        let live = LiveStatus::join(&watched).unwrap();
        let made = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let ask = async |draining: bool| {
            let made = Arc::clone(&made);
            let make =
                move || json!({ "n": made.fetch_add(1, std::sync::atomic::Ordering::SeqCst) });
            live.now(draining, make).await.unwrap().number()
        };
        assert_eq!(ask(false).await, 1);
        assert_eq!(ask(false).await, 1);
        // The end is told at once.
        assert_eq!(ask(true).await, 2);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(ask(true).await, 3);
    }

    #[test]
    fn only_so_many_watch_and_the_last_one_leaves_nothing_behind() {
        let watched = Mutex::default();
        let mut all: Vec<_> = (0..MOST_WATCHERS)
            .map(|_| LiveStatus::join(&watched).unwrap())
            .collect();
        assert!(LiveStatus::join(&watched).is_none());
        all.pop();
        all.push(LiveStatus::join(&watched).unwrap());
        assert!(Arc::ptr_eq(&all[0], &all[MOST_WATCHERS - 1]));
        drop(all);
        assert_eq!(watched.lock().unwrap().strong_count(), 0);
    }
}
