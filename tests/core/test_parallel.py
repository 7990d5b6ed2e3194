"""One function over many items: in order, with the first error, on all cores."""

import os
import threading

import pytest

from whaleid.core import parallel
from whaleid.core.errors import WhaleidError
from whaleid.core.parallel import cores, parallel_map


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(parallel_map(abs, range(-700, 0), "numbers")) == list(range(700, 0, -1))
    assert list(parallel_map(abs, [], "numbers")) == []


def test_items_are_shared_between_threads() -> None:
    barrier = threading.Barrier(2, timeout=20)
    if cores() > 1:  # each waits for the other one
        assert list(parallel_map(lambda item: barrier.wait() >= 0, range(32), "items")) == [True] * 32


def test_an_error_is_raised_as_it_is() -> None:
    def refuse(item: int) -> int:
        if item == 40:
            raise WhaleidError("40 is too much")
        return item

    with pytest.raises(WhaleidError, match="40 is too much"):
        list(parallel_map(refuse, range(100), "numbers"))


def _kill(item: int) -> int:
    if item == 150:
        os._exit(1)
    return item


def test_processes_keep_the_order_and_a_killed_one_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    assert list(parallel_map(abs, range(-120, 0), "numbers", processes=True)) == list(range(120, 0, -1))
    with pytest.raises(WhaleidError, match="A worker process was killed"):
        list(parallel_map(_kill, range(200), "numbers", processes=True))
