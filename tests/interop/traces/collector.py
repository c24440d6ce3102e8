"""A collector of traces, which reads OTLP by the messages of the package opentelemetry-proto.

usage: collector.py DIR PORT       TLS by server.pem and server.key in DIR; its spans are in DIR/spans.jsonl
"""

import gzip
import json
import ssl
import sys

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

directory, port = sys.argv[1], int(sys.argv[2])
KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


async def take(request):
    body = await request.read()
    if request.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    message = ExportTraceServiceRequest.FromString(body)
    # What is not in the messages of that package would be kept there.
    assert ExportTraceServiceRequest.FromString(message.SerializeToString()) == message
    with open(f"{directory}/spans.jsonl", "a", encoding="utf-8") as out:
        for process in message.resource_spans:
            resource = attributes(process.resource.attributes)
            for scope in process.scope_spans:
                for span in scope.spans:
                    written = {
                        "service": resource["service.name"],
                        "resource": resource,
                        "scope": scope.scope.name,
                        "authorization": request.headers.get("authorization"),
                        "encoding": request.headers.get("content-encoding"),
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": KINDS[span.kind],
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "failed": span.status.code == 2,
                        "attributes": attributes(span.attributes),
                        "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                    }
                    out.write(json.dumps(written) + "\n")
    return web.Response(
        body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
    )


application = web.Application(client_max_size=16 << 20)
application.router.add_post("/v1/traces", take)
application.router.add_get("/", lambda _: web.Response(text="ok"))
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(f"{directory}/server.pem", f"{directory}/server.key")
web.run_app(application, host="127.0.0.1", port=port, ssl_context=context, print=None)
