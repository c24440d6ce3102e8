//! Defects of a shard, for tests.

use std::pin::Pin;
use std::task::{Context, Wake};

use super::*;

/// Runs work when it is woken.
struct RunsWhenWoken<F>(F);

impl<F: Fn() + Send + Sync> Wake for RunsWhenWoken<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

impl Shards {
    /// Runs this on the thread of the first shard, as a defect would: it may panic, or take for ever.
    pub fn run_on_first(&self, work: impl Fn() + Send + Sync + 'static) {
        let (answer, answered) = oneshot::channel();
        // Kept, so that it waits for the answer: whoever gives that wakes it.
        let answered: &mut oneshot::Receiver<()> = Box::leak(Box::new(answered));
        let waker = Arc::new(RunsWhenWoken(work)).into();
        let polled = Future::poll(Pin::new(answered), &mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let sent = self.shards[0].messages.send(ShardMessage::Ping(answer));
        assert!(sent.is_ok(), "the first shard is there");
    }
}
