"""Record the latest result of the test suite in the table of docs/reliability.md."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
COLUMNS = ("passed", "failed", "skipped")
TABLE = re.compile(r"(?<=\| minutes \|\n\|---\|---\|---\|---\|---\|---\|\n).*\n")


def write(counts: dict[str, int], seconds: float, document: Path = DOCUMENT) -> None:
    """Write the number of passed, failed and skipped tests, with today's date and the current commit."""
    command = ("git", "describe", "--always", "--dirty=, changed")
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    today = datetime.now(UTC).date().isoformat()
    row = [today, commit, *(str(counts[name]) for name in COLUMNS), f"{seconds / 60:.0f}"]
    text, replaced = TABLE.subn(f"| {' | '.join(row)} |\n", document.read_text(encoding="utf-8"))
    assert replaced == 1
    document.write_text(text, encoding="utf-8")
