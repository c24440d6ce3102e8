//! `[tracing]`

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::{NamedFile, SecretSource, Tls};

/// `[tracing]`, and what the `OTEL_*` variables say in addition.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Where spans are sent, the path included.
    pub endpoint: Url,
    /// Headers of these requests.
    pub headers: Vec<(HeaderName, SecretSource)>,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// In which forms traces come and go.
    pub propagators: Propagators,
    /// What the collector is told of this process, by name.
    pub resource: BTreeMap<String, String>,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Of one request.
    pub timeout: Duration,
    /// Of all tries to send some spans.
    pub export_timeout: Duration,
    /// How long spans are gathered.
    pub batch_delay: Duration,
    /// How many spans are sent together at most.
    pub max_batch: usize,
    /// How many spans may wait.
    pub max_queue: usize,
    /// TLS towards the collector.
    pub tls: Tls,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Which share of the traces about which nobody has decided, from 0 to 1.
    pub ratio: f64,
    /// Whether a trace that began elsewhere is recorded if it is recorded there; else the share holds for it too.
    pub parent_based: bool,
}

/// In which forms traces come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagators {
    /// As `traceparent` and `tracestate` (W3C Trace Context).
    pub trace_context: bool,
    /// As `b3`, also where none came.
    pub b3: bool,
    /// As `X-B3-TraceId` and its like, also where none came.
    pub b3_multi: bool,
}

impl Default for Propagators {
    /// Traces are made as W3C Trace Context, and B3 is passed on where it came.
    fn default() -> Self {
        Self {
            trace_context: true,
            b3: false,
            b3_multi: false,
        }
    }
}

impl Propagators {
    /// Whether anything is read and made.
    pub fn any(self) -> bool {
        self.trace_context || self.b3 || self.b3_multi
    }
}

impl Tracing {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        self.secrets()
            .filter_map(SecretSource::file)
            .chain(self.tls.files())
    }

    /// Where its headers come from.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        self.headers.iter().map(|(_, source)| source)
    }
}
