//! Lets in only those connections to a loopback listener that sockets of one user have made, by the tables of the
//! kernel (`/proc/net/tcp` and `/proc/net/tcp6`, proc_pid_net(5)).
//!
//! The kernel writes a table of every socket of the machine for each look, which takes it a moment: that is done on
//! other threads than those that accept and serve, and once for all connections that wait for it.

mod table;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::table::SocketPair;
use super::accepted::{AcceptedConnection, AcceptedSocket};
use super::shard::Shards;
use crate::blocking;
use crate::supervisor::Supervisor;

/// Connections that are judged by one look.
const AT_ONCE: usize = 256;
/// A table that changes while it is read may leave out a socket: so often it is read before that counts.
const LOOKS: usize = 3;
/// A line tells of closed connections this often at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Where connections wait until it is known who made them.
pub(super) struct UserCheck {
    waiting: UnboundedSender<AcceptedConnection>,
    task: JoinHandle<()>,
}

impl UserCheck {
    /// Begins to hand those of the user `uid` to `shards`, and to close all others, on the current runtime.
    pub(super) fn start(uid: u32, shards: Arc<Shards>, supervisor: &Supervisor) -> Self {
        let (waiting, inbox) = unbounded_channel();
        let guard = supervisor.guard("the check of users");
        let task = tokio::spawn(async move {
            let _guard = guard;
            judge(inbox, uid, &shards).await;
        });
        Self { waiting, task }
    }

    /// Takes a connection, whose permit bounds how many wait.
    pub(super) fn admit(&self, accepted: AcceptedConnection) {
        // This fails only after a panic, which ends the process.
        let _ = self.waiting.send(accepted);
    }

    /// Returns when the last connection has been judged.
    pub(super) async fn finish(self) {
        drop(self.waiting);
        let _ = self.task.await;
    }
}

async fn judge(mut inbox: UnboundedReceiver<AcceptedConnection>, uid: u32, shards: &Shards) {
    let mut refusals = Refusals::default();
    loop {
        let mut waiting = Vec::new();
        if inbox.recv_many(&mut waiting, AT_ONCE).await == 0 {
            return;
        }
        let ends: Vec<_> = waiting.iter().map(ends_of).collect();
        let looked = blocking::run(move || owners(&ends)).await;
        let owners = match looked.and_then(|owners| owners) {
            Ok(owners) => owners,
            Err(error) => {
                tracing::error!(%error, "connections are closed: who made them cannot be read");
                continue;
            }
        };
        for (accepted, owner) in waiting.into_iter().zip(owners) {
            if owner == Some(uid) {
                shards.serve(accepted);
            } else {
                refusals.count(owner);
            }
        }
    }
}

/// `None` for what is no TCP connection, or no connection any more.
fn ends_of(accepted: &AcceptedConnection) -> Option<SocketPair> {
    match &accepted.socket {
        AcceptedSocket::Tcp(socket, client) => Some((*client, socket.local_addr().ok()?)),
        AcceptedSocket::Unix(_) => None,
    }
}

/// The user of the client's socket of each connection; `None` where it has none any more.
///
/// # Errors
/// A table cannot be read.
fn owners(connections: &[Option<SocketPair>]) -> io::Result<Vec<Option<u32>>> {
    let mut found = HashMap::new();
    let mut missing: Vec<SocketPair> = connections.iter().flatten().copied().collect();
    for _ in 0..LOOKS {
        for (file, family) in [
            ("/proc/net/tcp", table::Family::V4),
            ("/proc/net/tcp6", table::Family::V6),
        ] {
            if missing.is_empty() {
                break;
            }
            let text = match fs::read_to_string(file) {
                // There is none where the system has no IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.ends_with('6') => {
                    continue;
                }
                text => text?,
            };
            found.extend(table::owners(&text, family, &missing));
            missing.retain(|ends| !found.contains_key(ends));
        }
    }
    let owner = |ends: &Option<SocketPair>| found.get(ends.as_ref()?).copied();
    Ok(connections.iter().map(owner).collect())
}

/// What was closed and not told yet.
#[derive(Default)]
struct Refusals {
    told_at: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn count(&mut self, owner: Option<u32>) {
        self.since += 1;
        let now = Instant::now();
        if self.told_at.is_some_and(|at| now - at < REPORT_INTERVAL) {
            return;
        }
        tracing::warn!(
            uid = owner,
            connections = std::mem::take(&mut self.since),
            "closed: another user of this machine connected, or one that has gone"
        );
        self.told_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_tells_who_made_a_connection_for_as_long_as_it_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(owners(&[Some(ends), None]).unwrap(), [Some(uid), None]);
        drop(client);
        assert_eq!(owners(&[Some(ends)]).unwrap(), [None]);
    }
}
