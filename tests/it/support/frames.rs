//! HTTP/2 as bytes: frames that a test writes itself, right or wrong (RFC 9113 section 4). The unit tests of
//! the server use it too, over pipes in memory.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A frame to send.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block: every field a literal that leaves no trace in the table (RFC 7541 section
/// 6.2.2), with whatever bytes it has.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_ref());
        string(&mut block, value.as_ref());
    }
    block
}

/// Without Huffman coding (RFC 7541 section 5.2).
fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length > 127 {
            block.push(length as u8 | 128);
            length >>= 7;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text);
}

/// The pseudo-headers of a good request, then these.
pub(crate) fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    request("GET", path, more)
}

/// As [`get`], with this method.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ];
    fields.extend_from_slice(more);
    block(&fields)
}

/// What came for one stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The first field of the answer: `:status`, as it is encoded.
    pub(crate) status: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
    /// The code of the RST_STREAM.
    pub(crate) reset: Option<u32>,
}

impl Outcome {
    /// 200 is entry 8 of the static table (RFC 7541 appendix A).
    pub(crate) fn is_ok(&self) -> bool {
        self.ended && self.status.first() == Some(&0x88)
    }

    /// The code of an error of sidebearer's.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let name = problem["type"].as_str().unwrap_or_default();
        name.trim_start_matches("urn:sidebearer:error:").to_owned()
    }
}

/// A client that says what a test makes it say, and acknowledges nothing by itself.
pub(crate) struct FrameClient {
    reading: Box<dyn AsyncRead + Send + Unpin>,
    writing: Box<dyn AsyncWrite + Send + Unpin>,
}

impl FrameClient {
    /// Opens with the preface and these settings.
    pub(crate) async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, settings).await
    }

    /// The same, over any stream.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        settings: &[(u16, u32)],
    ) -> Self {
        let (reading, writing) = tokio::io::split(stream);
        let mut client = Self {
            reading: Box::new(reading),
            writing: Box::new(writing),
        };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        opening.extend(frame(SETTINGS, 0, 0, &payload));
        client.send(&opening).await;
        client
    }

    /// Sends bytes; tells whether anyone was left to take them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.writing.write_all(bytes).await.is_ok()
    }

    /// Sends while nobody reads what comes, as long as it is taken.
    pub(crate) async fn flood(&mut self, bytes: &[u8], times: usize) -> bool {
        for _ in 0..times {
            if !self.send(bytes).await {
                return false;
            }
        }
        true
    }

    /// The next frame, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.reading.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.reading.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// Reads until this stream has ended, or the connection: how it ended, and the code of the
    /// GOAWAY if there was one.
    pub(crate) async fn outcome(&mut self, stream: u32) -> (Outcome, Option<u32>) {
        let mut outcome = Outcome::default();
        let mut goaway = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                goaway = Some(frame.code());
            }
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if outcome.status.is_empty() => outcome.status = frame.payload,
                DATA => outcome.body.extend(frame.payload),
                RST_STREAM => {
                    outcome.reset = Some(frame.code());
                    break;
                }
                _ => continue,
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                outcome.ended = true;
                break;
            }
        }
        (outcome, goaway)
    }
}
