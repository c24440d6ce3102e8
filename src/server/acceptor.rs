//! The thread that accepts connections. Nothing else runs there: whatever hangs elsewhere, such as a file
//! system or an authorization server, new connections reach their shards.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::supervisor::Supervisor;

/// The thread, until the last clone of this is dropped.
#[derive(Debug, Clone)]
pub struct Acceptor {
    handle: Handle,
    _stop: Arc<oneshot::Sender<()>>,
    supervisor: Supervisor,
}

impl Acceptor {
    /// Starts it.
    ///
    /// # Errors
    /// The system gives no more threads or open files.
    pub fn start(supervisor: Supervisor) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, ready) = mpsc::channel();
        // The runtime is made there: one that is dropped here, because there is no thread, would panic.
        supervisor.spawn("accept".to_owned(), move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(runtime.handle().clone())));
            runtime.block_on(async { drop(stopped.await) });
            runtime.shutdown_background();
        })?;
        let handle = ready.recv().map_err(io::Error::other)??;
        Ok(Self {
            handle,
            _stop: Arc::new(stop),
            supervisor,
        })
    }

    /// Whether the thread runs a task within `patience`.
    pub async fn is_responding(&self, patience: Duration) -> bool {
        let answer = self.handle.spawn(async {});
        matches!(tokio::time::timeout(patience, answer).await, Ok(Ok(())))
    }

    /// Runs this on the thread, as a defect would that takes for ever.
    #[cfg(test)]
    pub fn run_on_thread(&self, work: impl FnOnce() + Send + 'static) {
        self.handle.spawn(async { work() });
    }

    /// The runtime that its tasks and sockets belong to.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the death of a thread or a task is reported.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }
}
