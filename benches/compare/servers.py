"""Processes on a core of their own, what they spend, and the upstream that all proxies share."""

import http.client
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

PROXY_CORE, LOAD_CORE = "0", "1"
SHORT_LIFE = 10  # Seconds that a token of /token-short lives.
BODY = "x" * 64
LARGE = 64 * 1024
MESSAGE = 1024
FILES = 20000
CALLER = "caller.internal"  # What the certificate of the load names.


# Whatever the environment says of proxies: all of this is on one machine.
WEB = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Site:
    """Where the upstream listens: TLS, plain text (tokens too), and TLS that closes after each answer."""

    directory: Path
    tls: int
    plain: int
    cold: int

    def counts(self):
        """How many connections the upstream has accepted so far, and how many requests it has answered."""
        with WEB.open(f"http://127.0.0.1:{self.plain}/count", timeout=20) as page:
            accepted, _, requests = page.read().split()[7:10]
            return int(accepted), int(requests)


class Server:
    """One process, with its children."""

    def __init__(self, name, command, port, log, core=PROXY_CORE, http1=None, target="", tunnel="", is_tls=False, inside="", trust=None):
        """`target`: what stands before the path in a request to it; `tunnel`: where each connection to it leads by CONNECT;
        `inside`: the same, with TLS inside that it ends; `is_tls`: it speaks TLS. `trust` is a directory with its CA."""
        self.name, self.port, self.http1, self.target, self.tunnel, self.is_tls = name, port, http1 or port, target, tunnel, is_tls
        self.inside, self.trust = inside, trust or log.parent
        # Else a server that listens there already would answer in its place.
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise RuntimeError(f"port {port} is in use")
        self.log, self.began = log, time.monotonic()
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                ["taskset", "-c", core, *map(str, command)], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )

    def pids(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    todo.extend(int(child) for child in children.read_text().split())
                except OSError:
                    continue  # It has ended meanwhile.
        return found

    def cpu(self):
        """Seconds of CPU so far, user and system, with those of children that have ended."""
        total = 0
        for pid in self.pids():
            try:
                # The clock of a process, which counts finer than the ticks of /proc.
                own = time.clock_gettime(~pid << 3 | 2)
                of_children = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[13:15]
            except OSError:
                continue  # It has ended, and its parent has what it spent.
            total += own + sum(map(int, of_children)) / os.sysconf("SC_CLK_TCK")
        return total

    def memory(self):
        """Bytes that are its own, its program among them, and its share of those of the system's libraries: what it
        takes to have one. Another process of the same program, which a comparison runs beside it, makes no difference."""
        own, program = 0, 0
        for pid in self.pids():
            try:
                file, lines, mapped = os.readlink(f"/proc/{pid}/exe"), Path(f"/proc/{pid}/smaps").read_text().splitlines(), 0
            except OSError:
                continue
            for line in lines:
                name, *values = line.split()
                if not name.endswith(":"):
                    of_program = values[4:] == [file]
                elif name == "Pss:" and not of_program:
                    own += int(values[0])
                elif name == "Rss:" and of_program:
                    mapped += int(values[0])
            # Its children have the same pages.
            program = max(program, mapped)
        return (own + program) * 1024

    def resident(self):
        """Bytes that are mapped and in memory (RSS), those that its processes or others share in full."""
        found = (re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self.pids())
        return sum(int(line.group(1)) for line in found if line) * 1024

    def threads(self):
        """Nanoseconds of CPU so far by the name of the thread."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return {(task / "comm").read_text().strip(): int((task / "schedstat").read_text().split()[0]) for task in tasks}

    def listens(self, seconds=20):
        """Waits until it accepts connections, without making one."""
        deadline = time.monotonic() + seconds
        listening = f"0100007F:{self.port:04X} 00000000:0000 0A"
        while True:
            if listening in Path("/proc/net/tcp").read_text():
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended by itself, with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not listen at {self.port}")
            time.sleep(0.001)

    def answers(self, path="/", seconds=20, port=None, pause=0.001):
        """Waits until something good comes from it. How long that took since it was started, in seconds."""
        while True:
            try:
                with WEB.open(f"http://127.0.0.1:{port or self.http1}{path}", timeout=seconds) as response:
                    if response.status == 200:
                        return time.monotonic() - self.began
            except (OSError, urllib.error.URLError, http.client.HTTPException):
                pass
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended by itself, with {self.process.returncode}")
            if time.monotonic() - self.began > seconds:
                raise TimeoutError(f"{self.name} does not answer at {self.port}")
            time.sleep(pause)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write(directory, name, text):
    """In one step, so that nobody reads half of it."""
    path, aside = directory / name, directory / f".{name}.new"
    aside.write_text(text)
    aside.rename(path)
    return path


def token(kind, seconds):
    return f"""{{"access_token":"compared","token_type":"{kind}","expires_in":{seconds}}}"""


def upstream(directory, port):
    """nginx on the core of the load, at `port` and the two that follow."""
    site = Site(directory, port, port + 1, port + 2)
    (directory / "large").write_bytes(b"x" * LARGE)
    locations = f"""
      location / {{ return 200 '{BODY}'; }}
      location = /large {{ root {directory}; }}
      location = /upload {{ client_body_buffer_size 128k; proxy_pass http://127.0.0.1:{site.plain}/taken; }}
      location = /taken {{ return 200 'ok'; }}
      location = /grpc {{ default_type application/grpc; add_trailer grpc-status 0; return 200 '{"x" * MESSAGE}'; }}
      location = /count {{ stub_status; }}
      location = /token {{ default_type application/json; return 200 '{token("Bearer", 3600)}'; }}
      location = /token-dpop {{ default_type application/json; return 200 '{token("DPoP", 3600)}'; }}
      location = /token-short {{ default_type application/json; return 200 '{token("Bearer", SHORT_LIFE)}'; }}"""
    config = write(directory, "upstream.conf", f"""
daemon off; worker_processes 1; worker_rlimit_nofile {FILES}; pid {directory}/upstream.pid; error_log stderr;
events {{ worker_connections {FILES}; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path {directory}/u1; proxy_temp_path {directory}/u2; fastcgi_temp_path {directory}/u3;
  uwsgi_temp_path {directory}/u4; scgi_temp_path {directory}/u5;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {directory}/server.pem; ssl_certificate_key {directory}/server.key;
  server {{ listen 127.0.0.1:{site.tls} ssl http2 backlog=4096; {locations} }}
  server {{ listen 127.0.0.1:{site.plain} backlog=4096; {locations} }}
  server {{ listen 127.0.0.1:{site.cold} ssl backlog=4096; keepalive_timeout 0; {locations} }}
}}
""")
    return site, Server("upstream", ["nginx", "-c", config], site.plain, directory / "upstream.log", LOAD_CORE)


def certificates(directory):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=compare CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    write(directory, "server.ext", "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    write(directory, "client.ext", f"subjectAltName=DNS:{CALLER}\nbasicConstraints=CA:FALSE\n")
    openssl("req", *curve, "-subj", f"/CN={CALLER}", "-keyout", "client.key", "-out", "client.csr")
    for name in ("server", "client"):
        openssl("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    # What ends TLS inside of CONNECTs has a CA of its own, in the place where mitmproxy looks for it.
    (directory / "bump").mkdir()
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=bump CA", "-keyout", "bump/ca.key", "-out", "bump/ca.pem")
    write(directory / "bump", "mitmproxy-ca.pem", (directory / "bump/ca.key").read_text() + (directory / "bump/ca.pem").read_text())
    # HAProxy reads both from one file.
    write(directory, "both.pem", (directory / "server.pem").read_text() + (directory / "server.key").read_text())
