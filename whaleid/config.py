"""`params.yaml`, typed. A file with mistakes is refused with one error that lists every wrong key."""

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML

from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import PHASH, Score
from whaleid.core.paths import BACKBONE

RESERVED = (BACKBONE, "boxes", "pictures")
"""Names that no variant can have: those of another checkpoint and of other files of a bundle."""
NAMES = "a name begins with a letter or _ and holds letters, digits, - and _"

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=16, le=1024)]
Rate = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of `params.yaml`: no unknown keys, no conversion of types, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def contradictions(self) -> Iterator[str]:
        """Yield `key: problem and remedy` for keys that are valid by themselves, but not together."""
        yield from ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if problems := [*self.contradictions()]:
            raise ValueError("\n".join(problems))
        return self


class Data(Section):
    """The catalogue folder."""

    root: Text = Field(description="The catalogue folder, with train.csv, train/ and test/.")


class Sample(Section):
    """The size of the drawn catalogue."""

    frequent: Count = Field(description="Whales with ten photos or more. The variant toy learns some of them.")
    occasional: Count = Field(description="Whales with two to five photos.")
    single: Count = Field(description="Whales with one photo.")
    new_whale: Count = Field(description="Labelled photos of whales outside the catalogue.")
    queries: Count = Field(description="Photos to identify.")


class Dedup(Section):
    """When two photos are duplicates. Both max_distance and max_error must hold."""

    max_distance: int = Field(ge=0, le=16, description="Largest distance of their perceptual hashes, in bits of 64.")
    max_error: Share = Field(
        description="Largest share of the variance of a photo's pixels that a linear fit on the other's leaves "
        "unexplained; half of it if their proportions differ."
    )
    turned: bool = Field(description="Whether a photo turned by 180 degrees is a duplicate.")
    mirrored: bool = Field(description="Whether a photo with left and right exchanged is a duplicate.")


class Split(Section):
    """Which photos validation holds out, by duplicate group."""

    fold: Seed = Field(description="Number of the draw. Another number holds out other photos.")
    known: Share = Field(description="Share of the whales with two or more unique photos that give one, a known query.")
    further: Share = Field(description="Share of the other photos of these whales, beyond one, that is held out too.")
    unknown: Share = Field(description="Share of the whales with one unique photo that are held out, unknown queries.")
    several: Share = Field(description="Share of the whales with two or more unique photos that are held out whole.")
    new_whale: Share = Field(description="Share of the photos labelled new_whale that are held out.")
    unknown_share: Share = Field(
        description="Expected share of unknown whales in future queries, duplicates excluded. MAP@5 and the threshold "
        "auto weight validation by it."
    )


class Boxes(Section):
    """Training of the network that finds flukes."""

    size: int = Field(ge=32, le=512, description="Width and height that whole photos are resized to, in pixels.")
    steps: Count = Field(description="Training steps.")
    batch_size: int = Field(ge=2, description="Photos in a training step.")
    lr: Rate = Field(description="Highest learning rate of the cycle.")


class Pack(Section):
    """How photos reach the network."""

    width: Pixels = Field(description="Width of the network's input, in pixels.")
    height: Pixels = Field(description="Height of the network's input, in pixels.")
    grey: bool = Field(description="Whether photos are converted to grey.")
    crop: bool = Field(description="Whether photos are cropped to the fluke's box, if they have one.")
    margin: Share = Field(description="Margin added on each side of a box, as a share of its size.")
    stretch: bool = Field(description="Whether the fluke is stretched to the input, or keeps its proportions.")
    turn: bool = Field(description="Whether photos that are upside down are detected and turned.")


class Backbone(Section):
    """The network before it is trained on whales."""

    name: Text = Field(description="A classification model of torchvision or, as timm/NAME, of timm.")
    weights: Text = Field(description="DEFAULT (pretrained), none (random weights), or the path of a state dict.")
    embedding: int = Field(ge=2, le=4096, description="Dimension of an embedding.")
    fine: bool = Field(description="Whether to leave out the last stride: a finer last feature map, but slower.")


class Loss(Section):
    """The training loss. Every kind has every key, so that one key changes the loss."""

    kind: Literal["softmax", "cosface", "arcface", "triplet"] = Field(
        description="Cross-entropy (softmax), with a margin (cosface, arcface), or batch-hard triplets (triplet)."
    )
    scale: float = Field(gt=0, le=128, description="Factor of the cosines before the softmax.")
    margin: float = Field(
        ge=0,
        le=2,
        description="Margin between a photo's own class and the others: a cosine (cosface), radians (arcface), a "
        "distance (triplet), 0 (softmax). cosface and arcface reach it halfway through training.",
    )
    centres: int = Field(ge=1, le=16, description="Centres of a class: 1, or more for sub-centre ArcFace (arcface).")

    def contradictions(self) -> Iterator[str]:
        """Yield keys that do not fit the kind."""
        if self.kind == "softmax" and self.margin:
            yield "margin: softmax has no margin: set it to 0, or set kind to cosface or arcface"
        if self.kind != "softmax" and not self.margin:
            yield f"margin: {self.kind} needs a margin: set it above 0, or set kind to softmax"
        if self.kind != "arcface" and self.centres > 1:
            yield f"centres: {self.kind} has one centre a class: set it to 1, or set kind to arcface"


class Training(Section):
    """Training of a variant's network."""

    whales: Count | Literal["all"] = Field(description="Number of whales, those with most photos first; or all.")
    photos: Count | Literal["all"] = Field(description="Largest number of photos of a whale; or all.")
    min_photos: Count = Field(description="Smallest number of photos of a whale. Whales with fewer are left out.")
    new_whale: bool = Field(description="Whether new_whale is a class of its own.")
    flip: Literal["identity", "augment", "off"] = Field(
        description="A mirrored fluke is another whale (identity), the same whale (augment), or not used (off)."
    )
    augment: bool = Field(
        description="Whether photos are changed at random: place, light, blur, erased parts. Without it, layers: last "
        "trains in seconds, since the other layers are computed once."
    )
    loss: Loss
    oversample: Count = Field(description="Smallest number of photos of a whale in an epoch: rarer ones are repeated.")
    per_whale: Count = Field(description="Photos of one whale together in a batch, which holds two whales or more.")
    layers: Literal["all", "upper", "last"] = Field(
        description="Trained layers: all, upper (all except those on the largest feature maps), or last."
    )
    epochs: Count = Field(description="Passes over the training photos.")
    batch_size: int = Field(ge=2, description="Photos in a training step, over all processes.")
    lr: Rate = Field(description="Highest learning rate of the cycle. That of the last layer is ten times as high.")
    weight_decay: float = Field(ge=0, le=1, description="Weight decay of AdamW.")
    compile: bool = Field(
        description="Whether torch.compile compiles the network: faster on GPUs, after about a minute's compilation."
    )

    def contradictions(self) -> Iterator[str]:
        """Yield batches that cannot be filled, and keys that do not fit the loss."""
        if self.batch_size % self.per_whale:
            yield f"batch_size: {self.batch_size} is no multiple of per_whale ({self.per_whale}): change one of them"
        elif self.batch_size < 2 * self.per_whale:
            yield (
                f"batch_size: {self.batch_size} has no room for two whales with {self.per_whale} photos each "
                "(per_whale): double it, or lower per_whale"
            )
        if self.loss.kind == "triplet":
            if self.per_whale == 1:
                yield "per_whale: the loss triplet compares photos of one whale: set it to 2 or more"
            if self.new_whale:
                yield "new_whale: the loss triplet takes a class for one whale, and new_whale is none: set it to false"
            if self.layers == "last":
                yield "layers: the loss triplet does not train the last layer: set it to all or upper"


class Embedding(Section):
    """How a variant's network computes embeddings."""

    zoom: float = Field(ge=0.5, le=1, description="Share of a photo's width and height that is used, at its centre.")
    tilt: float = Field(ge=0, le=45, description="Degrees that photos are turned to both sides, for a mean embedding.")


class Variant(Section):
    """A way to train a network, under a name of your own. An entry here adds the variant's stages."""

    init: Text = Field(description="Where its hidden layers come from: backbone, or another variant.")
    learn: Literal["train", "all"] = Field(
        description="Photos it learns from: the training part (train), or validation's as well (all). What learns all "
        "cannot be validated: its prediction needs calibrated_by."
    )
    train: Training
    embed: Embedding
    scores: Annotated[list[Score], Field(min_length=1)] = Field(
        description="Scores that rank whales, weighted on validation: the learnt class, the nearest photo or the "
        "centroid of a whale, the label of a duplicate."
    )

    def contradictions(self) -> Iterator[str]:
        """Yield scores that are repeated."""
        if len(set(self.scores)) < len(self.scores):
            yield "scores: one of them is repeated: name each once"


class Prediction(Section):
    """Networks that decide together, under a name of your own: submissions/NAME.csv."""

    networks: list[Text] = Field(description="Variants whose scores are combined; none for phash: duplicates decide.")
    calibrated_by: Text | None = Field(
        default=None, description="Prediction whose calibration it takes, if its networks learn all."
    )


NAMED: dict[str, type[Section]] = {"variants": Variant, "predictions": Prediction}
"""The sections whose entries users name."""
FORMER = {
    **{key: f"variants.NAME.train.{key}" for key in Training.model_fields},
    **{key: f"variants.NAME.embed.{key}" for key in Embedding.model_fields},
    "batch": "variants.NAME.train.batch_size",
    "decay": "variants.NAME.train.weight_decay",
    "ensemble": "predictions.ensemble.networks",
    "final": "variants.final.learn and predictions.final.calibrated_by",
    "min_views": "variants.NAME.train.oversample",
    "rate": "variants.NAME.train.lr",
}
"""Where keys of former versions are now, by their last part."""


class Params(Section):
    """All of `params.yaml`."""

    threshold: Probability | Literal["auto"] = Field(
        description="Probability at which new_whale is ranked: whales above it come first. auto: found on validation."
    )
    seed: Seed = Field(description="Seed of all random numbers.")
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

    def decision_path(self, prediction: str) -> Path:
        """Return the file that `prediction` is decided by; for phash, the table of leaks."""
        calibration = self.calibration_of(prediction)
        networks = self.predictions[calibration].networks
        if not networks:
            return paths.LEAKS
        return (paths.calibration(networks[0]) if len(networks) == 1 else paths.ranking(calibration)) / paths.DECISION

    def variants_of(self, prediction: str) -> dict[str, str]:
        """Return the variant of each network of `prediction`, by the network whose weights it takes, in their order."""
        lenders = self.predictions[self.calibration_of(prediction)].networks
        return dict(zip(lenders, self.predictions[prediction].networks, strict=True))

    def scores_of(self, prediction: str) -> list[list[Score]]:
        """Return the scores of each network of `prediction`, in the order of its networks."""
        return [self.variants[network].scores for network in self.predictions[prediction].networks]

    def contradictions(self) -> Iterator[str]:
        """Yield names of variants and predictions that do not exist or do not fit."""
        for section in NAMED:
            for name in getattr(self, section):
                if not name.replace("-", "_").isidentifier():
                    yield f"{section}.{name}: {NAMES}"
        for name in self.variants:
            yield from (f"variants.{name}{problem}" for problem in self._variant_problems(name))
        if "final" not in self.predictions:
            yield "predictions.final: missing: the stage bundle makes models/final.bundle from it"
        for name in self.predictions:
            yield from (f"predictions.{name}{problem}" for problem in self._prediction_problems(name))

    def _variant_problems(self, name: str) -> Iterator[str]:
        variant = self.variants[name]
        if name in RESERVED:
            yield f": the names {', '.join(RESERVED)} are reserved: take another one"
        if variant.init not in (BACKBONE, *self.variants):
            yield f".init: there is no variant {variant.init!r} (there are: {BACKBONE}, {', '.join(self.variants)})"
        chain = [name]
        while (init := self.variants[chain[-1]].init) in self.variants and init not in chain:
            chain.append(init)
        if init == name == min(chain):  # a circle is reported once
            yield f".init: goes in a circle: {' → '.join([*chain, name])}. Start one of them from {BACKBONE}"
        if variant.learn == "train" and variant.init in self.variants and self.variants[variant.init].learn == "all":
            yield (
                f".init: {variant.init} learns validation's photos too (learn: all), so what starts from it cannot be "
                "validated: set learn: all here as well, or start from another variant"
            )

    def _prediction_problems(self, name: str) -> Iterator[str]:
        networks, lender = self.predictions[name].networks, self.predictions[name].calibrated_by
        if networks and name == PHASH:
            yield f".networks: {PHASH} decides by duplicates alone: leave it empty, or take another name"
        if not networks and name != PHASH:
            yield f".networks: is empty: name one variant or more; only {PHASH} decides without a network"
        unknown = [network for network in networks if network not in self.variants]
        for network in dict.fromkeys(unknown):
            yield f".networks: there is no variant {network!r} (there are: {', '.join(self.variants)})"
        if len(set(networks)) < len(networks):
            yield ".networks: names a variant twice"
        learn_all = [each for each in networks if each not in unknown and self.variants[each].learn == "all"]
        if lender is None:
            if learn_all:
                yield (
                    f": {', '.join(learn_all)} learns validation's photos too (learn: all), so nothing is left to "
                    "calibrate it on: name the prediction whose calibration it takes in calibrated_by"
                )
        elif lender not in self.predictions:
            yield f".calibrated_by: there is no prediction {lender!r} (there are: {', '.join(self.predictions)})"
        elif not learn_all and not unknown:
            yield ".calibrated_by: none of its networks learns all: leave this out, it is calibrated itself"
        elif not self.predictions[lender].networks or self.predictions[lender].calibrated_by is not None:
            yield f".calibrated_by: {lender} is not calibrated itself: name a prediction that is"
        elif not unknown and self.variants.keys() >= {*self.predictions[lender].networks}:
            own, lent = self.scores_of(name), self.scores_of(lender)
            if own != lent:
                yield (
                    f".calibrated_by: {lender} combines other scores ({lent}) than the networks of {name} have "
                    f"({own}): give both the same, network by network"
                )


def load(path: Path) -> Params:
    """Read and check `path`.

    Raises:
        WhaleidError: the file is missing or no YAML mapping.
        InputProblems: a key is unknown, missing, of another type or out of range, or contradicts another one.
    """
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WhaleidError(f"{path} does not exist: run this in the project's folder.") from None
    except OSError:
        raise
    except Exception as error:  # a wrong date or a very deep list makes ruamel raise any exception of Python's
        raise WhaleidError(f"{path} is no valid YAML: {error}") from None
    return check(document, path)


def parse(text: str) -> object:
    """Return what YAML text holds, by the parser in C, which may raise any exception."""
    return YAML(typ="safe").load(text)


def leaves(section: object, prefix: str = "") -> dict[str, object]:
    """Return the values of a document by key (`pack.width`); nothing if it is no mapping."""
    values: dict[str, object] = {}
    for key, value in section.items() if isinstance(section, Mapping) else ():
        values |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def check(document: object, path: Path) -> Params:
    """Return the parameters that a document read from `path` holds.

    Raises:
        WhaleidError: it is no mapping.
        InputProblems: as `load`.
    """
    if not isinstance(document, Mapping):
        raise WhaleidError(f"{path} holds no keys: restore it by `git checkout {path}`.")
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        problems = _problems(error, document)
    raise InputProblems(f"{path} has wrong values", problems, "Fix these keys: docs/reference.md says what each takes.")


def _problems(error: ValidationError, document: object) -> list[str]:
    """Return a line for each wrong key, with the key as a user writes it."""
    schema = Params.model_json_schema()
    known = sorted({name for part in (schema, *schema["$defs"].values()) for name in part["properties"]})
    brief = reprlib.Repr()
    brief.maxlevel = 2  # lists that contain each other may be endless when written out
    lines: list[str] = []
    for each in error.errors():
        key = _key(each["loc"], document, each["type"] == "missing")
        if each["type"] == "value_error":  # of `contradictions`, whose lines begin with a key
            lines += [f"{key}.{line}".removeprefix(".") for line in str(each["ctx"]["error"]).split("\n")]
        elif each["type"] == "missing":
            lines.append(f"{key}: missing")
        elif each["type"] == "extra_forbidden":
            name = key.rpartition(".")[2]
            moved = name in FORMER and (key == name or key.startswith("variants."))
            near = [FORMER[name]] if moved else difflib.get_close_matches(name, known, 1)
            lines.append(f"{key}: no such key" + (f"; did you mean {near[0]!r}?" if near else ""))
        else:
            text, got = each["msg"][0].lower() + each["msg"][1:], f", got {brief.repr(each['input'])}"
            if lines and lines[-1].startswith(f"{key}: ") and lines[-1].endswith(got):  # neither a number nor the word
                text = f"{lines.pop().removesuffix(got)} or {text.removeprefix('input should be ')}"
                lines.append(f"{text}{got}")
            else:
                lines.append(f"{key}: {text}{got}")
    return lines


def _key(location: tuple[int | str, ...], document: object, missing: bool) -> str:
    """Return a key of `document` from pydantic's location, which also names kinds of value and places in lists."""
    parts: list[str] = []
    for part in location:
        if not isinstance(document, Mapping) or (part not in document and not missing):
            break
        parts.append(str(part))
        document = document.get(part)
    return ".".join(parts)
