"""Sums over the processes of one host: the same in each to the last bit, and who is missing is told."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from whaleid.training import sums


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("spin", [0.0, 10.0], ids=["asleep", "spinning"])
def test_what_comes_in_pieces_is_read_whole(
    spin: float, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "SPIN", spin)
    one, other = pair
    sent = torch.arange(1000, dtype=torch.float64)
    whole = memoryview(sent.numpy()).cast("B")

    def send() -> None:
        for start in range(0, len(whole), 3000):
            other.sendall(whole[start : start + 3000])
            time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    received = torch.zeros(1000, dtype=torch.float64)
    sums._receive(one, memoryview(received.numpy()).cast("B"), patience=30)
    sender.join()
    assert torch.equal(received, sent)


def test_who_does_not_answer_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(RuntimeError, match=r"^timed out waiting for another process$"):
        sums._receive(pair[0], memoryview(bytearray(8)), patience=0.05)


def test_who_closes_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"four")
    pair[1].close()
    with pytest.raises(ConnectionError):
        sums._receive(pair[0], memoryview(bytearray(8)), patience=30)
