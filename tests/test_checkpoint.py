"""A checkpoint gives back the very network, and one that does not fit is refused."""

import pytest
import torch

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.model.checkpoint import Description, dumps, from_checkpoint, loads, to_checkpoint
from whaleid.model.network import Network

DESCRIPTION = Description(("007", "nan", "new_whale"), (32, 64, 1))


def network(backbone: str = "squeezenet1_1", columns: int = 3, centres: int = 1, fine: bool = False) -> Network:
    """Return a network that has seen photos, so that its statistics are no longer those of the beginning."""
    torch.manual_seed(0)
    made = Network(backbone, 16, columns, centres, fine)
    with torch.no_grad():
        made(torch.randn(4, 1, 32, 64))
    return made.eval()


def checkpoint(**changes: object) -> object:
    return loads(dumps(to_checkpoint(network(), DESCRIPTION) | changes), "v.pt")


def refusal(contents: object) -> str:
    with pytest.raises(WhaleidError) as caught:
        from_checkpoint(contents, "checkpoints/v.pt")
    return str(caught.value)


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
@pytest.mark.parametrize(
    ("backbone", "centres", "fine"), [("squeezenet1_1", 1, False), ("mnasnet0_5", 3, False), ("squeezenet1_1", 1, True)]
)
def test_a_network_comes_back_bit_for_bit(backbone: str, centres: int, fine: bool, flip: str) -> None:
    expected = Description(DESCRIPTION.classes, DESCRIPTION.photos, flip)
    assert expected.columns == (6 if flip == "identity" else 3)
    before = network(backbone, expected.columns, centres, fine)
    after, description = from_checkpoint(loads(dumps(to_checkpoint(before, expected)), "v.pt"), "v.pt")
    assert description == expected
    assert (after.backbone.name, after.backbone.fine) == (backbone, fine)
    assert (after.embedding, after.last.classes, after.last.centres) == (16, expected.columns, centres)
    photos = torch.randn(2, 1, 32, 64)
    with torch.no_grad():
        embeddings = before(photos)
        assert torch.equal(after.eval()(photos), embeddings)
        assert torch.equal(after.last(embeddings), before.last(embeddings))


def test_a_network_that_has_not_met_whales() -> None:
    contents = to_checkpoint(network(columns=0), Description((), None))
    after, description = from_checkpoint(loads(dumps(contents), "b.pt"), "b.pt")
    assert description == Description((), None, "off")
    assert after.last.weight.shape == (16, 0)


def test_bytes_do_not_depend_on_the_layout_of_memory() -> None:
    plain = dumps(to_checkpoint(network(), DESCRIPTION))
    other = network().to(memory_format=torch.channels_last)
    assert dumps(to_checkpoint(other, DESCRIPTION)) == plain


def test_a_checkpoint_is_not_changed_by_further_training() -> None:
    trained = network()
    contents = to_checkpoint(trained, DESCRIPTION)
    before = dumps(contents)
    with torch.no_grad():
        trained.last.weight.add_(1)
        trained.train()(torch.randn(4, 1, 32, 64))
    assert dumps(contents) == before


@pytest.mark.parametrize("data", [b"", b"no checkpoint", dumps({"a": torch.zeros(99)})[:-200]])
def test_refuses_what_is_no_file_of_torch(data: bytes) -> None:
    with pytest.raises(WhaleidError, match=r"^checkpoints/v\.pt cannot be read: it is cut off, or no file of tensors"):
        loads(data, "checkpoints/v.pt")


def test_refuses_a_file_that_would_run_code() -> None:
    with pytest.raises(WhaleidError, match=r"^checkpoints/v\.pt cannot be read"):
        loads(dumps({"a": network()}), "checkpoints/v.pt")


def test_refuses_what_is_no_checkpoint() -> None:
    assert refusal([1]).startswith("checkpoints/v.pt is no checkpoint of whaleid: it holds list.")
    weights = network().hidden.state_dict()
    assert refusal(weights).startswith(
        "checkpoints/v.pt is no checkpoint of whaleid: it lacks backbone, fine, embedding, classes, photos, flip, "
        "centres, hidden, last."
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 3},
        {"last": {}},
        {"last": None},
        {"last": {"weight": 3}},
        {"last": {"weight": torch.zeros(3)}},
        {"centres": 0},
        {"centres": "3"},
    ],
)
def test_refuses_parts_that_are_amiss(changes: dict[str, object]) -> None:
    assert refusal(checkpoint(**changes)) == (
        "checkpoints/v.pt is no checkpoint of whaleid: its classes or its last layer are amiss. Make it anew with `dvc "
        "repro`."
    )


@pytest.mark.parametrize(
    ("changes", "named", "held"),
    [({"classes": ["a", "b"]}, 2, 3), ({"flip": "identity"}, 6, 3), ({"centres": 3}, 3, 1)],
)
def test_refuses_as_many_classes_as_there_are_no_weights_of(changes: dict[str, object], named: int, held: int) -> None:
    assert refusal(checkpoint(**changes)) == (
        f"checkpoints/v.pt names {named} classes, but has the weights of {held}. Make it anew with `dvc repro`."
    )


def test_refuses_the_weights_of_another_backbone() -> None:
    said = refusal(checkpoint(backbone="resnet18"))
    assert said.startswith("checkpoints/v.pt does not fit its backbone, resnet18 (")
    assert said.endswith("Make it anew with `dvc repro`.")


def test_refuses_weights_of_another_embedding() -> None:
    said = refusal(checkpoint(embedding=8))
    assert said.startswith("checkpoints/v.pt does not fit its backbone, squeezenet1_1 (")
    assert "reduce.weight" in said


def test_refuses_a_backbone_that_torchvision_lacks() -> None:
    said = refusal(checkpoint(backbone="resnet19"))
    assert said.startswith("checkpoints/v.pt: backbone.name: torchvision has no classification model 'resnet19'")


def test_names_the_weights_that_are_missing() -> None:
    hidden = network().hidden.state_dict()
    del hidden["neck.running_mean"]
    with pytest.raises(InputProblems) as caught:
        from_checkpoint(checkpoint(hidden=hidden), "checkpoints/v.pt")
    assert caught.value.where == ["neck.running_mean: missing"]
    with pytest.raises(InputProblems) as caught:
        from_checkpoint(checkpoint(last={"weight": torch.zeros(16, 3), "shift": torch.zeros(3)}), "checkpoints/v.pt")
    assert caught.value.where == ["shift: unknown"]


def test_refuses_photos_that_are_packed_otherwise() -> None:
    DESCRIPTION.check_photos((32, 64, 1), "checkpoints/v.pt")
    with pytest.raises(WhaleidError) as caught:
        DESCRIPTION.check_photos((32, 64, 3), "checkpoints/v.pt")
    assert str(caught.value) == (
        "checkpoints/v.pt was trained on photos of (32, 64, 1) (height, width, channels), but they are packed as "
        "(32, 64, 3). Set `pack` back, or train anew with `dvc repro`."
    )
