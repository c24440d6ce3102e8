//! What is recorded, and how it is written: one JSON object in one line, with the fields that apply.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client_socket::Peer;

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

/// A request that has ended, or has become a tunnel. NameBook are looked up by the thread that writes.
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
    /// The method.
    pub method: Method,
    /// Host and path.
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

/// Host and path in one piece of memory.
#[derive(Debug)]
pub struct RequestText {
    both: Box<str>,
    host_len: usize,
}

/// What a subject is called.
#[derive(Debug, Default)]
pub struct SubjectNames<'n> {
    /// The caller.
    pub caller: Option<&'n str>,
    /// The listener.
    pub listener: Option<&'n str>,
    /// The route.
    pub route: Option<&'n str>,
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

/// The fields that say who asked for what.
#[derive(Debug, Default, Serialize)]
struct WhoAndWhat<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<AsShown<Peer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<AsShown<Hex>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<AuditDecision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<AsShown<Hex>>,
}

#[derive(Serialize)]
struct RefusedCount {
    count: u64,
}

/// Written as it is shown.
#[derive(Debug)]
struct AsShown<T>(T);

impl<T: fmt::Display> Serialize for AsShown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// In 32 digits.
#[derive(Debug)]
struct Hex([u8; 16]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl RequestText {
    /// A host and a path.
    pub fn new(host: &str, path: &str) -> Self {
        Self {
            both: [host, path].concat().into(),
            host_len: host.len(),
        }
    }

    fn host(&self) -> &str {
        &self.both[..self.host_len]
    }

    fn path(&self) -> &str {
        &self.both[self.host_len..]
    }
}

impl Record {
    /// What it takes in addition to a record without text.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Request(event) => event.subject.text.both.len(),
            Self::Tunnel(event) => event.who_and_what.len(),
            Self::Token(_) | Self::Reload(_) => 0,
        }
    }

    /// Writes its line.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Request(event) => {
                let name = if event.is_tunnel {
                    "tunnel_begin"
                } else {
                    "request"
                };
                begin(to, event.at, name);
                append_subject(to, &*event.names, &event.subject);
                append(to, &event.outcome);
            }
            Self::Tunnel(event) => {
                begin(to, event.at, "tunnel_end");
                to.extend_from_slice(&event.who_and_what);
                append(to, &event.outcome);
            }
            Self::Token(event) => {
                begin(to, event.at, "token");
                append(
                    to,
                    &WhoAndWhat {
                        credential: Some(&event.credential),
                        token_id: event.token_id.map(|id| AsShown(Hex(id))),
                        ..WhoAndWhat::default()
                    },
                );
                append(
                    to,
                    &AuditOutcome {
                        error: event.error,
                        duration: Some(event.duration),
                        ..AuditOutcome::default()
                    },
                );
            }
            Self::Reload(event) => {
                begin(to, event.at, "reload");
                let decision = if event.success {
                    AuditDecision::Allowed
                } else {
                    AuditDecision::Denied
                };
                append(
                    to,
                    &WhoAndWhat {
                        decision: Some(decision),
                        ..WhoAndWhat::default()
                    },
                );
            }
        }
        end(to);
    }
}

/// Writes a line about connections of a listener that were refused for one reason.
pub(super) fn write_refused(
    to: &mut Vec<u8>,
    at: SystemTime,
    listener: &str,
    reason: &'static str,
    count: u64,
) {
    begin(to, at, "refused");
    append(
        to,
        &WhoAndWhat {
            listener: Some(listener),
            decision: Some(AuditDecision::Denied),
            ..WhoAndWhat::default()
        },
    );
    append(
        to,
        &AuditOutcome {
            error: Some(reason),
            ..AuditOutcome::default()
        },
    );
    append(to, &RefusedCount { count });
    end(to);
}

/// The part of a line that says who asks for what, for a line that is written when its names are no longer known.
pub fn who_and_what(names: &dyn NameBook, subject: &Subject) -> Box<[u8]> {
    let mut part = Vec::new();
    append_subject(&mut part, names, subject);
    part.into()
}

fn append_subject(to: &mut Vec<u8>, names: &dyn NameBook, subject: &Subject) {
    let called = names.names(subject);
    append(
        to,
        &WhoAndWhat {
            caller: called.caller,
            means: subject.caller.map(|(_, means)| means),
            peer: Some(AsShown(subject.peer)),
            listener: called.listener,
            method: Some(subject.method.as_str()),
            host: Some(subject.text.host()),
            path: Some(subject.text.path()),
            route: called.route,
            upstream: called.upstream,
            credential: called.credential,
            token_id: subject.token_id.map(|id| AsShown(Hex(id))),
            decision: Some(subject.decision),
            rule: subject.rule.or(called.rule),
            trace_id: subject.trace_id.map(|id| AsShown(Hex(id))),
        },
    );
}

/// The beginning of a line: what every event has.
fn begin(to: &mut Vec<u8>, at: SystemTime, event: &'static str) {
    to.extend_from_slice(b"{\"time\":\"");
    let time = OffsetDateTime::from(at);
    let time = time.replace_microsecond(time.microsecond()).unwrap_or(time);
    // Neither fails between the years 0 and 9999.
    let _ = time.format_into(to, &Rfc3339);
    to.extend_from_slice(b"\",\"event\":\"");
    to.extend_from_slice(event.as_bytes());
    to.push(b'"');
}

/// The members of an object, behind those that are there.
fn append(to: &mut Vec<u8>, object: &impl Serialize) {
    let start = to.len();
    let written = serde_json::to_writer(&mut *to, object);
    if written.is_err() || to.len() == start + b"{}".len() {
        return to.truncate(start);
    }
    to[start] = b',';
    to.pop();
}

fn end(to: &mut Vec<u8>) {
    to.extend_from_slice(b"}\n");
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
