"""The check for known vulnerabilities, against a local stand-in for OSV."""

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
    ("fixable", "1.0"): [{"introduced": "0"}, {"fixed": "1.1"}],
    ("unfixed", "2.0"): [{"introduced": "0"}],
}
"""Vulnerable versions (package, version), with the OSV events of their range."""


class Service(BaseHTTPRequestHandler):
    """Answer like OSV's API."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        events = KNOWN.get((name, query["version"]))
        affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        answer = {"vulns": [{"id": f"TEST-{name}", "summary": "test", "affected": [affected]}]} if events else {}
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
    process = subprocess.run(
        [sys.executable, ROOT / ".ci/audit", pins],
        env=os.environ | {"OSV_URL": url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.mark.parametrize(
    ("pins", "code", "output"),
    [
        (
            "safe==1.0\nfixable==1.1\n",
            0,
            "audit: 2 pins checked, 0 vulnerabilities, 0 fixed by a newer version\n",
        ),
        (
            "safe==1.0\nfixable==1.0\nunfixed==2.0\n",
            1,
            "audit: fixable 1.0 has TEST-fixable, fixed in 1.1\n"
            "audit: unfixed 2.0 has TEST-unfixed, no fix available\n"
            "audit: 3 pins checked, 2 vulnerabilities, 1 fixed by a newer version\n",
        ),
        (
            "unfixed==2.0\n",
            0,
            "audit: unfixed 2.0 has TEST-unfixed, no fix available\n"
            "audit: 1 pins checked, 1 vulnerabilities, 0 fixed by a newer version\n",
        ),
    ],
)
def test_a_fixable_vulnerability_fails(service: str, tmp_path: Path, pins: str, code: int, output: str) -> None:
    (tmp_path / "pins.txt").write_text(pins)
    assert audit(service, tmp_path / "pins.txt") == (code, output)


def test_every_pin_of_constraints_is_checked(service: str) -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    code, output = audit(service, ROOT / "constraints.txt")
    assert code == 0
    assert output.startswith(f"audit: {len(pins)} pins checked, 0 vulnerabilities")


def test_an_unreachable_service_is_reported_and_is_not_a_failure(tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("fixable==1.0\n")
    code, output = audit("http://127.0.0.1:9/", tmp_path / "pins.txt")
    assert code == 0
    assert output.startswith("audit: vulnerabilities were NOT checked, http://127.0.0.1:9/ cannot be reached: ")


def test_pins_that_cannot_be_read_fail(service: str, tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("fixable=1.0\n")
    code, output = audit(service, tmp_path / "pins.txt")
    assert code == 1
    assert "audit: pip-audit failed" in output
