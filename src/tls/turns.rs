//! Whose turn it is to compute.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::ready;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Lets the handshakes of one shard compute one after the other, and everything else that is ready between two of them:
/// a signature takes as long as dozens of requests, and hundreds of clients may ask for one at once.
#[derive(Debug, Clone)]
pub struct HandshakeTurns(Arc<Semaphore>);

impl Default for HandshakeTurns {
    /// Those of one shard.
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl HandshakeTurns {
    /// Computes when it is its turn.
    pub async fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        // The semaphore is never closed: without a permit the work is done all the same.
        let _turn = self.0.acquire().await;
        let done = work();
        // The next one waits until everything else had its chance.
        yield_now().await;
        done
    }

    /// Polls a future only in turns.
    pub async fn drive<F: Future>(&self, future: F) -> F::Output {
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::task::Poll;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::spawn_local;

    use super::*;

    /// What 20 handshakes and a task with other work have done, in order, on a runtime such as that of a shard.
    fn order_of(is_driven: bool) -> String {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let (order, turns) = (
                Rc::new(RefCell::new(String::new())),
                HandshakeTurns::default(),
            );
            for _ in 0..20 {
                let (turns, order) = (turns.clone(), Rc::clone(&order));
                spawn_local(async move {
                    let work = || order.borrow_mut().push('h');
                    if is_driven {
                        turns.drive(async { work() }).await;
                    } else {
                        turns.compute(work).await;
                    }
                });
            }
            while order.borrow().matches('h').count() < 20 {
                order.borrow_mut().push('t');
                yield_now().await;
            }
            order.take()
        })
    }

    #[test]
    fn between_two_computations_everything_else_has_its_chance() {
        for is_driven in [false, true] {
            let order = order_of(is_driven);
            assert_eq!(order.matches('h').count(), 20);
            assert!(!order.contains("hh"), "{order}");
        }
    }

    #[tokio::test]
    async fn a_handshake_that_waits_for_its_client_holds_nobody_up() {
        let turns = HandshakeTurns::default();
        let waiting = turns.drive(std::future::pending::<()>());
        let mut waiting = pin!(waiting);
        for _ in 0..3 {
            let polled = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx)));
            assert!(polled.await.is_pending());
            assert_eq!(turns.compute(|| 7).await, 7);
        }
    }
}
