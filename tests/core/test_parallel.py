"""Parallel map: results are in order, errors are raised, and all cores are used."""

import threading

import pytest

from whaleid.core.errors import WhaleidError
from whaleid.core.parallel import cores, parallel_map


def test_results_are_in_the_order_of_the_items() -> None:
    assert list(parallel_map(abs, range(-700, 0), "numbers")) == list(range(700, 0, -1))
    assert list(parallel_map(abs, [], "numbers")) == []


def test_items_are_shared_between_threads() -> None:
    barrier = threading.Barrier(2, timeout=20)
    if cores() > 1:  # each thread waits for the other one
        assert list(parallel_map(lambda item: barrier.wait() >= 0, range(32), "items")) == [True] * 32


def test_an_error_is_raised_unchanged() -> None:
    def refuse(item: int) -> int:
        if item == 40:
            raise WhaleidError("40 is too much")
        return item

    with pytest.raises(WhaleidError, match="40 is too much"):
        list(parallel_map(refuse, range(100), "numbers"))
