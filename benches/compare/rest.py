"""At rest: how long each proxy takes to its first answer, and what it holds before anything was asked and after that."""

import time

from proxies import FORWARD_ONLY, OURS, Setting, linked_statically, sidebearer
from workloads import attempt

STATIC = f"{OURS}, linked statically"


def rest(site, there, arguments, results, port=17900):
    """The proxies take turns. Of one that fails nothing is kept."""
    candidates = {name: found for name, found in there.items() if name not in FORWARD_ONLY}
    if binary := linked_statically():
        candidates[STATIC] = sidebearer, binary
    for _ in range(arguments.rounds):
        for name, (start, binary) in list(candidates.items()):
            row, broken = attempt(lambda: once(start, binary, site, port))
            if broken:
                results["notes"].append(f"At rest: without {name}: {broken}.")
                results["rest"].pop(name, None)
                del candidates[name]
                continue
            results["rest"].setdefault(name, []).append(row)


def once(start, binary, site, port):
    """Seconds, and bytes as `Server.memory` and `Server.resident` count them."""
    server = start(binary, site, port, Setting())
    try:
        row = {"start": server.answers()}
    finally:
        server.stop()
    server = start(binary, site, port, Setting())
    try:
        server.listens()
        # The token comes meanwhile.
        time.sleep(1)
        row |= {"ready": server.memory(), "ready resident": server.resident()}
        server.answers()
        row |= {"asked": server.memory(), "asked resident": server.resident()}
    finally:
        server.stop()
    return row
