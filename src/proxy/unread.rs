//! HTTP/2 streams whose client does not read. hyper asks for no more of such a response, so that
//! nothing in its body is polled and no timer there can fire.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::deadline::Deadline;

tokio::task_local! {
    /// By when the client of this stream must have read on.
    static READ_BY: Cell<Option<Instant>>;
}

/// Runs the streams of a client connection on the thread they are started from, each for as long
/// as its client reads: one that stops is reset, and holds no connection to the upstream any more.
#[derive(Debug, Clone, Copy)]
pub struct StreamExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(READ_BY.scope(Cell::new(None), while_read(stream)));
    }
}

async fn while_read(stream: impl Future) {
    let mut stream = pin!(stream);
    let mut deadline = Deadline::default();
    std::future::poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match READ_BY.with(Cell::get) {
            Some(at) => deadline.poll(cx, at),
            None => Poll::Pending,
        }
    })
    .await;
}

/// A piece of the response was handed on: the client may take this long to make room for it.
pub(super) fn handed_on(idle: Option<Duration>) {
    // HTTP/1.1 has no such task: there the connection watches its own writes.
    let _ = READ_BY.try_with(|at| at.set(idle.map(|idle| Instant::now() + idle)));
}

/// There is room for more.
pub(super) fn asked_for_more() {
    let _ = READ_BY.try_with(|at| at.set(None));
}
