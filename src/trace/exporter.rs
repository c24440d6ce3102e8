//! Sends spans to the collector, many together (OTLP over HTTP as protobuf).

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prost::Message;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope, KeyValue,
    Resource, ResourceSpans, ScopeSpans,
};
use super::{AttributeValue, Span};
use crate::address::OwnSockets;
use crate::blocking;
use crate::config::{self, Dialing, HttpVersion};
use crate::http_client::{HttpClient, NetworkSettings, retry_after};
use crate::metrics::SpanMetrics;
use crate::upstream::TlsError;

/// Of an answer, head and body each.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The pause after a try that failed. Each one is twice as long as the one before it, and as much as half of it is left
/// out by chance.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
/// The version of the semantic conventions that names of attributes are of.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.27.0";

/// A client of the collector. Blocks while it reads TLS files.
///
/// # Errors
/// A TLS file that cannot be used.
pub(super) fn client(
    settings: &config::Tracing,
    own_sockets: Arc<OwnSockets>,
) -> Result<HttpClient, TlsError> {
    let network = NetworkSettings {
        tls: settings.tls.clone(),
        certificate: None,
        http: HttpVersion::Http1,
        dialing: Dialing::default(),
        // Less than the whole, so that the failure says which step was slow.
        connect_timeout: settings.timeout * 4 / 5,
        max_header_bytes: MAX_ANSWER_BYTES,
        max_body_bytes: Some(MAX_ANSWER_BYTES),
        proxy: None,
        address_policy: None,
        own_sockets,
        redactor: Arc::default(),
    };
    HttpClient::connecting(&settings.endpoint, network)
}

/// What sends spans.
pub(super) struct Exporter {
    settings: config::Tracing,
    client: HttpClient,
    resource: Resource,
    metrics: SpanMetrics,
    /// The last spans could not be sent.
    failing: bool,
    /// Those who wait until all has been sent. While there are some, nothing is tried twice.
    flushing: Vec<oneshot::Sender<()>>,
}

type Flushes = mpsc::UnboundedReceiver<oneshot::Sender<()>>;

/// What came of one try.
enum Sent {
    /// The collector has them, without as many as it says.
    Taken { rejected: u64 },
    /// Another try may help, after this time if it says one.
    Later {
        reason: String,
        after: Option<Duration>,
    },
    /// Another try would be the same.
    Refused { reason: String },
}

impl Exporter {
    pub(super) fn new(
        settings: &config::Tracing,
        client: HttpClient,
        instance: &str,
        metrics: SpanMetrics,
    ) -> Self {
        Self {
            settings: settings.clone(),
            client,
            resource: resource(settings, instance),
            metrics,
            failing: false,
            flushing: Vec::new(),
        }
    }

    /// Sends what comes, until nothing can come any more.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Span>,
        full: Arc<Notify>,
        mut flushes: Flushes,
    ) {
        let most = self.settings.max_batch;
        let mut batch = Vec::new();
        loop {
            if self.flushing.is_empty() {
                tokio::select! {
                    first = queue.recv() => match first {
                        Some(first) => batch.push(first),
                        None => return,
                    },
                    Some(done) = flushes.recv() => self.flushing.push(done),
                }
            }
            // A permit of before is for what has been sent.
            if self.flushing.is_empty() && queue.len() + batch.len() < most && !queue.is_closed() {
                tokio::select! {
                    () = sleep(self.settings.batch_delay) => {}
                    () = full.notified() => {}
                    Some(done) = flushes.recv() => self.flushing.push(done),
                }
            }
            while batch.len() < most
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            if batch.is_empty() {
                // All has been sent.
                for done in self.flushing.drain(..) {
                    let _ = done.send(());
                }
            } else {
                self.export(std::mem::take(&mut batch), &mut flushes).await;
            }
        }
    }

    /// Sends some spans, again where that can help, for as long as that may take.
    async fn export(&mut self, spans: Vec<Span>, flushes: &mut Flushes) {
        let count = spans.len() as u64;
        let body = self.encode(spans);
        let end = Instant::now() + self.settings.export_timeout;
        let mut pause = FIRST_PAUSE;
        let failed = loop {
            let left = end.saturating_duration_since(Instant::now());
            let sent = timeout(left.min(self.settings.timeout), self.send(body.clone()));
            let (reason, after) = match sent.await {
                Ok(Sent::Taken { rejected }) => {
                    let rejected = rejected.min(count);
                    self.metrics.exported.inc_by(count - rejected);
                    self.metrics.failed.inc_by(rejected);
                    return self.note_success(rejected);
                }
                Ok(Sent::Refused { reason }) => break reason,
                Ok(Sent::Later { reason, after }) => (reason, after),
                Err(_) => ("it has not answered in time".to_owned(), None),
            };
            let drawn = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            let wait = after.unwrap_or(drawn);
            let left = end.saturating_duration_since(Instant::now());
            if !self.flushing.is_empty() || wait >= left {
                break reason;
            }
            self.note_failure(&reason);
            pause = (pause * 2).min(LONGEST_PAUSE);
            tokio::select! {
                () = sleep(wait) => {}
                // One more try, now.
                Some(done) = flushes.recv() => self.flushing.push(done),
            }
        };
        self.metrics.failed.inc_by(count);
        self.note_failure(&failed);
    }

    /// Says once that spans cannot be sent.
    fn note_failure(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let collector = self.settings.endpoint.as_str();
            tracing::warn!(collector, reason, "traces are not taken by the collector");
        } else {
            tracing::debug!(reason, "traces are still not taken by the collector");
        }
    }

    fn note_success(&mut self, rejected: u64) {
        if rejected > 0 {
            let spans = if rejected == 1 { "span" } else { "spans" };
            return self.note_failure(&format!("it has rejected {rejected} {spans}"));
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("traces are taken by the collector again");
        }
    }

    async fn send(&self, body: Bytes) -> Sent {
        let later = |reason: String| Sent::Later {
            reason,
            after: None,
        };
        let headers = match self.headers().await {
            Ok(headers) => headers,
            Err(reason) => return later(reason),
        };
        let url = &self.settings.endpoint;
        let sent = self.client.send(Method::POST, url, headers, body).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return later(error.message),
        };
        let reason = format!("it has answered {}", answer.status);
        match answer.status {
            status if status.is_success() => Sent::Taken {
                rejected: answer.body.map_or(0, |body| rejected(&body)),
            },
            // What the specification of OTLP lets a client try again.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Sent::Later {
                reason,
                after: retry_after(&answer.headers, SystemTime::now()),
            },
            _ => Sent::Refused { reason },
        }
    }

    /// The headers of a request, as the files say them now.
    async fn headers(&self) -> Result<HeaderMap, String> {
        let configured = self.settings.headers.clone();
        // Files are read on another thread: this one is needed while a file system hangs.
        let read = blocking::run(move || {
            let mut headers = HeaderMap::new();
            for (name, source) in configured {
                let secret = source.read().map_err(|error| error.to_string())?;
                let mut value = HeaderValue::from_str(secret.expose())
                    .map_err(|_| format!("the value of {name} cannot stand in a header"))?;
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Ok::<_, String>(headers)
        });
        let read = read.await;
        let mut headers = read.map_err(|error| format!("files cannot be read: {error}"))??;
        headers.insert(CONTENT_TYPE, PROTOBUF);
        if self.settings.gzip {
            headers.insert(CONTENT_ENCODING, GZIP);
        }
        Ok(headers)
    }

    fn encode(&self, spans: Vec<Span>) -> Bytes {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: env!("CARGO_PKG_NAME").to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                    }),
                    spans: spans.into_iter().map(Into::into).collect(),
                }],
                schema_url: SCHEMA.to_owned(),
            }],
        };
        let message = request.encode_to_vec();
        if !self.settings.gzip {
            return message.into();
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _ = packed.write_all(&message);
        packed.finish().unwrap_or_default().into()
    }
}

/// How many spans an answer says that the collector has not taken. What is not understood says nothing: the status is
/// what counts.
fn rejected(body: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(body).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| partial.rejected_spans.try_into().unwrap_or(0))
}

fn resource(settings: &config::Tracing, instance: &str) -> Resource {
    let text = |text: &str| AttributeValue::from(text.to_owned());
    let own = [
        ("service.version", text(env!("CARGO_PKG_VERSION"))),
        ("service.instance.id", text(instance)),
        ("telemetry.sdk.name", text(env!("CARGO_PKG_NAME"))),
        ("telemetry.sdk.language", text("rust")),
        ("telemetry.sdk.version", text(env!("CARGO_PKG_VERSION"))),
    ];
    let own = own.into_iter();
    let own = own.filter(|(name, _)| !settings.resource.contains_key(*name));
    let own = own.map(|(name, value)| KeyValue::new(name, value));
    let configured = settings.resource.iter();
    let configured = configured.map(|(name, value)| KeyValue::new(name, text(value)));
    Resource {
        attributes: configured.chain(own).collect(),
    }
}
