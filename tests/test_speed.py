"""Half precision and compiled code: only where they are asked for, only where they pay, and all is told."""

import copy

import pytest
import torch
from torch import Tensor

from whaleid.core.errors import WhaleidError
from whaleid.model.network import Network
from whaleid.training import speed
from whaleid.training.distributed import ALONE
from whaleid.training.speed import Look, Speed, choose, wanted

CPU = torch.device("cpu")
PHOTOS = torch.linspace(-1, 1, 4 * 24 * 48).view(4, 1, 24, 48)


def network() -> Network:
    torch.manual_seed(0)
    return Network("squeezenet1_1", 16, 3)


def test_a_cpu_computes_as_ever_unless_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHALEID_FAST", raising=False)
    assert not wanted(CPU)
    assert wanted(torch.device("cuda"))
    monkeypatch.setenv("WHALEID_FAST", "on")
    assert wanted(CPU)
    monkeypatch.setenv("WHALEID_FAST", "very")
    with pytest.raises(WhaleidError, match=r"^WHALEID_FAST is 'very': set it to on or off"):
        wanted(CPU)


def taking(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Let the kinds of steps take so long, in the order in which they are measured."""
    times = iter(seconds)
    monkeypatch.setattr(speed, "_seconds", lambda *_: next(times))


@pytest.mark.parametrize(
    ("seconds", "steps", "expected", "said"),
    [
        ((0.2, 0.1), 100, Speed(half=True), "200 ms in float32, 100 ms in bfloat16; not compiled: 100 steps take 10 s"),
        ((0.1, 0.2), 100, Speed(), "100 ms in float32, 200 ms in bfloat16; not compiled"),
        ((0.2, 0.1, 0.05), 1_000_000, Speed(True, True), "50 ms compiled, which takes 0 s: taken"),
        ((0.1, 0.2, 0.11), 1_000_000, Speed(), "110 ms compiled, which takes 0 s: not taken"),
    ],
)
def test_what_is_faster_is_taken(
    seconds: tuple[float, ...],
    steps: int,
    expected: Speed,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speed, "compiled", lambda look: look)
    taking(monkeypatch, *seconds)
    assert choose(network(), PHOTOS, steps, ALONE) == expected
    assert said in capsys.readouterr().out


def test_where_nothing_compiles_it_goes_on_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compiled(_: Look) -> Look:
        def fail(_: Tensor) -> Tensor:
            raise RuntimeError("no compiler\nand more")

        return fail

    monkeypatch.setattr(speed, "compiled", compiled)
    taking(monkeypatch, 1.0, 2.0)
    assert choose(network(), PHOTOS, 1_000_000, ALONE) == Speed()
    assert "torch.compile does not work here (no compiler)\n" in capsys.readouterr().out


def test_measuring_leaves_the_network_as_it_is() -> None:
    measured = network()
    before = copy.deepcopy(measured.state_dict())
    choose(measured, PHOTOS, 1, ALONE)
    assert all(torch.equal(value, before[name]) for name, value in measured.state_dict().items())
    assert all(weight.grad is None for weight in measured.parameters())


def test_it_says_what_it_is() -> None:
    assert [str(Speed()), str(Speed(True)), str(Speed(True, True))] == ["float32", "bfloat16", "bfloat16, compiled"]
