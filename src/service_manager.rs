//! What a service manager is told: systemd, or whatever else set `NOTIFY_SOCKET` (sd_notify(3)).
//!
//! A thread of its own tells it: a service manager that does not read must not hold up what serves.

use std::env;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::supervisor::Supervisor;

/// How many messages wait for a service manager that does not read. Further ones are lost.
const WAITING: usize = 16;
/// How long the end of the process waits for the last message to be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to the service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager(Option<SyncSender<NotifyMessage>>);

#[derive(Debug)]
enum NotifyMessage {
    Tell(Vec<NotifyState<'static>>),
    Flush(SyncSender<()>),
}

impl ServiceManager {
    /// The one that the environment names; an empty variable is as good as none. `supervisor` hears of it when its thread dies: nothing else would
    /// tell the service manager that the process is alive.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn from_environment(supervisor: &Supervisor) -> io::Result<Self> {
        if env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Ok(Self(None));
        }
        let (messages, inbox) = sync_channel(WAITING);
        supervisor.spawn("notify".to_owned(), move || {
            for message in inbox {
                match message {
                    NotifyMessage::Tell(states) => {
                        if let Err(error) = sd_notify::notify(&states) {
                            tracing::warn!(%error, "cannot notify the service manager: {states:?}");
                        }
                    }
                    NotifyMessage::Flush(done) => drop(done.try_send(())),
                }
            }
        })?;
        Ok(Self(Some(messages)))
    }

    /// Every socket is open: connections are accepted.
    pub fn notify_ready(&self, status: &'static str) {
        self.notify(vec![NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is about to be read again. [`notify_ready`](Self::notify_ready) follows, however that ends. The
    /// time is told with it: `Type=notify-reload` tells this reload from earlier ones by it.
    pub fn notify_reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        self.notify([NotifyState::Reloading].into_iter().chain(now).collect());
    }

    /// The process has begun to end. Waits a moment for the service manager to read that.
    pub fn notify_stopping(&self) {
        self.notify(vec![NotifyState::Stopping]);
        let (done, flushed) = sync_channel(1);
        if let Some(messages) = &self.0
            && messages.try_send(NotifyMessage::Flush(done)).is_ok()
        {
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }

    /// Everything that must live is alive.
    pub fn notify_alive(&self) {
        self.notify(vec![NotifyState::Watchdog]);
    }

    /// How often [`notify_alive`](Self::notify_alive) has to be told, if at all: twice as often as the service manager
    /// expects it.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        let waits = self.0.is_some().then(sd_notify::watchdog_enabled)??;
        Some(waits / 2)
    }

    fn notify(&self, states: Vec<NotifyState<'static>>) {
        if let Some(messages) = &self.0
            && let Err(TrySendError::Full(lost)) = messages.try_send(NotifyMessage::Tell(states))
        {
            tracing::warn!("the service manager does not read its socket: {lost:?} is lost");
        }
    }
}
