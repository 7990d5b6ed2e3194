"""Embeddings of original and mirrored photos, and the stage `embed`."""

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


def new_network() -> Network:
    torch.manual_seed(0)
    return Network("resnet18", 16, 3)


def test_an_embedding_depends_only_on_its_photo_and_the_second_flip_is_mirrored() -> None:
    photos, network = stripes(3, 30), new_network()
    rows = np.arange(89, -1, -1)  # several batches
    embeddings = embed(network, photos.packed, rows, mirrored=True)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (2, 90, 16)
    assert np.linalg.norm(embeddings, axis=2) == pytest.approx(1)
    assert not network.training
    with torch.no_grad():
        single = network(standardise(torch.from_numpy(photos.packed[7:8])))
    assert embeddings[0, 89 - 7] == pytest.approx(single[0].numpy(), abs=1e-5)
    assert np.array_equal(embeddings[:1], embed(network, photos.packed, rows, mirrored=False))
    mirrored = np.ascontiguousarray(photos.packed[:, :, ::-1])
    assert embeddings[1] == pytest.approx(embed(network, mirrored, rows, mirrored=False)[0], abs=1e-5)
    assert np.abs(embeddings[1] - embeddings[0]).max() > 0.01
    assert embed(network, photos.packed, rows[:0], mirrored=False).shape == (1, 0, 16)


@pytest.mark.parametrize("photos", [1, 5, 16, 21, 83])
def test_embeddings_do_not_depend_on_the_number_of_threads(photos: int) -> None:
    torch.manual_seed(0)
    rows, network, embeddings = np.arange(photos), Network("squeezenet1_1", 16, 3), []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        embeddings.append(embed(network, stripes(3, 30).packed, rows, mirrored=True))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert np.array_equal(embeddings[0], embeddings[1])
    assert np.array_equal(embeddings[0], embeddings[2])


def test_tilt_averages_over_rotations_to_both_sides() -> None:
    packed, rows = stripes(3, 2).packed, np.arange(6)
    network = new_network()
    tilted = embed(network, packed, rows, mirrored=True, zoom=0.9, tilt=6.0)
    photos = standardise(torch.from_numpy(packed))
    with torch.no_grad():
        left, right, mirrored = (
            network(rotate_and_zoom(flip, radians, 0.9)).numpy()
            for flip, radians in ((photos, 0.10472), (photos, -0.10472), (photos.flip(3), 0.10472))
        )
    mean = left + right
    assert tilted[0] == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-4)
    assert np.linalg.norm(tilted, axis=2) == pytest.approx(1)
    assert np.abs(tilted[0] - embed(network, packed, rows, mirrored=False)[0]).max() > 0.01
    # rotating the mirrored photo is mirroring the photo rotated to the other side
    assert (tilted[1] * mirrored).sum(axis=1).min() > 0.9


@pytest.mark.parametrize(
    ("flip", "flips", "outputs", "zoom", "tilt", "centres"),
    [("identity", 2, 6, 1.0, 0.0, 3), ("augment", 2, 3, 1.0, 4.0, 1), ("off", 1, 3, 0.9, 0.0, 1)],
)
def test_the_stage_writes_flips_and_centres(
    flip: str,
    flips: int,
    outputs: int,
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
    network = Network("squeezenet1_1", 16, outputs, centres)
    description = checkpoint.Description(("w0", "w1", "w2"), (24, 48, 1), flip)
    with files.replacing(paths.checkpoint("toy")) as temporary:
        temporary.write_bytes(checkpoint.save(network, description))
    record = stage.run(params, "toy")
    assert record.metrics == {"photos": 12, "views": flips, "dimensions": 16}
    assert capsys.readouterr().out.startswith(f"embed toy: 12 photos, {flips} flips, 16 dimensions, on cpu (")

    with np.load(paths.features("toy")) as features:
        assert features["images"].tolist() == [f"{row:03}.jpg" for row in range(12)]
        assert features["classes"].tolist() == ["w0", "w1", "w2"]
        assert features["embeddings"].shape == (flips, 12, 16)
        photos = stripes(whales=3, photos=4)
        prepare(network, torch.device("cpu"))
        expected = embed(network, photos.packed, photos.rows, mirrored=flips == 2, zoom=zoom, tilt=tilt)
        assert np.array_equal(features["embeddings"], expected)
        assert features["centres"].shape == (flips, 3, centres, 16)
        for index, whale, centre in np.ndindex(flips, 3, centres):
            # with flip: identity, mirrored photos are compared with the mirrored whales
            first = 3 if index == 1 and flip == "identity" else 0
            weight = network.classifier.weight[:, (first + whale) * centres + centre].detach().numpy()
            prototype = features["centres"][index, whale, centre]
            assert prototype == pytest.approx(weight / np.linalg.norm(weight), abs=1e-6)

    with files.replacing(paths.checkpoint("toy")) as temporary:
        other = checkpoint.Description(("w0", "w1", "w2"), (24, 64, 1), flip)
        temporary.write_bytes(checkpoint.save(network, other))
    with pytest.raises(WhaleidError, match=r"^checkpoints/toy\.safetensors was trained on photos of \(24, 64, 1\)"):
        stage.run(params, "toy")
