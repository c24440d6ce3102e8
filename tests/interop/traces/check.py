"""Looks at what the collector has got.

usage: check.py DIR CLAIM TRACE       exit 1 if the claim does not hold, yet
"""

import json
import sys

directory, claim, trace = sys.argv[1:4]
with open(f"{directory}/spans.jsonl", encoding="utf-8") as lines:
    every = [json.loads(line) for line in lines]
spans = sorted((span for span in every if span["trace"] == trace), key=lambda span: span["start"])


def of(service, kind):
    return [span for span in spans if span["service"] == service and span["kind"] == kind]


def one(service, kind):
    found = of(service, kind)
    assert len(found) == 1, found
    return found[0]


def said(span, name):
    return span["attributes"].get(name)


def whole():
    """Each span is the child of the one before it: client, sidebearer, attempt, API, work."""
    errand = one("client", "INTERNAL")
    asked = one("client", "CLIENT")
    server = one("gateway", "SERVER")
    attempt = one("gateway", "CLIENT")
    api = one("api", "SERVER")
    work = one("api", "INTERNAL")
    chain = [errand, asked, server, attempt, api, work]
    for parent, child in zip(chain, chain[1:]):
        assert child["parent"] == parent["span"], (parent, child)
        assert parent["start"] <= child["start"], (parent, child)
    assert errand["parent"] == ""
    assert said(server, "http.response.status_code") == 200
    assert said(server, "http.request.method") == "GET"
    assert said(server, "url.path") == "/orders/7"
    assert said(server, "sidebearer.upstream") == "api"
    assert said(attempt, "url.full").endswith("/orders/7")
    assert server["resource"]["deployment.environment"] == "interop"
    assert server["authorization"] == "Bearer for-the-collector"


def is_linked(wait):
    """The wait for a token is a part of the request, and linked to a token request in a trace of its own."""
    assert wait["parent"] == one("gateway", "SERVER")["span"]
    ((fetch_trace, fetch_span),) = wait["links"]
    fetches = [span for span in every if span["trace"] == fetch_trace]
    assert [fetch["span"] for fetch in fetches] == [fetch_span], fetches
    assert fetches[0]["service"] == "gateway" and fetches[0]["kind"] == "CLIENT"
    assert fetches[0]["parent"] == "" and not fetches[0]["failed"]
    assert fetch_trace != trace


def waited():
    is_linked(one("gateway", "INTERNAL"))


def replayed():
    """401, the wait for another token, and the same request again: the API has seen both."""
    first, second = of("gateway", "CLIENT")
    assert said(first, "http.response.status_code") == 401 and first["failed"]
    assert said(second, "http.response.status_code") == 200
    assert said(second, "http.request.resend_count") == 1
    # Before the first one it may have waited too, if the token of before had ended.
    waits = of("gateway", "INTERNAL")
    (wait,) = [it for it in waits if first["end"] <= it["start"] and it["end"] <= second["start"]]
    is_linked(wait)
    parents = [span["parent"] for span in of("api", "SERVER")]
    assert parents == [first["span"], second["span"]], parents


def retried():
    """A connection that broke, and the same request on another one."""
    first, second = of("gateway", "CLIENT")
    assert said(first, "error.type") == "upstream_connect" and first["failed"]
    assert said(second, "http.response.status_code") == 200
    assert said(second, "http.request.resend_count") == 1
    assert second["span"] in [span["parent"] for span in of("api", "SERVER")]


def by_variables():
    """What the variables of OpenTelemetry alone have set up."""
    server = one("from-the-environment", "SERVER")
    assert server["resource"]["team"] == "billing"
    assert server["encoding"] == "gzip"


def silent():
    """No secret, and nothing of a query, in anything that was sent by sidebearer."""
    text = json.dumps([span for span in every if span["scope"] == "sidebearer"])
    text = text.replace("Bearer for-the-collector", "")
    for secret in ["billing-secret", "Bearer ", "hunter2", "eyJ"]:
        assert secret not in text, secret


try:
    globals()[claim]()
except (AssertionError, ValueError) as error:
    print(f"{claim}: {error!r}", file=sys.stderr)
    sys.exit(1)
