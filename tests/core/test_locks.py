"""Locks that processes share by a file."""

import errno
import fcntl
import logging
from pathlib import Path

import pytest
from filelock import Timeout

from whaleid.core.locks import locked


def test_a_lock_is_held_and_released(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(Timeout), locked(tmp_path / "lock", 0):
        pass
    with locked(tmp_path / "lock", 0):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    logging.getLogger("whaleid").addHandler(caplog.handler)
    with locked(tmp_path / "lock", 0):
        reached = True
    logging.getLogger("whaleid").removeHandler(caplog.handler)
    assert reached
    assert caplog.messages == [
        f"{tmp_path / 'lock'}: this file system has no locks (no locks). Run one command at a time."
    ]


@pytest.mark.filterwarnings("error")
def test_no_warning_of_a_library_about_locks_reaches_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    with locked(tmp_path / "lock", 0):
        pass


def test_other_errors_of_a_lock_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="broken disk"), locked(tmp_path / "lock", 0):
        pass
