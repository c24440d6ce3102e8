//! How a record is written: one JSON object in one line, with the fields that apply.

use std::fmt;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::record::{AuditDecision, AuditOutcome, NameBook, Record, Subject};
use crate::client_socket::Peer;
use crate::route::RouteLabel;

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
    route: Option<RouteLabel<'r>>,
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

impl Record {
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
                        trace_id: event.trace_id.map(|id| AsShown(Hex(id))),
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
            method: Some(subject.text.method()),
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
