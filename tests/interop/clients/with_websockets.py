import os
import sys
from contextlib import ExitStack

from websockets.sync.client import connect

file = os.environ.get("BODY_FILE")
message = open(file, "rb").read() if file else "hello"
websockets = {}
with ExitStack() as stack:
    for url in sys.argv[1:]:
        origin = url.split("/")[2]
        if origin not in websockets:
            websockets[origin] = stack.enter_context(connect(url, open_timeout=30))
        websockets[origin].send(message)
        print(websockets[origin].recv(timeout=30), websockets[origin].response.status_code, sep="\t")
