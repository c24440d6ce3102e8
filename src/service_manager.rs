//! What a service manager is told: systemd, or whoever else set `NOTIFY_SOCKET` (sd_notify(3)).
//!
//! A thread of its own tells it: one that does not read must not hold up who serves.

use std::env;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

/// Messages that wait for a service manager that does not read; more are lost.
const WAITING: usize = 16;
/// The last message has this long to be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to the service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager(Option<SyncSender<Message>>);

#[derive(Debug)]
enum Message {
    Tell(Vec<NotifyState<'static>>),
    Flush(SyncSender<()>),
}

impl ServiceManager {
    /// The one that the environment names.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn of_environment() -> io::Result<Self> {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self(None));
        }
        let (messages, inbox) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("notify".to_owned());
        thread.spawn(move || {
            for message in inbox {
                match message {
                    Message::Tell(states) => {
                        if let Err(error) = sd_notify::notify(&states) {
                            tracing::warn!(%error, "the service manager cannot be told: {states:?}");
                        }
                    }
                    Message::Flush(done) => drop(done.try_send(())),
                }
            }
        })?;
        Ok(Self(Some(messages)))
    }

    /// Every socket is open: connections are accepted.
    pub fn ready(&self, status: &'static str) {
        self.tell(vec![NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is about to be read again; [`ready`](Self::ready) follows, however that
    /// ends. With the time, which `Type=notify-reload` needs to tell this reload from one before.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        self.tell([NotifyState::Reloading].into_iter().chain(now).collect());
    }

    /// The end has begun. Waits for a moment until that has been read.
    pub fn stopping(&self) {
        self.tell(vec![NotifyState::Stopping]);
        let (done, flushed) = sync_channel(1);
        if let Some(messages) = &self.0
            && messages.try_send(Message::Flush(done)).is_ok()
        {
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }

    /// Everything that must live does.
    pub fn alive(&self) {
        self.tell(vec![NotifyState::Watchdog]);
    }

    /// How often [`alive`](Self::alive) has to be said, if at all: twice as often as it is waited for.
    pub fn watchdog(&self) -> Option<Duration> {
        let waits = self.0.is_some().then(sd_notify::watchdog_enabled)??;
        Some(waits / 2)
    }

    fn tell(&self, states: Vec<NotifyState<'static>>) {
        if let Some(messages) = &self.0
            && let Err(TrySendError::Full(lost)) = messages.try_send(Message::Tell(states))
        {
            tracing::warn!("the service manager does not read: {lost:?} is lost");
        }
    }
}
