//! Whose turn it is to compute.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::ready;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Lets the handshakes of one shard compute one after the other, and everything else that is ready between two of them:
/// a signature takes as long as dozens of requests, and hundreds of clients may ask for one at once.
#[derive(Clone)]
pub struct HandshakeTurns(Arc<Semaphore>);

impl HandshakeTurns {
    /// Those of one shard.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Computes when it is its turn.
    pub(super) async fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        // The semaphore is never closed: without a permit the work is done all the same.
        let _turn = self.0.acquire().await;
        let done = work();
        // The next one waits until everything else had its chance.
        yield_now().await;
        done
    }

    /// Polls a future only in turns.
    pub(super) async fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut waiting: Option<Pin<Box<dyn Future<Output = _>>>> = None;
        let (output, _turn) = std::future::poll_fn(|cx| {
            let semaphore = Arc::clone(&self.0);
            let turn = waiting.get_or_insert_with(|| Box::pin(semaphore.acquire_owned()));
            let turn = ready!(turn.as_mut().poll(cx));
            waiting = None;
            // What it waits for has not come, and it has computed little: the turn ends at once.
            future.as_mut().poll(cx).map(|output| (output, turn))
        })
        .await;
        yield_now().await;
        output
    }
}
