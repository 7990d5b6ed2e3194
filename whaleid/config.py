"""`params.yaml`, typed: every key is known, every value in range, or one error names all that is wrong."""

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import PHASH, Score
from whaleid.core.paths import BACKBONE

BRIEF = reprlib.Repr()
"""Of a value that is wrong, the beginning: lists that name each other may be endless once they are written out."""
BRIEF.maxlevel, BRIEF.maxstring, BRIEF.maxother = 2, 200, 200
MERGED = 10_000
"""The most keys that mappings take in from others, by `<<`."""
TAKEN = (BACKBONE, "boxes", "pictures")
"""Names that no variant can have: that of another checkpoint, and those of other files of a bundle."""
FORMER = {
    "whales": "train.whales",
    "photos": "train.photos",
    "min_photos": "train.min_photos",
    "new_whale": "train.new_whale",
    "flip": "train.flip",
    "augment": "train.augment",
    "loss": "train.loss",
    "min_views": "train.oversample",
    "per_whale": "train.per_whale",
    "layers": "train.layers",
    "epochs": "train.epochs",
    "batch": "train.batch_size",
    "rate": "train.lr",
    "decay": "train.weight_decay",
    "zoom": "embed.zoom",
    "tilt": "embed.tilt",
}
"""Keys of a variant in former versions, and what they are called now."""


def _in(unit: str) -> dict[str, JsonValue]:
    return {"unit": unit}


# what a key holds: its range and its unit
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Share = Annotated[float, Field(ge=0, le=1, json_schema_extra=_in("share"))]
Probability = Annotated[float, Field(ge=0, le=1, json_schema_extra=_in("probability"))]
Whales = Annotated[int, Field(ge=1, json_schema_extra=_in("whales"))]
Photos = Annotated[int, Field(ge=1, json_schema_extra=_in("photos"))]
Epochs = Annotated[int, Field(ge=1, json_schema_extra=_in("epochs"))]
Pixels = Annotated[int, Field(ge=16, le=1024, json_schema_extra=_in("pixels"))]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of `params.yaml`: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    """The catalogue folder."""

    root: Text = Field(description="The catalogue folder: train.csv, train/, test/, and what else there is.")


class Sample(Section):
    """What the drawn catalogue holds."""

    frequent: Whales = Field(description="Whales with ten photos or more, enough of them for the variant toy.")
    occasional: Whales = Field(description="Whales with two to five photos.")
    single: Whales = Field(description="Whales with one photo.")
    new_whale: Photos = Field(description="Labelled photos of whales outside the catalogue.")
    queries: Photos = Field(description="Photos to identify.")


class Dedup(Section):
    """When two photos are the same picture: both max_distance and max_error must hold."""

    max_distance: Annotated[int, Field(ge=0, le=16, json_schema_extra=_in("bits of 64"))] = Field(
        description="The most bits in which the perceptual hashes of two copies differ."
    )
    max_error: Annotated[float, Field(ge=0, le=1, json_schema_extra=_in("share of variance"))] = Field(
        description="The most of the variance of their pixels that two copies do not explain of each other; half of "
        "that where their proportions differ."
    )
    turned: bool = Field(description="Whether a photo turned by 180 degrees is a copy.")
    mirrored: bool = Field(description="Whether a photo with left and right exchanged is a copy.")


class Split(Section):
    """What validation holds out, by duplicate group."""

    fold: Seed = Field(description="Another number is another draw of the same shares.")
    known: Share = Field(
        description="Of the whales with two unique photos or more, the share that gives one photo up. It asks "
        "validation about whales that are known."
    )
    further: Share = Field(
        description="Of the photos that such whales have left beyond one, the share that is given up as well."
    )
    unknown: Share = Field(
        description="Of the whales with one unique photo, the share that is held out. It asks validation about whales "
        "that are not known."
    )
    several: Share = Field(
        description="Of the whales with two unique photos or more, the share that is held out whole, as unknown too."
    )
    new_whale: Share = Field(description="Of the photos labelled new_whale, the share that is held out.")
    unknown_share: Share = Field(
        description="Of the queries to come, duplicates apart, how many are expected to be of no known whale. MAP@5 "
        "and the threshold auto weigh validation by it."
    )


class Boxes(Section):
    """How the network that finds flukes is trained."""

    size: Annotated[int, Field(ge=32, le=512, json_schema_extra=_in("pixels"))] = Field(
        description="Width and height that whole photos are stretched to."
    )
    steps: Count = Field(description="Steps of training.")
    batch_size: Annotated[int, Field(ge=2, json_schema_extra=_in("photos"))] = Field(description="Photos of one step.")
    lr: Annotated[float, Field(gt=0, le=1)] = Field(description="The highest learning rate of the cycle.")


class Pack(Section):
    """How photos reach the network."""

    width: Pixels = Field(description="Width of a photo as the network sees it.")
    height: Pixels = Field(description="Height of a photo as the network sees it.")
    grey: bool = Field(description="Whether photos lose their colours.")
    crop: bool = Field(description="Whether photos are cropped to the fluke's box, where there is one.")
    margin: Annotated[float, Field(ge=0, le=1, json_schema_extra=_in("share of the box"))] = Field(
        description="What is added on each side of a box."
    )
    stretch: bool = Field(
        description="Whether the fluke fills the whole size; else it keeps its proportions and has room around it."
    )
    turn: bool = Field(description="Whether photos that are upside down are found and turned.")


class Backbone(Section):
    """The network before it has seen a whale."""

    name: Text = Field(description="A classification model of torchvision or, as timm/NAME, of timm.")
    weights: Text = Field(
        description="DEFAULT (the model's pretrained weights), none (random ones), or the path of a state dict."
    )
    embedding: Annotated[int, Field(ge=2, le=4096)] = Field(description="How many numbers a photo is turned into.")
    fine: bool = Field(
        description="Whether the last stride is left out: the last map has twice as many places along each side, "
        "which takes more time."
    )


class Loss(Section):
    """What training lowers. Every kind has every key, so that one key makes another loss of it."""

    kind: Literal["softmax", "cosface", "arcface", "triplet"] = Field(
        description="The loss: cross-entropy (softmax), the same with a margin (cosface, arcface), or batch-hard "
        "triplets, which want per_whale of 2 or more."
    )
    scale: Annotated[float, Field(gt=0, le=128)] = Field(
        description="What cosines are multiplied by before the softmax."
    )
    margin: Annotated[
        float, Field(ge=0, le=2, json_schema_extra=_in("cosface: cosine; arcface: radians; triplet: distance"))
    ] = Field(
        description="How much closer a photo must be to its own class than to the others. 0 for softmax, above 0 for "
        "the others; it grows to its full size over the first half of training, but for triplets."
    )
    centres: Annotated[int, Field(ge=1, le=16)] = Field(
        description="Centres of a class: a photo needs to be close to one only. Several with arcface make it "
        "sub-centre ArcFace; 1 for the others."
    )


class Training(Section):
    """How a variant's network is trained."""

    whales: Whales | Literal["all"] = Field(description="The whales with most photos, so many of them, or all.")
    photos: Photos | Literal["all"] = Field(
        description="At most so many photos of a whale, so that all have about equally many; or all."
    )
    min_photos: Photos = Field(description="Photos that a whale must have to be learnt.")
    new_whale: bool = Field(description="Whether new_whale is a class of its own.")
    flip: Literal["identity", "augment", "off"] = Field(
        description="A mirrored fluke is another whale (identity), the same whale (augment), or not used (off)."
    )
    augment: bool = Field(
        description="Whether photos are moved, lit, blurred and erased at random. Where they are not and only the last "
        "layer is trained, the other layers are computed once, and training takes seconds."
    )
    loss: Loss
    oversample: Count = Field(
        description="The fewest photos of each whale in an epoch: photos of rarer whales are repeated."
    )
    per_whale: Photos = Field(
        description="Photos of one whale together in a batch. batch_size is a multiple of it, at least twice as large."
    )
    layers: Literal["all", "upper", "last"] = Field(
        description="Which layers are trained: all, upper (all but those on the largest maps), or last."
    )
    epochs: Epochs = Field(description="Passes over the training photos.")
    batch_size: Annotated[int, Field(ge=2, json_schema_extra=_in("photos"))] = Field(
        description="Photos of one step of training, however many processes share them."
    )
    lr: Annotated[float, Field(gt=0, le=1)] = Field(
        description="The highest learning rate of the cycle; that of the last layer is ten times as high."
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(description="Weight decay of AdamW.")


class Embedding(Section):
    """How a variant's network turns a photo into an embedding."""

    zoom: Annotated[float, Field(ge=0.5, le=1, json_schema_extra=_in("share of a side"))] = Field(
        description="How much of a photo's sides an embedding is made from; less than 1: from nearer."
    )
    tilt: Annotated[float, Field(ge=0, le=45, json_schema_extra=_in("degrees"))] = Field(
        description="By how much photos are turned to either side; an embedding is the mean of both. 0: as they are."
    )


class Variant(Section):
    """One way to train a network. VARIANT stands for its name; a variant gets its stages by being named here."""

    init: Text = Field(description="Whose hidden layers it starts from: backbone, or another variant.")
    learn: Literal["train", "all"] = Field(
        description="Which photos it learns from: those of the training part, or all labelled photos, validation's too "
        "(all). Nothing is left to validate a network that learns all: its prediction needs calibrated_by."
    )
    train: Training
    embed: Embedding
    scores: Annotated[list[Score], Field(min_length=1)] = Field(
        description="What ranks whales, weighted on validation: the classes learnt, a whale's nearest photo, the "
        "centroid of its photos, the labels of duplicates."
    )


class Prediction(Section):
    """Which networks decide together. PREDICTION stands for its name; each makes submissions/PREDICTION.csv."""

    networks: list[Text] = Field(
        description="The variants whose scores are weighted as one's. None for phash: duplicates alone decide."
    )
    calibrated_by: Text | None = Field(
        default=None,
        description="The prediction whose weights, calibration and threshold it takes, for networks that learn all.",
    )


class Params(Section):
    """All of `params.yaml`."""

    threshold: Probability | Literal["auto"] = Field(
        description="The probability at which new_whale takes its rank: whales above it come first. auto is found on "
        "validation."
    )
    seed: Seed = Field(description="The seed of everything that is drawn at random.")
    neighbours: Literal["exact", "approximate"] = Field(
        description="The photos that a query is compared with: all (exact), or those in its neighbourhood "
        "(approximate), for hundreds of thousands of photos."
    )
    data: Data
    sample: Sample
    dedup: Dedup
    split: Split
    boxes: Boxes
    pack: Pack
    backbone: Backbone
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    predictions: Annotated[dict[str, Prediction], Field(min_length=1)]

    def calibration_of(self, prediction: str) -> str:
        """Return the prediction whose calibration `prediction` takes: its own, unless `calibrated_by` names another."""
        return self.predictions[prediction].calibrated_by or prediction

    def decision_of(self, prediction: str) -> Path:
        """Return the file with the decision that `prediction` takes; of phash, the duplicates that decide."""
        lender = self.calibration_of(prediction)
        networks = self.predictions[lender].networks
        if not networks:
            return paths.LEAKS
        return (paths.calibration(networks[0]) if len(networks) == 1 else paths.ranking(lender)) / paths.DECISION

    def scores_of(self, prediction: str) -> list[list[Score]]:
        """Return the scores of each network of `prediction`, in the order of its networks."""
        return [self.variants[network].scores for network in self.predictions[prediction].networks]

    @model_validator(mode="after")
    def _names_resolve(self) -> "Params":
        wrong = [*self._variant_problems(), *self._prediction_problems()]
        if wrong:
            raise ValueError("\n".join(dict.fromkeys(wrong)))
        return self

    def _variant_problems(self) -> Iterator[str]:
        known = ", ".join(self.variants)
        for name, variant in self.variants.items():
            if name in TAKEN or not _is_name(name):
                yield f"variants.{name}: this name is taken or holds more than letters, digits, - and _"
                continue
            path = [name]
            while (start := self.variants[path[-1]].init) != BACKBONE:
                if start not in self.variants:
                    yield f"variants.{path[-1]}.init: there is no variant {start!r} (there are: {BACKBONE}, {known})"
                    break
                if start in path:
                    circle = [*path[path.index(start) :], start]
                    if name == min(circle):  # told once, not by every variant that leads into it
                        yield f"variants.{name}.init: goes in a circle: {' → '.join(circle)}"
                    break
                if self.variants[start].learn == "all" and self.variants[path[-1]].learn != "all":
                    yield (
                        f"variants.{path[-1]}.init: {start} learns validation's photos too (learn: all): what starts "
                        "from it cannot be validated on them. Set learn: all here as well, or start elsewhere"
                    )
                path.append(start)
            yield from (f"variants.{name}.{problem}" for problem in _contradictions(variant))

    def _prediction_problems(self) -> Iterator[str]:
        if "final" not in self.predictions:
            yield "predictions.final: missing: the stage bundle makes models/final.bundle of it"
        for name, prediction in self.predictions.items():
            key = f"predictions.{name}"
            networks, lender = prediction.networks, prediction.calibrated_by
            if not _is_name(name):
                yield f"{key}: {NAMES}"
            if bool(networks) == (name == PHASH):
                if networks:
                    yield f"{key}.networks: {PHASH} decides by duplicates alone: leave it empty, or take another name"
                else:
                    yield f"{key}.networks: is empty: name one variant or more; only {PHASH} decides without a network"
            for network in networks:
                if network not in self.variants:
                    yield f"{key}.networks: there is no variant {network!r} (there are: {', '.join(self.variants)})"
            if len(set(networks)) < len(networks):
                yield f"{key}.networks: names a variant twice"
            learnt = [each for each in networks if each in self.variants and self.variants[each].learn == "all"]
            if learnt and lender is None:
                yield (
                    f"{key}: {', '.join(learnt)} learns validation's photos too (learn: all), so nothing is left to "
                    "calibrate it on: name the prediction whose calibration it takes in calibrated_by"
                )
            if lender is not None and not learnt and {*networks} <= self.variants.keys():
                yield f"{key}.calibrated_by: none of its networks learns all: leave this out, it is calibrated itself"
            elif lender is not None:
                yield from self._loan_problems(f"{key}.calibrated_by", name, lender)

    def _loan_problems(self, key: str, name: str, lender: str) -> Iterator[str]:
        if lender not in self.predictions:
            yield f"{key}: there is no prediction {lender!r} (there are: {', '.join(self.predictions)})"
            return
        if not self.predictions[lender].networks or self.predictions[lender].calibrated_by is not None:
            yield f"{key}: {lender} is not calibrated itself: name a prediction that is"
            return
        if not {*self.predictions[name].networks, *self.predictions[lender].networks} <= self.variants.keys():
            return
        if self.scores_of(name) != self.scores_of(lender):
            yield (
                f"{key}: {lender} weights other scores ({self.scores_of(lender)}) than the networks of {name} have "
                f"({self.scores_of(name)}): give both the same, network by network"
            )


NAMED: dict[str, type[Section]] = {"variants": Variant, "predictions": Prediction}
"""The sections that users name the entries of."""


NAMES = "a name begins with a letter or _ and holds letters, digits, - and _"


def _is_name(name: str) -> bool:
    return name.replace("-", "_").isidentifier()


def _contradictions(variant: Variant) -> Iterator[str]:
    """Yield which keys of a variant cannot go together, and what to do."""
    train, loss = variant.train, variant.train.loss
    if len(set(variant.scores)) < len(variant.scores):
        yield "scores: names one of them twice"
    if train.batch_size % train.per_whale:
        yield f"train.batch_size: {train.batch_size} is no multiple of per_whale ({train.per_whale})"
    elif train.batch_size < 2 * train.per_whale:
        yield f"train.batch_size: {train.batch_size} holds no two whales with {train.per_whale} photos each (per_whale)"
    if loss.kind == "softmax" and loss.margin:
        yield "train.loss.margin: softmax has none: set 0, or take cosface or arcface"
    if loss.kind != "softmax" and not loss.margin:
        yield f"train.loss.margin: {loss.kind} needs one: set it above 0, or take softmax"
    if loss.kind != "arcface" and loss.centres > 1:
        yield f"train.loss.centres: {loss.kind} has one a class: set 1, or take arcface"
    if loss.kind == "triplet":
        if train.per_whale == 1:
            yield "train.per_whale: 1 gives the loss triplet nothing to compare: set 2 or more"
        if train.new_whale:
            yield ("train.new_whale: the loss triplet draws a class together, and those photos are no whale: set false")
        if train.layers == "last":
            yield "train.layers: the loss triplet does not train the last layer: set all or upper"


def load(path: Path) -> Params:
    """Read and check `path`.

    Raises:
        WhaleidError: the file is missing or no YAML mapping.
        InputProblems: unknown keys, missing keys, wrong types or ranges, variants that start nowhere; all at once.
    """
    return check(read(path), path)


def leaves(section: object, prefix: str = "") -> dict[str, object]:
    """Return what a document sets, by key (`pack.width`); nothing of one that is no mapping."""
    values: dict[str, object] = {}
    for key, value in section.items() if isinstance(section, Mapping) else ():
        values |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def parse(text: str) -> object:
    """Return what YAML text holds.

    Raises:
        ValueError: mappings take one another in too often; or whatever ruamel raises.
    """
    _refuse_merges(YAML(typ="safe").compose(text))
    return YAML(typ="safe").load(text)


def read(path: Path) -> object:
    """Return what `path` holds, whatever it is.

    Raises:
        WhaleidError: the file is missing or no YAML.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WhaleidError(f"{path} is not here: run this in the project's folder.") from None
    except OSError:
        raise
    except Exception as error:  # of a date or number that is none, or lists too deep, ruamel raises what Python does
        raise WhaleidError(f"{path} is no valid YAML: {error}") from None


def _refuse_merges(document: Node | None) -> None:
    """Refuse mappings that take one another in by `<<` so often that it takes long: each may double the work.

    Raises:
        ValueError: they take in more than `MERGED` keys.
    """
    keys: dict[int, int] = {}  # by mapping, with those that it takes in; by list, of all in it
    merged = 0

    def count(node: Node) -> int:
        nonlocal merged
        if id(node) in keys:
            return keys[id(node)]
        keys[id(node)] = 0  # it may hold itself
        if isinstance(node, SequenceNode):
            keys[id(node)] = sum(map(count, node.value))
        elif isinstance(node, MappingNode):
            taken = 0
            for key, value in node.value:
                count(key)
                taken += count(value) * (key.value == "<<")
            merged += taken
            if merged > MERGED:
                raise ValueError(f"its keys << take in more than {MERGED:,} others")
            keys[id(node)] = len(node.value) + taken
        return keys[id(node)]

    if document is not None:
        count(document)


def check(document: object, path: Path) -> Params:
    """Return what was read from `path` as parameters.

    Raises:
        WhaleidError: it is no mapping.
        InputProblems: as `load`.
    """
    if not isinstance(document, dict):
        raise WhaleidError(f"{path} holds no keys: take it from git again.")
    if former := [*_former_keys(document)]:
        raise InputProblems(
            f"{path} has keys of a former version",
            former,
            "Rename them; docs/parameters.md has every key, and params.yaml of this version in git has them all.",
        )
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise InputProblems(
            f"{path} has wrong values",
            _problems(error),
            "Fix these keys; `whaleid explain KEY` says what each takes.",
        ) from None


def _former_keys(document: Mapping[str, object]) -> Iterator[str]:
    """Yield each key of a former version, with what it is called now."""
    if "ensemble" in document:
        yield "ensemble: now predictions.ensemble.networks"
    if "final" in document:
        yield (
            "final: now a variant with learn: all (variants.final, its epochs at variants.final.train.epochs) and a "
            "prediction with calibrated_by (predictions.final)"
        )
    variants = document.get("variants")
    if not isinstance(variants, Mapping):
        return
    for key, now in FORMER.items():
        names = [name for name, variant in variants.items() if isinstance(variant, Mapping) and key in variant]
        if names:
            yield f"variants.{{{', '.join(map(str, names))}}}.{key}: now variants.NAME.{now}"


def _problems(error: ValidationError) -> list[str]:
    """Return a line a key, with the key as a user writes it."""
    said: dict[str, list[str]] = {}
    for each in error.errors():
        if each["type"] == "value_error":  # of `_names_resolve`, which names its keys itself
            said |= {line: [] for line in str(each["ctx"]["error"]).split("\n")}
            continue
        fields, section = _fields([str(part) for part in each["loc"]])
        key = ".".join(fields)
        if each["type"] == "extra_forbidden":
            near = difflib.get_close_matches(fields[-1], section.model_fields, 1)
            said[f"{key}: no such key" + (f"; did you mean {near[0]!r}?" if near else "")] = []
        elif each["type"] == "missing":
            said[f"{key}: missing"] = []
        else:
            # a value that may be of two kinds is told what each kind takes: one line for both
            message = each["msg"][0].lower() + each["msg"][1:]
            said.setdefault(f"{key}: \0, got {BRIEF.repr(each['input'])}", []).append(message)
    return [
        line.replace("\0", " or ".join([*msgs[:1], *(m.removeprefix("input should be ") for m in msgs[1:])]))
        for line, msgs in said.items()
    ]


def _fields(place: list[str]) -> tuple[list[str], type[BaseModel]]:
    """Return the keys that lead to `place`, without the branches of unions, and the section that holds the last."""
    section: type[BaseModel] = Params
    fields: list[str] = []
    parts = iter(place)
    for name in parts:
        fields.append(name)
        field = section.model_fields.get(name)
        if section is Params and name in NAMED:
            fields += islice(parts, 1)
            section = NAMED[name]
        elif field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
        else:
            break
    return fields, section
