"""Finding flukes: views of photos and their boxes, and the stage, with and without something to learn."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image, ImageDraw

from whaleid import files, paths
from whaleid.model import checkpoint
from whaleid.model.backbone import Backbone
from whaleid.model.boxes import SMALLEST, BoxNetwork
from whaleid.model.network import Network
from whaleid.params import Params
from whaleid.stages import boxes as stage
from whaleid.training import boxes

COLUMNS = ["Image", "x0", "y0", "x1", "y1", "aspect"]
SMALL = "shufflenet_v2_x0_5"


def test_a_view_moves_the_box_with_the_photo() -> None:
    photo = torch.zeros(1, 1, 8, 8)
    photo[..., 2:4, 4:6] = 1  # what the box holds
    box = torch.tensor([[0.5, 0.25, 0.75, 0.5, 0.0]])
    low, high = torch.tensor([[0.25, 0.0]]), torch.tensor([[1.25, 0.5]])
    for mirrored, sides, columns in ((False, [0.25, 0.5], [2, 3]), (True, [0.5, 0.75], [4, 5])):
        views, found = boxes.view(photo, box, low, high, torch.tensor([mirrored]))
        assert views.shape == photo.shape
        # as wide as before, twice as high: in a photo of aspect 1, such a window has aspect 2
        assert found[0].tolist() == pytest.approx([sides[0], 0.5, sides[1], 1.0, np.log(2)])
        rows, seen = np.nonzero(views[0, 0].numpy() > 0.5)
        assert sorted(set(seen.tolist())) == columns
        assert sorted(set(rows.tolist())) == [4, 5, 6, 7]


def test_a_random_view_holds_the_whole_box() -> None:
    rng = np.random.default_rng(0)
    sides = np.sort(rng.uniform(0, 1, (200, 2, 2)), axis=1).reshape(200, 4)
    given = torch.from_numpy(np.column_stack([sides, rng.normal(size=200)])).float()
    _, found = boxes.random_views(torch.zeros(200, 1, 8, 8), given, torch.Generator().manual_seed(0))
    assert found[:, :4].min() > -1e-5
    assert found[:, :4].max() < 1 + 1e-5
    assert (found[:, 2:4] > found[:, :2]).all()
    assert not torch.allclose(found, given, atol=0.01)
    _, again = boxes.random_views(torch.zeros(200, 1, 8, 8), given, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)


def test_overlaps() -> None:
    found = np.array([[0, 0, 1, 1, 9], [0, 0, 0.5, 0.5, 9], [0.2, 0.2, 0.4, 0.6, 9]], np.float32)
    given = np.array([[0, 0, 0.5, 1, 0], [0.5, 0.5, 1, 1, 0], [0.3, 0.4, 0.5, 0.8, 0]], np.float32)
    # a half; none; 0.02 of 0.08 + 0.08 - 0.02
    assert boxes.overlaps(found, given).tolist() == pytest.approx([0.5, 0, 1 / 7])


@pytest.mark.parametrize("bias", [-60.0, 0.0, 60.0])
def test_every_box_is_inside_the_photo_and_has_a_size(bias: float) -> None:
    torch.manual_seed(0)
    network = BoxNetwork(Backbone(SMALL)).eval()
    torch.nn.init.constant_(network.last.bias, bias)
    with torch.no_grad():
        found = network(torch.randn(2, 1, 32, 32))
    assert found.shape == (2, 5)
    assert found[:, :4].min() >= 0
    assert found[:, :4].max() <= 1
    assert (found[:, 2:4] - found[:, :2]).min() >= SMALLEST - 1e-6


def catalogue(count: int, boxed: int, squeezed: bool) -> pd.DataFrame:
    """Write photos of bright ellipses on noise, 80 x 50 pixels or squeezed to 64 x 64; return all their boxes."""
    rng = np.random.default_rng(0)
    photos, known = [], []
    for number in range(count):
        image, part = f"{number:04d}.png", "train" if number < boxed else "test"
        aspect = 1.25 if squeezed and number % 2 else 1.6
        width, height = round(50 * aspect), 50
        size = rng.uniform(0.25, 0.9, 2)
        low = rng.uniform(0, 1 - size)
        sides = np.concatenate([low, low + size])
        photo = Image.fromarray(rng.integers(0, 140, (height, width), dtype=np.uint8))
        ImageDraw.Draw(photo).ellipse((sides * ([width, height] * 2)).tolist(), fill=220)
        if squeezed:
            photo = photo.resize((64, 64))
        path = Path("photos") / part / image
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
        photos.append((image, part, *photo.size, f"{number:016x}"))
        known.append((image, *sides, aspect))
    files.write_csv(pd.DataFrame(photos, columns=["Image", "part", "width", "height", "phash"]), paths.CATALOG)
    table = pd.DataFrame(known, columns=COLUMNS)
    files.write_csv(table[:boxed], paths.BOXES)
    return table


def write_backbone() -> None:
    torch.manual_seed(0)
    network = Network(SMALL, classes=0)
    paths.checkpoint("backbone").parent.mkdir()
    description = checkpoint.Description(classes=(), photos=None)
    paths.checkpoint("backbone").write_bytes(checkpoint.dumps(checkpoint.to_checkpoint(network, description)))


def outputs() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (paths.FLUKES, paths.BOX_METRICS, paths.BOX_SHEET)}


def given_rows() -> list[str]:
    return [f"{line},given" for line in paths.BOXES.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("count", "boxed", "crop", "reason"),
    [
        (8, 8, True, "every photo has one"),
        (120, 110, False, "photos are not cropped (pack.crop)"),
        (120, 99, True, "that takes boxes on 100 different photos; the 21 others stay whole"),
        (8, 0, True, "that takes boxes on 100 different photos; the 8 others stay whole"),
    ],
)
def test_the_stage_keeps_what_is_given_where_nothing_is_to_be_found(
    project: Callable[..., Params],
    capsys: pytest.CaptureFixture[str],
    count: int,
    boxed: int,
    crop: bool,
    reason: str,
) -> None:
    params = project(data={"root": "photos"}, pack={"crop": crop})
    catalogue(count, boxed, squeezed=False)
    record = stage.run(params)
    assert capsys.readouterr().out == f"boxes: {boxed} given, none found: {reason}\n"
    assert paths.FLUKES.read_text().splitlines() == ["Image,x0,y0,x1,y1,aspect,source", *given_rows()]
    assert json.loads(paths.BOX_METRICS.read_text()) == record.metrics == {"given": boxed, "found": 0}
    with Image.open(paths.BOX_SHEET) as sheet:
        green = (np.asarray(sheet) == (0, 255, 0)).all(axis=2).any()
    assert green == (boxed > 0)


def test_copies_of_a_photo_teach_too_little(project: Callable[..., Params], capsys: pytest.CaptureFixture[str]) -> None:
    params = project(data={"root": "photos"})
    catalogue(120, 110, squeezed=False)
    table = files.read_csv(paths.CATALOG)
    files.write_csv(table.assign(phash=[f"{number % 99:016x}" for number in range(120)]), paths.CATALOG)
    stage.run(params)
    assert "110 given, none found: that takes boxes on 100 different photos" in capsys.readouterr().out


def test_without_anything_to_find_torch_stays_out(project: Callable[..., Params]) -> None:
    project(data={"root": "photos"})
    catalogue(8, 8, squeezed=False)
    code = (
        "import sys; from whaleid import params, paths; from whaleid.stages import boxes; "
        "boxes.run(params.load(paths.PARAMS)); print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert ran.stdout == "boxes: 8 given, none found: every photo has one\nFalse\n"


@pytest.mark.parametrize("squeezed", [False, True])
def test_the_stage_boxes_every_photo_and_keeps_what_is_given(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, squeezed: bool
) -> None:
    monkeypatch.setattr(boxes, "STEPS", 3)
    params = project(data={"root": "photos"})
    catalogue(120, 105, squeezed)
    write_backbone()
    stage.run(params)
    lines = paths.FLUKES.read_text().splitlines()[1:]
    assert lines[:105] == given_rows()
    flukes = files.read_csv(paths.FLUKES)
    assert flukes["Image"].tolist() == files.read_csv(paths.CATALOG)["Image"].tolist()
    assert flukes["source"].tolist() == ["given"] * 105 + ["found"] * 15
    # a photo in its own shape has its own aspect; that of a squeezed one is only guessed
    assert (flukes["aspect"][105:] == 1.6).all() == (not squeezed)
    metrics = json.loads(paths.BOX_METRICS.read_text())
    assert (metrics["given"], metrics["found"], metrics["held_out"]) == (105, 15, 10)
    first = outputs()
    stage.run(params)
    assert outputs() == first


def test_copies_of_a_photo_are_held_out_together() -> None:
    hashes = pd.Series([f"{number % 50:016x}" for number in range(200)])
    held = stage._held_out(hashes, seed=0)
    assert held.sum() == 20
    assert not set(hashes[held]) & set(hashes[~held])


@pytest.mark.slow
def test_learning_finds_ellipses(project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "STEPS", 300)
    monkeypatch.setattr(stage, "SQUARE", 48)
    params = project(data={"root": "photos"})
    truth = catalogue(400, 340, squeezed=True).set_index("Image")
    write_backbone()
    record = stage.run(params)
    assert record.metrics["held_out"] == 34
    assert record.metrics["iou"] > 0.6
    flukes = files.read_csv(paths.FLUKES).set_index("Image")
    found = flukes[flukes["source"] == "found"]
    sides = [np.array(table.loc[found.index, COLUMNS[1:]], np.float32) for table in (found, truth)]
    assert boxes.overlaps(*sides).mean() > 0.6
