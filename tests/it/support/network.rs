//! Two machines and the cable between them, which a test can pull: each is a network namespace.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;

use super::process::Process;

/// Sidebearer's machine, and another.
pub(crate) struct Network {
    pub(crate) here: Machine,
    pub(crate) there: Machine,
}

/// A network namespace; removed when dropped.
pub(crate) struct Machine {
    name: String,
    ip: [u8; 4],
}

/// The end of the cable in each.
const CARD: &str = "cable";

impl Network {
    /// Lays the cable. `None` where that is not possible: the test has told so, and must not go on.
    pub(crate) fn lay() -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = |side| format!("sidebearer-{}-{number}-{side}", std::process::id());
        let machines = [("here", 1), ("there", 2)].map(|(side, last)| Machine {
            name: name(side),
            ip: [10, 0, 0, last],
        });
        let [here, there] = &machines;
        let (one, other) = (&here.name, &there.name);
        let cable = format!("link add {CARD} netns {one} type veth peer name {CARD} netns {other}");
        let laid = here.begin().and_then(|()| there.begin());
        if let Err(why) = laid.and_then(|()| ip(&cable)) {
            // Past the harness, which keeps what passing tests print to itself.
            let line = format!("skipped: 1 test, for want of network namespaces: {why}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        for machine in &machines {
            let [a, b, c, d] = machine.ip;
            machine.ip(&format!("addr add {a}.{b}.{c}.{d}/24 dev {CARD}"));
            machine.ip(&format!("link set {CARD} up"));
            machine.ip("link set lo up");
        }
        let [here, there] = machines;
        Some(Self { here, there })
    }

    /// From now on nothing that one machine sends reaches the other, not even that it is gone.
    pub(crate) fn cut(&self) {
        self.there.ip(&format!("link set {CARD} down"));
    }

    /// Undoes [`cut`](Self::cut). Returns when the machines know of it: until then a new connection
    /// may still be told that there is no way.
    pub(crate) async fn mend(&self) {
        self.there.ip(&format!("link set {CARD} up"));
        let nobody = self.there.address(9);
        super::eventually("they reach each other", async || {
            let second = Duration::from_secs(1);
            let knock = || std::net::TcpStream::connect_timeout(&nobody, second);
            let answer = self.here.within(knock);
            answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
        .await;
    }
}

impl Machine {
    /// Its address at the cable.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }

    /// Does something on this machine: a socket that is made there stays there.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        // A thread is in one namespace at a time, and this one ends with what it did there.
        std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
    }

    /// Takes a port at the cable.
    pub(crate) fn listen(&self, port: u16) -> std::net::TcpListener {
        let address = self.address(port);
        self.within(|| std::net::TcpListener::bind(address).unwrap())
    }

    /// Connects from here.
    pub(crate) fn connect(&self, address: SocketAddr) -> TcpStream {
        let stream = self.within(|| std::net::TcpStream::connect(address).unwrap());
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    }

    /// Runs sidebearer with this configuration.
    pub(crate) async fn run(&self, config: &str) -> Process {
        let spawn = |command, dir| self.within(|| Process::spawn(command, dir));
        Process::start_by(spawn, tempfile::tempdir().unwrap(), config).await
    }

    fn begin(&self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can make them".to_owned());
        }
        ip(&format!("netns add {}", self.name))
    }

    fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name)).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may never have begun.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// `ip` of iproute2.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip cannot be run (iproute2): {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("ip {arguments}: {}", said.trim()))
    }
}
