"""What the proxies are compared at, and the comparison: round by round, in turn."""

import signal
import statistics
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby

import proxies
from generators import Broken, measure
from proxies import OURS, Setting
from servers import MESSAGE, write

ROUTES = 10_000
UPLOAD = "wrk.method = 'POST'; wrk.body = string.rep('x', 65536)"


def random_routes(count):
    return f"request = function() return wrk.format(nil, '/r/' .. math.random(0, {count - 1})) end"


@dataclass(frozen=True)
class Workload:
    """One row of tables. `beside` is a second sidebearer, which differs in nothing else."""

    about: str
    connections: int = 32
    path: str = "/"
    script: str = ""
    tool: str = "wrk"
    message: int = 0  # Bytes that each call of gRPC sends.
    setting: Setting = field(default_factory=Setting)
    rivals: tuple = ("relay", "nginx", "haproxy", "envoy")
    beside: tuple = ()  # Its name and its setting.
    reload: bool = False
    rate: int = 0  # Requests/s, constant.
    load: tuple = ()  # Options of the generator of a constant rate.
    half_of: str = ""  # At half of the lowest maximum that these proxies reached in this workload.
    counts: int = 1  # Requests that the upstream counts for each: those beyond the first it makes to itself, on connections of their own.
    # It has so many times as many: what the machine does besides decides about the p99 and, where the cache does, about the
    # CPU of the round that it falls into, and in many short rounds most are without it.
    often: int = 1


# By default the upstream is spoken to in HTTP/2, which no other proxy does by itself; so the same without.
HTTP1 = (f"{OURS}, HTTP/1.1", Setting(http="1.1"))

REVERSE = (f"{OURS}, reverse", Setting())
TUNNEL = Setting(tunnel=True)
TUNNEL_RATE = 8000
INTERCEPT = Setting(intercept=True)
SECURE = (f"{OURS}, TLS listener", Setting(secure=True))
MTLS, GATEWAY = Setting(mtls=True), Setting(mtls=True, gateway=True)
UNTRACED = (f"{OURS}, no traces", Setting())
NOBODY = (f"{OURS}, nobody told apart", MTLS)
GATEWAYS = ("nginx", "haproxy", "envoy")

WORKLOADS = {
    "small-1": Workload("64 bytes, one connection", connections=1, beside=HTTP1),
    "small-32": Workload("64 bytes, 32 connections", beside=HTTP1),
    "light-32": Workload(
        "as small-32, at a constant rate: half of the lowest maximum of all of them", half_of="small-32", often=2, beside=HTTP1),
    "small-1000": Workload("64 bytes, 1,000 connections", connections=1000, often=4, beside=HTTP1),
    "large-32": Workload("answers of 64 KiB", path="/large", beside=HTTP1),
    "upload-32": Workload("uploads of 64 KiB", path="/upload", script=UPLOAD, counts=2, beside=HTTP1),
    "half-32": Workload(
        "as small-32, at a constant rate: half of the lowest maximum of these, without Envoy", half_of="small-32", often=4,
        beside=HTTP1, rivals=("relay", "nginx", "haproxy")),
    "shared-1000": Workload(
        "as small-1000, with HTTP/2 to the upstream for all that can", connections=1000, setting=Setting(http="2")),
    "http2-32": Workload("HTTP/2 on both sides, 4 connections of 8 streams", tool="h2load", setting=Setting(http="2")),
    "grpc-32": Workload(
        f"HTTP/2 as gRPC uses it: a message of {MESSAGE} bytes up and one down, trailers behind it; 4 connections of 8 streams",
        tool="h2load", path="/grpc", message=MESSAGE, setting=Setting(http="2", grpc=True)),
    "plain-32": Workload("an upstream without TLS", setting=Setting(upstream="plain")),
    "cold-32": Workload("an upstream that closes after each answer", setting=Setting(upstream="cold")),
    "routes-32": Workload(
        f"{ROUTES:,} routes, requests at random; the others, and the second one, with one route", script=random_routes(ROUTES),
        setting=Setting(routes=ROUTES), beside=(f"{OURS}, one route", Setting())),
    "reload-32": Workload(
        "a reload every second (nginx: SIGHUP; the others are not set up for it)", reload=True, beside=(f"{OURS}, at rest", Setting()), rivals=("nginx",)),
    "forward-32": Workload(
        "as small-32, to a forward listener: the client names the API; the second one, to a reverse listener",
        setting=Setting(forward=True), beside=REVERSE, rivals=(), often=2),
    "forward-1000": Workload("as forward-32, 1,000 connections", connections=1000, setting=Setting(forward=True), beside=REVERSE, rivals=(), often=2),
    "tunnel-32": Workload(
        "64 bytes through a tunnel, 32 connections, at a constant rate; nginx and HAProxy pass TCP on and know no CONNECT",
        rate=TUNNEL_RATE, setting=TUNNEL, rivals=("nginx", "haproxy", "squid"), often=2),
    "tunnel-1000": Workload(
        "as tunnel-32, 1,000 connections", connections=1000, rate=TUNNEL_RATE, setting=TUNNEL, rivals=("nginx", "haproxy", "squid"), often=2),
    "gateway-32": Workload(
        "kept connections with client certificates: callers told apart, permitted, limited, audited; the second one does none of it, the others tell apart and permit",
        rate=5000, setting=GATEWAY, beside=NOBODY, rivals=GATEWAYS, often=2),
    "gateway-http2-32": Workload(
        "as gateway-32, HTTP/2 to the clients", rate=5000, load=("http=2",), setting=GATEWAY, beside=NOBODY, rivals=GATEWAYS, often=2),
    "handshakes-32": Workload(
        "a full handshake with a client certificate for each request", rate=300, load=("connections=new",), setting=MTLS, rivals=GATEWAYS, often=2),
    "intercepted-32": Workload(
        "kept connections whose TLS is ended inside of a CONNECT; the second one, by a listener with TLS", rate=5000, setting=INTERCEPT,
        beside=SECURE, rivals=("squid",), often=2),
    "intercepted-http2-32": Workload(
        "as intercepted-32, HTTP/2 to the clients, which squid does not speak", rate=5000, load=("http=2",), setting=INTERCEPT,
        beside=SECURE, rivals=(), often=2),
    "intercepted-slow-32": Workload(
        "as intercepted-32, at a rate that mitmproxy keeps up with", rate=200, setting=INTERCEPT, beside=SECURE,
        rivals=("squid", "mitmproxy")),
    "intercepted-new-32": Workload(
        "as intercepted-slow-32, with a CONNECT and a full handshake for each request", rate=50, load=("connections=new",),
        setting=INTERCEPT, beside=SECURE, rivals=("squid", "mitmproxy"), often=2),
    "traced-32": Workload(
        "traces are on and none is recorded; the second one has none", setting=Setting(traced=True), beside=UNTRACED, rivals=(), often=2),
    "dpop-32": Workload(
        "a DPoP proof for each request, which none of the others makes", setting=Setting(dpop=True), beside=(f"{OURS}, Bearer", Setting()), rivals=()),
}


def compare(site, there, arguments, results, port=18100):
    """Fills `results` as it goes, so that what was measured is there when something fails later."""
    chosen = {name: workload for name, workload in WORKLOADS.items() if name in (arguments.workload or WORKLOADS)}
    groups = groupby(chosen.items(), lambda item: (item[1].setting, item[1].beside, item[1].rivals, item[1].reload))
    for (setting, beside, rivals, _), items in groups:
        items, running = list(items), []
        try:
            for name, (start, binary) in there.items():
                if name != OURS and name not in rivals:
                    continue
                if reason := proxies.unable(name, setting):
                    results["notes"].append(f"{', '.join(workload for workload, _ in items)}: without {name}: {reason}.")
                    continue
                theirs = setting if name == OURS else replace(setting, routes=0, dpop=False)
                server, broken = attempt(lambda: answering(start(binary, site, port, theirs)))
                port += 10
                if broken:
                    results["notes"].append(f"{', '.join(workload for workload, _ in items)}: without {name}: {broken}.")
                    continue
                running.append(server)
            if beside:
                server, broken = attempt(lambda: answering(proxies.sidebearer(there[OURS][1], site, port, beside[1], name=beside[0])))
                port += 10
                if broken:
                    results["notes"].append(f"{', '.join(workload for workload, _ in items)}: without {beside[0]}: {broken}.")
                else:
                    running.append(server)
            for name, workload in items:
                one_workload(site, name, workload, running, arguments, results)
        finally:
            for server in running:
                server.stop()


def answering(server):
    """The server, once it answers, or once it listens if it has no page at "/"."""
    try:
        if server.target or server.tunnel or server.is_tls or server.inside:
            server.listens()
        else:
            server.answers()
        return server
    except BaseException:
        server.stop()
        raise


def one_workload(site, name, workload, running, arguments, results):
    runs = results["runs"].setdefault(name, {})
    running = list(running)
    if not running:
        return
    rate = workload.rate or None
    if workload.half_of:
        lowest, broken = attempt(lambda: lowest_maximum(site, workload, running, results))
        if broken:
            results["notes"].append(f"{name}: not measured, since nobody knows half of what: {broken}.")
            return
        rate = lowest / 2
        results["notes"].append(f"{name}: {rate:.0f} requests/s for each.")

    def one(proxy, seconds):
        with reloading(site, proxy) if workload.reload and "at rest" not in proxy.name else nullcontext():
            return measure(site, proxy, workload, seconds, rate)

    for proxy in list(running):
        # A round that does not count: caches, and pages of memory that are touched for the first time.
        broken = attempt(lambda: one(proxy, 0.3))[1]
        if broken:
            results["notes"].append(f"{name}: without {proxy.name}: {broken}.")
            running.remove(proxy)
    rounds = 1 if arguments.quick else arguments.rounds * workload.often
    for turn in range(rounds):
        # Each is the first in turn, so that none always follows the same one.
        first = turn % max(1, len(running))
        for proxy in running[first:] + running[:first]:
            measured, broken = attempt(lambda: one(proxy, arguments.seconds))
            if broken:
                results["notes"].append(f"{name}: {proxy.name} failed in round {turn + 1}: {broken}.")
                running.remove(proxy)
                continue
            runs.setdefault(proxy.name, []).append(measured)
            shown = f"{measured['rate']:.0f} requests/s, {measured['cpu']:.1f} us, p99 {measured['p99']:.2f} ms"
            print(f"{name}, round {turn + 1} of {rounds}: {proxy.name}: {shown}", file=sys.stderr, flush=True)


def attempt(action):
    """What it brings, or why it brings nothing: one proxy that fails must not end the whole run."""
    try:
        return action(), None
    except (Broken, OSError, RuntimeError, subprocess.SubprocessError) as reason:
        return None, str(reason) or type(reason).__name__


def lowest_maximum(site, workload, running, results):
    """From the rounds of this run, or else from short ones."""
    seen = results["runs"].get(workload.half_of, {})
    rounds = (seen.get(proxy.name) or [measure(site, proxy, WORKLOADS[workload.half_of], 1)] for proxy in running)
    return min(statistics.median(run["rate"] for run in each) for each in rounds)


@contextmanager
def reloading(site, proxy):
    """Each second: a route more or less in the file, or SIGHUP."""
    done = threading.Event()

    def reload():
        file = f"sidebearer-{proxy.port}.toml"
        text, more = (site.directory / file).read_text() if proxy.name == OURS else "", False
        while not done.wait(1):
            more = not more
            if proxy.name == OURS:
                write(site.directory, file, text + ('[[routes]]\npath = "/more"\nupstream = "api"\n' if more else ""))
            else:
                proxy.process.send_signal(signal.SIGHUP)
        if proxy.name == OURS:
            write(site.directory, file, text)

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
