//! What is recorded of a token request: a trace of its own, since many requests may wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::time::Instant;

use super::shared::SharedState;
use crate::trace::{Span, SpanKind, TraceContext, Tracer};

/// A token request until its end.
pub(super) struct TracedFetch {
    tracer: Arc<Tracer>,
    context: TraceContext,
    start: SystemTime,
    began: Instant,
}

impl TracedFetch {
    /// One that is sent now; `None` without tracing.
    pub(super) fn begin(shared: &SharedState) -> Option<Self> {
        let tracer = shared.tracer.get()?.load_full()?;
        Some(Self {
            context: tracer.begin_root(),
            tracer,
            start: SystemTime::now(),
            began: Instant::now(),
        })
    }

    /// It has ended, with this error. Its span, if it is recorded: for it is one of the share of traces that are, or
    /// because a request waits for it that is.
    pub(super) fn end(
        self,
        shared: &SharedState,
        error: Option<&'static str>,
    ) -> Option<TraceContext> {
        let is_wanted = shared.record_fetch.swap(false, Ordering::Relaxed);
        if !(is_wanted || self.context.is_sampled()) {
            return None;
        }
        let context = self.context.with_sampled(true);
        let settings = shared.settings.load();
        let mut attributes = vec![
            ("http.request.method", "POST".into()),
            ("sidebearer.credential", shared.name.clone().into()),
        ];
        if let Some((host, port)) = settings.endpoint.address() {
            attributes.push(("server.address", host.into()));
            attributes.push(("server.port", port.into()));
        }
        let mut span = Span {
            context,
            parent: None,
            name: "token request".into(),
            kind: SpanKind::Client,
            start: self.start,
            duration: self.began.elapsed(),
            attributes,
            link: None,
            failed: false,
            state: None,
        };
        if let Some(error) = error {
            span.fail(error);
        }
        self.tracer.record(span);
        Some(context)
    }
}
