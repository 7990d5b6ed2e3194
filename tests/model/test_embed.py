"""Photos into embeddings: each photo by itself, in as many views as the network has learnt."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.stripes import stripes, write_stripes

from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.images.augment import posed
from whaleid.model import checkpoint
from whaleid.model.embedding import embed
from whaleid.model.network import Network, standardise
from whaleid.stages import embed as stage

CPU = torch.device("cpu")


def test_embeddings_do_not_depend_on_batches() -> None:
    packed, _ = stripes(3, 30)
    torch.manual_seed(0)
    network = Network("resnet18", 16, 3)
    rows = np.arange(89, -1, -1)
    found = embed(network, packed, rows, CPU, mirrored=False)
    assert found.dtype == np.float32
    assert found.shape == (1, 90, 16)
    assert np.linalg.norm(found, axis=2) == pytest.approx(1)
    assert not network.training
    with torch.no_grad():
        alone = network(standardise(torch.from_numpy(packed[7:8])))
    assert found[0, 89 - 7] == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert embed(network, packed, rows[:0], CPU, mirrored=False).shape == (1, 0, 16)


def test_the_second_view_is_the_mirror_image() -> None:
    packed, of = stripes(3, 30)
    torch.manual_seed(0)
    network = Network("resnet18", 16, 3)
    found = embed(network, packed, of.rows, CPU, mirrored=True)
    assert found.shape == (2, 90, 16)
    assert np.array_equal(found[0], embed(network, packed, of.rows, CPU, mirrored=False)[0])
    turned = np.ascontiguousarray(packed[:, :, ::-1])
    assert found[1] == pytest.approx(embed(network, turned, of.rows, CPU, mirrored=False)[0], abs=1e-5)
    assert np.abs(found[1] - found[0]).max() > 0.01


def test_a_tilt_is_the_mean_of_both_sides() -> None:
    packed, of = stripes(3, 2)
    torch.manual_seed(0)
    network = Network("resnet18", 16, 3)
    found = embed(network, packed, of.rows, CPU, mirrored=True, zoom=0.9, tilt=6.0)
    photos = standardise(torch.from_numpy(packed))
    with torch.no_grad():
        left, right, mirrored = (
            network(posed(seen, radians, 0.9)).numpy()
            for seen, radians in ((photos, 0.10472), (photos, -0.10472), (photos.flip(3), 0.10472))
        )
    mean = left + right
    assert found[0] == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-4)
    assert np.linalg.norm(found, axis=2) == pytest.approx(1)
    assert np.abs(found[0] - embed(network, packed, of.rows, CPU, mirrored=False)[0]).max() > 0.01
    # the other side of the mirror image is the mirror image of the other side
    assert (found[1] * mirrored).sum(axis=1).min() > 0.9


@pytest.mark.parametrize("centres", [1, 3])
@pytest.mark.parametrize(
    ("flip", "views", "columns", "zoom", "tilt"),
    [("identity", 2, 6, 1.0, 0.0), ("augment", 2, 3, 1.0, 4.0), ("off", 1, 3, 0.9, 0.0)],
)
def test_the_stage_writes_views_and_centres(
    flip: str,
    views: int,
    columns: int,
    zoom: float,
    tilt: float,
    centres: int,
    project: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    params = project(variants={"toy": {"embed": {"zoom": zoom, "tilt": tilt}}})
    write_stripes(whales=3, photos=4)
    packed, of = stripes(whales=3, photos=4)
    torch.manual_seed(0)
    network = Network("squeezenet1_1", 16, columns, centres)
    description = checkpoint.Description(("w0", "w1", "w2"), (24, 48, 1), flip)
    contents = checkpoint.save(network, description)
    with files.replacing(paths.checkpoint("toy")) as temporary:
        temporary.write_bytes(contents)
    record = stage.run(params, "toy")
    assert record.metrics == {"photos": 12, "views": views, "dimensions": 16}
    assert capsys.readouterr().out.startswith(f"embed toy: 12 photos in {views} views, 16 numbers each, on cpu (")

    with np.load(paths.features("toy")) as found:
        assert found["images"].tolist() == [f"{row:03}.jpg" for row in range(12)]
        assert found["classes"].tolist() == ["w0", "w1", "w2"]
        assert found["embeddings"].shape == (views, 12, 16)
        expected = embed(network, packed, of.rows, CPU, mirrored=views == 2, zoom=zoom, tilt=tilt)
        assert np.array_equal(found["embeddings"], expected)
        assert found["centres"].shape == (views, 3, centres, 16)
        for view in range(views):
            # mirrored photos meet the mirrored whales where these are others, else the same
            first = 3 if view == 1 and flip == "identity" else 0
            for whale in range(3):
                for centre in range(centres):
                    weight = network.classifier.weight[:, (first + whale) * centres + centre].detach().numpy()
                    direction = found["centres"][view, whale, centre]
                    assert direction == pytest.approx(weight / np.linalg.norm(weight), abs=1e-6)


def test_the_stage_refuses_photos_that_are_packed_otherwise(project: Callable[..., Params]) -> None:
    params = project()
    write_stripes(whales=3, photos=4)
    network = Network("squeezenet1_1", 16, 2)
    description = checkpoint.Description(("w0", "w1"), (24, 64, 1))
    with files.replacing(paths.checkpoint("toy")) as temporary:
        temporary.write_bytes(checkpoint.save(network, description))
    with pytest.raises(WhaleidError, match=r"^checkpoints/toy\.safetensors was trained on photos of \(24, 64, 1\)"):
        stage.run(params, "toy")
