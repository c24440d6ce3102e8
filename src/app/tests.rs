//! What becomes of a process one of whose threads is stuck or panics. The product is in a process of its own, which
//! is this test binary once more, with [`CONFIG`] in its environment.

mod series;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, mpsc};

use tempfile::TempDir;

use super::*;
use crate::cli::{self, CommandError};

/// Names the configuration of the process under test.
const CONFIG: &str = "SIDEBEARER_TEST_CONFIG";
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the product with the configuration that the environment names, if it does. Each line that comes is what
/// becomes of the first shard, or of the thread that accepts.
#[test]
fn process_under_test() {
    let Some(path) = std::env::var_os(CONFIG) else {
        return; // The others start it.
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.unwrap().block_on(run(path.as_ref()));
    std::process::exit(cli::conclude(ended.map(|()| 0)).into());
}

async fn run(path: &Path) -> Result<(), CommandError> {
    let (loaded, log) = cli::run::prepare(&path.into())?;
    let bound = bind(path.to_owned(), loaded, Some(log)).await.unwrap();
    let manager = ServiceManager::from_environment(bound.supervisor()).unwrap();
    let bound = bound.with_service_manager(manager);
    obey(&bound);
    cli::run::outcome(bound.run(std::future::pending()).await)
}

fn obey(bound: &Bound) {
    let shards = Arc::clone(&bound.reloader.shards);
    let acceptor = bound.reloader.admin.acceptor.clone();
    println!("admin at {}", bound.admin().unwrap());
    let (release, released) = mpsc::channel();
    let released = Arc::new(Mutex::new(released));
    std::thread::spawn(move || {
        for word in std::io::stdin().lines() {
            match word.unwrap().as_str() {
                "stick shard" => {
                    let released = Arc::clone(&released);
                    shards.run_on_first(move || released.lock().unwrap().recv().unwrap());
                }
                "stick accept" => {
                    let released = Arc::clone(&released);
                    acceptor.run_on_thread(move || released.lock().unwrap().recv().unwrap());
                }
                "release" => release.send(()).unwrap(),
                "panic" => shards.run_on_first(|| panic!("a defect")),
                word => panic!("what is {word}?"),
            }
        }
    });
}

/// The process, which is killed when this is dropped.
struct UnderTest {
    child: Child,
    words: ChildStdin,
    lines: BufReader<ChildStdout>,
    _dir: TempDir,
}

impl Drop for UnderTest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl UnderTest {
    fn start(prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidebearer.toml");
        let text = "[admin]\naddress = \"127.0.0.1:0\"\n\
            [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\n\
            [upstreams.api]\nurl = \"http://127.0.0.1:1\"\n";
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "app::tests::process_under_test", "--nocapture"]);
        command.env(CONFIG, &path);
        prepare(&mut command, dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self {
            words: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
            _dir: dir,
        }
    }

    fn say(&mut self, word: &str) {
        writeln!(self.words, "{word}").unwrap();
    }

    /// Where its admin pages are, once it serves.
    fn admin(&mut self) -> SocketAddr {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some((_, address)) = line.trim_end().split_once("admin at ") {
                return address.parse().unwrap();
            }
        }
    }
}

/// What `/livez` says.
fn livez(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether the watchdog was fed, by what has come since this was last asked.
fn was_fed(manager: &UnixDatagram) -> bool {
    let mut was_fed = false;
    let mut message = [0; 1024];
    while let Ok(length) = manager.recv(&mut message) {
        was_fed |= &message[..length] == b"WATCHDOG=1\n";
    }
    was_fed
}

fn wait_until_fed(manager: &UnixDatagram) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !was_fed(manager) {
        assert!(std::time::Instant::now() < deadline, "nothing feeds it");
        std::thread::yield_now();
    }
}

#[test]
fn a_stuck_thread_fails_livez_and_starves_the_watchdog_until_it_goes_on() {
    for thread in ["shard", "accept"] {
        stick(thread);
    }
}

fn stick(thread: &str) {
    let mut manager = None;
    let mut process = UnderTest::start(|command, dir| {
        let socket = dir.join("notify");
        manager = Some(UnixDatagram::bind(&socket).unwrap());
        command.env("NOTIFY_SOCKET", socket);
        command.env("WATCHDOG_USEC", "100000");
    });
    let manager = manager.unwrap();
    manager.set_nonblocking(true).unwrap();
    let admin = process.admin();
    wait_until_fed(&manager);
    let answer = livez(admin);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    process.say(&format!("stick {thread}"));
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = livez(admin);
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(answer.contains("stuck"), "{answer}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{answer}");
    }
    // What was judged before it was stuck has been told by now.
    was_fed(&manager);
    let answer = livez(admin);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        !was_fed(&manager),
        "the watchdog is fed though {thread} is stuck"
    );

    process.say("release");
    wait_until_fed(&manager);
    let answer = livez(admin);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_panic_of_a_shard_ends_the_process_with_code_1_and_says_which_thread() {
    let mut process = UnderTest::start(|_, _| ());
    process.admin();
    process.say("panic");
    let mut stderr = String::new();
    let mut said = process.child.stderr.take().unwrap();
    said.read_to_string(&mut stderr).unwrap();
    let status = process.child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    let told = "thread shard-0 panicked, a defect of sidebearer";
    assert!(stderr.contains(told), "{stderr}");
}
