//! `[tracing]`

use super::super::declare::NameForm;
use super::super::kinds::{
    Choice, HttpUrl, IfAbsent, Integer, Ratio, SecretsByName, SubTable, TextsByName, Time,
};
use super::super::parse::http::HEADER;
use super::tls::TLS_TABLE;

/// Headers of the requests to a collector that are set already.
pub(in crate::config) const TAKEN_TRACE_HEADERS: &[&str] =
    &["accept", "content-encoding", "content-type"];

keys! {
    /// Traces of requests and of token requests, and the collector that gets them by OTLP.
    TRACING: Tracing, TRACING_TABLE = "[tracing]" {
        /// The base URL of the collector, to which `/v1/traces` is added. Spans are sent by HTTP as protobuf.
        endpoint: HttpUrl = HttpUrl::new(IfAbsent::Words(
            "required, unless `OTEL_EXPORTER_OTLP_ENDPOINT` names it",
        ));

        /// Headers of the requests to the collector.
        headers: SecretsByName = SecretsByName(NameForm {
            pattern: HEADER.pattern,
            except: HEADER.except,
            taken: TAKEN_TRACE_HEADERS,
            ..NameForm::ANY
        });

        /// Which share of the traces that begin here is recorded. A trace that began elsewhere is recorded if it is
        /// recorded there.
        sample: Ratio = Ratio::new("0.01");

        /// What the collector is told of this process. `service.name` is `sidebearer` unless it stands here.
        resource: TextsByName = TextsByName(NameForm::ANY);

        /// Whether the requests to the collector are compressed.
        compression: Choice<bool> = Choice::new(&[("none", false), ("gzip", true)], "none");

        /// How long one request to the collector may take.
        timeout: Time = Time::new("10s", "1ms");

        /// How long spans are tried to be sent, with all tries.
        export_timeout: Time = Time::new("30s", "1ms");

        /// How long spans are gathered before they are sent together.
        batch_delay: Time = Time::new("5s", "1ms");

        /// How many spans are sent together at most.
        max_batch: Integer<usize> = Integer::new(512, 1..=8192);

        /// How many spans may wait to be sent. More are dropped and counted.
        max_queue: Integer<usize> = Integer::new(2048, 1..=1_000_000);

        /// TLS towards the collector.
        tls: SubTable = SubTable(&TLS_TABLE);
    }
}
