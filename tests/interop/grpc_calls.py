"""Drives a real gRPC client through the sidebearer binary to real gRPC servers (grpcio's core is that of most
languages), with a token in each call's metadata: a unary call, and server-streaming calls that are silent for
longer than any PING interval.

usage: grpc_calls.py SIDEBEARER DIRECTORY
"""

import http.server
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent import futures

import grpc

SILENT_SECONDS = 25
# Far below what a server allows by default, so that several PINGs are sent while a call is silent.
PING_INTERVAL = "2s"
# As often as that is then allowed.
LENIENT = [("grpc.http2.min_ping_interval_without_data_ms", 1000)]


class TokenEndpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"access_token": "grpc-token", "token_type": "Bearer", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def authorization(context):
    return [value for key, value in context.invocation_metadata() if key == "authorization"]


class Service(grpc.GenericRpcHandler):
    """Messages are bytes, so that no protoc is needed."""

    def service(self, details):
        if details.method == "/interop/Echo":
            return grpc.unary_unary_rpc_method_handler(self.echo)
        if details.method == "/interop/Silent":
            return grpc.unary_stream_rpc_method_handler(self.silent)
        return None

    @staticmethod
    def echo(request, context):
        context.set_trailing_metadata((("seen", "yes"),))
        return json.dumps([request.decode(), authorization(context)]).encode()

    @staticmethod
    def silent(_, context):
        yield json.dumps(authorization(context)).encode()
        time.sleep(SILENT_SECONDS)
        yield b"last"


def start_api(options):
    server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
    server.add_generic_rpc_handlers((Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def free_port():
    """A port that the system gives to no socket that asks for any, and that another script hardly draws."""
    while True:
        try:
            with socket.create_server(("127.0.0.1", random.randrange(10_000, 32_000))) as it:
                return it.getsockname()[1]
        except OSError:
            pass


def check(claim, good):
    if not good:
        sys.exit(f"grpc: FAILED: {claim}")
    print(f"grpc: ok: {claim}", flush=True)


def await_ready(process, url):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if urllib.request.urlopen(url, timeout=2).status == 200:
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("grpc: FAILED: sidebearer is not ready within 20 s")


def silent_call(address):
    begun = time.monotonic()
    with grpc.insecure_channel(address) as channel:
        try:
            messages = list(channel.unary_stream("/interop/Silent")(b"", timeout=60))
        except grpc.RpcError as error:
            return f"{error.code()}: {error.details()}", 0
    return messages, time.monotonic() - begun


def run(sidebearer, directory):
    tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    # One server with the limits that every gRPC server has, and one that may be asked more often.
    apis = {"usual": start_api([]), "lenient": start_api(LENIENT)}
    admin, *listeners = [free_port() for _ in range(1 + len(apis))]
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(apis, listeners)}
    config = [f'[server]\nping_interval = "{PING_INTERVAL}"\n[admin]\naddress = "127.0.0.1:{admin}"\n']
    for name, (_, port) in apis.items():
        config.append(
            f'[[listeners]]\nname = "{name}"\naddress = "{addresses[name]}"\nupstream = "{name}"\n'
            f'[upstreams.{name}]\nurl = "http://127.0.0.1:{port}"\nhttp = "2"\ncredential = "api"\n'
        )
        if name == "lenient":
            config.append(f'ping_interval = "{PING_INTERVAL}"\n')
    config.append(
        f'[credentials.api]\ntoken_endpoint = "http://127.0.0.1:{tokens.server_port}/token"\n'
        'client_id = "grpc"\nclient_secret = { file = "grpc.secret" }\n'
    )
    with open(os.path.join(directory, "grpc.secret"), "w") as file:
        file.write("s3cret")
    path = os.path.join(directory, "grpc.toml")
    with open(path, "w") as file:
        file.write("".join(config))
    with open(os.path.join(directory, "grpc.log"), "w") as log:
        process = subprocess.Popen([sidebearer, "run", "--config", path], stderr=log)
    try:
        await_ready(process, f"http://127.0.0.1:{admin}/readyz")
        for name, address in addresses.items():
            with grpc.insecure_channel(address) as channel:
                answer, call = channel.unary_unary("/interop/Echo").with_call(
                    b"hello", timeout=20, metadata=(("authorization", "Bearer forged"),)
                )
            seen = json.loads(answer)
            check(f"{name}: a unary call arrives with our token alone", seen == ["hello", ["Bearer grpc-token"]])
            check(f"{name}: its trailers come back", ("seen", "yes") in call.trailing_metadata())
        with futures.ThreadPoolExecutor(len(addresses)) as pool:
            calls = {name: pool.submit(silent_call, address) for name, address in addresses.items()}
        for name, call in calls.items():
            messages, took = call.result()
            expected = [json.dumps(["Bearer grpc-token"]).encode(), b"last"]
            claim = f"{name}: a call that is silent for {SILENT_SECONDS} s is served to its end"
            check(f"{claim} ({messages})", messages == expected and took >= SILENT_SECONDS)
    finally:
        process.terminate()
        process.wait()
        for server, _ in apis.values():
            server.stop(None)


run(*sys.argv[1:])
