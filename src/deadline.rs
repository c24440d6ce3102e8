//! A timer that is armed only while something waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes a waiting task at a deadline that may be moved often. Moving it later costs nothing: the timer is
/// not touched, and is set again only when it fires too early.
#[derive(Debug, Default)]
pub struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready once `at` is reached; otherwise the task is woken then, or before.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

/// A deadline that only one task polls. While the timer is armed early enough, a poll does not touch it: with
/// a thousand connections the timer is not in the processor's cache.
#[derive(Debug, Default)]
pub struct TaskDeadline {
    deadline: Deadline,
    /// When the timer will wake the task, if it is armed.
    wakes_at: Option<Instant>,
}

impl TaskDeadline {
    /// As [`Deadline::poll`]. The same task must poll it each time.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant, at: Instant) -> Poll<()> {
        if self
            .wakes_at
            .is_some_and(|wakes| now < wakes && wakes <= at)
        {
            return Poll::Pending;
        }
        let polled = self.deadline.poll(cx, at);
        // For a task that has used up its budget the runtime arms no timer, but polls the task again.
        let armed = self.deadline.0.as_ref().filter(|_| has_budget_remaining());
        self.wakes_at = armed.map(|sleep| sleep.deadline());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::coop::poll_proceed;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_on_fires_once_at_its_last_place() {
        let mut deadline = Deadline::default();
        let start = Instant::now();
        let mut seconds = 0;
        std::future::poll_fn(|cx| {
            // Each poll is a wake-up; the deadline has moved on by a second until it is three.
            seconds = (seconds + 1).min(3);
            deadline.poll(cx, start + Duration::from_secs(seconds))
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_takes_over() {
        let mut deadline = Deadline::default();
        let start = Instant::now();
        let mut first = true;
        std::future::poll_fn(|cx| {
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return deadline.poll(cx, start + Duration::from_secs(60));
            }
            deadline.poll(cx, start + Duration::from_secs(1))
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_of_one_task_fires_though_earlier_and_later_ones_alternate() {
        let mut deadline = TaskDeadline::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        // Armed for a minute, brought forward, and wanted later again before it has fired.
        let mut wanted = [60, 2, 30, 1, 10]
            .map(|seconds| seconds * second)
            .into_iter();
        let mut at = start;
        std::future::poll_fn(|cx| {
            let now = Instant::now();
            if let Some(next) = wanted.next() {
                at = now + next;
                cx.waker().wake_by_ref();
            }
            deadline.poll(cx, now, at)
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_was_first_polled_without_budget_fires() {
        let mut deadline = TaskDeadline::default();
        let start = Instant::now();
        let mut first = true;
        std::future::poll_fn(|cx| {
            if std::mem::take(&mut first) {
                while let Poll::Ready(progress) = poll_proceed(cx) {
                    progress.made_progress();
                }
            }
            let now = Instant::now();
            deadline.poll(cx, now, start + Duration::from_secs(3))
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
