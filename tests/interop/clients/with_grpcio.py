import os
import sys
from urllib.parse import urlsplit

import grpc

file = os.environ.get("BODY_FILE")
message = open(file, "rb").read() if file else b"hello"
channels = {}
for argument in sys.argv[1:]:
    url = urlsplit(argument)
    if url.netloc not in channels and url.scheme == "https":
        channels[url.netloc] = grpc.secure_channel(f"{url.hostname}:{url.port or 443}", grpc.ssl_channel_credentials())
    elif url.netloc not in channels:
        channels[url.netloc] = grpc.insecure_channel(f"{url.hostname}:{url.port or 80}")
    answer = channels[url.netloc].unary_unary("/interop/Seen")(message, timeout=30)
    print(answer.decode(), 200, "HTTP/2", sep="\t")
