//! Sockets that a service manager has opened, and holds while the process is restarted (sd_listen_fds(3)).

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::support::api::Api;
use crate::support::client::{Connection, get, post};
use crate::support::process::{Ended, Process};
use crate::support::sidebearer::with_admin;
use crate::support::{any_port, eventually, loopback};

/// The process gets its standard input as the first two descriptors that are handed over.
const HAND_OVER: &str = r#"exec 3<&0 4<&0 0</dev/null
export LISTEN_PID="${FOR:-$$}" LISTEN_FDS="$COUNT" LISTEN_FDNAMES="$NAME"
exec "$@""#;

/// What is handed over.
struct Handed {
    socket: OwnedFd,
    name: &'static str,
    /// For another process than the one that gets it.
    for_another: bool,
    count: &'static str,
}

impl Handed {
    fn of(socket: impl Into<OwnedFd>, name: &'static str) -> Self {
        let socket = socket.into();
        let (for_another, count) = (false, "1");
        Self {
            socket,
            name,
            for_another,
            count,
        }
    }

    /// Starts a process, and hands it over.
    fn start(self, config: &str) -> Process {
        let dir = tempfile::tempdir().unwrap();
        self.start_in(dir, config)
    }

    fn start_in(self, dir: TempDir, config: &str) -> Process {
        let path = dir.path().join("sidebearer.toml");
        std::fs::write(&path, with_admin(config)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, "sh", env!("CARGO_BIN_EXE_sidebearer")]);
        command.args(["run", "--config", path.to_str().unwrap()]);
        command.env_remove("SIDEBEARER_CONFIG");
        command.env("NAME", self.name).env("COUNT", self.count);
        if self.for_another {
            command.env("FOR", "1");
        }
        command.stdin(Stdio::from(self.socket));
        Process::spawn(command, dir)
    }
}

/// A process that listens.
async fn listening(process: Process) -> Process {
    eventually("listening", async || process.told("admin").is_some()).await;
    process
}

fn config(name: &str, address: &str, api: &Api) -> String {
    format!(
        "[log]\nformat = \"json\"\n\n[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\nupstream = \"api\"\n\n\
         [upstreams.api]\nurl = \"{}\"\n",
        api.url()
    )
}

fn bound() -> (TcpListener, SocketAddr) {
    let held = TcpListener::bind(loopback()).unwrap();
    let address = held.local_addr().unwrap();
    (held, address)
}

#[tokio::test]
async fn no_connection_is_refused_while_the_process_is_restarted_again_and_again() {
    const CLIENTS: usize = 4;
    const RESTARTS: usize = 4;
    let api = Api::open();
    let (held, address) = bound();
    let config = config("app", &address.to_string(), &api);
    let (answered, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
        clients.spawn(async move {
            while !over.load(SeqCst) {
                // On a connection of its own; it panics if that is refused or ends without an answer.
                assert_eq!(get(address, "/").await.status, 200);
                answered.fetch_add(1, SeqCst);
            }
        });
    }
    for _ in 0..=RESTARTS {
        let process = Handed::of(held.try_clone().unwrap(), "app").start(&config);
        let before = answered.load(SeqCst);
        eventually("requests are served", async || {
            let failed = clients.try_join_next();
            assert!(failed.is_none(), "{failed:?}");
            answered.load(SeqCst) > before + 20 * CLIENTS
        })
        .await;
        process.signal(Signal::TERM);
        let ended = process.ended().await;
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    // Those that wait now are answered by the last one.
    over.store(true, SeqCst);
    let process = listening(Handed::of(held.try_clone().unwrap(), "app").start(&config)).await;
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}

#[tokio::test]
async fn a_reload_keeps_it_under_another_name_and_when_it_comes_back() {
    let api = Api::open();
    let (held, address) = bound();
    let (app, web) = (address.to_string(), any_port().to_string());
    // Its unit gives it no name.
    let started = Handed::of(held.try_clone().unwrap(), "sidebearer.socket");
    let process = listening(started.start(&config("app", &app, &api))).await;
    let admin = process.admin();
    assert_eq!(get(address, "/").await.status, 200);
    let reload = async |text: &str| {
        // The admin address stays what it is.
        let text = format!("[admin]\naddress = \"{}\"\n{text}", any_admin(&process));
        std::fs::write(process.dir().join("sidebearer.toml"), text).unwrap();
        let answer = post(admin, "/reload", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    reload(&config("web", &app, &api)).await;
    assert_eq!(get(address, "/").await.status, 200);
    reload(&config("app", &web, &api)).await;
    let waiting = tokio::spawn(get(address, "/"));
    reload(&config("app", &app, &api)).await;
    assert_eq!(waiting.await.unwrap().status, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}

/// The address of the admin pages as the configuration has it.
fn any_admin(process: &Process) -> String {
    let text = std::fs::read_to_string(process.dir().join("sidebearer.toml")).unwrap();
    let (_, rest) = text.split_once("address = \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn get_by(path: &Path) -> u16 {
    let stream = UnixStream::connect(path).await.unwrap();
    let mut connection = Connection::over(stream).await;
    connection.get("/").await.unwrap().status
}

#[tokio::test]
async fn the_file_of_a_unix_socket_that_was_handed_over_stays() {
    let api = Api::open();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("app.sock");
    let held = UnixListener::bind(&path).unwrap();
    let config = config("app", &format!("unix:{}", path.display()), &api);
    for _ in 0..2 {
        let process = Handed::of(held.try_clone().unwrap(), "").start(&config);
        let process = listening(process).await;
        assert_eq!(get_by(&path).await, 200);
        let answer = post(process.admin(), "/reload", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(get_by(&path).await, 200);
        process.signal(Signal::TERM);
        assert_eq!(process.ended().await.code, 0);
        assert!(path.exists());
    }
}

#[tokio::test]
async fn the_pages_of_operators_and_a_port_that_nobody_chose_are_found_by_name_or_address() {
    let api = Api::open();
    let (held, address) = bound();
    let text = format!(
        "[admin]\naddress = \"{address}\"\n{}",
        config("app", &any_port().to_string(), &api)
    );
    let process = listening(Handed::of(held, "admin").start(&text)).await;
    assert_eq!(process.admin(), address);
    assert_eq!(get(address, "/livez").await.status, 200);
    drop(process);
    let (held, address) = bound();
    let process = Handed::of(held, "app").start(&config("app", &any_port().to_string(), &api));
    let process = listening(process).await;
    assert_eq!(process.address(), address);
    assert_eq!(get(address, "/").await.status, 200);
}

async fn refused(handed: Handed, config: &str) -> Ended {
    let ended = handed.start(config).ended().await;
    assert_eq!(ended.code, 2, "{ended:?}");
    ended
}

#[tokio::test]
async fn what_is_for_nothing_or_no_socket_keeps_it_from_starting() {
    let api = Api::open();
    let (held, address) = bound();
    let elsewhere = config("app", &loopback().to_string(), &api);
    let held = || held.try_clone().unwrap();
    let said = refused(Handed::of(held(), "web"), &elsewhere).await.stderr;
    let expected =
        format!("the socket \"web\" at {address} was handed over, and nothing is for it");
    assert!(said.contains(&expected), "{said}");
    let said = refused(Handed::of(held(), "app"), &elsewhere).await.stderr;
    let expected =
        format!("the socket \"app\" at {address} was handed over, and what has this name is at ");
    assert!(said.contains(&expected), "{said}");

    let file = || std::fs::File::open("/dev/null").unwrap();
    let said = refused(Handed::of(file(), "app"), &elsewhere).await.stderr;
    assert!(
        said.contains("the file descriptor 3 that was handed over (\"app\") is neither a TCP"),
        "{said}"
    );
    // So many that to look at each of them would take minutes, too.
    for count in ["many", "-1", "2000000000", "4000000000"] {
        let wrong = Handed {
            count,
            ..Handed::of(held(), "app")
        };
        let said = refused(wrong, &elsewhere).await.stderr;
        let expected = format!("LISTEN_FDS is {count:?}, and not a number of sockets");
        assert!(said.contains(&expected), "{said}");
    }
    let said = refused(Handed::of(held(), "app:web"), &elsewhere).await;
    let expected = "LISTEN_FDNAMES has 2 names for 1 sockets";
    assert!(said.stderr.contains(expected), "{said:?}");
    // Of two at one address one would be served, and what comes to the other would wait for ever.
    let twice = Handed {
        count: "2",
        ..Handed::of(held(), "app:web")
    };
    let said = refused(twice, &elsewhere).await.stderr;
    let expected =
        format!("two sockets at {address} were handed over (\"app\" and \"web\"): expected one");
    assert!(said.contains(&expected), "{said}");
    let unbound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let said = refused(Handed::of(unbound, "app"), &elsewhere).await.stderr;
    assert!(
        said.contains("that listens: expected one of ListenStream="),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_for_another_process_is_left_alone() {
    let api = Api::open();
    let (held, _) = bound();
    let own = loopback();
    let handed = Handed {
        for_another: true,
        ..Handed::of(held, "web")
    };
    let process = listening(handed.start(&config("app", &own.to_string(), &api))).await;
    assert_eq!(get(own, "/").await.status, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}

#[tokio::test]
async fn no_socket_is_for_two_parts_of_a_configuration() {
    let api = Api::open();
    // A listener that has the name of the pages, and leaves its port open.
    let (held, address) = bound();
    let open = config("admin", &any_port().to_string(), &api);
    let text = format!("[admin]\naddress = \"{address}\"\n{open}");
    let process = listening(Handed::of(held, "admin").start(&text)).await;
    assert_eq!(process.admin(), address);
    assert_ne!(process.address(), address);
    drop(process);
    // One that has the name of the socket, and another that has its address.
    let (held, address) = bound();
    let text = format!(
        "{}[[listeners]]\nname = \"web\"\naddress = \"{address}\"\nupstream = \"api\"\n",
        config("app", &any_port().to_string(), &api)
    );
    let said = refused(Handed::of(held, "app"), &text).await.stderr;
    let expected = format!("\"app\" at {address} was handed over, and what has this name is at ");
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn a_mode_that_lets_in_more_than_the_configuration_says_is_told() {
    const TOLD: &str = "and lets in more than `mode` = 0660 would";
    let api = Api::open();
    let place = tempfile::tempdir().unwrap();
    for (name, mode) in [("wide.sock", 0o666), ("narrow.sock", 0o755)] {
        let path = place.path().join(name);
        let held = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let config = config("app", &format!("unix:{}", path.display()), &api);
        let process = listening(Handed::of(held, "app").start(&config)).await;
        assert_eq!(get_by(&path).await, 200);
        let log = process.log();
        assert_eq!(log.contains(TOLD), mode == 0o666, "{log}");
    }
}
