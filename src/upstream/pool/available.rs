//! What the pool hands to a request: a connection that is open and free.

use std::rc::Rc;
use std::time::Duration;

use super::http2_connection::Http2Connection;
use super::retirement::Age;
use crate::deadline::Deadline;
use crate::upstream::connect::Connected;
use crate::upstream::io::UpstreamIo;
use crate::upstream::permits::ConnectionPermit;

/// A connection that the next request can have. It is `reused` if it has been open for a while: the server
/// may have closed it meanwhile.
pub(super) enum Available {
    Http1 {
        io: UpstreamIo,
        state: Box<Http1State>,
        reused: bool,
    },
    Http2 {
        connection: Rc<Http2Connection>,
        reused: bool,
    },
}

/// What else belongs to an HTTP/1.1 connection, from one request to the next. On the heap, so that a
/// lease is small.
pub(super) struct Http1State {
    _permit: ConnectionPermit,
    /// For requests that wait for an answer. To use one that is armed already costs almost nothing.
    pub(super) timer: Deadline,
    pub(super) age: Age,
    /// How long it had been idle before the request that it carries.
    pub(super) idle_for: Duration,
    /// A proxy reads the requests on it.
    pub(super) is_read_by_proxy: bool,
}

impl Http1State {
    /// Of a connection that has just been opened.
    pub(super) fn new(permit: ConnectionPermit, age: Age, connected: &Connected) -> Box<Self> {
        Box::new(Self {
            _permit: permit,
            timer: Deadline::default(),
            age,
            idle_for: Duration::ZERO,
            is_read_by_proxy: connected.is_read_by_proxy,
        })
    }
}
