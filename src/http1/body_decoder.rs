//! Reading bodies (RFC 9112 section 6).

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;

use super::chunked::{ChunkedDecoder, MalformedBody, take};
use super::framing::MessageFraming;
use super::syntax::{HeadError, HeadLimits, Strictness};

/// Reads what is left of a body.
#[derive(Debug)]
pub(super) enum BodyDecoder {
    /// This many bytes are left.
    Length(u64),
    /// It comes in chunks.
    Chunked(Box<ChunkedDecoder>),
    /// It lasts until the connection ends.
    UntilClose,
}

impl BodyDecoder {
    /// The body of a request. Its framing is sound, since its head would have been refused otherwise (RFC
    /// 9112 section 6.3).
    pub(super) fn of_request(framing: &MessageFraming, limits: HeadLimits) -> Self {
        if framing.has_transfer_coding {
            Self::chunked(limits, Strictness::Strict)
        } else {
            Self::Length(framing.length.unwrap_or(0))
        }
    }

    /// The body of a response to a request with this method.
    ///
    /// # Errors
    /// Its length is not a number, or there are several. This also counts where it has no body, since the
    /// length is passed on to the client.
    pub(super) fn of_response(
        method: &Method,
        status: StatusCode,
        framing: &MessageFraming,
        limits: HeadLimits,
    ) -> Result<Self, HeadError> {
        let bodiless = status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        if framing.length_count > 0 && framing.length.is_none() && !framing.has_transfer_coding {
            return Err(HeadError::Malformed("its Content-Length is not a number"));
        }
        match framing.length {
            _ if bodiless || *method == Method::HEAD => Ok(Self::Length(0)),
            _ if framing.has_transfer_coding => Ok(Self::chunked(limits, Strictness::Lenient)),
            None => Ok(Self::UntilClose),
            Some(length) => Ok(Self::Length(length)),
        }
    }

    fn chunked(limits: HeadLimits, strictness: Strictness) -> Self {
        Self::Chunked(Box::new(ChunkedDecoder::new(limits, strictness)))
    }

    /// Whether all of it has been read.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Notes that the connection has ended, and tells whether the body is complete with that.
    pub(super) fn finish_at_end_of_connection(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Length(0);
        }
        self.is_done()
    }

    /// How many bytes are left, if that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ => self.is_done().then_some(0),
        }
    }

    /// The next piece of what has been received: data, or the trailers. `None`: more is needed, or the body
    /// has ended.
    pub(super) fn decode(
        &mut self,
        received: &mut Bytes,
    ) -> Result<Option<Frame<Bytes>>, MalformedBody> {
        if received.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Length(0) => Ok(None),
            Self::Length(left) => Ok(Some(Frame::data(take(received, left)))),
            Self::UntilClose => Ok(Some(Frame::data(std::mem::take(received)))),
            Self::Chunked(chunked) => chunked.decode(received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::parse_response;
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 100,
        fields: 3,
    };

    /// What is known of the length of a body; `None`: the head is refused.
    fn response(method: Method, status: u16, lines: &str) -> Option<Option<u64>> {
        let head = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let (response, framing) = parse_response(&head.into(), &LIMITS).unwrap();
        let decoder =
            BodyDecoder::of_response(&method, response.status(), &framing, LIMITS).ok()?;
        Some(decoder.remaining())
    }

    #[test]
    fn a_response_body_is_as_long_as_its_head_says() {
        let five = "Content-Length: 5\r\n";
        let known = |length| Some(Some(length));
        assert_eq!(response(Method::GET, 200, five), known(5));
        assert_eq!(response(Method::GET, 200, &five.repeat(2)), known(5));
        let list = "Content-Length: 5, 5\r\n";
        assert_eq!(response(Method::GET, 200, list), known(5));
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
            assert_eq!(response(method, status, five), known(0));
        }
        let unknown = Some(None);
        assert_eq!(response(Method::GET, 200, ""), unknown);
        let both = format!("{five}Transfer-Encoding: chunked\r\n");
        assert_eq!(response(Method::GET, 200, &both), unknown);
        for bad in [
            "",
            "+5",
            "5 5",
            "5,6",
            "5,",
            "9223372036854775808",
            "x\r\nContent-Length: 5",
        ] {
            let line = format!("Content-Length: {bad}\r\n");
            assert_eq!(response(Method::GET, 200, &line), None, "{bad}");
        }
    }
}
