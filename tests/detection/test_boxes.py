"""Detection of flukes and of upside-down photos: crops and their boxes, the network, and the stage `boxes`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from helpers.project import ROOT
from PIL import Image, ImageDraw

from whaleid.config import Boxes, Params
from whaleid.core import files, paths
from whaleid.core.errors import InputProblems
from whaleid.detection import fitting, training
from whaleid.detection import network as box_network
from whaleid.detection.network import MIN_SIDE, BoxNetwork
from whaleid.images.crop import FULL_BOX, box_iou
from whaleid.images.pack import Region, Shape, pack
from whaleid.model import checkpoint
from whaleid.model.backbone import Backbone
from whaleid.model.network import Network
from whaleid.stages import boxes as stage

COLUMNS = ["Image", "x0", "y0", "x1", "y1", "aspect"]
HEADER = "Image,x0,y0,x1,y1,aspect,source,turned"
BACKBONE = "shufflenet_v2_x0_5"
QUICK = {"size": 64, "steps": 3, "batch_size": 32, "lr": 0.001}


def test_crop_transforms_the_box_with_the_photo() -> None:
    photo = torch.zeros(1, 1, 8, 8)
    photo[..., 2:4, 4:6] = 1  # the content of the box
    box = torch.tensor([[0.5, 0.25, 0.75, 0.5, 0.0]])
    low, high = torch.tensor([[0.25, 0.0]]), torch.tensor([[1.25, 0.5]])
    for mirrored, sides, columns in ((False, [0.25, 0.5], [2, 3]), (True, [0.5, 0.75], [4, 5])):
        crops, result = training.crop(photo, box, low, high, torch.tensor([mirrored]))
        assert crops.shape == photo.shape
        # the window is as wide as the photo and half as high, so its aspect is 2
        assert result[0].tolist() == pytest.approx([sides[0], 0.5, sides[1], 1.0, np.log(2)])
        bright_rows, bright_columns = np.nonzero(crops[0, 0].numpy() > 0.5)
        assert sorted(set(bright_columns.tolist())) == columns
        assert sorted(set(bright_rows.tolist())) == [4, 5, 6, 7]


def test_random_crops_contain_the_whole_box() -> None:
    rng = np.random.default_rng(0)
    sides = np.sort(rng.uniform(0, 1, (200, 2, 2)), axis=1).reshape(200, 4)
    labelled = torch.from_numpy(np.column_stack([sides, rng.normal(size=200)])).float()
    _, result = training.random_crops(torch.zeros(200, 1, 8, 8), labelled, torch.Generator().manual_seed(0))
    assert result[:, :4].min() > -1e-5
    assert result[:, :4].max() < 1 + 1e-5
    assert (result[:, 2:4] > result[:, :2]).all()
    assert not torch.allclose(result, labelled, atol=0.01)
    _, again = training.random_crops(torch.zeros(200, 1, 8, 8), labelled, torch.Generator().manual_seed(0))
    assert torch.equal(result, again)


def test_rotation_by_180_degrees() -> None:
    photo = torch.arange(6.0).reshape(1, 1, 2, 3)
    rotated, result = training.rotate(
        photo.repeat(2, 1, 1, 1), torch.tensor([[0.1, 0.2, 0.4, 0.9, 7.0]] * 2), torch.tensor([True, False])
    )
    assert rotated[:, 0].tolist() == [[[5, 4, 3], [2, 1, 0]], [[0, 1, 2], [3, 4, 5]]]
    assert result[0].tolist() == pytest.approx([0.6, 0.1, 0.9, 0.8, 7.0])
    assert result[1].tolist() == pytest.approx([0.1, 0.2, 0.4, 0.9, 7.0])


def test_box_iou() -> None:
    predicted = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.2, 0.2, 0.4, 0.6], [0, 0, 0.2, 0.2]])
    labelled = np.array([[0, 0, 0.5, 1], [0.5, 0.5, 1, 1], [0.3, 0.4, 0.5, 0.8], [0.5, 0.5, 1, 1]])
    # half of the area; only a corner; 0.02 of 0.08 + 0.08 - 0.02; disjoint
    assert box_iou(predicted, labelled).tolist() == pytest.approx([0.5, 0, 1 / 7, 0])


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("bias", [-60.0, 0.0, 60.0])
def test_boxes_are_inside_the_photo_and_not_too_small(bias: float, turns: bool) -> None:
    torch.manual_seed(0)
    network = BoxNetwork(Backbone(BACKBONE), 32, turns).eval()
    torch.nn.init.constant_(network.head.bias, bias)
    with torch.no_grad():
        boxes = network(torch.randn(2, 1, 32, 32))
    assert boxes.shape == (2, 6 if turns else 5)
    assert boxes[:, :4].min() >= 0
    assert boxes[:, :4].max() <= 1
    assert (boxes[:, 2:4] - boxes[:, :2]).min() >= MIN_SIDE - 1e-6


class BrightnessNetwork(torch.nn.Module):
    """A stand-in for a box network: its orientation logit is linear in the brightness of the upper half of a photo."""

    turns = True

    def __init__(self, slope: float, bias: float) -> None:
        super().__init__()
        self.last = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.last.weight, slope)
        torch.nn.init.constant_(self.last.bias, bias)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        upper, lower = photos.mean(dim=(1, 3)).chunk(2, dim=1)
        box = torch.tensor([[0.25, 0.1, 0.75, 0.4, 0.0]]).expand(len(photos), -1)
        return torch.cat([box, self.last((upper - lower).mean(dim=1, keepdim=True))], dim=1)


def bright_upper_half(count: int) -> npt.NDArray[np.uint8]:
    photos = np.full((count, 8, 8, 1), 50, dtype=np.uint8)
    photos[:, :4] = 250
    return photos


def test_predictions_are_averaged_over_the_photo_and_its_rotation() -> None:
    # the standardised halves are 1 and -1: the logit is 5 - 2 * 2, and 5 + 2 * 2 for the rotated photo
    photos = np.concatenate(
        [bright_upper_half(1), bright_upper_half(1)[:, ::-1], np.full((1, 8, 8, 1), 9, dtype=np.uint8)]
    )
    predictions = fitting.predict(BrightnessNetwork(-2, 5), photos, torch.device("cpu"))
    # the mean of the box from 0.1 to 0.4 and its rotation from 0.6 to 0.9
    assert predictions[:, :5] == pytest.approx(np.tile([[0.25, 0.35, 0.75, 0.65, 0.0]], (3, 1)))
    assert predictions[:, 5].tolist() == pytest.approx([1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4)), 0.5], abs=1e-5)


def test_training_rotates_half_of_the_crops_and_learns_to_detect_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rotate, rotated = training.rotate, []
    monkeypatch.setattr(training, "rotate", lambda *args: (rotated.extend(args[2].tolist()), rotate(*args))[1])
    photos, network, device = bright_upper_half(64), BrightnessNetwork(0, 0), torch.device("cpu")
    labelled = np.tile(np.array([[0.25, 0.1, 0.75, 0.4, 0.0]], np.float32), (64, 1))
    training.train(network, photos, labelled, Boxes(size=32, steps=40, batch_size=32, lr=0.3), 0, device)
    assert len(rotated) == 40 * 32
    assert 0.45 < np.mean(rotated) < 0.55
    assert fitting.predict(network, photos, device)[:, 5].max() < 0.05
    assert fitting.predict(network, photos[:, ::-1].copy(), device)[:, 5].min() > 0.95


def test_without_turns_all_photos_are_upright() -> None:
    network = BoxNetwork(Backbone(BACKBONE), 32, turns=False)
    predictions = fitting.predict(network, np.zeros((3, 32, 32, 1), dtype=np.uint8), torch.device("cpu"))
    assert predictions.shape == (3, 6)
    assert predictions[:, 5].tolist() == [0, 0, 0]


def catalogue(
    train: int,
    held_out: int,
    queries: int,
    boxed: bool = False,
    squeezed: bool = False,
    upside_down: frozenset[int] = frozenset(),
) -> pd.DataFrame:
    """Write photos of bright ellipses on noise that is lighter towards the top; return all boxes.

    The first `train` photos are for training, the next `held_out` for validation. boxes.csv contains their boxes and,
    if `boxed`, those of the `queries`. Photos have 80 x 50 pixels or, if `squeezed`, 64 x 64. Photos whose numbers are
    in `upside_down` are rotated.
    """
    rng = np.random.default_rng(0)
    photos, boxes = [], []
    for number in range(train + held_out + queries):
        image, part = f"{number:04d}.png", "train" if number < train + held_out else "test"
        aspect = 1.25 if squeezed and number % 2 else 1.6
        width, height = round(50 * aspect), 50
        size = rng.uniform(0.25, 0.9, 2)
        low = rng.uniform(0, 1 - size)
        sides = np.concatenate([low, low + size])
        light = np.linspace(60, 0, height)[:, None] + rng.integers(0, 100, (height, width))
        photo = Image.fromarray(light.astype(np.uint8))
        ImageDraw.Draw(photo).ellipse((sides * ([width, height] * 2)).tolist(), fill=220)
        if number in upside_down:
            photo, sides = photo.rotate(180), 1 - sides[[2, 3, 0, 1]]
        if squeezed:
            photo = photo.resize((64, 64))
        path = Path("photos") / part / image
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
        photos.append((image, part, *photo.size, f"{number:016x}"))
        boxes.append((image, *sides, aspect))
    rows = pd.DataFrame(photos, columns=["Image", "part", "width", "height", "phash"])
    files.write_csv(rows.sort_values(["part", "Image"]), paths.CATALOG)
    table = pd.DataFrame(boxes, columns=COLUMNS)
    files.write_csv(table if boxed else table[: train + held_out], paths.BOXES)
    parts = [("train", "catalogue")] * train + [("validation", "known")] * held_out
    split = pd.DataFrame(parts, columns=["part", "role"])
    files.write_csv(split.assign(Image=rows["Image"][: train + held_out], Id="w"), paths.SPLIT)
    return table


FIGURES, SHEET, TURNED = (Path("reports/boxes") / name for name in ("figures.json", "sheet.png", "turned.png"))


def write_backbone() -> None:
    torch.manual_seed(0)
    network = Network(BACKBONE, embedding_dim=8, classes=0)
    paths.checkpoint("backbone").parent.mkdir()
    description = checkpoint.Description(classes=(), photos=None)
    paths.checkpoint("backbone").write_bytes(checkpoint.save(network, description))


def outputs() -> dict[Path, bytes]:
    output_files = [paths.FLUKES, paths.BOX_NETWORK, *sorted(paths.BOX_REPORT.iterdir())]
    return {path: path.read_bytes() for path in output_files}


def annotated_rows(turned: int = 0) -> list[str]:
    """Return the rows of flukes.csv for the boxes in boxes.csv."""
    return [f"{line},given,{turned}" for line in paths.BOXES.read_text().splitlines()[1:]]


def has_red_pixels(path: Path) -> bool:
    with Image.open(path) as sheet:
        return bool((np.asarray(sheet.convert("RGB")) == (255, 0, 0)).all(axis=2).any())


@pytest.mark.parametrize(
    ("photos", "boxed", "settings", "kept", "reason"),
    [
        ((6, 2, 3), True, {}, 11, "training needs boxes on 100 different photos"),
        ((110, 5, 10), False, {"crop": False}, 110, "pack.crop and pack.turn are off"),
        (
            (99, 5, 10),
            False,
            {},
            99,
            "training needs boxes on 100 different photos; 15 photos are not cropped",
        ),
        ((50, 6, 0), False, {}, 50, "training needs boxes on 100 different photos; 6 photos are not cropped"),
        (
            (50, 60, 2),
            True,
            {"turn": True},
            112,
            "training needs boxes on 100 different photos; no photo is rotated",
        ),
        (
            (0, 0, 8),
            False,
            {"turn": True},
            0,
            "training needs boxes on 100 different photos; 8 photos are not cropped; no photo is rotated",
        ),
    ],
)
def test_without_training_the_stage_keeps_the_given_boxes(
    project: Callable[..., Params],
    capsys: pytest.CaptureFixture[str],
    photos: tuple[int, int, int],
    boxed: bool,
    settings: dict[str, bool],
    kept: int,
    reason: str,
) -> None:
    params = project(data={"root": "photos"}, pack=settings)
    catalogue(*photos, boxed)
    record = stage.run(params)
    labelled = len(annotated_rows())
    assert capsys.readouterr().out == f"boxes: {labelled} given, none predicted: {reason}\n"
    # if queries have no box, the boxes of validation photos are not used
    assert paths.FLUKES.read_text().splitlines() == [HEADER, *annotated_rows()[:kept]]
    assert json.loads(FIGURES.read_text()) == record.metrics == {"given": labelled, "found": 0, "turned": 0}
    with Image.open(SHEET) as sheet:
        green = (np.asarray(sheet) == (0, 255, 0)).all(axis=2).any()
    assert green == (labelled > 0)
    assert paths.BOX_NETWORK.read_bytes() == b""
    with Image.open(TURNED) as sheet:
        assert sheet.height == 6  # the sheet has no rows


def test_copies_do_not_count_as_different_photos(
    project: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    params = project(data={"root": "photos"})
    catalogue(110, 0, 10)
    table = files.read_csv(paths.CATALOG)
    files.write_csv(table.assign(phash=[f"{number % 99:016x}" for number in range(120)]), paths.CATALOG)
    stage.run(params)
    assert "110 given, none predicted: training needs boxes on 100 different photos" in capsys.readouterr().out


def test_without_training_torch_is_not_imported(project: Callable[..., Params]) -> None:
    project(data={"root": "photos"})
    catalogue(6, 2, 2, boxed=True)
    code = (
        "import sys; from whaleid import config; from whaleid.core import paths; from whaleid.stages import boxes; "
        "boxes.run(config.load(paths.PARAMS)); print('torch' in sys.modules)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert completed.stdout == "boxes: 10 given, none predicted: training needs boxes on 100 different photos\nFalse\n"


@pytest.mark.parametrize("squeezed", [False, True])
def test_boxes_of_validation_photos_are_predicted_if_boxes_of_queries_are(
    project: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    squeezed: bool,
) -> None:
    params = project(data={"root": "photos"}, boxes=QUICK)
    catalogue(105, 8, 15, squeezed=squeezed)
    write_backbone()
    # two copies of a training photo, and two photos that are not in the split
    split = files.read_csv(paths.SPLIT)
    split.loc[[105, 106], "role"] = "duplicate"
    files.write_csv(split.drop(index=[103, 104]), paths.SPLIT)
    calls = []
    train = training.train
    monkeypatch.setattr(training, "train", lambda network, *args: (calls.append(args), train(network, *args))[1])
    record = stage.run(params)
    assert [photos.shape for photos, *_ in calls] == [(103, 64, 64, 1)]
    assert [settings for _, _, settings, *_ in calls] == [Boxes(**QUICK)]
    assert record.params == {"seed": 0, "crop": True, "turn": False, **QUICK}
    lines = paths.FLUKES.read_text().splitlines()
    assert lines[:106] == [HEADER, *annotated_rows()[:105]]
    flukes = files.read_csv(paths.FLUKES)
    assert flukes["Image"].tolist() == [f"{number:04d}.png" for number in range(128)]
    assert flukes["source"].tolist() == ["given"] * 105 + ["found"] * 23
    assert flukes["turned"].tolist() == [0] * 128
    assert not set(lines[106:114]) & set(annotated_rows())
    # the aspect of a photo file is exact; the original aspect of a squeezed photo is predicted
    assert (flukes["aspect"][105:] == 1.6).all() == (not squeezed)
    metrics = json.loads(FIGURES.read_text())
    assert (metrics["given"], metrics["found"], metrics["held_out"], metrics["turned"]) == (113, 23, 6, 0)
    labelled = files.read_csv(paths.BOXES)
    sides = [table.loc[107:112, COLUMNS[1:5]].to_numpy() for table in (flukes, labelled)]
    assert metrics["iou"] == pytest.approx(box_iou(sides[0], sides[1]).mean(), abs=1e-4)
    assert has_red_pixels(SHEET)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "boxes: 113 given; training on 103, predicting 23"
    assert printed[1].startswith("boxes: 23 predicted; on 6 validation photos, mean intersection over union is 0.")
    first = outputs()
    stage.run(params)
    assert outputs() == first


def test_without_queries_boxes_of_validation_photos_are_predicted(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = project(data={"root": "photos"}, boxes=QUICK)
    catalogue(105, 8, 0)
    write_backbone()
    stage.run(params)
    assert files.read_csv(paths.FLUKES)["source"].tolist() == ["given"] * 105 + ["found"] * 8
    assert json.loads(FIGURES.read_text())["held_out"] == 8


def test_boxes_of_validation_photos_are_kept_if_all_queries_have_boxes(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = project(data={"root": "photos"}, boxes=QUICK)
    catalogue(105, 8, 5, boxed=True)
    write_backbone()
    labelled = files.read_csv(paths.BOXES)
    files.write_csv(labelled.drop(index=[0, 106]), paths.BOXES)  # a training photo and a validation photo
    stage.run(params)
    flukes = files.read_csv(paths.FLUKES)
    assert flukes.index[flukes["source"] == "found"].tolist() == [0, 106]
    rows = paths.FLUKES.read_text().splitlines()[1:]
    assert [row for row in rows if ",given," in row] == annotated_rows()
    assert json.loads(FIGURES.read_text())["held_out"] == 7
    # the saved network predicts the same boxes again
    data = paths.BOX_NETWORK.read_bytes()
    network = box_network.load(data, "boxes")
    assert network.size == 64
    assert not network.squeezed
    assert not network.turns
    path = Path("photos/train/0000.png")
    square = np.stack([*pack([path], [Region(FULL_BOX)], Shape(64, 64, stretch=True))])
    again = fitting.predict(network, square, torch.device("cpu"))
    np.testing.assert_allclose(again[0, :4], flukes.loc[0, COLUMNS[1:5]].to_numpy(dtype=float), atol=1e-4)


@pytest.mark.parametrize(("size", "valid"), [(31, False), (32, True), (512, True), (513, False)])
def test_parameters_allow_the_same_sizes_as_a_checkpoint(
    project: Callable[..., Params], size: int, valid: bool
) -> None:
    if valid:
        assert project(boxes={"size": size}).boxes.size == size
        return
    with pytest.raises(InputProblems, match=r"boxes\.size: must be"):
        project(boxes={"size": size})


@pytest.mark.parametrize("crop", [True, False])
def test_photos_are_rotated_if_they_are_probably_upside_down(
    project: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    crop: bool,
) -> None:
    params = project(data={"root": "photos"}, boxes=QUICK, pack={"turn": True, "crop": crop})
    catalogue(105, 3, 2, boxed=True)
    write_backbone()
    # rows are in the order of the catalogue, queries first: 0108, 0109, 0000, 0001, …
    probabilities = np.zeros(110, dtype=np.float32)
    probabilities[[1, 2, 7, 109]] = 0.96, 0.951, 0.949, 0.999
    predict = fitting.predict
    monkeypatch.setattr(fitting, "predict", lambda *args: np.column_stack([predict(*args)[:, :5], probabilities]))
    record = stage.run(params)
    turned = ("0000.png", "0107.png", "0109.png")
    assert paths.FLUKES.read_text().splitlines() == [
        HEADER,
        *[f"{row[:-1]}{int(row.startswith(turned))}" for row in annotated_rows()],
    ]
    assert (record.metrics["turned"], record.metrics["found"]) == (3, 0)
    assert record.artifacts == [Path("reports/boxes")]
    assert sorted(path.name for path in paths.BOX_REPORT.iterdir()) == ["figures.json", "sheet.png", "turned.png"]
    with Image.open(TURNED) as sheet:
        page = sheet.convert("L")
    # one row; the first photo has the highest probability and is not rotated
    assert page.size == (6 * 226 + 6, 154)
    with Image.open("photos/train/0107.png") as photo:
        pixels = np.asarray(photo.resize((198, 124)), dtype=int)
    left = 6 + (220 - 198) // 2
    assert np.abs(np.asarray(page, dtype=int)[6:130, left : left + 198] - pixels).max() <= 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "boxes: 110 given; training on 105, predicting 0"
    assert printed[-1] == "boxes: 3 of 110 photos are upside down and will be rotated"


@pytest.mark.slow
def test_training_on_flukes(trained: Path) -> None:
    figures = json.loads((trained / paths.BOX_REPORT / "figures.json").read_text())
    assert figures["held_out"] == 35
    assert figures["iou"] > 0.5


@pytest.mark.long
@pytest.mark.parametrize("turn", [False, True])
def test_training_on_ellipses_and_orientation(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, turn: bool
) -> None:
    monkeypatch.setattr(box_network, "UPSIDE_DOWN_THRESHOLD", 0.8)  # a higher probability takes more training steps
    params = project(
        data={"root": "photos"}, boxes={"size": 48, "steps": 300, "batch_size": 32, "lr": 0.001}, pack={"turn": turn}
    )
    upside_down = frozenset(range(0, 400, 20))
    truth = catalogue(306, 34, 60, squeezed=True, upside_down=upside_down).set_index("Image")
    write_backbone()
    record = stage.run(params)
    assert record.metrics["held_out"] == 34
    # starting from random weights, training on both orientations takes longer
    min_iou = 0.5 if turn else 0.6
    assert record.metrics["iou"] > min_iou
    flukes = files.read_csv(paths.FLUKES).set_index("Image")
    predicted = flukes[flukes["source"] == "found"]
    assert len(predicted) == 94
    assert (
        box_iou(predicted[COLUMNS[1:5]].to_numpy(), truth.loc[predicted.index, COLUMNS[1:5]].to_numpy()).mean()
        > min_iou
    )
    turned = {number for number, value in enumerate(flukes["turned"]) if value}
    assert turned == (upside_down if turn else set())
