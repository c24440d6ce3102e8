//! Decides which traces are recorded, and takes their spans.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::{Notify, mpsc, oneshot};

use super::exporter::{self, Exporter};
use super::{Incoming, Span, TraceContext};
use crate::address::OwnSockets;
use crate::config::{self, Sampler};
use crate::metrics::SpanMetrics;
use crate::upstream::TlsError;

/// Takes the spans of what is recorded. The exporter that sends them ends with it.
#[derive(Debug)]
pub struct Tracer {
    settings: config::Tracing,
    /// Traces whose randomness is less are not recorded, unless someone has decided.
    threshold: u64,
    spans: mpsc::Sender<Span>,
    /// Enough spans wait to be sent together.
    full: Arc<Notify>,
    flushes: mpsc::UnboundedSender<oneshot::Sender<()>>,
    metrics: SpanMetrics,
}

impl Tracer {
    /// Starts to export as the settings say, on the current runtime. `instance` names this process, which is never
    /// called by its own sockets. Blocks while it reads TLS files.
    ///
    /// # Errors
    /// A TLS file that cannot be used.
    pub fn start(
        settings: &config::Tracing,
        instance: &str,
        own_sockets: Arc<OwnSockets>,
        metrics: SpanMetrics,
    ) -> Result<Arc<Self>, TlsError> {
        let client = exporter::client(settings, own_sockets)?;
        let (spans, queue) = mpsc::channel(settings.max_queue);
        let (flushes, asked) = mpsc::unbounded_channel();
        let full = Arc::new(Notify::new());
        let exporter = Exporter::new(settings, client, instance, metrics.clone());
        tokio::spawn(exporter.run(queue, Arc::clone(&full), asked));
        Ok(Arc::new(Self {
            threshold: threshold(settings.sampler),
            settings: settings.clone(),
            spans,
            full,
            flushes,
            metrics,
        }))
    }

    /// Whether it is by these settings.
    pub fn is_of(&self, settings: &config::Tracing) -> bool {
        self.settings == *settings
    }

    /// What a request with these headers says of its trace, and the span for its answer.
    pub fn begin(&self, headers: &HeaderMap) -> (Incoming, TraceContext) {
        let incoming = Incoming::read(headers, self.settings.propagators);
        let context = incoming
            .parent
            .map_or_else(|| TraceContext::root(false), TraceContext::child);
        let decided = incoming
            .sampled
            .filter(|_| self.settings.sampler.parent_based);
        let sampled = decided.unwrap_or_else(|| self.is_chosen(context));
        (incoming, context.with_sampled(sampled))
    }

    /// A new trace, and whether it is one of the share that is recorded.
    pub fn begin_root(&self) -> TraceContext {
        let context = TraceContext::root(false);
        context.with_sampled(self.is_chosen(context))
    }

    fn is_chosen(&self, context: TraceContext) -> bool {
        context.trace.randomness() >= self.threshold
    }

    /// Takes a span that is to be sent. Long texts in it are cut. Never waits: without room it is dropped and counted.
    pub fn record(&self, mut span: Span) {
        span.cut_texts();
        if self.spans.try_send(span).is_err() {
            self.metrics.dropped.inc();
            return;
        }
        let waiting = self.spans.max_capacity() - self.spans.capacity();
        if waiting >= self.settings.max_batch.min(self.settings.max_queue) {
            self.full.notify_one();
        }
    }

    /// Sends what waits, once. Returns when that has ended, well or badly.
    pub async fn flush(&self) {
        let (done, ended) = oneshot::channel();
        if self.flushes.send(done).is_ok() {
            // An error says that the exporter has ended.
            let _ = ended.await;
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // What waits is sent without waiting for more.
        self.full.notify_one();
    }
}

fn threshold(sampler: Sampler) -> u64 {
    const ALL: f64 = (1u64 << 56) as f64;
    ((1.0 - sampler.ratio) * ALL) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_as_large_as_it_says() {
        for ratio in [0.0, 0.01, 0.5, 1.0] {
            let threshold = threshold(Sampler {
                ratio,
                parent_based: true,
            });
            let chosen = (0..100_000)
                .filter(|_| TraceContext::root(false).trace.randomness() >= threshold)
                .count();
            let share = chosen as f64 / 100_000.0;
            assert!((share - ratio).abs() < 0.01, "{ratio}: {share}");
            let exact = ratio == 0.0 || ratio == 1.0;
            assert!(!exact || share == ratio, "{ratio}: {share}");
        }
    }
}
