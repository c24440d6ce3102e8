//! Reports panics of the threads and tasks without which a process does harm: a shard that is gone has the
//! least load and would get every new connection, and a listener without its loop is an open port that
//! nobody serves.
//!
//! The caller that runs the process waits for the first report and ends the process, so that it is started
//! again.

use std::future::pending;
use std::io;
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::blocking::start_thread;

/// Where panics are reported.
#[derive(Debug, Clone)]
pub struct Supervisor(UnboundedSender<String>);

/// The reports of panics.
#[derive(Debug)]
pub struct Panics(UnboundedReceiver<String>);

/// Held by a thread or task that must not panic; it reports when that happens.
#[derive(Debug)]
pub struct PanicGuard {
    name: String,
    supervisor: Supervisor,
}

/// Makes both ends.
pub fn supervisor() -> (Supervisor, Panics) {
    let (supervisor, panics) = unbounded_channel();
    (Supervisor(supervisor), Panics(panics))
}

impl Supervisor {
    /// A guard that a task holds until it ends.
    pub fn guard(&self, name: impl Into<String>) -> PanicGuard {
        PanicGuard {
            name: name.into(),
            supervisor: self.clone(),
        }
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let guard = self.guard(format!("thread {name}"));
        start_thread(name, move || {
            let _guard = guard;
            work();
        })
    }

    /// Reports one that was found in another way.
    pub fn report(&self, name: String) {
        // This fails only when the process is ending.
        let _ = self.0.send(name);
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.supervisor.report(std::mem::take(&mut self.name));
        }
    }
}

impl Panics {
    /// Waits for the next panic. Returns the name of the thread or task.
    pub async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(name) => name,
            // Nothing is left that could panic.
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_panic_of_a_thread_or_a_task_is_a_death_and_an_end_is_none() {
        let (supervisor, mut panics) = supervisor();
        supervisor.spawn("good".to_owned(), || {}).unwrap();
        supervisor
            .spawn("shard-1".to_owned(), || panic!("a defect"))
            .unwrap();
        let panicked = timeout(SOON, panics.next()).await.unwrap();
        assert_eq!(panicked, "thread shard-1");

        let guard = supervisor.guard("listener app");
        let task = tokio::spawn(async move {
            let _guard = guard;
            tokio::task::yield_now().await;
            panic!("a defect");
        });
        let panicked = timeout(SOON, panics.next()).await.unwrap();
        assert_eq!(panicked, "listener app");
        assert!(task.await.is_err());

        let guard = supervisor.guard("listener app");
        let task = tokio::spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drop(supervisor);
        let none = timeout(Duration::from_millis(10), panics.next()).await;
        assert!(none.is_err(), "{none:?}");
    }
}
