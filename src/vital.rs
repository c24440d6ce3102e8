//! The threads and tasks without which a process does harm: a shard that is gone would have the
//! least load of all, and a listener without its loop an open port behind which nobody is.
//!
//! Whoever runs the process waits for the first death and ends it, so that it is started anew.

use std::future::pending;
use std::io;
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where deaths are reported.
#[derive(Debug, Clone)]
pub struct Vitals(UnboundedSender<String>);

/// What has died.
#[derive(Debug)]
pub struct Deaths(UnboundedReceiver<String>);

/// Held by one that must not die; it reports when a panic takes it.
#[derive(Debug)]
pub struct Vital {
    name: String,
    vitals: Vitals,
}

/// Nobody has died.
pub fn vitals() -> (Vitals, Deaths) {
    let (vitals, deaths) = unbounded_channel();
    (Vitals(vitals), Deaths(deaths))
}

impl Vitals {
    /// For a task: it holds this until it ends.
    pub fn guard(&self, name: impl Into<String>) -> Vital {
        Vital {
            name: name.into(),
            vitals: self.clone(),
        }
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let vital = self.guard(format!("thread {name}"));
        thread::Builder::new().name(name).spawn(move || {
            let _vital = vital;
            work();
        })?;
        Ok(())
    }

    /// Reports a death that was found out.
    pub fn report(&self, name: String) {
        // Nobody hears it only when the process is ending.
        let _ = self.0.send(name);
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if thread::panicking() {
            self.vitals.report(std::mem::take(&mut self.name));
        }
    }
}

impl Deaths {
    /// Waits for the next one: its name.
    pub async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(name) => name,
            // Nobody is left who could die.
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
        let (vitals, mut deaths) = vitals();
        vitals.spawn("good".to_owned(), || {}).unwrap();
        vitals
            .spawn("shard-1".to_owned(), || panic!("a defect"))
            .unwrap();
        let death = timeout(SOON, deaths.next()).await.unwrap();
        assert_eq!(death, "thread shard-1");

        let guard = vitals.guard("listener app");
        let task = tokio::spawn(async move {
            let _guard = guard;
            tokio::task::yield_now().await;
            panic!("a defect");
        });
        let death = timeout(SOON, deaths.next()).await.unwrap();
        assert_eq!(death, "listener app");
        assert!(task.await.is_err());

        let guard = vitals.guard("listener app");
        let task = tokio::spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drop(vitals);
        let none = timeout(Duration::from_millis(10), deaths.next()).await;
        assert!(none.is_err(), "{none:?}");
    }
}
