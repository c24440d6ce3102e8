"""sidebearer alone: how what it costs grows with what it is given."""

import re
import socket
import subprocess
import sys
import time
from collections import Counter

from generators import Broken, measure
from proxies import OURS, Setting, sidebearer
from servers import LOAD_CORE, PROXY_CORE, SHORT_LIFE, WEB
from workloads import Workload, random_routes

CONNECTIONS = (1, 8, 32, 100, 300, 1000, 3000, 9000)
ROUTES = (1, 10, 100, 1_000, 10_000, 100_000)
CREDENTIALS = (1, 10, 100, 1_000, 10_000)
SHARDS = (1, 2)
BALANCED = (2, 4, 8)  # Connections on two shards.
REQUESTS = 10  # On each of them.


def scale(site, binary, arguments, results, port=20000):
    """Fills `results["scale"]`: by what is varied, rows of figures."""
    rounds = min(arguments.rounds, 3)
    curves = results["scale"]
    for name, curve in {"connections": connections, "routes": routes, "credentials": credentials, "shards": shards, "balance": balance}.items():
        rows = curves.setdefault(name, [])
        try:
            for row in curve(site, binary, rounds, arguments, port):
                print(f"scale, {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items() if value is not None), file=sys.stderr, flush=True)
                rows.append(row)
        except (Broken, OSError, RuntimeError, subprocess.SubprocessError) as reason:
            results["notes"].append(f"scale, {name}: ended early: {reason}.")
        port += 100


def medians(site, server, workload, rounds, seconds):
    """The median of CPU a request, with the errors, rate and memory of that round."""
    runs = sorted((measure(site, server, workload, seconds) for _ in range(rounds)), key=lambda run: run["cpu"])
    return runs[len(runs) // 2]


def connections(site, binary, rounds, arguments, port):
    server = sidebearer(binary, site, port, Setting())
    try:
        server.answers()
        idle = server.memory()
        for count in CONNECTIONS:
            run = medians(site, server, Workload("", connections=count), rounds if count < 3000 else 1, arguments.seconds)
            # What a few take is less than what comes and goes by itself.
            each = (run["memory"] - idle) / count / 1e3 if count >= 100 else None
            yield {"connections": count, "CPU us/request": run["cpu"], "KB each": each, "errors %": run["errors"] * 100}
    finally:
        server.stop()


def routes(site, binary, rounds, arguments, port):
    for at, count in enumerate(ROUTES):
        server = sidebearer(binary, site, port + 2 * at, Setting(routes=count))
        try:
            start, memory = server.answers(seconds=60), server.memory()
            run = medians(site, server, Workload("", script=random_routes(count)), rounds, arguments.seconds)
            yield {"routes": count, "CPU us/request": run["cpu"], "start ms": start * 1e3, "idle MB": memory / 1e6}
        finally:
            server.stop()


def credentials(site, binary, rounds, arguments, port):
    """At rest, with tokens that live for a few seconds, so that nothing but refreshing is to be done."""
    first = None
    for at, count in enumerate(CREDENTIALS):
        more = "".join(
            f'[credentials.c{number}]\ntoken_endpoint = "http://127.0.0.1:{site.plain}/token-short"\n'
            'client_id = "compared"\nclient_secret = "compared"\n' for number in range(count))
        server = sidebearer(binary, site, port + 2 * at, Setting(), more=more)
        try:
            start = server.answers(seconds=60)
            # The page names every credential: asking all the time would cost more than what is to be measured.
            server.answers("/readyz", seconds=90, port=server.port + 1, pause=0.2)
            memory = server.memory()
            first = first or memory
            spent, fetched, seconds = at_rest(server, 0.8 * SHORT_LIFE if arguments.rounds > 1 else 3)
            row = {"credentials": count, "KB each": (memory - first) / max(1, count - 1) / 1e3, "start ms": start * 1e3}
            yield row | {"refreshes/s": fetched / seconds, "CPU ms/s": spent / seconds * 1e3, "CPU us/refresh": spent / fetched * 1e6 if fetched else 0}
        finally:
            server.stop()


def at_rest(server, seconds):
    """CPU seconds, token requests, and over how long."""
    def now():
        with WEB.open(f"http://127.0.0.1:{server.port + 1}/metrics", timeout=60) as page:
            counts = re.findall(r"^sidebearer_token_requests_total\{.*\} (\d+)", page.read().decode(), re.MULTILINE)
        return server.cpu(), sum(map(int, counts)), time.monotonic()

    before = now()
    time.sleep(seconds)
    cpu = server.cpu()  # Without what the second page costs.
    after = now()
    return cpu - before[0], after[1] - before[1], after[2] - before[2]


def shards(site, binary, rounds, arguments, port):
    for at, count in enumerate(SHARDS):
        server = sidebearer(binary, site, port + 2 * at, Setting(), workers=count, cores=f"{PROXY_CORE},{LOAD_CORE}")
        try:
            server.answers()
            for clients in (32, 300):
                run = medians(site, server, Workload("", connections=clients), rounds, arguments.seconds)
                yield {"shards": count, "connections": clients, "CPU us/request": run["cpu"], "requests/s": run["rate"]}
        finally:
            server.stop()


def balance(site, binary, rounds, arguments, port):
    """A few connections that stay: how many of them the busier of two shards has. Not its share of the CPU: the shard
    whose core nobody else uses wakes up from deeper sleep, and spends more on the same requests."""
    server = sidebearer(binary, site, port, Setting(), workers=2, cores=f"{PROXY_CORE},{LOAD_CORE}")
    tries = 20 * arguments.rounds
    try:
        server.answers()
        for count in BALANCED:
            busier = []
            for _ in range(tries):
                clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
                served = Counter(shard_of(server, client) for client in clients)
                busier.append(max(served.values()))
                for client in clients:
                    closed(client)
            busier.sort()
            yield {"connections": count, "tries": tries, "on the busier shard, median": busier[tries // 2], "worst": busier[-1]}
    finally:
        server.stop()


def shard_of(server, client):
    """The thread that spends CPU when this connection alone is used."""
    ask(client, 1)
    before = server.threads()
    ask(client, REQUESTS)
    spent = {name: after - before[name] for name, after in server.threads().items() if name.startswith("shard-")}
    return max(spent, key=spent.get)


def closed(client):
    """Ends it, and waits until the proxy has seen that: it must not count for those that come next."""
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass
    client.close()


def ask(client, times):
    for _ in range(times):
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # Its head and its body may come one by one.
        answer = b""
        while not answer.partition(b"\r\n\r\n")[2]:
            more = client.recv(65536)
            if not more:
                break
            answer += more
        if not answer.startswith(b"HTTP/1.1 200"):
            raise Broken(f"{OURS} gave no good answer")
