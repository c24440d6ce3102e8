//! A collector of traces, which reads OTLP by the messages of another library.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::api::Api;
use super::eventually;
use super::server::{Body, response};
use http::Response;

/// Keeps the spans that it is sent.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    spans: Vec<Span>,
    resource: Vec<KeyValue>,
    headers: HeaderMap,
    target: String,
    requests: usize,
}

/// The kinds of spans by their numbers.
pub(crate) const INTERNAL: i32 = 1;
pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;

impl Collector {
    /// Takes everything.
    pub(crate) fn start() -> Self {
        Self::answering(|_| response(200, ""))
    }

    /// Answers the request with this number, from 1, so; what is not answered by 2xx is not kept.
    pub(crate) fn answering(
        answer: impl Fn(usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let keep = Arc::clone(&kept);
        let api = Api::start(move |seen| {
            let mut kept = keep.lock().unwrap();
            kept.requests += 1;
            kept.headers = seen.headers.clone();
            kept.target = seen.target.clone();
            let answer = answer(kept.requests);
            if answer.status().is_success() {
                let sent = ExportTraceServiceRequest::decode(&*seen.body).unwrap();
                for of_process in sent.resource_spans {
                    kept.resource = of_process.resource.unwrap().attributes;
                    let scopes = of_process.scope_spans.into_iter();
                    kept.spans.extend(scopes.flat_map(|scope| scope.spans));
                }
            }
            answer
        });
        Self {
            address: api.address,
            kept,
        }
    }

    /// The lines of `[tracing]` that lead here, with spans sent soon; `more` are more of its lines.
    pub(crate) fn config(&self, more: &str) -> String {
        let address = self.address;
        format!("[tracing]\nendpoint = \"http://{address}\"\nbatch_delay = \"1ms\"\n{more}\n")
    }

    /// Everything so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.kept.lock().unwrap().spans.clone()
    }

    /// Waits for this many spans of one kind; all spans of that kind, as they began.
    pub(crate) async fn of_kind(&self, kind: i32, count: usize) -> Vec<Span> {
        let found = || {
            let spans = self.spans();
            let mut found: Vec<_> = spans.into_iter().filter(|span| span.kind == kind).collect();
            found.sort_by_key(|span| span.start_time_unix_nano);
            found
        };
        eventually("spans", async || found().len() >= count).await;
        found()
    }

    /// What the process says of itself.
    pub(crate) fn resource(&self, name: &str) -> String {
        text(&self.kept.lock().unwrap().resource, name)
    }

    /// A header of the last request.
    pub(crate) fn header(&self, name: &str) -> String {
        let kept = self.kept.lock().unwrap();
        let value = kept.headers.get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    /// Where the last request went.
    pub(crate) fn target(&self) -> String {
        self.kept.lock().unwrap().target.clone()
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.kept.lock().unwrap().requests
    }
}

/// An attribute of a span as text; empty if it has none of this name.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    text(&span.attributes, name)
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    let value = found.and_then(|found| found.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => panic!("{name} is {other:?}"),
        None => String::new(),
    }
}

/// An id as a header has it.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the span says that it failed.
pub(crate) fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == 2)
}
