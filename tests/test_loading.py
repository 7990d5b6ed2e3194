"""Photos come in order, ahead of the step that needs them, and nothing is fetched for nobody."""

import threading
import time

import pytest
import torch
from torch import Tensor

from whaleid.training.loading import AHEAD, fetched

CPU = torch.device("cpu")


def test_batches_come_in_order() -> None:
    found = fetched(lambda number: [torch.tensor([number]), torch.tensor([number + 10])], range(7), CPU)
    assert [[tensor.item() for tensor in tensors] for tensors in found] == [[n, n + 10] for n in range(7)]
    assert list(fetched(lambda number: [torch.tensor(number)], [], CPU)) == []


def test_the_next_ones_are_fetched_meanwhile_but_no_more() -> None:
    begun: list[int] = []

    def fetch(number: int) -> list[Tensor]:
        begun.append(number)
        return [torch.tensor(number)]

    found = fetched(fetch, range(20), CPU)
    next(found)
    time.sleep(0.2)
    assert begun == list(range(1 + AHEAD))
    found.close()
    assert begun == list(range(1 + AHEAD))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_an_error_comes_where_its_batch_would() -> None:
    def fetch(number: int) -> list[Tensor]:
        if number == 2:
            raise OSError("the disk is gone")
        return [torch.tensor(number)]

    found = fetched(fetch, range(5), CPU)
    assert [next(found)[0].item() for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_they_arrive_there() -> None:
    device = torch.device("cuda")
    found = list(fetched(lambda number: [torch.full((1000,), number)], range(50), device))
    assert all(tensor.device.type == "cuda" for (tensor,) in found)
    assert [tensor.unique().tolist() for (tensor,) in found] == [[number] for number in range(50)]
