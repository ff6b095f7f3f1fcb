"""Servers on loopback that the tests start and stop: nginx, two S3s, and a proxy with faults."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dl2cli.stores.path import StorePath, dataset_path
from dl2cli.stores.reader import StoreReader

STARTED_WITHIN_S = 60

_NGINX = """
daemon off; master_process off; {user}
pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format bytes '$request_method $uri $status $body_bytes_sent';
  access_log {work}/access.log bytes;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  sendfile on; tcp_nopush on;
  server {{ listen 127.0.0.1:{port}; root {root}; {extra} }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args} did not start")


@contextlib.contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class WebServer:
    """nginx, which serves a folder."""

    url: str
    log: Path

    def requests(self) -> list[tuple[str, str, int, int]]:
        """Return method, path, status and bytes of the body of each request so far."""
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [(row[0], row[1], int(row[2]), int(row[3])) for row in rows]


@contextlib.contextmanager
def nginx(root: Path, work: Path, extra: str = "") -> Iterator[WebServer]:
    """Serve `root`; skips where nginx is not installed."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is needed (Debian's package of this name)")
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = work / "nginx.conf"
    config.write_text(_NGINX.format(work=work, port=port, root=root, user=user, extra=extra))
    command = [program, "-c", str(config), "-p", str(work), "-e", str(work / "error.log")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with stopped(process):
        wait_for(port, process)
        yield WebServer(f"http://127.0.0.1:{port}", work / "access.log")


@dataclass(frozen=True)
class S3Server:
    """An S3, and the keys that it takes."""

    endpoint: str
    key: str
    secret: str

    def environment(self) -> dict[str, str]:
        """Return the variables with which obstore finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
        }


@contextlib.contextmanager
def moto(work: Path) -> Iterator[S3Server]:
    """Run moto, an imitation of S3 in memory."""
    pytest.importorskip("moto.server", reason="moto[server] is needed", exc_type=ImportError)
    port = free_port()
    with (work / "moto.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    with stopped(process):
        wait_for(port, process)
        yield S3Server(f"http://127.0.0.1:{port}", "test", "test")


@contextlib.contextmanager
def swift(work: Path) -> Iterator[S3Server]:
    """Run OpenStack Swift with its S3 API: a real store, which checks signatures."""
    if importlib.util.find_spec("swift") is None:
        pytest.skip("OpenStack Swift is needed (the package swift)")
    port = free_port()
    with (work / "swift.log").open("wb") as log:
        program = Path(__file__).with_name("swift_server.py")
        command = [sys.executable, str(program), str(work / "swift"), str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    with stopped(process):
        wait_for(port, process)
        yield S3Server(f"http://127.0.0.1:{port}", "test:tester", "testing")


S3_SERVERS = {"moto": moto, "swift": swift}


# A fault gets an answer and what it goes to; it returns True if it has dealt with it.
Fault = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request and the answer of the real server, on its way through the proxy."""

    handler: BaseHTTPRequestHandler
    path: str
    number: int  # of the requests for this path, from 1
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def answer(self, body: bytes | None = None, *, length: int | None = None) -> None:
        """Send the answer, or one with another body; `length` is what its header claims."""
        body = self.body if body is None else body
        self.handler.send_response_only(self.status)
        for name, value in self.headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.handler.send_header(name, value)
        length = len(body) if length is None else length
        self.handler.send_header("Content-Length", str(length))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def refuse(self, status: int, *headers: tuple[str, str]) -> None:
        self.status, self.headers, self.body = status, list(headers), b"refused"
        self.answer()
        self.handler.close_connection = True

    def hang_up(self) -> None:
        self.handler.wfile.flush()
        self.handler.close_connection = True
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)


def cut(exchange: Exchange) -> None:
    """Break the connection in the middle of the body."""
    exchange.answer(exchange.body[: len(exchange.body) // 2], length=len(exchange.body))
    exchange.hang_up()


def truncate(exchange: Exchange) -> None:
    """Send half of the body, and say that this is its length."""
    exchange.answer(exchange.body[: len(exchange.body) // 2])


def garble(exchange: Exchange) -> None:
    """Change a byte in the middle."""
    middle = len(exchange.body) // 2
    body = bytearray(exchange.body)
    body[middle] ^= 0x55
    exchange.answer(bytes(body))


def stall(exchange: Exchange) -> None:
    """Send half of the body, and then nothing any more, until the other side gives up."""
    exchange.answer(exchange.body[: len(exchange.body) // 2], length=len(exchange.body))
    exchange.handler.wfile.flush()
    exchange.handler.connection.settimeout(60)
    with contextlib.suppress(OSError):
        exchange.handler.connection.recv(1)
    exchange.hang_up()


def silent(exchange: Exchange) -> None:
    """Never answer."""
    exchange.handler.connection.settimeout(60)
    with contextlib.suppress(OSError):
        exchange.handler.connection.recv(1)
    exchange.hang_up()


def drip(exchange: Exchange) -> None:
    """Send a byte now and then, so that no silence is long."""
    exchange.answer(b"", length=len(exchange.body))
    with contextlib.suppress(OSError):
        for byte in exchange.body:
            exchange.handler.wfile.write(bytes([byte]))
            exchange.handler.wfile.flush()
            time.sleep(0.1)


def whole_object(exchange: Exchange) -> None:
    """Ignore the range, as simple servers do."""
    exchange.status = 200
    exchange.headers = [(n, v) for n, v in exchange.headers if n.lower() != "content-range"]
    exchange.answer()


def status(code: int, *headers: tuple[str, str]) -> Fault:
    return lambda exchange: exchange.refuse(code, *headers)


@dataclass
class FaultProxy:
    """A proxy in front of a server.

    Attributes:
        url: where it listens.
        faults: for paths that a pattern is found in, what becomes of an answer, and for which of
            the requests for a path: from 1 to this number.
        seen: (path, Range header) of all requests.
        after: called with each path, after its answer was sent.
    """

    upstream: str
    url: str = ""
    faults: list[tuple[str, Fault, float]] = field(default_factory=list)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, pattern: str, fault: Fault, times: float = float("inf")) -> None:
        self.faults.append((pattern, fault, times))

    def clear(self) -> None:
        self.faults.clear()
        self.seen.clear()

    def count(self, path: str) -> int:
        return sum(1 for seen, _ in self.seen if seen == path)


def in_store(url: str, names: Iterable[str]) -> dict[str, bytes]:
    """Read whole objects."""
    path = dataset_path(url)
    assert isinstance(path, StorePath)
    reader = StoreReader(path)
    return {name: b"".join(map(bytes, reader.read(name, 0, reader.size(name)))) for name in names}


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of a server."""
    proxy = FaultProxy(upstream)
    address = upstream.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with proxy.lock:
                proxy.seen.append((self.path, self.headers["Range"]))
                number = proxy.count(self.path)
            connection = http.client.HTTPConnection(address)
            try:
                headers = {n: v for n, v in self.headers.items() if n.lower() != "connection"}
                connection.request(self.command, self.path, sent, headers)
                answer = connection.getresponse()
                body = answer.read()
            finally:
                connection.close()
            exchange = Exchange(self, self.path, number, answer.status, answer.getheaders(), body)
            for pattern, fault, times in list(proxy.faults):
                if re.search(pattern, self.path) and number <= times:
                    fault(exchange)
                    return
            exchange.answer()

        do_PUT = do_DELETE = do_GET  # noqa: N815 - these are the names

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
