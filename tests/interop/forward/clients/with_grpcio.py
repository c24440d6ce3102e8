import os
import sys
from urllib.parse import urlsplit

import grpc

file = os.environ.get("BODY_FILE")
message = open(file, "rb").read() if file else b"hello"
url = urlsplit(sys.argv[1])
if url.scheme == "https":
    channel = grpc.secure_channel(f"{url.hostname}:{url.port or 443}", grpc.ssl_channel_credentials())
else:
    channel = grpc.insecure_channel(f"{url.hostname}:{url.port or 80}")
with channel:
    for _ in sys.argv[1:]:
        print(channel.unary_unary("/interop/Seen")(message, timeout=30).decode(), 200, sep="\t")
