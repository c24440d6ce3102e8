//! Traces of requests and of token requests (OpenTelemetry): which trace a request belongs to, what is recorded of it,
//! and how that gets to a collector.
//!
//! - [`TraceContext`] is a place in a trace, as W3C Trace Context and B3 carry it.
//! - [`Tracer`] decides which traces are recorded, and takes their spans. It never waits: what finds no room is dropped
//!   and counted.
//! - `exporter` sends the spans together to the collector, from a task of its own.

mod b3;
mod context;
mod exporter;
mod hex;
mod otlp;
mod propagation;
mod span;
mod tracer;

use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub use context::{SpanId, TraceContext, TraceId};
pub use propagation::{Carriers, Incoming, TRACEPARENT, TraceHeaders, trace_of};
pub use span::{AttributeValue, Span, SpanKind};
pub use tracer::Tracer;

/// Where what belongs to no snapshot is traced; empty while nothing is.
pub type TracerSlot = Arc<ArcSwapOption<Tracer>>;
