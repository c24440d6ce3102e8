//! Two machines and the cable between them, which a test can pull: each is a network namespace.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
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
            super::skip("network namespaces", &why);
            return None;
        }
        for machine in &machines {
            let [a, b, c, d] = machine.ip;
            machine.ip(&format!("addr add {a}.{b}.{c}.{d}/24 dev {CARD}"));
            // Taken at once, without a look for others that have it.
            machine.ip(&format!("addr add {}/64 dev {CARD} nodad", machine.ipv6()));
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

    /// The same of IPv6.
    pub(crate) fn address_v6(&self, port: u16) -> SocketAddr {
        (self.ipv6(), port).into()
    }

    fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd53, 0, 0, 0, 0, 0, 0, self.ip[3].into())
    }

    /// Loads a file of `nft`.
    ///
    /// # Errors
    /// What it says, or why it cannot be run.
    pub(crate) fn nft(&self, file: &str) -> Result<(), String> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let child = self.within(|| command.spawn());
        let mut child = child.map_err(|error| format!("nft cannot be run (nftables): {error}"))?;
        child
            .stdin
            .take()
            .unwrap()
            .write_all(file.as_bytes())
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        if ended.status.success() {
            Ok(())
        } else {
            Err(format!("nft: {}", said.trim()))
        }
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
        self.listen_at(self.address(port))
    }

    /// Takes an address.
    pub(crate) fn listen_at(&self, address: SocketAddr) -> std::net::TcpListener {
        self.within(|| std::net::TcpListener::bind(address).unwrap())
    }

    /// Connects from here.
    pub(crate) fn connect(&self, address: SocketAddr) -> TcpStream {
        let stream = self.within(|| std::net::TcpStream::connect(address).unwrap());
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    }

    /// Runs sidebearer with this configuration as another user, beside files that a test has put there.
    pub(crate) async fn run_as(&self, user: u32, dir: TempDir, config: &str) -> Process {
        let spawn = |command: Command, dir: TempDir| {
            // The user may not be let in where the binary was built.
            let binary = dir.path().join("sidebearer");
            // By another process: as long as this one has the file open for writing, it cannot be run.
            let copied = Command::new("cp")
                .arg(command.get_program())
                .arg(&binary)
                .status();
            assert!(copied.unwrap().success());
            let files = std::fs::read_dir(dir.path()).unwrap();
            let files = files.map(|file| file.unwrap().path());
            for file in files.chain([dir.path().to_owned()]) {
                std::os::unix::fs::chown(file, Some(user), Some(user)).unwrap();
            }
            let mut own = Command::new(binary);
            own.args(command.get_args())
                .stdin(Stdio::null())
                .uid(user)
                .gid(user);
            self.within(|| Process::spawn(own, dir))
        };
        Process::start_by(spawn, dir, config).await
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
