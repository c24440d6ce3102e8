//! The signals that come to this process, and who sent them.
//!
//! What a terminal sends goes to the whole process group, and the program is in it: it is not passed on. What a
//! process sends to this one alone (`kill`, `docker stop`) is. Only who sent a signal tells the two apart.

use std::fs::{self, File};
use std::io;

use rustix::process::{Pid, Signal, getpid, kill_process};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::blocking::start_thread;
use crate::process::was_ignored;

/// Those that end a program by default, and that it may handle.
const PASSED_ON: [Signal; 6] = [
    Signal::TERM,
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
];

/// A signal that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) signal: Signal,
    pub(super) sender: Sender,
}

/// Who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// The system: a terminal, to the whole process group.
    System,
    /// A process; without a number if it is outside of our namespace.
    Process(Option<Pid>),
}

/// What comes.
pub(super) struct Signals(UnboundedReceiver<Arrival>);

impl Signals {
    /// Signals are watched from now on. Those that this process was started to ignore (`nohup`) stay ignored, and the
    /// program that it starts ignores them too.
    ///
    /// # Errors
    /// The system has no thread or no file to give.
    pub(super) fn watch() -> io::Result<Self> {
        let job_control = [Signal::TSTP, Signal::CONT];
        let watched = PASSED_ON.into_iter().chain(job_control);
        let watched = watched.filter(|signal| !was_ignored(*signal));
        // Also if it was to be ignored: the system would then forget how the program has ended, as it would for the program
        // with its own children. Once it is watched, the program begins with its usual way.
        let watched = watched.chain([Signal::CHILD]).map(Signal::as_raw);
        let mut signals = SignalsInfo::<WithOrigin>::new(watched)?;
        let (sender, arrivals) = unbounded_channel();
        start_thread("signals", move || {
            for origin in signals.forever() {
                let Some(signal) = Signal::from_named_raw(origin.signal) else {
                    continue;
                };
                let sent_by = match origin.process {
                    None => Sender::System,
                    Some(process) => Sender::Process(Pid::from_raw(process.pid)),
                };
                let arrival = Arrival {
                    signal,
                    sender: sent_by,
                };
                if sender.send(arrival).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(arrivals))
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Arrival {
        match self.0.recv().await {
            Some(arrival) => arrival,
            // The thread has ended: no more will come.
            None => std::future::pending().await,
        }
    }

    /// The next one that asks to end. Cancel safe.
    pub(super) async fn next_to_end(&mut self) -> Signal {
        loop {
            let Arrival { signal, .. } = self.next().await;
            if PASSED_ON.contains(&signal) {
                return signal;
            }
            if signal == Signal::TSTP {
                stop_with_the_job();
            }
        }
    }
}

impl Arrival {
    /// Whether the program, which is `program`, has to be sent it too. What it has sent itself to its process group has
    /// reached it.
    pub(super) fn is_for(&self, program: Pid) -> bool {
        let alone = match self.sender {
            Sender::System => false,
            Sender::Process(sender) => sender != Some(program),
        };
        alone && (PASSED_ON.contains(&self.signal) || self.signal == Signal::TSTP)
    }
}

/// Stops this process where a shell waits for it that can let it go on: there is a terminal, and the parent is of the
/// same session. Returns whether it was stopped, once it goes on: the shell takes the terminal back only when all of a
/// job is stopped.
pub(super) fn stop_with_the_job() -> bool {
    let has_terminal = || File::open("/dev/tty").is_ok();
    has_shell().unwrap_or(false) && has_terminal() && kill_process(getpid(), Signal::STOP).is_ok()
}

/// Whether the parent is of the same session; `None` where that is not to be seen. A container may have been put into
/// a session from outside of its namespace: that one has no number here, so that the typed calls cannot name it.
fn has_shell() -> Option<bool> {
    let of = |process: &str| {
        let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
        // The name of a process may be any bytes.
        parent_and_session(&String::from_utf8_lossy(&stat))
    };
    let (parent, session) = of("self")?;
    let (_, of_parent) = of(&parent.to_string())?;
    Some(of_parent == session)
}

/// The numbers of the parent and of the session of the process whose `stat` this is, as the system writes it; 0 for
/// what is outside of the namespace.
fn parent_and_session(stat: &str) -> Option<(u32, u32)> {
    // A name may have spaces and parentheses.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some((parent, session))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(signal: Signal, sender: Sender) -> Arrival {
        Arrival { signal, sender }
    }

    #[test]
    fn what_a_terminal_or_the_program_itself_sends_is_not_sent_twice() {
        let program = Pid::from_raw(7).unwrap();
        let other = Sender::Process(Pid::from_raw(8));
        for signal in PASSED_ON {
            assert!(arrival(signal, other).is_for(program));
            // The container's host.
            assert!(arrival(signal, Sender::Process(None)).is_for(program));
            assert!(!arrival(signal, Sender::System).is_for(program));
            assert!(!arrival(signal, Sender::Process(Some(program))).is_for(program));
        }
        assert!(arrival(Signal::TSTP, other).is_for(program));
        assert!(!arrival(Signal::TSTP, Sender::System).is_for(program));
        assert!(!arrival(Signal::CHILD, other).is_for(program));
        assert!(!arrival(Signal::CONT, other).is_for(program));
    }

    #[test]
    fn a_session_outside_of_the_namespace_is_read_as_any_other() {
        let stat = "7 (a ) b) S 1 7 0 34816 7 4194304 100 0";
        assert_eq!(parent_and_session(stat), Some((1, 0)));
        let (_, session) =
            parent_and_session(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        let (_, of_thread) =
            parent_and_session(&fs::read_to_string("/proc/thread-self/stat").unwrap()).unwrap();
        assert_eq!(session, of_thread);
        assert_eq!(parent_and_session("7 (sh) S 1"), None);
    }
}
