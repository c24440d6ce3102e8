//! What can go wrong between a request and its response.

/// Interim responses to one request, as over HTTP/1.1.
pub(super) const MAX_INTERIM: u32 = 256;

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke off.
    #[error("the connection broke off")]
    Io(#[source] std::io::Error),
    /// The stream or its connection was ended with a reason, or its rules were broken.
    #[error("HTTP/2 error")]
    Stream(#[source] h2::Error),
    /// The stream was reset with NO_ERROR or CANCEL before its end. Passed on as they are they would look
    /// like one to some clients: an end may only be followed by NO_ERROR (RFC 9113 section 8.1).
    #[error("the stream was reset before its end")]
    CutShort,
    /// A server agreed to a tunnel and announced a body (RFC 8441 section 5).
    #[error("a tunnel with a body")]
    TunnelWithBody,
    /// Interim responses came without end.
    #[error("more than {} interim responses came", MAX_INTERIM)]
    Interim,
    /// A ping was not answered in time: the connection has been given up.
    #[error("the connection did not answer a ping")]
    Unanswered,
}

impl From<h2::Error> for Error {
    fn from(error: h2::Error) -> Self {
        if error.is_io() {
            let io = error.into_io();
            return Self::Io(io.unwrap_or_else(|| std::io::ErrorKind::Other.into()));
        }
        Self::Stream(error)
    }
}
