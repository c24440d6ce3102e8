import os
import sys

from websockets.sync.client import connect

file = os.environ.get("BODY_FILE")
message = open(file, "rb").read() if file else "hello"
with connect(sys.argv[1], open_timeout=30) as websocket:
    for _ in sys.argv[1:]:
        websocket.send(message)
        print(websocket.recv(timeout=30), websocket.response.status_code, sep="\t")
