"""Where the network runs."""

import pytest
import torch

from whaleid.core.errors import WhaleidError
from whaleid.training.device import pick_device


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:99")
    with pytest.raises(WhaleidError, match="WHALEID_DEVICE=cuda:99: not on this machine"):
        pick_device()
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")
