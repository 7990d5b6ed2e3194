"""The schema of `params.yaml`. An invalid file is rejected with one error that lists every wrong key."""

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
"""Names that variants must not have: the backbone's checkpoint and other files of a bundle use them."""
NAME_RULE = "a name must begin with a letter or _ and contain only letters, digits, - and _"

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=16, le=1024)]
Rate = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A section of `params.yaml`. It is immutable, rejects unknown keys and converts no types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def contradictions(self) -> Iterator[str]:
        """Yield `key: problem: remedy` for keys that are valid alone but contradict each other."""
        yield from ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if problems := [*self.contradictions()]:
            raise ValueError("\n".join(problems))
        return self


class Data(Section):
    """The catalogue folder."""

    root: Text = Field(description="Catalogue folder, with train.csv, train/ and test/.")


class Sample(Section):
    """Size of the catalogue of synthetic flukes, data/sample."""

    frequent: Count = Field(description="Number of whales with ten or more photos. The variant toy trains on some.")
    occasional: Count = Field(description="Number of whales with two to five photos.")
    single: Count = Field(description="Number of whales with one photo.")
    new_whale: Count = Field(description="Number of photos labelled new_whale, of whales outside the catalogue.")
    queries: Count = Field(description="Number of queries (photos to identify).")


class Dedup(Section):
    """Two photos are duplicates if they are within both max_distance and max_error."""

    max_distance: int = Field(ge=0, le=16, description="Maximum distance of their 64-bit perceptual hashes, in bits.")
    max_error: Share = Field(
        description="Maximum share of the variance of one photo's pixels that a linear fit to the other photo's pixels "
        "leaves unexplained. If the aspect ratios differ, half of it."
    )
    turned: bool = Field(description="Whether a photo rotated by 180 degrees counts as a duplicate.")
    mirrored: bool = Field(description="Whether a mirrored photo (left and right exchanged) counts as a duplicate.")


class Split(Section):
    """Which photos are held out for validation. Shares are of unique photos: each duplicate group counts once."""

    fold: Seed = Field(description="Seed of the random split. Another seed holds out other photos.")
    known: Share = Field(description="Share of whales with two or more photos that have one held out as a known query.")
    further: Share = Field(description="Share of the other photos of these whales also held out. One per whale stays.")
    unknown: Share = Field(description="Share of whales with one photo that are held out as unknown queries.")
    several: Share = Field(description="Share of whales with two or more photos held out entirely, as unknown queries.")
    new_whale: Share = Field(description="Share of the photos labelled new_whale that is held out.")
    unknown_share: Share = Field(
        description="Expected share of unknown whales among future queries, not counting duplicates. Validation is "
        "weighted by it to compute MAP@5 and to choose the threshold."
    )


class Boxes(Section):
    """Training of the network that detects flukes."""

    size: int = Field(ge=32, le=512, description="Width and height that photos are resized to, in pixels.")
    steps: Count = Field(description="Number of training steps.")
    batch_size: int = Field(ge=2, description="Number of photos in a training step.")
    lr: Rate = Field(description="Maximum learning rate of the one-cycle schedule.")


class Pack(Section):
    """How photos are prepared for the network."""

    width: Pixels = Field(description="Width of the network's input, in pixels.")
    height: Pixels = Field(description="Height of the network's input, in pixels.")
    grey: bool = Field(description="Whether photos are converted to greyscale.")
    crop: bool = Field(description="Whether photos are cropped to the fluke's box, if they have one.")
    margin: Share = Field(description="Margin added on each side of a box, as a share of its size.")
    stretch: bool = Field(
        description="Whether the crop is stretched to the input; if not, it keeps its aspect ratio and is padded."
    )
    turn: bool = Field(description="Whether upside-down photos are detected and rotated by 180 degrees.")


class Backbone(Section):
    """The network before it is trained on whales."""

    name: Text = Field(description="A classification model of torchvision, or timm/NAME for a model of timm.")
    weights: Text = Field(description="DEFAULT (pretrained), none (random weights), or the path of a state dict.")
    embedding: int = Field(ge=2, le=4096, description="Dimension of the embeddings.")
    fine: bool = Field(description="Whether the last stride is removed: a finer last feature map, but slower.")


class Loss(Section):
    """The training loss. All kinds take the same keys, so that changing `kind` alone selects another loss."""

    kind: Literal["softmax", "cosface", "arcface", "triplet"] = Field(
        description="Cross-entropy without (softmax) or with a margin (cosface, arcface), or batch-hard triplet loss."
    )
    scale: float = Field(gt=0, le=128, description="Factor by which cosines are multiplied before the softmax.")
    margin: float = Field(
        ge=0,
        le=2,
        description="Margin between the true class and the others: of the cosine (cosface), of the angle in radians "
        "(arcface), of the distance (triplet); 0 for softmax. cosface and arcface raise it from 0 to this value in the "
        "first half of training.",
    )
    centres: int = Field(ge=1, le=16, description="Centres per class: 1, or more for sub-centre ArcFace (arcface).")

    def contradictions(self) -> Iterator[str]:
        """Yield keys that contradict `kind`."""
        if self.kind == "softmax" and self.margin:
            yield "margin: softmax has no margin: set it to 0, or set kind to cosface or arcface"
        if self.kind != "softmax" and not self.margin:
            yield f"margin: {self.kind} needs a margin: set it above 0, or set kind to softmax"
        if self.kind != "arcface" and self.centres > 1:
            yield f"centres: {self.kind} uses one centre per class: set it to 1, or set kind to arcface"


class Training(Section):
    """Training of a variant's network."""

    whales: Count | Literal["all"] = Field(description="Number of whales, those with the most photos first; or all.")
    photos: Count | Literal["all"] = Field(description="Maximum number of photos per whale; or all.")
    min_photos: Count = Field(description="Minimum number of photos per whale. Whales with fewer are not trained on.")
    new_whale: bool = Field(description="Whether new_whale is trained as an additional class.")
    flip: Literal["identity", "augment", "off"] = Field(
        description="Use of mirrored flukes: as another whale (identity), as the same whale (augment), or none (off)."
    )
    augment: bool = Field(
        description="Whether photos are augmented at random: position, light, blur, erased parts. If false, "
        "training with layers: last takes seconds, because the outputs of the other layers are computed once."
    )
    loss: Loss
    oversample: Count = Field(description="Minimum photos per whale in an epoch. Photos of rarer whales are repeated.")
    per_whale: Count = Field(
        description="Number of photos of a whale that are batched together. A batch has at least two whales."
    )
    layers: Literal["all", "upper", "last"] = Field(
        description="Layers to train: all, upper (all except those on the largest feature maps), or last."
    )
    epochs: Count = Field(description="Number of passes over the training photos.")
    batch_size: int = Field(ge=2, description="Number of photos in a training step, over all processes.")
    lr: Rate = Field(description="Maximum learning rate of the one-cycle schedule; ten times that for the last layer.")
    weight_decay: float = Field(ge=0, le=1, description="Weight decay of AdamW.")
    compile: bool = Field(
        description="Whether torch.compile compiles the network: faster on GPUs, after about a minute of compilation."
    )

    def contradictions(self) -> Iterator[str]:
        """Yield keys that make batches impossible, or that contradict the loss."""
        if self.batch_size % self.per_whale:
            yield f"batch_size: {self.batch_size} is not a multiple of per_whale ({self.per_whale}): change one of them"
        elif self.batch_size < 2 * self.per_whale:
            yield (
                f"batch_size: {self.batch_size} is too small for two whales with {self.per_whale} photos each "
                "(per_whale): double it, or lower per_whale"
            )
        if self.loss.kind == "triplet":
            if self.per_whale == 1:
                yield "per_whale: the triplet loss compares photos of the same whale: set it to 2 or more"
            if self.new_whale:
                yield "new_whale: the triplet loss needs one whale per class, but new_whale has many: set it to false"
            if self.layers == "last":
                yield "layers: the triplet loss does not train the last layer: set it to all or upper"


class Embedding(Section):
    """How a variant's network computes embeddings."""

    zoom: float = Field(ge=0.5, le=1, description="Size of the centre crop, as a share of a photo's width and height.")
    tilt: float = Field(ge=0, le=45, description="Degrees of rotation to either side; both embeddings are averaged.")


class Variant(Section):
    """A way to train a network, under a name that you choose. Each entry adds stages to the pipeline."""

    init: Text = Field(description="Initial weights of the hidden layers: backbone, or another variant.")
    learn: Literal["train", "all"] = Field(
        description="Photos to train on: the training part (train), or validation as well (all). With all, the variant "
        "cannot be validated, and its prediction needs calibrated_by."
    )
    train: Training
    embed: Embedding
    scores: Annotated[list[Score], Field(min_length=1)] = Field(
        description="Scores that rank whales, weighted on validation: similarity to the trained class (class), to the "
        "nearest photo (nearest) or to the mean of the photos (centroid) of a whale; labels of duplicates (duplicates)."
    )

    def contradictions(self) -> Iterator[str]:
        """Yield `scores` if one of them is repeated."""
        if len(set(self.scores)) < len(self.scores):
            yield "scores: a score is repeated: list each once"


class Prediction(Section):
    """One or more variants that rank whales together, under a name that you choose: submissions/NAME.csv."""

    networks: list[Text] = Field(
        description="Variants that are combined. The prediction phash has none: it ranks duplicates only."
    )
    calibrated_by: Text | None = Field(
        default=None,
        description="Prediction whose calibration is used. Required if, and only if, a variant has learn: all.",
    )


NAMED: dict[str, type[Section]] = {"variants": Variant, "predictions": Prediction}
"""Type of the entries of each section whose entries are named by users."""
RENAMED = {
    **{key: f"variants.NAME.train.{key}" for key in Training.model_fields},
    **{key: f"variants.NAME.embed.{key}" for key in Embedding.model_fields},
    "batch": "variants.NAME.train.batch_size",
    "decay": "variants.NAME.train.weight_decay",
    "ensemble": "predictions.ensemble.networks",
    "final": "variants.final.learn and predictions.final.calibrated_by",
    "min_views": "variants.NAME.train.oversample",
    "rate": "variants.NAME.train.lr",
}
"""The current name of each renamed key, by the last part of its former name."""


class Params(Section):
    """The whole `params.yaml`."""

    threshold: Probability | Literal["auto"] = Field(
        description="Probability at which new_whale is ranked: whales above it come first. auto: chosen on validation."
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

    def calibration_source(self, prediction: str) -> str:
        """Return the prediction whose calibration `prediction` uses: itself, unless `calibrated_by` names another."""
        return self.predictions[prediction].calibrated_by or prediction

    def decision_path(self, prediction: str) -> Path:
        """Return the file with the calibration and threshold of `prediction`; for phash, the table of leaks."""
        calibration = self.calibration_source(prediction)
        networks = self.predictions[calibration].networks
        if not networks:
            return paths.LEAKS
        return (paths.calibration(networks[0]) if len(networks) == 1 else paths.ranking(calibration)) / paths.DECISION

    def variant_by_calibrated(self, prediction: str) -> dict[str, str]:
        """Map each variant that the calibration was fitted with to the variant of `prediction` that replaces it."""
        calibrated = self.predictions[self.calibration_source(prediction)].networks
        return dict(zip(calibrated, self.predictions[prediction].networks, strict=True))

    def network_scores(self, prediction: str) -> list[list[Score]]:
        """Return the scores of each variant of `prediction`, in the order of `networks`."""
        return [self.variants[network].scores for network in self.predictions[prediction].networks]

    def contradictions(self) -> Iterator[str]:
        """Yield variants and predictions with invalid names, or with references that are missing or unsuitable."""
        for section in NAMED:
            for name in getattr(self, section):
                if not name.replace("-", "_").isidentifier():
                    yield f"{section}.{name}: {NAME_RULE}"
        for name in self.variants:
            yield from (f"variants.{name}{problem}" for problem in self._variant_problems(name))
        if "final" not in self.predictions:
            yield "predictions.final: missing: add it, because the stage bundle builds models/final.bundle from it"
        for name in self.predictions:
            yield from (f"predictions.{name}{problem}" for problem in self._prediction_problems(name))

    def _variant_problems(self, name: str) -> Iterator[str]:
        variant = self.variants[name]
        if name in RESERVED:
            yield f": the names {', '.join(RESERVED)} are reserved: choose another name"
        if variant.init not in (BACKBONE, *self.variants):
            yield f".init: there is no variant {variant.init!r} (available: {BACKBONE}, {', '.join(self.variants)})"
        chain = [name]
        while (init := self.variants[chain[-1]].init) in self.variants and init not in chain:
            chain.append(init)
        if init == name == min(chain):  # report a cycle once
            yield f".init: circular: {' → '.join([*chain, name])}. Set init of one of them to {BACKBONE}"
        if variant.learn == "train" and variant.init in self.variants and self.variants[variant.init].learn == "all":
            yield (
                f".init: {variant.init} has learn: all, so a variant that starts from it cannot be validated: set "
                "learn: all here as well, or start from another variant"
            )

    def _prediction_problems(self, name: str) -> Iterator[str]:
        networks, source = self.predictions[name].networks, self.predictions[name].calibrated_by
        if networks and name == PHASH:
            yield f".networks: {PHASH} ranks duplicates only: leave networks empty, or choose another name"
        if not networks and name != PHASH:
            yield f".networks is empty: list one or more variants. Only {PHASH} may be empty"
        unknown = [network for network in networks if network not in self.variants]
        for network in dict.fromkeys(unknown):
            yield f".networks: there is no variant {network!r} (available: {', '.join(self.variants)})"
        if len(set(networks)) < len(networks):
            yield ".networks: a variant is repeated: list each once"
        learn_all = [
            network for network in networks if network in self.variants and self.variants[network].learn == "all"
        ]
        if source is None:
            if learn_all:
                yield (
                    f": {', '.join(learn_all)} has learn: all, so no validation photos are left to calibrate on: set "
                    "calibrated_by to the prediction whose calibration should be used"
                )
        elif source not in self.predictions:
            yield f".calibrated_by: there is no prediction {source!r} (available: {', '.join(self.predictions)})"
        elif not learn_all and not unknown:
            yield ".calibrated_by: not needed, since no variant in networks has learn: all: remove this key"
        elif not self.predictions[source].networks or self.predictions[source].calibrated_by is not None:
            yield f".calibrated_by: {source} has no calibration of its own: choose a prediction that has"
        elif not unknown and self.variants.keys() >= {*self.predictions[source].networks}:
            scores, source_scores = self.network_scores(name), self.network_scores(source)
            if scores != source_scores:
                yield (
                    f".calibrated_by: {source} has the scores {source_scores}, but {name} has {scores}: set the same "
                    "scores for both, variant by variant"
                )


def load(path: Path) -> Params:
    """Read and check `path`.

    Raises:
        WhaleidError: the file is missing or not a YAML mapping.
        InputProblems: a key is unknown or missing, has a wrong type or is out of range, or contradicts another key.
    """
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WhaleidError(f"{path} does not exist: run the command in the project's folder.") from None
    except OSError:
        raise
    except Exception as error:  # ruamel may raise any type of exception, as for a wrong date or a very deep list
        raise WhaleidError(
            f"{path} is not valid YAML: {error}\nCorrect that line, for example its spaces, tabs or brackets."
        ) from None
    return check(document, path)


def parse(text: str) -> object:
    """Parse YAML text with the parser in C, which may raise any type of exception."""
    return YAML(typ="safe").load(text)


def leaves(section: object, prefix: str = "") -> dict[str, object]:
    """Map each dotted key of a document, such as `pack.width`, to its value; empty if `section` is not a mapping."""
    values: dict[str, object] = {}
    for key, value in section.items() if isinstance(section, Mapping) else ():
        values |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def check(document: object, path: Path) -> Params:
    """Validate a parsed `params.yaml`. Errors name `path`.

    Raises:
        WhaleidError: `document` is not a mapping.
        InputProblems: as in `load`.
    """
    if not isinstance(document, Mapping):
        raise WhaleidError(f"{path} contains no keys: restore it with `git checkout {path}`.")
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        problems = _problems(error, document)
    raise InputProblems(f"{path} has wrong values", problems, "Fix these keys: docs/reference.md lists their values.")


def _problems(error: ValidationError, document: object) -> list[str]:
    """Return one line per problem, which begins with the key as it is written in the file."""
    schema = Params.model_json_schema()
    known = sorted({name for part in (schema, *schema["$defs"].values()) for name in part["properties"]})
    short = reprlib.Repr()
    short.maxlevel = 2  # with YAML aliases, a list can contain itself
    lines: list[str] = []
    renamed = set[str]()  # current names of renamed keys in the document
    for problem in error.errors():
        key = _key(problem["loc"], document, problem["type"] == "missing")
        if problem["type"] == "value_error":  # raised with the lines of `contradictions`, which begin with a key
            lines += [f"{key}.{line}".removeprefix(".") for line in str(problem["ctx"]["error"]).split("\n")]
        elif problem["type"] == "missing":
            lines.append(f"{key}: missing")
        elif problem["type"] == "extra_forbidden":
            name = key.rpartition(".")[2]
            if name in RENAMED and (key == name or key.startswith("variants.")):
                present = RENAMED[name] if key == name else RENAMED[name].replace("NAME", key.split(".")[1])
                renamed.add(present)
                lines.append(f"{key}: renamed to {present}")
                continue
            matches = difflib.get_close_matches(name, known, 1)
            lines.append(f"{key}: no such key" + (f"; did you mean {matches[0]!r}?" if matches else ""))
        else:
            text, suffix = problem["msg"].replace("Input should be", "must be"), f", got {short.repr(problem['input'])}"
            text = text[0].lower() + text[1:]
            # pydantic reports one problem per type of a union, such as a number or 'auto': join them in one line
            if lines and lines[-1].startswith(f"{key}: ") and lines[-1].endswith(suffix):
                text = f"{lines.pop().removesuffix(suffix)} or {text.removeprefix('must be ')}"
                lines.append(f"{text}{suffix}")
            else:
                lines.append(f"{key}: {text}{suffix}")
    replaced = {f"{present}: missing" for present in renamed}
    return [line for line in lines if line not in replaced]


def _key(location: tuple[int | str, ...], document: object, missing: bool) -> str:
    """Convert a location of pydantic, which also contains types of a union and list indices, to a key of `document`."""
    parts: list[str] = []
    for part in location:
        if not isinstance(document, Mapping) or (part not in document and not missing):
            break
        parts.append(str(part))
        document = document.get(part)
    return ".".join(parts)
