"""The device and the precision of a network."""

import pytest
import torch

from whaleid.core.errors import WhaleidError
from whaleid.model.device import pick_device, precision


def test_a_missing_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:99")
    with pytest.raises(WhaleidError, match="WHALEID_DEVICE=cuda:99: this machine has no such device"):
        pick_device()
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")


def test_a_single_device_is_refused_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:1")
    with pytest.raises(WhaleidError, match=r"^WHALEID_DEVICE=cuda:1 is one device, but 2 processes"):
        pick_device()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WHALEID_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(WhaleidError, match="4 processes were started on this host, which has 2 GPUs"):
        pick_device()


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [("cpu", True, torch.float32), ("cuda", True, torch.bfloat16), ("cuda", False, torch.float32)],
)
def test_precision_is_bfloat16_on_gpus_with_native_support(
    device: str, native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert precision(torch.device(device)) == expected
