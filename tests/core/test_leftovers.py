"""Only the files of variants that are no longer named are removed."""

from pathlib import Path

import pytest

from whaleid.core import leftovers


def test_files_of_variants_that_are_no_longer_named_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    removed = [
        "features/old.npz",
        "calibrations/old/decision.json",
        "checkpoints/old.safetensors",
        "reports/histories/old.csv",
    ]
    kept = [
        "checkpoints/backbone.safetensors",
        "checkpoints/toy.safetensors",
        "features/toy.npz",
        "calibrations/toy/decision.json",
        "reports/histories/margin.csv",
        "checkpoints/weights.safetensors",  # a state dict of the user
        "checkpoints/weights.pth",
        "checkpoints/.toy.partial.safetensors",  # written by a training that is still running
        "calibrations/.old.partial/decision.json",
        "calibrations/notes.txt",
        "features/notes.txt",
    ]
    for name in (*removed, *kept):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    leftovers.remove_former_variants(["toy", "margin"], Path("checkpoints/weights.safetensors"))
    assert [name for name in (*removed, *kept) if Path(name).exists()] == kept
    assert not Path("calibrations/old").exists()
