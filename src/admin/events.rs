//! The status as a stream of server-sent events: all of it first, then what has changed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::Admin;
use super::live::{INTERVAL, LiveStatus};

/// While nothing changes, a comment of this kind shows that the process is there, and finds out whether the reader is.
const HEARTBEAT: &[u8] = b": alive\n\n";
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// The body of one answer. It holds one event at most: a reader that is slow misses some, and is then told all again.
#[derive(Debug)]
pub(super) struct EventStream(Receiver<Bytes>);

impl EventStream {
    /// Begins a stream, which ends with the process, and when the other end of `closed` is gone; `None` if too many watch
    /// already.
    pub(super) fn begin(admin: &Arc<Admin>, closed: watch::Receiver<()>) -> Option<Self> {
        let live = LiveStatus::join(&admin.watched)?;
        let (sender, receiver) = mpsc::channel(1);
        let from = Arc::clone(admin);
        let drain = admin.draining.subscribe();
        let make = move || from.status();
        tokio::spawn(tell(live, (drain, closed), make, sender));
        Some(Self(receiver))
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// Tells one reader until it leaves, its socket is closed or the process is about to end. `make` makes the status.
async fn tell<M>(
    live: Arc<LiveStatus>,
    (mut drain, mut closed): (watch::Receiver<bool>, watch::Receiver<()>),
    make: M,
    reader: Sender<Bytes>,
) where
    M: Fn() -> Value + Clone + Send + 'static,
{
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut seen = None;
    let mut last = Instant::now();
    loop {
        let draining = *drain.borrow_and_update();
        let Ok(event) = live.now(draining, make.clone()).await else {
            return;
        };
        let mut told = event.after(seen).cloned();
        if told.is_none() && last.elapsed() >= HEARTBEAT_INTERVAL {
            told = Some(Bytes::from_static(HEARTBEAT));
        }
        seen = Some(event.number());
        if let Some(told) = told {
            if reader.send(told).await.is_err() {
                return;
            }
            last = Instant::now();
        }
        if draining {
            return;
        }
        tokio::select! {
            _ = ticks.tick() => {}
            _ = drain.changed() => {}
            _ = closed.changed() => return,
            () = reader.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use super::*;

    struct Watched {
        events: Receiver<Bytes>,
        number: Arc<AtomicU64>,
        drain: watch::Sender<bool>,
        open: watch::Sender<()>,
    }

    /// One who watches a number.
    fn watched() -> Watched {
        let live = LiveStatus::join(&Mutex::default()).unwrap();
        let number = Arc::new(AtomicU64::new(0));
        let drain = watch::Sender::new(false);
        let open = watch::Sender::new(());
        let (sender, events) = mpsc::channel(1);
        let read = Arc::clone(&number);
        let make = move || json!({ "number": read.load(Ordering::SeqCst) });
        let ends = (drain.subscribe(), open.subscribe());
        tokio::spawn(tell(live, ends, make, sender));
        Watched {
            events,
            number,
            drain,
            open,
        }
    }

    impl Watched {
        async fn next(&mut self) -> Option<String> {
            let event = self.events.recv().await?;
            Some(String::from_utf8(event.to_vec()).unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_nothing_changes_a_heartbeat_is_sent() {
        let mut watched = watched();
        let begun = Instant::now();
        let first = "event: status\ndata: {\"number\":0}\n\n";
        assert_eq!(watched.next().await.unwrap(), first);
        assert_eq!(watched.next().await.unwrap(), ": alive\n\n");
        assert!(begun.elapsed() >= HEARTBEAT_INTERVAL);
        assert_eq!(watched.next().await.unwrap(), ": alive\n\n");
        watched.number.store(7, Ordering::SeqCst);
        let patch = "event: patch\ndata: {\"number\":7}\n\n";
        assert_eq!(watched.next().await.unwrap(), patch);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_slow_misses_events_and_is_then_told_the_last_state() {
        let mut watched = watched();
        for number in 1..100 {
            watched.number.store(number, Ordering::SeqCst);
            tokio::time::sleep(INTERVAL * 2).await;
        }
        // What waited: the first event of all, and one that could not be left while that was there.
        let waiting = [watched.next().await.unwrap(), watched.next().await.unwrap()];
        assert!(waiting[0].starts_with("event: status"), "{waiting:?}");
        assert!(waiting[1].starts_with("event: patch"), "{waiting:?}");
        let patch = "event: patch\ndata: {\"number\":99}\n\n";
        assert_eq!(watched.next().await.unwrap(), patch);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_process_is_told_and_ends_the_stream() {
        let mut watched = watched();
        watched.next().await.unwrap();
        watched.number.store(1, Ordering::SeqCst);
        watched.drain.send_replace(true);
        assert!(watched.next().await.unwrap().contains("{\"number\":1}"));
        assert_eq!(watched.next().await, None);
    }
    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_socket_ends_the_stream() {
        let mut watched = watched();
        watched.next().await.unwrap();
        drop(watched.open);
        assert_eq!(watched.events.recv().await, None);
    }
}
