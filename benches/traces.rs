//! What a trace costs a request: without tracing, with tracing where it is not recorded, and where it is. The middle one
//! must allocate nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue};
use sidebearer::config;
use sidebearer::metrics::Metrics;
use sidebearer::trace::{Span, SpanKind, TraceHeaders, Tracer};
use smallvec::SmallVec;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Where a request comes with a trace, and where it does not.
const CAME: [&str; 3] = ["nothing", "not recorded", "recorded"];

fn headers(came: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let plain = [
        ("host", "crm.example.com"),
        ("user-agent", "billing/3.1"),
        ("accept", "application/json"),
    ];
    for (name, value) in plain {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let parent = match came {
        "not recorded" => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        "recorded" => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        _ => return headers,
    };
    headers.insert("traceparent", HeaderValue::from_static(parent));
    headers
}

/// A tracer that records nothing by itself, and whose spans nobody takes: the runtime is never entered again.
fn tracer() -> (Runtime, Arc<Tracer>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("sidebearer.toml");
    let text = "[[listeners]]\naddress = \"127.0.0.1:7080\"\nupstream = \"a\"\n[upstreams.a]\nurl = \"http://127.0.0.1\"\n\
                [tracing]\nendpoint = \"http://127.0.0.1:9\"\nsample = 0\nmax_queue = 1000000\n";
    std::fs::write(&path, text).expect("it is written");
    let loaded = config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
    let settings = loaded.config.tracing.expect("it is configured");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let metrics = Metrics::new().spans().clone();
    let tracer = {
        let _entered = runtime.enter();
        Tracer::start(&settings, "bench", Arc::default(), metrics).expect("no files are read")
    };
    (runtime, tracer)
}

/// All that is done of a request for its trace.
fn trace(tracer: Option<&Arc<Tracer>>, headers: &mut HeaderMap) {
    let Some(tracer) = tracer else {
        return;
    };
    let (incoming, server) = tracer.begin(headers);
    incoming.carriers.scrub(headers);
    let attempt = TraceHeaders {
        context: server.child(),
        carriers: incoming.carriers,
    };
    let mut added = SmallVec::<[(HeaderName, HeaderValue); 6]>::new();
    attempt.write(|name, value| added.push((name, value)));
    black_box(&added);
    if !server.is_sampled() {
        return;
    }
    for (context, parent, kind) in [
        (
            attempt.context,
            Some((server.span, false)),
            SpanKind::Client,
        ),
        (
            server,
            incoming.parent.map(|parent| (parent.span, true)),
            SpanKind::Server,
        ),
    ] {
        let mut attributes = Vec::with_capacity(16);
        for name in ["url.path", "server.address", "http.route", "client.address"] {
            attributes.push((name, String::from("crm.example.com").into()));
        }
        attributes.push(("http.request.method", "GET".into()));
        attributes.push(("http.response.status_code", 200u16.into()));
        tracer.record(Span {
            context,
            parent,
            name: "GET".into(),
            kind,
            start: SystemTime::now(),
            duration: Duration::from_millis(1),
            attributes,
            link: None,
            failed: false,
            state: None,
        });
    }
}

#[divan::bench(sample_size = 100)]
fn off(bencher: Bencher<'_, '_>) {
    let made = || headers("recorded");
    let none = black_box(None);
    bencher
        .with_inputs(made)
        .bench_refs(|headers| trace(none, headers));
}

#[divan::bench(args = CAME, sample_size = 100)]
fn on(bencher: Bencher<'_, '_>, came: &str) {
    let (_runtime, tracer) = tracer();
    bencher
        .with_inputs(|| headers(came))
        .bench_refs(|headers| trace(Some(&tracer), headers));
}
