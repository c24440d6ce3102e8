//! Requests at a constant rate, whatever the answers do: the latency of a proxy that is not at its
//! limit.
//!
//! Each connection has a thread and a timetable. What cannot be sent in time because the answer
//! before it is late counts from when it should have been sent, so that a pause of the proxy is
//! felt by all the requests that it held up. Threads, since an asynchronous timer counts whole
//! milliseconds, which is longer than the answers take.
//!
//! usage: load ADDRESS PATH CONNECTIONS RATE SECONDS [OPTION=VALUE]...
//!
//! - `tunnel=HOST:PORT`: each connection begins with CONNECT to it, and the requests go through the tunnel.
//! - `inside=HOST:PORT`: each connection begins with CONNECT to it, and TLS begins inside of that.
//! - `tls=DIRECTORY`: over TLS; the server is called localhost, and the directory has `ca.pem`, and perhaps
//!   `client.pem` and `client.key`, which are presented.
//! - `http=2`: over HTTP/2, one stream at a time on each connection.
//! - `connections=new`: each request has a connection of its own. No session is resumed.
//!
//! Prints JSON: the requests answered with 200 and those that were not; latencies in milliseconds.

mod http1;
mod http2;
mod tls;

use std::collections::HashMap;
use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

/// Later than this behind its timetable, a connection gives up.
const HOPELESS: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: load ADDRESS PATH CONNECTIONS RATE SECONDS [OPTION=VALUE]...";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(USAGE);
    let (address, path): (SocketAddr, String) = (next()?.parse()?, next()?);
    let (connections, rate, seconds): (u32, f64, f64) =
        (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let mut options = HashMap::new();
    for option in arguments {
        let (name, value) = option.split_once('=').ok_or(USAGE)?;
        options.insert(name.to_owned(), value.to_owned());
    }
    let load = Arc::new(Load::read(address, path, options)?);
    let between = Duration::from_secs_f64(f64::from(connections) / rate);
    let requests = (seconds / between.as_secs_f64()).max(1.0) as u32;
    // Time enough to connect; the threads are spread evenly over one interval.
    let start = Instant::now() + Duration::from_secs(1);
    let threads: Vec<_> = (0..connections)
        .map(|at| {
            let first = start + between * at / connections;
            let load = Arc::clone(&load);
            thread::spawn(move || Client::new(load).keep(first, between, requests))
        })
        .collect();

    let (mut took, mut errors) = (Vec::new(), 0);
    for thread in threads {
        let (more, failed) = thread.join().map_err(|_| "a thread panicked")?;
        took.extend(more);
        errors += failed;
    }
    took.sort_unstable();
    let at = |share: f64| match took.len() {
        0 => f64::NAN,
        all => took[((all as f64 * share) as usize).min(all - 1)].as_secs_f64() * 1e3,
    };
    println!(
        r#"{{"requests": {}, "errors": {errors}, "p50": {:.4}, "p90": {:.4}, "p99": {:.4}, "p99.9": {:.4}}}"#,
        took.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
    );
    Ok(())
}

/// What is asked for, and over what.
struct Load {
    address: SocketAddr,
    path: String,
    tunnel: Option<String>,
    inside: Option<String>,
    tls: Option<Arc<ClientConfig>>,
    is_http2: bool,
    is_always_new: bool,
}

impl Load {
    fn read(
        address: SocketAddr,
        path: String,
        mut options: HashMap<String, String>,
    ) -> Result<Self, Failure> {
        let is_http2 = options.remove("http").is_some_and(|version| version == "2");
        let tls = options.remove("tls");
        let tls = tls.map(|directory| tls::client(directory.as_ref(), is_http2));
        let load = Self {
            address,
            path,
            tunnel: options.remove("tunnel"),
            inside: options.remove("inside"),
            tls: tls.transpose()?,
            is_http2,
            is_always_new: options
                .remove("connections")
                .is_some_and(|are| are == "new"),
        };
        match options.keys().next() {
            Some(unknown) => Err(format!("unknown option {unknown}\n{USAGE}").into()),
            None => Ok(load),
        }
    }

    fn connect(&self) -> Result<TcpStream, Error> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HOPELESS))?;
        if let Some(to) = &self.inside {
            let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
            stream.write_all(connect.as_bytes())?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            if !head.starts_with(b"HTTP/1.1 200 ") {
                return Err(Error::other("CONNECT was refused"));
            }
        }
        Ok(stream)
    }

    /// Host and port, as requests name them.
    fn authority(&self) -> String {
        let named = self.tunnel.as_ref().or(self.inside.as_ref());
        named.map_or_else(|| self.address.to_string(), String::clone)
    }
}

/// One connection, opened again when it fails.
struct Client {
    load: Arc<Load>,
    connection: Option<Connection>,
}

enum Connection {
    Http1(http1::Connection),
    Http2(http2::Connection),
}

impl Client {
    fn new(load: Arc<Load>) -> Self {
        let connection = None;
        Self { load, connection }
    }

    /// Keeps to the timetable: how long the good answers took, and how many were not good.
    fn keep(&mut self, first: Instant, between: Duration, requests: u32) -> (Vec<Duration>, u32) {
        // Else the system wakes it up to 50 us late, to save wake-ups.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        // Connections, also those to the upstream, are opened before anything is measured.
        let _ = self.ask();
        let (mut took, mut errors) = (Vec::with_capacity(requests as usize), 0);
        for number in 0..requests {
            let due = first + between * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if due.elapsed() > HOPELESS {
                return (took, errors + requests - number);
            }
            match self.ask() {
                Ok(()) => took.push(due.elapsed()),
                Err(_) => errors += 1,
            }
        }
        (took, errors)
    }

    fn ask(&mut self) -> Result<(), Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None if self.load.is_http2 => Connection::Http2(http2::Connection::open(&self.load)?),
            None => Connection::Http1(http1::Connection::open(&self.load)?),
        };
        let status = match &mut connection {
            Connection::Http1(connection) => connection.ask()?,
            Connection::Http2(connection) => connection.ask(&self.load)?,
        };
        if !self.load.is_always_new {
            self.connection = Some(connection);
        }
        good(status)
    }
}

fn good(status: u16) -> Result<(), Error> {
    match status {
        200 => Ok(()),
        other => Err(Error::other(format!("status {other}"))),
    }
}
