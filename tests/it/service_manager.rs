//! What systemd is told (sd_notify(3)).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::support::api::Api;
use crate::support::client::get;
use crate::support::process::Process;
use crate::support::{PATIENCE, loopback, unprotected};

/// A process that a service manager has started, and which it expects to hear from so often.
async fn managed(api: &Api, watchdog: Duration) -> (Process, UnixDatagram) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let config = format!(
        "[[listeners]]\nname = \"app\"\naddress = \"{}\"\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"{}\"\n",
        loopback(),
        api.url()
    );
    let process = Process::start_by(
        |mut command, dir| {
            command.env("NOTIFY_SOCKET", &socket);
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
            Process::spawn(command, dir)
        },
        dir,
        &config,
    );
    (process.await, manager)
}

/// The next message that is about something else than the watchdog.
async fn told(manager: &UnixDatagram) -> String {
    loop {
        let mut message = [0; 1024];
        let length = timeout(PATIENCE, manager.recv(&mut message)).await;
        let length = length.expect("a message").unwrap();
        let message = String::from_utf8(message[..length].to_vec()).unwrap();
        if message != "WATCHDOG=1\n" {
            return message;
        }
    }
}

fn monotonic() -> u64 {
    let uptime = std::fs::read_to_string(Path::new("/proc/uptime")).unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1e6) as u64
}

#[tokio::test]
async fn the_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    let api = Api::open();
    let (process, manager) = managed(&api, Duration::from_millis(200)).await;
    assert_eq!(told(&manager).await, "READY=1\nSTATUS=serving\n");
    let mut message = [0; 64];
    let length = timeout(PATIENCE, manager.recv(&mut message)).await;
    let length = length.expect("the watchdog is fed").unwrap();
    assert_eq!(&message[..length], b"WATCHDOG=1\n");

    let before = monotonic();
    process.signal(Signal::HUP);
    let reloading = told(&manager).await;
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let at: u64 = at.expect(&reloading).trim_end().parse().unwrap();
    // The system tells its uptime in hundredths of a second.
    assert!(at + 20_000 >= before && at <= monotonic() + 20_000, "{at}");
    assert_eq!(told(&manager).await, "READY=1\nSTATUS=serving\n");

    std::fs::write(process.dir().join("sidebearer.toml"), "no = ").unwrap();
    process.signal(Signal::HUP);
    assert!(told(&manager).await.starts_with("RELOADING=1\n"));
    let refused = "READY=1\nSTATUS=the configuration was refused: the last good one serves\n";
    assert_eq!(told(&manager).await, refused);

    process.signal(Signal::TERM);
    loop {
        // The watch may have reloaded the same file once more.
        let message = told(&manager).await;
        if message == "STOPPING=1\n" {
            break;
        }
        assert!(
            message.contains("RELOADING") || message == refused,
            "{message}"
        );
    }
    assert_eq!(process.ended().await.code, 0);
}

#[tokio::test]
async fn a_manager_that_does_not_read_stops_nothing() {
    let api = Api::open();
    let (process, manager) = managed(&api, Duration::from_micros(200)).await;
    let mut next = 0;
    // As soon as its queue is full, messages are lost, which is told.
    crate::support::eventually("lost", async || {
        next += 1;
        assert_eq!(get(process.address(), "/").await.status, 200, "{next}");
        process.log().contains("the service manager does not read")
    })
    .await;
    assert_eq!(get(process.admin(), "/livez").await.status, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
    drop(manager);
}

#[tokio::test]
async fn an_empty_variable_names_no_manager() {
    let api = Api::open();
    let config = unprotected(&api.url(), "");
    let start = |mut command: Command, dir| {
        command.env("NOTIFY_SOCKET", "");
        Process::spawn(command, dir)
    };
    let process = Process::start_by(start, tempfile::tempdir().unwrap(), &config).await;
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("service manager"), "{ended:?}");
}
