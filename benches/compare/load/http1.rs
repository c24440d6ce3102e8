//! A connection of HTTP/1.1.

use std::io::{Error, Read, Write};

use crate::{Load, good, tls};

pub struct Connection {
    stream: Box<dyn Stream>,
    head: String,
    buffer: Vec<u8>,
}

/// TCP, or TLS over it.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Connection {
    pub fn open(load: &Load) -> Result<Self, Error> {
        let stream = load.connect()?;
        let stream: Box<dyn Stream> = match &load.tls {
            Some(config) => Box::new(tls::over(stream, config)?),
            None => Box::new(stream),
        };
        let host = load.authority();
        let mut connection = Self {
            stream,
            head: format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", load.path),
            buffer: vec![0; 64 * 1024],
        };
        if let Some(to) = &load.tunnel {
            let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
            connection.stream.write_all(connect.as_bytes())?;
            let (status, beyond) = connection.read_answer(true)?;
            good(status)?;
            if beyond > 0 {
                return Err(Error::other("bytes behind the answer to CONNECT"));
            }
        }
        Ok(connection)
    }

    /// Sends one request: the status of its answer.
    pub fn ask(&mut self) -> Result<u16, Error> {
        self.stream.write_all(self.head.as_bytes())?;
        Ok(self.read_answer(false)?.0)
    }

    /// The status of one answer, and how many bytes were read beyond it. A tunnel has no body.
    fn read_answer(&mut self, of_connect: bool) -> Result<(u16, usize), Error> {
        let mut read = 0;
        let (status, length) = loop {
            let more = self.stream.read(&mut self.buffer[read..])?;
            if more == 0 {
                return Err(Error::other("no whole answer"));
            }
            read += more;
            if let Some(whole) = answer(&self.buffer[..read], of_connect)? {
                break whole;
            }
        };
        while read < length {
            let more = self.stream.read(&mut self.buffer)?;
            if more == 0 {
                return Err(Error::other("the body broke off"));
            }
            read += more;
        }
        Ok((status, read - length))
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
