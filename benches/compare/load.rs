//! Requests at a constant rate, whatever the answers do: the latency of a proxy that is not at its
//! limit.
//!
//! Each connection has a thread and a timetable. What cannot be sent in time because the answer
//! before it is late counts from when it should have been sent, so that a pause of the proxy is
//! felt by all the requests that it held up. Threads, since an asynchronous timer counts whole
//! milliseconds, which is longer than the answers take.
//!
//! usage: load ADDRESS PATH CONNECTIONS RATE SECONDS [TUNNEL]
//!
//! With TUNNEL, a host and a port, each connection begins with CONNECT to it, and the requests go through the tunnel.
//!
//! Prints JSON: the requests answered with 200 and those that were not; latencies in milliseconds.

use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

/// Later than this behind its timetable, a connection gives up.
const HOPELESS: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("usage: load ADDRESS PATH CONNECTIONS RATE SECONDS [TUNNEL]")
    };
    let (address, path): (SocketAddr, String) = (next()?.parse()?, next()?);
    let (connections, rate, seconds): (u32, f64, f64) =
        (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let tunnel = next().ok();
    let connect = tunnel.map(|to| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
    let between = Duration::from_secs_f64(f64::from(connections) / rate);
    let requests = (seconds / between.as_secs_f64()).max(1.0) as u32;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    // Time enough to connect; the threads are spread evenly over one interval.
    let start = Instant::now() + Duration::from_secs(1);
    let threads: Vec<_> = (0..connections)
        .map(|at| {
            let first = start + between * at / connections;
            let mut client = Client::new(address, head.clone(), connect.clone());
            thread::spawn(move || client.keep(first, between, requests))
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

/// One connection, opened again when it fails.
struct Client {
    address: SocketAddr,
    head: String,
    connect: Option<String>,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, head: String, connect: Option<String>) -> Self {
        let (stream, buffer) = (None, vec![0; 64 * 1024]);
        Self {
            address,
            head,
            connect,
            stream,
            buffer,
        }
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
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        stream.write_all(self.head.as_bytes())?;
        let (status, _) = self.read_answer(&mut stream, false)?;
        self.stream = Some(stream);
        good(status)
    }

    /// A connection on which requests can be sent.
    fn open(&mut self) -> Result<TcpStream, Error> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HOPELESS))?;
        if let Some(connect) = &self.connect {
            stream.write_all(connect.as_bytes())?;
            let (status, read) = self.read_answer(&mut stream, true)?;
            good(status)?;
            if read > 0 {
                return Err(Error::other("bytes behind the answer to CONNECT"));
            }
        }
        Ok(stream)
    }

    /// The status of one answer, and how many bytes were read beyond it. A tunnel has no body.
    fn read_answer(
        &mut self,
        stream: &mut TcpStream,
        of_connect: bool,
    ) -> Result<(u16, usize), Error> {
        let mut read = 0;
        let (status, length) = loop {
            let more = stream.read(&mut self.buffer[read..])?;
            if more == 0 {
                return Err(Error::other("no whole answer"));
            }
            read += more;
            if let Some(whole) = answer(&self.buffer[..read], of_connect)? {
                break whole;
            }
        };
        while read < length {
            let more = stream.read(&mut self.buffer)?;
            if more == 0 {
                return Err(Error::other("the body broke off"));
            }
            read += more;
        }
        Ok((status, read - length))
    }
}

fn good(status: u16) -> Result<(), Error> {
    match status {
        200 => Ok(()),
        other => Err(Error::other(format!("status {other}"))),
    }
}

/// The status and the length, head included, once the head is whole. Answers have a
/// `Content-Length` here, unless they are those of CONNECT.
fn answer(bytes: &[u8], of_connect: bool) -> Result<Option<(u16, usize)>, Error> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let odd = || Error::other("an answer that is not understood");
    let head = str::from_utf8(&bytes[..end]).map_err(|_| odd())?;
    let status = head.get(9..12).and_then(|digits| digits.parse().ok());
    let length: Option<usize> = head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = name.eq_ignore_ascii_case("content-length");
        length.then(|| value.trim().parse().ok()).flatten()
    });
    let length = if of_connect { Some(0) } else { length };
    let (status, length) = status.zip(length).ok_or_else(odd)?;
    Ok(Some((status, end + 4 + length)))
}
