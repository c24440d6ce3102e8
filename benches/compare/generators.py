"""Load: what a generator saw, and what the proxy spent meanwhile.

The CPU is counted over a window inside the load, against the requests that the upstream answered in that window: neither
connections being opened nor those being torn down at the end are in it.
"""

import json
import math
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from proxies import ROOT
from servers import LOAD_CORE

LOAD = ROOT / "target/release/examples/load"
STREAMS = 8  # Of each HTTP/2 connection.
RAMP = 0.7  # Seconds in which a load of few connections begins.
MANY = 100  # With this many connections, it is watched whether they are all there.
OPENING = 4  # Seconds in which so many connections are opened.
LONGEST = 40


class Broken(Exception):
    """No figures: the reason."""


def measure(site, proxy, workload, seconds, rate=None):
    """One round of a workload: requests/s, CPU us a request, latencies in ms, memory in the middle of it, errors."""
    with tempfile.TemporaryDirectory() as scratch:
        # The load of a constant rate ends by itself: there must be some left when many connections have been opened.
        opening = OPENING if rate and workload.connections >= MANY else 0
        command, read = command_of(proxy, workload, seconds + RAMP + 0.3 + opening, rate, Path(scratch))
        running = subprocess.Popen(["taskset", "-c", LOAD_CORE, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            # The generator of a constant rate takes a second to connect.
            time.sleep(RAMP + (1 if rate else 0))
            if workload.connections >= MANY:
                settle(site)
            window = Window(site, proxy)
            time.sleep(seconds)
            spent, answered, took, opened = window.end()
            memory = proxy.memory()
            if command[0] == "wrk":
                running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        except BaseException:
            running.kill()
            running.communicate()
            raise
        if running.returncode:
            raise Broken(f"the load generator failed: {err.strip()[-200:]}")
        requests, errors, p50, p99 = read(out)
    answered /= workload.counts
    if not requests or answered < 10:
        raise Broken("next to nothing was answered")
    return {
        "rate": answered / took, "cpu": spent / answered * 1e6, "p50": p50, "p99": p99,
        "memory": memory, "errors": errors / (requests + errors), "opened": opened / answered - (workload.counts - 1),
    }


def settle(site):
    """Waits until the proxy opens no more connections to the upstream."""
    deadline = time.monotonic() + LONGEST - 10
    before, _ = site.counts()
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now, _ = site.counts()
        # One of them is the question.
        if now - before <= 3:
            return
        before = now


class Window:
    """From when it is made to its end: CPU seconds, requests, seconds, connections that the upstream accepted."""

    def __init__(self, site, proxy):
        self.site, self.proxy = site, proxy
        self.before = self.now()

    def now(self):
        accepted, requests = self.site.counts()
        return self.proxy.cpu(), requests, time.monotonic(), accepted

    def end(self):
        cpu, requests, clock, accepted = (after - before for after, before in zip(self.now(), self.before))
        # One of them asked how many there were.
        return cpu, requests - 1, clock, accepted - 1


def command_of(proxy, workload, seconds, rate, scratch):
    """The command, and what reads its output: requests, errors, p50 and p99 in ms."""
    address = f"127.0.0.1:{proxy.port}"
    if rate:
        command = [LOAD, address, workload.path, workload.connections, f"{rate:.0f}", f"{seconds:.1f}"]
        command += [f"tunnel={proxy.tunnel}"] if proxy.tunnel else []
        command += [f"inside={proxy.inside}"] if proxy.inside else []
        command += [f"tls={proxy.trust}"] if proxy.is_tls or proxy.inside else []
        command += workload.load
        return list(map(str, command)), read_load
    if workload.tool == "h2load":
        log = scratch / "requests"
        connections = max(1, workload.connections // STREAMS)
        command = ["h2load", f"-c{connections}", f"-m{STREAMS}", f"-D{math.ceil(seconds)}", f"--log-file={log}"]
        if workload.message:
            message = scratch / "message"
            message.write_bytes(b"x" * workload.message)
            command += ["-d", str(message), "-H", "content-type: application/grpc", "-H", "te: trailers"]
        return [*command, f"http://{address}{workload.path}"], lambda _: read_h2load(log)
    # Until it is told to end, since it is not known how long it takes to open connections.
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{LONGEST}s", "--latency", "--timeout", "20s"]
    lines = workload.script
    if proxy.target:
        lines += f"""; wrk.path = "{proxy.target}{workload.path}"; wrk.headers["Host"] = "{proxy.target.split("//")[1]}" """
    if lines:
        script = scratch / "script.lua"
        script.write_text(lines.removeprefix("; "))
        command += ["-s", str(script)]
    return [*command, f"http://{address}{workload.path}"], read_wrk


def read_load(text):
    seen = json.loads(text)
    return seen["requests"], seen["errors"], seen["p50"], seen["p99"]


def read_h2load(log):
    """Of each request a line: when it began in us, its status, how long it took in us."""
    rows = [line.split() for line in log.read_text().splitlines()]
    took = sorted(int(row[2]) / 1e3 for row in rows if row[1] == "200")
    if not took:
        return 0, len(rows), 0, 0
    return len(took), len(rows) - len(took), took[len(took) // 2], took[len(took) * 99 // 100]


def read_wrk(text):
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    errors = sum(int(count) for count in re.findall(r"(?:connect|read|write|timeout|Non-2xx or 3xx responses:) (\d+)", text))
    p50, p99 = (milliseconds(re.search(rf"\n\s+{share}%\s+(\S+)", text).group(1)) for share in (50, 99))
    return requests - errors, errors, p50, p99


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]
