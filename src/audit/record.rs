//! What is recorded.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::client_socket::Peer;
use crate::route::RouteLabel;

/// One record.
#[derive(Debug)]
pub enum Record {
    /// A request has ended, or a tunnel has begun.
    Request(Box<RequestEvent>),
    /// A tunnel has ended.
    Tunnel(TunnelEvent),
    /// A token was asked for.
    Token(TokenEvent),
    /// A configuration was read.
    Reload(ReloadEvent),
}

/// A request that has ended, or has become a tunnel. Names are looked up by the thread that writes.
pub struct RequestEvent {
    /// When.
    pub at: SystemTime,
    /// It has become a tunnel.
    pub is_tunnel: bool,
    /// Knows the names of `subject`.
    pub names: Arc<dyn NameBook>,
    /// Who asked for what.
    pub subject: Subject,
    /// What came of it.
    pub outcome: AuditOutcome,
}

/// Who asks for what, by numbers of a configuration.
#[derive(Debug)]
pub struct Subject {
    /// The caller, and how it is known.
    pub caller: Option<(u32, &'static str)>,
    /// Who is at the other end.
    pub peer: Peer,
    /// The listener.
    pub listener: usize,
    /// The route, or the rule about what may leave.
    pub route: Option<usize>,
    /// The upstream.
    pub upstream: Option<usize>,
    /// Method, host and path.
    pub text: RequestText,
    /// Which token went with it.
    pub token_id: Option<[u8; 16]>,
    /// What was decided.
    pub decision: AuditDecision,
    /// By which rule, where that is not a rule about what may leave.
    pub rule: Option<&'static str>,
    /// Of its `traceparent`.
    pub trace_id: Option<[u8; 16]>,
}

/// Method, host and path in one piece of memory.
#[derive(Debug)]
pub struct RequestText {
    all: Box<str>,
    /// Where the host begins, and the path.
    host_at: usize,
    path_at: usize,
}

/// What a subject is called.
#[derive(Debug, Default)]
pub struct SubjectNames<'n> {
    /// The caller.
    pub caller: Option<&'n str>,
    /// The listener.
    pub listener: Option<&'n str>,
    /// The route.
    pub route: Option<RouteLabel<'n>>,
    /// The upstream.
    pub upstream: Option<&'n str>,
    /// The credential whose token is the caller's to use there.
    pub credential: Option<&'n str>,
    /// The rule about what may leave.
    pub rule: Option<&'n str>,
}

/// Knows the names that stand for numbers.
pub trait NameBook: Send + Sync {
    /// The names of this subject.
    fn names(&self, subject: &Subject) -> SubjectNames<'_>;
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditDecision {
    /// It was served.
    Allowed,
    /// It was served, and lists of callers would have refused it.
    Reported,
    /// It was refused.
    Denied,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct AuditOutcome {
    /// The code of an error, or how a tunnel ended, or why a connection was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The status that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of the request body, or from the client through a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Of the response body, or to the client through a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// How long it took.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
}

/// A tunnel that has ended.
#[derive(Debug)]
pub struct TunnelEvent {
    /// When.
    pub at: SystemTime,
    /// Who asked for what: written when it began, because it holds nothing of its configuration.
    pub who_and_what: Box<[u8]>,
    /// What came of it.
    pub outcome: AuditOutcome,
}

/// A request for a token.
#[derive(Debug)]
pub struct TokenEvent {
    /// When it was answered.
    pub at: SystemTime,
    /// Whose token.
    pub credential: String,
    /// Which one came.
    pub token_id: Option<[u8; 16]>,
    /// Its trace, if it was recorded.
    pub trace_id: Option<[u8; 16]>,
    /// How it ended; none with a token.
    pub error: Option<&'static str>,
    /// How long it took.
    pub duration: Duration,
}

/// A configuration that was read.
#[derive(Debug)]
pub struct ReloadEvent {
    /// When.
    pub at: SystemTime,
    /// Whether it is in place.
    pub success: bool,
}

impl RequestText {
    /// A method, a host and a path.
    pub fn new(method: &str, host: &str, path: &str) -> Self {
        Self {
            all: [method, host, path].concat().into(),
            host_at: method.len(),
            path_at: method.len() + host.len(),
        }
    }

    pub(super) fn method(&self) -> &str {
        &self.all[..self.host_at]
    }

    pub(super) fn host(&self) -> &str {
        &self.all[self.host_at..self.path_at]
    }

    pub(super) fn path(&self) -> &str {
        &self.all[self.path_at..]
    }
}

/// What a record takes in addition to its texts: itself, and its place in the queue.
pub(super) const RECORD_BYTES: usize = 512;

impl Record {
    /// How many bytes of memory it takes while it waits.
    pub(super) fn waiting_bytes(&self) -> usize {
        RECORD_BYTES
            + match self {
                Self::Request(event) => event.subject.text.all.len(),
                Self::Tunnel(event) => event.who_and_what.len(),
                Self::Token(event) => event.credential.len(),
                Self::Reload(_) => 0,
            }
    }
}

fn milliseconds<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    let duration = duration.unwrap_or_default();
    to.serialize_f64(duration.as_micros() as f64 / 1e3)
}

impl fmt::Debug for RequestEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RequestEvent");
        shown
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}
