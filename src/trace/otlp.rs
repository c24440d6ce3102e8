//! The messages of OTLP, as far as they are used here (`opentelemetry/proto/collector/trace/v1/trace_service.proto` and
//! what that names).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::{Message, Oneof};

use super::{AttributeValue, Span, SpanKind};

/// The spans of one process.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_spans: Vec<ResourceSpans>,
}

/// What a collector answers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<ExportTracePartialSuccess>,
}

/// That it has not taken all spans.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTracePartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    pub(super) schema_url: String,
}

/// A process, as its attributes describe it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) spans: Vec<OtlpSpan>,
}

/// What has made spans.
#[derive(Clone, PartialEq, Message)]
pub(super) struct InstrumentationScope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OtlpSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(fixed32, tag = "6")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<OtlpValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OtlpValue {
    #[prost(oneof = "OneValue", tags = "1, 3")]
    value: Option<OneValue>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OneValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: whether the parent is remote is known.
const KNOWS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`
const IS_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`
const ERROR: i32 = 2;

impl KeyValue {
    pub(super) fn new(key: &str, value: AttributeValue) -> Self {
        let value = match value {
            AttributeValue::Text(text) => OneValue::Text(text.into_owned()),
            AttributeValue::Number(number) => OneValue::Number(number),
        };
        Self {
            key: key.to_owned(),
            value: Some(OtlpValue { value: Some(value) }),
        }
    }
}

impl From<Span> for OtlpSpan {
    fn from(span: Span) -> Self {
        let (parent, is_remote) = span.parent.unzip();
        let remote = if is_remote == Some(true) {
            IS_REMOTE
        } else {
            0
        };
        let link = span.link.map(|link| Link {
            trace_id: link.trace.to_bytes().to_vec(),
            span_id: link.span.to_bytes().to_vec(),
            flags: u32::from(link.flags()) | KNOWS_REMOTE,
        });
        let attributes = span.attributes.into_iter();
        Self {
            trace_id: span.context.trace.to_bytes().to_vec(),
            span_id: span.context.span.to_bytes().to_vec(),
            trace_state: span.state.as_deref().unwrap_or_default().to_owned(),
            parent_span_id: parent.map_or_else(Vec::new, |parent| parent.to_bytes().to_vec()),
            flags: u32::from(span.context.flags()) | KNOWS_REMOTE | remote,
            name: span.name.into_owned(),
            kind: match span.kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
            start_time_unix_nano: unix_nanos(span.start),
            end_time_unix_nano: unix_nanos(span.start + span.duration),
            attributes: attributes
                .map(|(key, value)| KeyValue::new(key, value))
                .collect(),
            links: link.into_iter().collect(),
            status: span.failed.then_some(Status { code: ERROR }),
        }
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
