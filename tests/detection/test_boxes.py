"""Finding flukes and which way is up: views of photos and their boxes, and the stage, with and without learning."""

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
from whaleid.images.crop import WHOLE, box_iou
from whaleid.images.pack import Region, Shape, pack
from whaleid.model import checkpoint
from whaleid.model.backbone import Backbone
from whaleid.model.network import Network
from whaleid.stages import boxes as stage

COLUMNS = ["Image", "x0", "y0", "x1", "y1", "aspect"]
HEADER = "Image,x0,y0,x1,y1,aspect,source,turned"
SMALL = "shufflenet_v2_x0_5"
BRIEF = {"size": 64, "steps": 3, "batch_size": 32, "lr": 0.001}


def test_a_view_moves_the_box_with_the_photo() -> None:
    photo = torch.zeros(1, 1, 8, 8)
    photo[..., 2:4, 4:6] = 1  # what the box holds
    box = torch.tensor([[0.5, 0.25, 0.75, 0.5, 0.0]])
    low, high = torch.tensor([[0.25, 0.0]]), torch.tensor([[1.25, 0.5]])
    for mirrored, sides, columns in ((False, [0.25, 0.5], [2, 3]), (True, [0.5, 0.75], [4, 5])):
        views, result = training.crop(photo, box, low, high, torch.tensor([mirrored]))
        assert views.shape == photo.shape
        # as wide as before, twice as high: in a photo of aspect 1, such a window has aspect 2
        assert result[0].tolist() == pytest.approx([sides[0], 0.5, sides[1], 1.0, np.log(2)])
        rows, lit = np.nonzero(views[0, 0].numpy() > 0.5)
        assert sorted(set(lit.tolist())) == columns
        assert sorted(set(rows.tolist())) == [4, 5, 6, 7]


def test_a_random_view_holds_the_whole_box() -> None:
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


def test_turning_swaps_both_ends_of_both_sides_and_mirrors_nothing() -> None:
    photo = torch.arange(6.0).reshape(1, 1, 2, 3)
    views, result = training.rotate(
        photo.repeat(2, 1, 1, 1), torch.tensor([[0.1, 0.2, 0.4, 0.9, 7.0]] * 2), torch.tensor([True, False])
    )
    assert views[:, 0].tolist() == [[[5, 4, 3], [2, 1, 0]], [[0, 1, 2], [3, 4, 5]]]
    assert result[0].tolist() == pytest.approx([0.6, 0.1, 0.9, 0.8, 7.0])
    assert result[1].tolist() == pytest.approx([0.1, 0.2, 0.4, 0.9, 7.0])


def test_overlaps() -> None:
    result = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.2, 0.2, 0.4, 0.6], [0, 0, 0.2, 0.2]])
    labelled = np.array([[0, 0, 0.5, 1], [0.5, 0.5, 1, 1], [0.3, 0.4, 0.5, 0.8], [0.5, 0.5, 1, 1]])
    # a half; a corner in common; 0.02 of 0.08 + 0.08 - 0.02; apart both ways
    assert box_iou(result, labelled).tolist() == pytest.approx([0.5, 0, 1 / 7, 0])


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("bias", [-60.0, 0.0, 60.0])
def test_every_box_is_inside_the_photo_and_has_a_size(bias: float, turns: bool) -> None:
    torch.manual_seed(0)
    network = BoxNetwork(Backbone(SMALL), 32, turns).eval()
    torch.nn.init.constant_(network.head.bias, bias)
    with torch.no_grad():
        result = network(torch.randn(2, 1, 32, 32))
    assert result.shape == (2, 6 if turns else 5)
    assert result[:, :4].min() >= 0
    assert result[:, :4].max() <= 1
    assert (result[:, 2:4] - result[:, :2]).min() >= MIN_SIDE - 1e-6


class Lighter(torch.nn.Module):
    """Stands for a network that turns: how much lighter a photo is above than below says which way is up."""

    turns = True

    def __init__(self, slope: float, bias: float) -> None:
        super().__init__()
        self.last = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.last.weight, slope)
        torch.nn.init.constant_(self.last.bias, bias)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        above, below = photos.mean(dim=(1, 3)).chunk(2, dim=1)
        box = torch.tensor([[0.25, 0.1, 0.75, 0.4, 0.0]]).expand(len(photos), -1)
        return torch.cat([box, self.last((above - below).mean(dim=1, keepdim=True))], dim=1)


def lighter_above(count: int) -> npt.NDArray[np.uint8]:
    photos = np.full((count, 8, 8, 1), 50, dtype=np.uint8)
    photos[:, :4] = 250
    return photos


def test_a_photo_and_its_turned_view_say_together_which_way_is_up() -> None:
    # standardised, the halves are 1 and -1: the logits are 5 - 2 * 2 and, turned, 5 + 2 * 2
    photos = np.concatenate([lighter_above(1), lighter_above(1)[:, ::-1], np.full((1, 8, 8, 1), 9, dtype=np.uint8)])
    predictions = fitting.predict(Lighter(-2, 5), photos, torch.device("cpu"))
    # the mean of 0.1 to 0.4 from above and from below
    assert predictions[:, :5] == pytest.approx(np.tile([[0.25, 0.35, 0.75, 0.65, 0.0]], (3, 1)))
    assert predictions[:, 5].tolist() == pytest.approx([1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4)), 0.5], abs=1e-5)


def test_half_of_the_views_are_turned_and_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    turn, turned = training.rotate, []
    monkeypatch.setattr(training, "rotate", lambda *each: (turned.extend(each[2].tolist()), turn(*each))[1])
    photos, network, device = lighter_above(64), Lighter(0, 0), torch.device("cpu")
    labelled = np.tile(np.array([[0.25, 0.1, 0.75, 0.4, 0.0]], np.float32), (64, 1))
    training.train(network, photos, labelled, Boxes(size=32, steps=40, batch_size=32, lr=0.3), 0, device)
    assert len(turned) == 40 * 32
    assert 0.45 < np.mean(turned) < 0.55
    assert fitting.predict(network, photos, device)[:, 5].max() < 0.05
    assert fitting.predict(network, photos[:, ::-1].copy(), device)[:, 5].min() > 0.95


def test_a_network_that_does_not_turn_takes_all_for_upright() -> None:
    network = BoxNetwork(Backbone(SMALL), 32, turns=False)
    predictions = fitting.predict(network, np.zeros((3, 32, 32, 1), dtype=np.uint8), torch.device("cpu"))
    assert predictions.shape == (3, 6)
    assert predictions[:, 5].tolist() == [0, 0, 0]


def catalogue(
    train: int, held: int, queries: int, boxed: bool = False, squeezed: bool = False, down: frozenset[int] = frozenset()
) -> pd.DataFrame:
    """Write photos of bright ellipses on noise that is lighter towards the top; return all their boxes.

    The first `train` are in training, the next `held` in validation; their boxes are given, and, if `boxed`, those of
    the `queries`. Photos are 80 x 50 pixels or, if `squeezed`, 64 x 64; those whose number is in `down` are turned.
    """
    rng = np.random.default_rng(0)
    photos, known = [], []
    for number in range(train + held + queries):
        image, part = f"{number:04d}.png", "train" if number < train + held else "test"
        aspect = 1.25 if squeezed and number % 2 else 1.6
        width, height = round(50 * aspect), 50
        size = rng.uniform(0.25, 0.9, 2)
        low = rng.uniform(0, 1 - size)
        sides = np.concatenate([low, low + size])
        light = np.linspace(60, 0, height)[:, None] + rng.integers(0, 100, (height, width))
        photo = Image.fromarray(light.astype(np.uint8))
        ImageDraw.Draw(photo).ellipse((sides * ([width, height] * 2)).tolist(), fill=220)
        if number in down:
            photo, sides = photo.rotate(180), 1 - sides[[2, 3, 0, 1]]
        if squeezed:
            photo = photo.resize((64, 64))
        path = Path("photos") / part / image
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
        photos.append((image, part, *photo.size, f"{number:016x}"))
        known.append((image, *sides, aspect))
    rows = pd.DataFrame(photos, columns=["Image", "part", "width", "height", "phash"])
    files.write_csv(rows.sort_values(["part", "Image"]), paths.CATALOG)
    table = pd.DataFrame(known, columns=COLUMNS)
    files.write_csv(table if boxed else table[: train + held], paths.BOXES)
    parts = [("train", "catalogue")] * train + [("validation", "known")] * held
    split = pd.DataFrame(parts, columns=["part", "role"])
    files.write_csv(split.assign(Image=rows["Image"][: train + held], Id="w"), paths.SPLIT)
    return table


FIGURES, SHEET, TURNED = (Path("reports/boxes") / name for name in ("figures.json", "sheet.png", "turned.png"))


def write_backbone() -> None:
    torch.manual_seed(0)
    network = Network(SMALL, embedding_dim=8, classes=0)
    paths.checkpoint("backbone").parent.mkdir()
    description = checkpoint.Description(classes=(), photos=None)
    paths.checkpoint("backbone").write_bytes(checkpoint.save(network, description))


def outputs() -> dict[Path, bytes]:
    written = [paths.FLUKES, paths.BOX_NETWORK, *sorted(paths.BOX_REPORT.iterdir())]
    return {path: path.read_bytes() for path in written}


def given_rows(turned: int = 0) -> list[str]:
    return [f"{line},given,{turned}" for line in paths.BOXES.read_text().splitlines()[1:]]


def reddest(path: Path) -> bool:
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
def test_the_stage_keeps_what_is_given_where_nothing_is_learnt(
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
    labelled = len(given_rows())
    assert capsys.readouterr().out == f"boxes: {labelled} given, none predicted: {reason}\n"
    # where queries lack a box, validation photos are to lack one as well
    assert paths.FLUKES.read_text().splitlines() == [HEADER, *given_rows()[:kept]]
    assert json.loads(FIGURES.read_text()) == record.metrics == {"given": labelled, "found": 0, "turned": 0}
    with Image.open(SHEET) as sheet:
        green = (np.asarray(sheet) == (0, 255, 0)).all(axis=2).any()
    assert green == (labelled > 0)
    assert paths.BOX_NETWORK.read_bytes() == b""
    with Image.open(TURNED) as sheet:
        assert sheet.height == 6  # no row


def test_copies_of_a_photo_teach_too_little(project: Callable[..., Params], capsys: pytest.CaptureFixture[str]) -> None:
    params = project(data={"root": "photos"})
    catalogue(110, 0, 10)
    table = files.read_csv(paths.CATALOG)
    files.write_csv(table.assign(phash=[f"{number % 99:016x}" for number in range(120)]), paths.CATALOG)
    stage.run(params)
    assert "110 given, none predicted: training needs boxes on 100 different photos" in capsys.readouterr().out


def test_where_nothing_is_learnt_torch_stays_out(project: Callable[..., Params]) -> None:
    project(data={"root": "photos"})
    catalogue(6, 2, 2, boxed=True)
    code = (
        "import sys; from whaleid import config; from whaleid.core import paths; from whaleid.stages import boxes; "
        "boxes.run(config.load(paths.PARAMS)); print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert ran.stdout == "boxes: 10 given, none predicted: training needs boxes on 100 different photos\nFalse\n"


@pytest.mark.parametrize("squeezed", [False, True])
def test_validation_gets_its_boxes_as_the_queries_do(
    project: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    squeezed: bool,
) -> None:
    params = project(data={"root": "photos"}, boxes=BRIEF)
    catalogue(105, 8, 15, squeezed=squeezed)
    write_backbone()
    # two copies of a photo that is learnt from, and two photos that the split left out
    split = files.read_csv(paths.SPLIT)
    split.loc[[105, 106], "role"] = "duplicate"
    files.write_csv(split.drop(index=[103, 104]), paths.SPLIT)
    learnt = []
    train = training.train
    monkeypatch.setattr(training, "train", lambda network, *rest: (learnt.append(rest), train(network, *rest))[1])
    record = stage.run(params)
    assert [photos.shape for photos, *_ in learnt] == [(103, 64, 64, 1)]
    assert [settings for _, _, settings, *_ in learnt] == [Boxes(**BRIEF)]
    assert record.params == {"seed": 0, "crop": True, "turn": False, **BRIEF}
    lines = paths.FLUKES.read_text().splitlines()
    assert lines[:106] == [HEADER, *given_rows()[:105]]
    flukes = files.read_csv(paths.FLUKES)
    assert flukes["Image"].tolist() == [f"{number:04d}.png" for number in range(128)]
    assert flukes["source"].tolist() == ["given"] * 105 + ["found"] * 23
    assert flukes["turned"].tolist() == [0] * 128
    assert not set(lines[106:114]) & set(given_rows())
    # a photo in its own shape has its own aspect; that of a squeezed one is only guessed
    assert (flukes["aspect"][105:] == 1.6).all() == (not squeezed)
    metrics = json.loads(FIGURES.read_text())
    assert (metrics["given"], metrics["found"], metrics["held_out"], metrics["turned"]) == (113, 23, 6, 0)
    labelled = files.read_csv(paths.BOXES)
    sides = [table.loc[107:112, COLUMNS[1:5]].to_numpy() for table in (flukes, labelled)]
    assert metrics["iou"] == pytest.approx(box_iou(sides[0], sides[1]).mean(), abs=1e-4)
    assert reddest(SHEET)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "boxes: 113 given; training on 103, predicting 23"
    assert printed[1].startswith("boxes: 23 predicted; on 6 validation photos, mean intersection over union is 0.")
    first = outputs()
    stage.run(params)
    assert outputs() == first


def test_without_queries_validation_has_no_boxes_as_photos_to_come_have_none(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = project(data={"root": "photos"}, boxes=BRIEF)
    catalogue(105, 8, 0)
    write_backbone()
    stage.run(params)
    assert files.read_csv(paths.FLUKES)["source"].tolist() == ["given"] * 105 + ["found"] * 8
    assert json.loads(FIGURES.read_text())["held_out"] == 8


def test_where_all_queries_have_a_box_validation_keeps_its_own(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = project(data={"root": "photos"}, boxes=BRIEF)
    catalogue(105, 8, 5, boxed=True)
    write_backbone()
    labelled = files.read_csv(paths.BOXES)
    files.write_csv(labelled.drop(index=[0, 106]), paths.BOXES)  # one photo in training, one in validation
    stage.run(params)
    flukes = files.read_csv(paths.FLUKES)
    assert flukes.index[flukes["source"] == "found"].tolist() == [0, 106]
    rows = paths.FLUKES.read_text().splitlines()[1:]
    assert [row for row in rows if ",given," in row] == given_rows()
    assert json.loads(FIGURES.read_text())["held_out"] == 7
    # the network that found them is kept, and finds the same again
    data = paths.BOX_NETWORK.read_bytes()
    network = box_network.load(data, "boxes")
    assert network.size == 64
    assert not network.squeezed
    assert not network.turns
    path = Path("photos/train/0000.png")
    square = np.stack([*pack([path], [Region(WHOLE)], Shape(64, 64, stretch=True))])
    again = fitting.predict(network, square, torch.device("cpu"))
    np.testing.assert_allclose(again[0, :4], flukes.loc[0, COLUMNS[1:5]].to_numpy(dtype=float), atol=1e-4)


@pytest.mark.parametrize(("size", "right"), [(31, False), (32, True), (512, True), (513, False)])
def test_the_parameters_take_the_sizes_that_a_checkpoint_takes(
    project: Callable[..., Params], size: int, right: bool
) -> None:
    if right:
        assert project(boxes={"size": size}).boxes.size == size
        return
    with pytest.raises(InputProblems, match=r"boxes\.size: input should be"):
        project(boxes={"size": size})


@pytest.mark.parametrize("crop", [True, False])
def test_photos_that_are_surely_upside_down_are_to_be_turned(
    project: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    crop: bool,
) -> None:
    params = project(data={"root": "photos"}, boxes=BRIEF, pack={"turn": True, "crop": crop})
    catalogue(105, 3, 2, boxed=True)
    write_backbone()
    # in the order of the catalogue, the queries first: 0108, 0109, 0000, 0001, …
    likely = np.zeros(110, dtype=np.float32)
    likely[[1, 2, 7, 109]] = 0.96, 0.951, 0.949, 0.999
    predict = fitting.predict
    monkeypatch.setattr(fitting, "predict", lambda *each: np.column_stack([predict(*each)[:, :5], likely]))
    record = stage.run(params)
    turned = ("0000.png", "0107.png", "0109.png")
    assert paths.FLUKES.read_text().splitlines() == [
        HEADER,
        *[f"{row[:-1]}{int(row.startswith(turned))}" for row in given_rows()],
    ]
    assert (record.metrics["turned"], record.metrics["found"]) == (3, 0)
    assert record.artifacts == [Path("reports/boxes")]
    assert sorted(path.name for path in paths.BOX_REPORT.iterdir()) == ["figures.json", "sheet.png", "turned.png"]
    with Image.open(TURNED) as sheet:
        page = sheet.convert("L")
    # one row; the first is the likeliest, and as it comes
    assert page.size == (6 * 226 + 6, 154)
    with Image.open("photos/train/0107.png") as photo:
        pixels = np.asarray(photo.resize((198, 124)), dtype=int)
    left = 6 + (220 - 198) // 2
    assert np.abs(np.asarray(page, dtype=int)[6:130, left : left + 198] - pixels).max() <= 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "boxes: 110 given; training on 105, predicting 0"
    assert printed[-1] == "boxes: 3 of 110 photos are upside down and will be rotated"


@pytest.mark.slow
def test_learning_finds_flukes(trained: Path) -> None:
    figures = json.loads((trained / paths.BOX_REPORT / "figures.json").read_text())
    assert figures["held_out"] == 35
    assert figures["iou"] > 0.5


@pytest.mark.long
@pytest.mark.parametrize("turn", [False, True])
def test_learning_finds_ellipses_and_which_way_is_up(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, turn: bool
) -> None:
    monkeypatch.setattr(box_network, "UPSIDE_DOWN_THRESHOLD", 0.8)  # to be surer takes more steps
    params = project(
        data={"root": "photos"}, boxes={"size": 48, "steps": 300, "batch_size": 32, "lr": 0.001}, pack={"turn": turn}
    )
    down = frozenset(range(0, 400, 20))
    truth = catalogue(306, 34, 60, squeezed=True, down=down).set_index("Image")
    write_backbone()
    record = stage.run(params)
    assert record.metrics["held_out"] == 34
    # from random weights, both ways up take longer to learn
    least = 0.5 if turn else 0.6
    assert record.metrics["iou"] > least
    flukes = files.read_csv(paths.FLUKES).set_index("Image")
    result = flukes[flukes["source"] == "found"]
    assert len(result) == 94
    assert box_iou(result[COLUMNS[1:5]].to_numpy(), truth.loc[result.index, COLUMNS[1:5]].to_numpy()).mean() > least
    turned = {number for number, printed in enumerate(flukes["turned"]) if printed}
    assert turned == (down if turn else set())
