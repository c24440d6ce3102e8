"""A client that is instrumented with OpenTelemetry: one trace for each URL.

usage: client.py URL...       prints the trace of each, and the status; where its spans go is what the OTEL_* variables say
"""

import sys

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
RequestsInstrumentor().instrument()

for url in sys.argv[1:]:
    with trace.get_tracer("client").start_as_current_span("errand") as span:
        status = requests.get(url, timeout=30).status_code
        print(f"{span.get_span_context().trace_id:032x} {status}")
