//! A log that nobody reads.

use std::net::SocketAddr;

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::api::Api;
use crate::support::client::{Connection, get};
use crate::support::process::Process;
use crate::support::{eventually, loopback};

/// Many times what the pipe and the buffer hold together.
const REQUESTS: u64 = 2000;

const DROPPED: &str = "log lines were dropped: stderr was not read in time";
const COUNTED: &str = "sidebearer_log_lines_dropped_total ";

/// A process that has answered all of [`REQUESTS`], each with an access line that nobody has read.
async fn overflowing(api: &Api) -> (Process, SocketAddr) {
    let (app, admin) = (loopback(), loopback());
    let process = Process::start_unread(&format!(
        "[log]\naccess = \"all\"\nbuffer = \"64KiB\"\n[admin]\naddress = \"{admin}\"\n\
         [[listeners]]\nname = \"app\"\naddress = \"{app}\"\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"{}\"\n",
        api.url()
    ));
    eventually("listening", async || TcpStream::connect(app).await.is_ok()).await;
    let mut connection = Connection::open(app).await;
    for _ in 0..REQUESTS {
        assert_eq!(connection.get("/").await.unwrap().status, 200);
    }
    assert_eq!(get(admin, "/livez").await.status, 200);
    (process, admin)
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_tells_later_what_it_lost() {
    let api = Api::open();
    let (mut process, admin) = overflowing(&api).await;
    process.read_log();
    eventually("the loss is told", async || process.told(DROPPED).is_some()).await;
    assert_eq!(get(admin, "/livez").await.status, 200);
    let metrics = get(admin, "/metrics").await.text();
    let counted = metrics.lines().find_map(|line| line.strip_prefix(COUNTED));
    assert!(counted.unwrap().parse::<u64>().unwrap() > REQUESTS / 2);
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    assert_eq!(ended.code, 0);

    let lines = ended.stderr.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("torn: {line}"))
    });
    let lines: Vec<_> = lines.collect();
    let read = lines
        .iter()
        .filter(|line| line["target"] == "sidebearer::access");
    let lost = lines.iter().filter(|line| line["message"] == DROPPED);
    let lost: u64 = lost.map(|line| line["lines"].as_u64().unwrap()).sum();
    assert!(lost > REQUESTS / 2, "{lost}");
    assert_eq!(read.count() as u64 + lost, REQUESTS);
    assert_eq!(lines.last().unwrap()["message"], "ended");
}

#[tokio::test]
async fn sigterm_ends_a_process_whose_log_nobody_reads() {
    let api = Api::open();
    let (process, _) = overflowing(&api).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}
