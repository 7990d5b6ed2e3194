"""A server in front of another one, which does to requests what a bad network or a bad server does."""

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
"""What comes of a request: an error; no connection; no answer, ever; an answer too late; none, though all is done."""


@dataclass
class Proxy:
    """What requests meet: those from the `first` on whose path has a part `on`, `count` of them."""

    address: str
    fault: Fault = "none"
    on: str = ""
    first: int = 1
    count: int = 10**9
    delay: float = 6.0
    """Seconds, where answers come late."""
    seen: list[str] = field(default_factory=list)
    met: int = 0
    """How many requests met the fault."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, fault: Fault, on: str = "", first: int = 1, count: int = 10**9) -> None:
        """Let requests meet another fault from now on."""
        with self.lock:
            self.fault, self.on, self.first, self.count = fault, on, first, count
            self.seen, self.met = [], 0

    def meets(self, method: str, path: str) -> Fault:
        """Return what comes of a request."""
        with self.lock:
            self.seen.append(f"{method} {path}")
            reached = sum(self.on in each for each in self.seen)
            if self.fault == "none" or reached < self.first or self.met >= self.count:
                return "none"
            self.met += 1  # once it began, all requests meet it, whatever they are
            return self.fault


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """Serve in front of the server at the address `upstream`, until the block ends."""
    behind = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = made.meets(self.command, self.path)
            if fault == "hang":
                with suppress(OSError):
                    while self.connection.recv(1):  # until the other end gives up
                        pass
            elif fault == "500":
                self.answer(500, {"Content-Type": "text/plain"}, b"out of order")
                return
            elif fault != "die":
                status, headers, content = self.ask(body)
                if fault == "slow":
                    time.sleep(made.delay)
                if fault != "lost":
                    with suppress(OSError):
                        self.answer(status, headers, content)
                    return
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            assert behind.hostname
            connection = http.client.HTTPConnection(behind.hostname, behind.port or 80, timeout=120)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            kept = {key: value for key, value in answer.getheaders() if key.lower().startswith("content-type")}
            return answer.status, kept, content

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
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
            """Say nothing: clients that give up are what this is for."""

    server = Server(("127.0.0.1", 0), Handler)
    made = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
