"""`params.yaml`, typed: every key is known, every value in range, or one error names all that is wrong."""

import difflib
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from whaleid.errors import InputProblems, WhaleidError
from whaleid.labels import Score
from whaleid.paths import ENSEMBLE, FINAL

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
BACKBONE = "backbone"
"""The `init` of a variant that starts from the backbone itself."""


class Section(BaseModel):
    """A part of `params.yaml`: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    """The catalogue folder."""

    root: Annotated[str, Field(min_length=1)]


class Sample(Section):
    """What the drawn catalogue holds."""

    frequent: Count  # whales with many photos, enough of them for the toy
    occasional: Count  # whales with two to five photos
    single: Count  # whales with one photo
    new_whale: Count  # labelled photos of whales outside the catalogue
    queries: Count  # photos to identify


class Dedup(Section):
    """When two photos are the same picture: both must hold."""

    max_distance: Annotated[int, Field(ge=0, le=16)]  # bits of 64 between perceptual hashes
    max_error: Annotated[float, Field(ge=0, le=1)]  # share of the pixels' variance that they do not explain
    turned: bool  # whether a photo turned by 180 degrees is the same picture
    mirrored: bool  # whether a photo with left and right exchanged is


class Split(Section):
    """What is held out for validation, by duplicate group."""

    fold: Annotated[int, Field(ge=0, lt=2**32)]  # another number is another draw of the same shares
    known: Share  # of the whales with two unique photos or more, the share that gives one up
    further: Share  # of the photos that such whales have left beyond one, the share given up as well
    unknown: Share  # of the whales with one unique photo, the share held out
    several: Share  # of the whales with more, the share held out whole, as unknown too
    new_whale: Share  # of the `new_whale` photos
    unknown_share: Share  # of the queries to come, duplicates apart, how many are expected to be of no known whale


class Pack(Section):
    """How photos reach the network."""

    width: Annotated[int, Field(ge=16, le=1024)]
    height: Annotated[int, Field(ge=16, le=1024)]
    grey: bool
    crop: bool  # to the fluke's box, where there is one
    margin: Annotated[float, Field(ge=0, le=1)]  # added on each side of a box, as a share of its size
    stretch: bool  # fill the whole size, or keep the fluke's proportions and leave room around it
    turn: bool  # find photos that are upside down and turn them


class Backbone(Section):
    """The network before it has seen a whale."""

    name: Annotated[str, Field(min_length=1)]  # a classification model of torchvision, or timm/ and one of timm's
    weights: Annotated[str, Field(min_length=1)]  # DEFAULT, none, or the path of a state dict
    embedding: Annotated[int, Field(ge=2, le=4096)]  # numbers that a photo is turned into
    fine: bool  # leave out the last stride, so that the last map has twice as many places along each side


class Loss(Section):
    """What training lowers. Every kind has every key, so that one key makes another loss of it."""

    kind: Literal["softmax", "cosface", "arcface", "triplet"]
    scale: Annotated[float, Field(gt=0, le=128)]  # by which cosines are multiplied before the softmax
    # asked for between a photo's own class and the others; cosface: cosine, arcface: radians, triplet: distance
    margin: Annotated[float, Field(ge=0, le=2)]
    centres: Annotated[int, Field(ge=1, le=16)]  # of a class: a photo needs to be close to one only


class Variant(Section):
    """One way to train."""

    init: Annotated[str, Field(min_length=1)]  # whose hidden layers it starts from
    whales: Count | Literal["all"]  # the whales with most photos, or all of them
    photos: Count | Literal["all"]  # at most so many a whale, so that all have about equally many
    min_photos: Count  # photos that a whale must have to be learnt
    new_whale: bool  # whether `new_whale` is a class of its own
    flip: Literal["identity", "augment", "off"]  # a mirrored fluke is another whale, the same whale, or not shown
    augment: bool  # whether photos are moved, lit, blurred and erased at random
    loss: Loss
    min_views: Count  # views of each whale an epoch, at least: rare whales' photos are shown more than once
    per_whale: Count  # photos of a whale in a batch
    layers: Literal["all", "upper", "last"]  # which layers are trained; upper: all but those on the largest maps
    epochs: Count
    batch: Annotated[int, Field(ge=2)]
    rate: Annotated[float, Field(gt=0, le=1)]  # the highest learning rate of the cycle
    decay: Share  # weight decay
    # of a photo's sides, how much an embedding is made from
    zoom: Annotated[float, Field(ge=0.5, le=1)]
    # degrees by which photos are turned to either side, of whose embeddings the mean is taken; 0: photos as they are
    tilt: Annotated[float, Field(ge=0, le=45)]
    # what ranks whales, weighed on validation
    scores: Annotated[list[Score], Field(min_length=1)]


class Final(Section):
    """The training that makes the submission: the ensemble learns once more, from validation's photos too."""

    epochs: Count  # of each of its variants


class Params(Section):
    """All of `params.yaml`."""

    threshold: Share | Literal["auto"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    neighbours: Literal["exact", "approximate"]  # the photos that queries are compared with: all, or those near
    ensemble: Annotated[list[str], Field(min_length=2, max_length=2)]  # the variants that decide together
    final: Final
    data: Data
    sample: Sample
    dedup: Dedup
    split: Split
    pack: Pack
    backbone: Backbone
    variants: Annotated[dict[str, Variant], Field(min_length=1)]

    def settings_of(self, network: str) -> Variant:
        """Return the settings of a network: those of its variant, for `final/VARIANT` too."""
        return self.variants[network.removeprefix(f"{FINAL}/")]

    def networks_of(self, name: str) -> list[str]:
        """Return the networks that decide as `name`: itself, or those of `ensemble` or `final`."""
        if name == ENSEMBLE:
            return self.ensemble
        return [f"{FINAL}/{variant}" for variant in self.ensemble] if name == FINAL else [name]

    @model_validator(mode="after")
    def _variants_start_somewhere(self) -> "Params":
        known = ", ".join(self.variants)
        wrong = [
            f"ensemble: there is no variant {name!r} (there are: {known})"
            for name in self.ensemble
            if name not in self.variants
        ]
        if len(set(self.ensemble)) == 1:
            wrong.append(f"ensemble: names {self.ensemble[0]!r} twice: name two variants")
        for name in self.variants:
            taken = name in (BACKBONE, ENSEMBLE, FINAL, "boxes", "explore", "phash")
            if taken or not name.replace("-", "_").isidentifier():
                wrong.append(f"variants.{name}: this name is taken or holds more than letters, digits, - and _")
                continue
            path = [name]
            while (start := self.variants[path[-1]].init) != BACKBONE:
                if start not in self.variants:
                    wrong.append(
                        f"variants.{path[-1]}.init: there is no variant {start!r} (there are: {BACKBONE}, {known})"
                    )
                    break
                if start in path:
                    wrong.append(f"variants.{name}.init: goes in a circle: {' → '.join([*path, start])}")
                    break
                path.append(start)
        for name, variant in self.variants.items():
            wrong += [f"variants.{name}.{said}" for said in _contradictions(variant)]
        if wrong:
            raise ValueError("\n".join(dict.fromkeys(wrong)))
        return self


def _contradictions(variant: Variant) -> list[str]:
    """Say which keys of a variant cannot go together."""
    wrong = []
    if len(set(variant.scores)) < len(variant.scores):
        wrong.append("scores: names one of them twice")
    if variant.batch % variant.per_whale:
        wrong.append(f"batch: {variant.batch} is no multiple of the {variant.per_whale} photos that are together")
    elif variant.batch < 2 * variant.per_whale:
        wrong.append(f"batch: {variant.batch} holds no two whales with {variant.per_whale} photos together each")
    if variant.loss.kind == "softmax" and variant.loss.margin:
        wrong.append("loss.margin: softmax has none: set 0, or take cosface or arcface")
    if variant.loss.kind != "softmax" and not variant.loss.margin:
        wrong.append(f"loss.margin: {variant.loss.kind} needs one: set it above 0, or take softmax")
    if variant.loss.kind != "arcface" and variant.loss.centres > 1:
        wrong.append(f"loss.centres: {variant.loss.kind} has one a class: set 1, or take arcface")
    if variant.loss.kind == "triplet":
        if variant.per_whale == 1:
            wrong.append("per_whale: 1 gives the loss triplet nothing to compare: set 2 or more")
        if variant.new_whale:
            wrong.append("new_whale: the loss triplet draws a class together, and those photos are no whale: set false")
        if variant.layers == "last":
            wrong.append("layers: the loss triplet does not train the last layer: set all or upper")
    return wrong


def load(path: Path) -> Params:
    """Read and check `path`.

    Raises:
        WhaleidError: the file is missing or no YAML mapping.
        InputProblems: unknown keys, missing keys, wrong types or ranges, variants that start nowhere; all at once.
    """
    try:
        read = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WhaleidError(f"{path} is not here: run this in the project's folder.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise WhaleidError(f"{path} is no valid YAML: {error}") from None
    return check(read, path)


def check(read: object, path: Path) -> Params:
    """Return what was read from `path` as parameters.

    Raises:
        WhaleidError: it is no mapping.
        InputProblems: as `load`.
    """
    if not isinstance(read, dict):
        raise WhaleidError(f"{path} holds no keys: take it from git again.")
    try:
        return Params.model_validate(read)
    except ValidationError as error:
        raise InputProblems(
            f"{path} has wrong values",
            _problems(error),
            "Mend these keys; the comments in params.yaml say what they take.",
        ) from None


def _problems(error: ValidationError) -> list[str]:
    """Return a line a key, with the key as a user writes it."""
    said: dict[str, list[str]] = {}
    for each in error.errors():
        if each["type"] == "value_error":  # of `_variants_start_somewhere`, which names its keys itself
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
            said.setdefault(f"{key}: \0, got {each['input']!r}", []).append(message)
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
        if section is Params and name == "variants":
            fields += islice(parts, 1)
            section = Variant
        elif field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
        else:
            break
    return fields, section
