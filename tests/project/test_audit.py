"""The scan for known vulnerabilities, asking a service of the test's own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers.project import ROOT

KNOWN = {
    ("torn", "1.0"): [{"introduced": "0"}, {"fixed": "1.1"}],
    ("worn", "2.0"): [{"introduced": "0"}],
}
"""What the service knows: vulnerable versions, and from where to where they are."""


class Service(BaseHTTPRequestHandler):
    """Answers as OSV's API does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        events = KNOWN.get((name, asked["version"]))
        affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        answer = {"vulns": [{"id": f"TEST-{name}", "summary": "a hole", "affected": [affected]}]} if events else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(url: str, pins: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/audit", pins],
        env=os.environ | {"OSV_URL": url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("pins", "code", "said"),
    [
        (
            "sound==1.0\ntorn==1.1\n",
            0,
            "audit: 2 pins looked up, 0 vulnerabilities, 0 of them to be mended by another pin\n",
        ),
        (
            "sound==1.0\ntorn==1.0\nworn==2.0\n",
            1,
            "audit: torn 1.0 has TEST-torn, mended in 1.1\n"
            "audit: worn 2.0 has TEST-worn, not mended yet\n"
            "audit: 3 pins looked up, 2 vulnerabilities, 1 of them to be mended by another pin\n",
        ),
        (
            "worn==2.0\n",
            0,
            "audit: worn 2.0 has TEST-worn, not mended yet\n"
            "audit: 1 pins looked up, 1 vulnerabilities, 0 of them to be mended by another pin\n",
        ),
    ],
)
def test_what_can_be_mended_fails(service: str, tmp_path: Path, pins: str, code: int, said: str) -> None:
    (tmp_path / "pins.txt").write_text(pins)
    assert audit(service, tmp_path / "pins.txt") == (code, said)


def test_every_pin_of_ours_is_looked_up(service: str) -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    code, said = audit(service, ROOT / "constraints.txt")
    assert code == 0
    assert said.startswith(f"audit: {len(pins)} pins looked up, 0 vulnerabilities")


def test_a_service_out_of_reach_is_told_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("torn==1.0\n")
    code, said = audit("http://127.0.0.1:9/", tmp_path / "pins.txt")
    assert code == 0
    assert said.startswith("audit: vulnerabilities were NOT looked up, http://127.0.0.1:9/ cannot be asked: ")


def test_pins_that_cannot_be_read_fail(service: str, tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("torn=1.0\n")
    code, said = audit(service, tmp_path / "pins.txt")
    assert code == 1
    assert "audit: pip-audit failed" in said
