"""An API that is instrumented with OpenTelemetry, which knows nothing of sidebearer.

usage: api.py DIR PORT       where its spans go is what the OTEL_* variables say

GET /reject-once   401 to the token that it has seen last, from now on
GET /drop-once     closes the connection the first time, without an answer
"""

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
AioHttpServerInstrumentor().instrument()

from aiohttp import web  # noqa: E402: it is replaced by the instrumentation

rejected, dropped = set(), set()


async def answer(request):
    token = request.headers.get("authorization", "")
    if request.path == "/reject-once" and not rejected:
        rejected.add(token)
    if token in rejected or not token.startswith("Bearer "):
        return web.Response(status=401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
    if request.path == "/drop-once" and not dropped:
        dropped.add(request.path)
        request.transport.abort()
        return web.Response()
    span = trace.get_current_span().get_span_context()
    with trace.get_tracer("api").start_as_current_span("work"):
        return web.json_response({"trace": f"{span.trace_id:032x}", "span": f"{span.span_id:016x}"})


application = web.Application()
application.router.add_route("*", "/{path:.*}", answer)
web.run_app(application, host="127.0.0.1", port=int(sys.argv[2]), print=None)
