"""A gRPC server, without TLS and with it, which answers every call with what arrived: never the token itself.

usage: grpc_server.py DIR
DIR holds server.pem and server.key; DIR/grpc.port and DIR/grpcs.port appear once it listens.
"""

import base64
import hashlib
import json
import os
import sys
from concurrent import futures

import grpc

LARGEST = 20 * 1024 * 1024


class Service(grpc.GenericRpcHandler):
    """Messages are bytes, so that no protoc is needed."""

    def service(self, details):
        tokens = [value for key, value in details.invocation_metadata if key == "authorization"]
        claims = tokens[0].split(".")[1] if tokens else ""
        claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)) or "{}")

        def seen(message, _):
            sha256 = hashlib.sha256(message).hexdigest()
            seen = {"url": details.method, "sha256": sha256, "authorizations": len(tokens)}
            return json.dumps(seen | {"client_id": claims.get("client_id")}).encode()

        return grpc.unary_unary_rpc_method_handler(seen)


directory = sys.argv[1]
server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", LARGEST)])
server.add_generic_rpc_handlers((Service(),))
key, certificate = (open(os.path.join(directory, f"server.{end}"), "rb").read() for end in ("key", "pem"))
ports = {
    "grpc": server.add_insecure_port("127.0.0.1:0"),
    "grpcs": server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)])),
}
server.start()
for name, port in ports.items():
    # Renamed into place, so that a reader of the file sees the whole port.
    path = os.path.join(directory, f"{name}.port")
    with open(f"{path}.new", "w") as file:
        print(port, file=file)
    os.rename(f"{path}.new", path)
server.wait_for_termination()
