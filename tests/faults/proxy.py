"""A proxy that makes requests fail as an unreliable network or server does."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["none", "500", "die", "hang", "slow", "lost"]
"""The fault of a request.

`500`: status 500; `die`: the connection is closed; `hang`: no response; `slow`: a late response; `lost`: the request is
forwarded, but the connection is closed instead of a response.
"""


@dataclass
class Proxy:
    """The state of the proxy: its fault, and which requests it affects.

    The fault begins with the `first` request that has `path_part` in its method or path, and affects `count` requests.
    """

    address: str
    fault: Fault = "none"
    path_part: str = ""
    first: int = 1
    count: int = 10**9
    delay: float = 6.0
    """Delay of a `slow` response, in seconds."""
    requests: list[str] = field(default_factory=list)
    """The requests since the last `set`: method and path."""
    affected: int = 0
    """Number of requests that the fault has affected since the last `set`."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, fault: Fault, path_part: str = "", first: int = 1, count: int = 10**9) -> None:
        """Set the fault of the requests from now on."""
        with self.lock:
            self.fault, self.path_part, self.first, self.count = fault, path_part, first, count
            self.requests, self.affected = [], 0

    def next_fault(self, method: str, path: str) -> Fault:
        """Count a request and return its fault."""
        with self.lock:
            self.requests.append(f"{method} {path}")
            matching = sum(self.path_part in request for request in self.requests)
            if self.fault == "none" or matching < self.first or self.affected >= self.count:
                return "none"
            self.affected += 1  # from here on all requests are affected, whatever their path
            return self.fault


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy of the server at the address `upstream` until the block ends, and yield its state."""
    server_url = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = state.next_fault(self.command, self.path)
            if fault == "hang":
                with suppress(OSError):
                    while self.connection.recv(1):  # until the client gives up
                        pass
            elif fault == "500":
                self.respond(500, {"Content-Type": "text/plain"}, b"out of order")
                return
            elif fault != "die":
                status, headers, content = self.forward(body)
                if fault == "slow":
                    time.sleep(state.delay)
                if fault != "lost":
                    with suppress(OSError):
                        self.respond(status, headers, content)
                    return
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

        def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            assert server_url.hostname
            connection = http.client.HTTPConnection(server_url.hostname, server_url.port or 80, timeout=120)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            content_type = {
                key: value for key, value in response.getheaders() if key.lower().startswith("content-type")
            }
            return response.status, content_type, content

        def respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Ignore errors: clients are expected to disconnect."""

    server = Server(("127.0.0.1", 0), Handler)
    state = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
