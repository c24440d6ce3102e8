//! Streams in memory that give and take as little at a time as an input says, and what drives them
//! without a runtime.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both directions of a connection.
#[derive(Debug)]
pub struct ScriptedStream<'i> {
    /// What the other side has yet to send.
    pub incoming: &'i [u8],
    /// What it was sent.
    pub sent: Vec<u8>,
    /// How much moves at once, over and over; all there is when nothing is said. Between two moves
    /// there is a wait.
    pieces: &'i [u8],
    moves: usize,
    /// It ends with a reset.
    resets: bool,
}

impl<'i> ScriptedStream<'i> {
    /// A connection on which `incoming` arrives in such pieces.
    pub fn new(incoming: &'i [u8], pieces: &'i [u8]) -> Self {
        Self {
            incoming,
            sent: Vec::new(),
            pieces,
            moves: 0,
            resets: false,
        }
    }

    /// The same, but that it does not end as it should.
    pub fn reset(incoming: &'i [u8]) -> Self {
        let resets = true;
        Self {
            resets,
            ..Self::new(incoming, &[])
        }
    }

    fn piece(&mut self) -> Option<usize> {
        self.moves += 1;
        match self.pieces.len() {
            0 => Some(usize::MAX),
            _ if self.moves.is_multiple_of(2) => None,
            count => {
                let size = self.pieces[self.moves / 2 % count];
                Some(usize::from(size.saturating_sub(b'0')).max(1))
            }
        }
    }
}

impl AsyncRead for ScriptedStream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(piece) = self.piece() else {
            return Poll::Pending;
        };
        if self.incoming.is_empty() && self.resets {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let length = self.incoming.len().min(piece).min(buf.remaining());
        let (now, later) = self.incoming.split_at(length);
        buf.put_slice(now);
        self.incoming = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ScriptedStream<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(piece) = self.piece() else {
            return Poll::Pending;
        };
        let mut left = piece;
        for part in parts {
            let now = part.len().min(left);
            self.sent.extend_from_slice(&part[..now]);
            left -= now;
        }
        Poll::Ready(Ok(piece - left))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until it is ready. It has to be soon: nothing but waits between pieces holds it up.
pub fn drive<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(ready) = poll(&mut cx) {
            return ready;
        }
    }
    panic!("it waits for nothing");
}

/// A body, or as much of it as there was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// All of its data.
    pub data: Vec<u8>,
    /// What follows the last chunk.
    pub trailers: Option<HeaderMap>,
    /// Why it broke off.
    pub broken: Option<String>,
}

impl Collected {
    /// Reads a body to its end.
    pub fn from<B>(mut body: B) -> Self
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: ToString,
    {
        let mut collected = Self::default();
        while let Some(frame) = drive(|cx| Pin::new(&mut body).poll_frame(cx)) {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => collected.data.extend_from_slice(&data),
                Ok(Err(frame)) => collected.trailers = frame.into_trailers().ok(),
                Err(error) => {
                    collected.broken = Some(error.to_string());
                    break;
                }
            }
        }
        collected
    }
}

/// A body that comes in one piece.
#[derive(Debug)]
pub struct OnePieceBody(Vec<Frame<Bytes>>);

impl OnePieceBody {
    /// What was collected, once more.
    pub fn new(collected: &Collected) -> Self {
        let data = collected.data.clone();
        let trailers = collected.trailers.clone().map(Frame::trailers);
        let data = (!data.is_empty()).then(|| Frame::data(data.into()));
        Self(trailers.into_iter().chain(data).collect())
    }
}

impl Body for OnePieceBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
