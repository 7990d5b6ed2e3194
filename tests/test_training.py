"""Which photos a variant learns from, how they are changed, and that the loop learns, alike on every run."""

import numpy as np
import pandas as pd
import pytest
import torch

from whaleid.errors import WhaleidError
from whaleid.images.augment import augment
from whaleid.model.network import Network, standardise
from whaleid.params import Variant
from whaleid.training import sampler
from whaleid.training.device import pick_device
from whaleid.training.embedding import embed
from whaleid.training.engine import Photos, train


def variant(**changes: object) -> Variant:
    settings = {
        "init": "backbone",
        "whales": "all",
        "photos": "all",
        "new_whale": False,
        "layers": "all",
        "epochs": 3,
        "batch": 8,
        "rate": 0.01,
        "decay": 0.0005,
        "leaks": False,
    }
    return Variant.model_validate(settings | changes)


def split(**photos: int) -> pd.DataFrame:
    """Return a split whose training part has so many photos of each label, and one validation photo of each."""
    rows = [
        (f"{label}{number}.jpg", label, "train" if number else "validation", "known")
        for label, count in photos.items()
        for number in range(count + 1)
    ]
    return pd.DataFrame(rows, columns=["Image", "Id", "part", "role"])


def test_all_whales_and_their_training_photos_alone() -> None:
    chosen = sampler.select(split(b=2, a=1, new_whale=3), "v", variant())
    assert chosen.to_numpy().tolist() == [["a1.jpg", "a"], ["b1.jpg", "b"], ["b2.jpg", "b"]]


def test_new_whale_as_a_class() -> None:
    chosen = sampler.select(split(b=2, a=1, new_whale=3), "v", variant(new_whale=True))
    assert chosen["Id"].value_counts().to_dict() == {"new_whale": 3, "b": 2, "a": 1}


def test_the_whales_with_most_photos_and_about_equally_many_of_each() -> None:
    chosen = sampler.select(split(a=1, b=5, c=3, d=3, e=4), "v", variant(whales=3, photos=4))
    # c and d have equally many: the name decides
    assert chosen["Id"].value_counts().to_dict() == {"b": 4, "e": 4, "c": 3}
    assert chosen.loc[chosen["Id"] == "b", "Image"].tolist() == ["b1.jpg", "b2.jpg", "b3.jpg", "b4.jpg"]


def test_a_toy_that_asks_for_more_whales_than_there_are() -> None:
    with pytest.raises(WhaleidError, match=r"variants\.toy\.whales asks for 56 whales, but only 2 have photos"):
        sampler.select(split(a=3, b=2, new_whale=9), "toy", variant(whales=56))


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(WhaleidError, match=r"variants\.v has 1 classes to tell apart"):
        sampler.select(split(a=3, new_whale=9), "v", variant())


@pytest.mark.parametrize(
    ("photos", "size", "lengths"), [(10, 4, [4, 3, 3]), (9, 4, [3, 3, 3]), (3, 2, [3]), (2, 8, [2])]
)
def test_an_epoch_has_every_photo_once_and_no_batch_of_one(photos: int, size: int, lengths: list[int]) -> None:
    found = list(sampler.batches(photos, size, np.random.default_rng(0)))
    assert [len(batch) for batch in found] == lengths
    assert sampler.steps(photos, size) == len(lengths)
    assert sorted(np.concatenate(found).tolist()) == list(range(photos))


def test_epochs_differ_in_order() -> None:
    order = np.random.default_rng(0)
    first, second = (np.concatenate(list(sampler.batches(50, 8, order))) for _ in range(2))
    assert first.tolist() != second.tolist()


def spot(width: int, height: int) -> torch.Tensor:
    """Return a photo (1, 1, H, W) that is dark but for a bright square right of its middle."""
    photo = torch.zeros(1, 1, height, width)
    photo[..., height // 2 - 4 : height // 2 + 4, width * 3 // 4 - 4 : width * 3 // 4 + 4] = 1.0
    return photo


def centre(photo: torch.Tensor) -> tuple[float, float]:
    """Return the centre of light (x, y), in pixels from the middle of the photo."""
    light = (photo - photo.min()).clamp(min=0)
    height, width = photo.shape[-2:]
    x = (light.sum(dim=(0, 1, 2)) * (torch.arange(width) - (width - 1) / 2)).sum() / light.sum()
    y = (light.sum(dim=(0, 1, 3)) * (torch.arange(height) - (height - 1) / 2)).sum() / light.sum()
    return x.item(), y.item()


def test_a_turn_keeps_shapes_on_photos_that_are_not_square(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHEAR", "SCALE", "SHIFT", "GRADIENT"):
        monkeypatch.setattr(f"whaleid.images.augment.{name}", 0.0)
    distance = centre(spot(128, 64))[0]
    for seed in range(5):
        x, y = centre(augment(spot(128, 64), torch.Generator().manual_seed(seed)))
        # turned about the middle: as far from it as before, whatever the photo's aspect
        assert np.hypot(x, y) == pytest.approx(distance, rel=0.02)
        assert abs(y) <= distance * np.sin(np.radians(8)) + 0.5


def test_a_shift_is_within_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN", "SHEAR", "SCALE", "GRADIENT"):
        monkeypatch.setattr(f"whaleid.images.augment.{name}", 0.0)
    start = centre(spot(128, 64))
    moves = []
    for seed in range(20):
        x, y = centre(augment(spot(128, 64), torch.Generator().manual_seed(seed)))
        moves.append((abs(x - start[0]), abs(y - start[1])))
    across, down = np.max(moves, axis=0)
    assert 0.05 * 128 < across <= 0.08 * 128 + 0.1
    assert 0.05 * 64 < down <= 0.08 * 64 + 0.1


def test_nothing_drawn_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN", "SHEAR", "SCALE", "SHIFT", "GRADIENT"):
        monkeypatch.setattr(f"whaleid.images.augment.{name}", 0.0)
    photos = torch.rand(3, 3, 24, 48)
    assert torch.allclose(augment(photos, torch.Generator()), photos, atol=1e-5)


def stripes(whales: int, photos: int) -> tuple[np.ndarray, Photos]:
    """Return packed photos (N, 24, 48, 1) of whales that differ by the width of their stripes, under noise."""
    noise = np.random.default_rng(0)
    classes = np.repeat(np.arange(whales), photos)
    x = np.arange(48)
    waves = 128 + 100 * np.sign(
        np.sin(x[None] * 0.25 * (1 + classes[:, None]) + noise.uniform(0, 6, (len(classes), 1)))
    )
    packed = waves[:, None, :, None] + noise.normal(0, 20, (len(classes), 24, 48, 1))
    return packed.clip(0, 255).astype(np.uint8), Photos(np.arange(len(classes)), classes)


def learn(settings: Variant, network: Network | None = None) -> tuple[Network, list[dict[str, float]]]:
    packed, photos = stripes(3, 16)
    torch.manual_seed(0)
    network = network or Network("resnet18", 3)
    logged: list[int] = []
    epochs = train(
        network, packed, photos, photos, settings, 0, torch.device("cpu"), lambda number, _: logged.append(number)
    )
    assert logged == list(range(1, settings.epochs + 1))
    assert all(0 < epoch.speed["network_share"] <= 1 and epoch.speed["photos_per_second"] > 0 for epoch in epochs)
    return network, [epoch.learning for epoch in epochs]


def test_the_loop_learns_and_does_so_alike_twice() -> None:
    network, history = learn(variant(epochs=6, rate=0.003))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation_loss"] < 0.8 < np.log(3)  # what guessing among three costs
    again, same = learn(variant(epochs=6, rate=0.003))
    assert same == history
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_the_last_layer_alone() -> None:
    network, _ = learn(variant(epochs=1))
    hidden = {name: weight.clone() for name, weight in network.hidden.state_dict().items()}
    last = network.last.weight.detach().clone()
    learn(variant(epochs=1, layers="last"), network)
    assert all(torch.equal(hidden[name], weight) for name, weight in network.hidden.state_dict().items())
    assert not torch.equal(last, network.last.weight)


def test_embeddings_do_not_depend_on_batches() -> None:
    packed, _ = stripes(3, 30)
    network = Network("resnet18", 3)
    rows = np.arange(89, -1, -1)
    found = embed(network, packed, rows, torch.device("cpu"))
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    with torch.no_grad():
        alone, _ = network(standardise(torch.from_numpy(packed[7:8])))
    assert found[89 - 7] == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert embed(network, packed, rows[:0], torch.device("cpu")).shape == (0, 512)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:99")
    with pytest.raises(WhaleidError, match="WHALEID_DEVICE=cuda:99: not on this machine"):
        pick_device()
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")
