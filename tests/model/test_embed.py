"""Photos into embeddings: each photo by itself, as it is and, where the network was trained on them, mirrored."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.stripes import stripes, write_stripes

from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.images.augment import rotate_and_zoom
from whaleid.model import checkpoint
from whaleid.model.embedding import embed, prepare
from whaleid.model.network import Network, standardise
from whaleid.stages import embed as stage


def network() -> Network:
    torch.manual_seed(0)
    return Network("resnet18", 16, 3)


def test_an_embedding_depends_on_its_photo_alone_and_the_second_flip_is_the_mirror_image() -> None:
    photos, trained = stripes(3, 30), network()
    rows = np.arange(89, -1, -1)  # of several batches
    flips = embed(trained, photos.packed, rows, mirrored=True)
    assert flips.dtype == np.float32
    assert flips.shape == (2, 90, 16)
    assert np.linalg.norm(flips, axis=2) == pytest.approx(1)
    assert not trained.training
    with torch.no_grad():
        alone = trained(standardise(torch.from_numpy(photos.packed[7:8])))
    assert flips[0, 89 - 7] == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert np.array_equal(flips[:1], embed(trained, photos.packed, rows, mirrored=False))
    flipped = np.ascontiguousarray(photos.packed[:, :, ::-1])
    assert flips[1] == pytest.approx(embed(trained, flipped, rows, mirrored=False)[0], abs=1e-5)
    assert np.abs(flips[1] - flips[0]).max() > 0.01
    assert embed(trained, photos.packed, rows[:0], mirrored=False).shape == (1, 0, 16)


@pytest.mark.parametrize("photos", [1, 5, 16, 21, 83])
def test_embeddings_are_the_same_with_any_number_of_threads(photos: int) -> None:
    torch.manual_seed(0)
    rows, trained, embeddings = np.arange(photos), Network("squeezenet1_1", 16, 3), []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        embeddings.append(embed(trained, stripes(3, 30).packed, rows, mirrored=True))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert np.array_equal(embeddings[0], embeddings[1])
    assert np.array_equal(embeddings[0], embeddings[2])


def test_a_tilt_is_the_mean_of_both_sides() -> None:
    packed, rows = stripes(3, 2).packed, np.arange(6)
    trained = network()
    tilted = embed(trained, packed, rows, mirrored=True, zoom=0.9, tilt=6.0)
    photos = standardise(torch.from_numpy(packed))
    with torch.no_grad():
        left, right, mirrored = (
            trained(rotate_and_zoom(flipped, radians, 0.9)).numpy()
            for flipped, radians in ((photos, 0.10472), (photos, -0.10472), (photos.flip(3), 0.10472))
        )
    mean = left + right
    assert tilted[0] == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-4)
    assert np.linalg.norm(tilted, axis=2) == pytest.approx(1)
    assert np.abs(tilted[0] - embed(trained, packed, rows, mirrored=False)[0]).max() > 0.01
    # the other side of the mirror image is the mirror image of the other side
    assert (tilted[1] * mirrored).sum(axis=1).min() > 0.9


@pytest.mark.parametrize(
    ("flip", "flips", "columns", "zoom", "tilt", "centres"),
    [("identity", 2, 6, 1.0, 0.0, 3), ("augment", 2, 3, 1.0, 4.0, 1), ("off", 1, 3, 0.9, 0.0, 1)],
)
def test_the_stage_writes_flips_and_centres(
    flip: str,
    flips: int,
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
    torch.manual_seed(0)
    trained = Network("squeezenet1_1", 16, columns, centres)
    description = checkpoint.Description(("w0", "w1", "w2"), (24, 48, 1), flip)
    with files.replacing(paths.checkpoint("toy")) as temporary:
        temporary.write_bytes(checkpoint.save(trained, description))
    record = stage.run(params, "toy")
    assert record.metrics == {"photos": 12, "views": flips, "dimensions": 16}
    assert capsys.readouterr().out.startswith(f"embed toy: 12 photos, {flips} flips, 16 dimensions, on cpu (")

    with np.load(paths.features("toy")) as features:
        assert features["images"].tolist() == [f"{row:03}.jpg" for row in range(12)]
        assert features["classes"].tolist() == ["w0", "w1", "w2"]
        assert features["embeddings"].shape == (flips, 12, 16)
        photos = stripes(whales=3, photos=4)
        prepare(trained, torch.device("cpu"))
        expected = embed(trained, photos.packed, photos.rows, mirrored=flips == 2, zoom=zoom, tilt=tilt)
        assert np.array_equal(features["embeddings"], expected)
        assert features["centres"].shape == (flips, 3, centres, 16)
        for column, whale, centre in np.ndindex(flips, 3, centres):
            # mirrored photos meet the mirrored whales where these are others, else the same
            first = 3 if column == 1 and flip == "identity" else 0
            weight = trained.classifier.weight[:, (first + whale) * centres + centre].detach().numpy()
            direction = features["centres"][column, whale, centre]
            assert direction == pytest.approx(weight / np.linalg.norm(weight), abs=1e-6)

    with files.replacing(paths.checkpoint("toy")) as temporary:
        other = checkpoint.Description(("w0", "w1", "w2"), (24, 64, 1), flip)
        temporary.write_bytes(checkpoint.save(trained, other))
    with pytest.raises(WhaleidError, match=r"^checkpoints/toy\.safetensors was trained on photos of \(24, 64, 1\)"):
        stage.run(params, "toy")
