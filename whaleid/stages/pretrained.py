"""Pretrained weights: torchvision's from its URL, timm's from the model hub or from a folder; each is fetched once."""

import json
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor
from torchvision import models

from whaleid.core import log
from whaleid.core.errors import WhaleidError
from whaleid.model import zoo
from whaleid.model.checkpoint import loads

SOURCES = ("hf-hub:", "local-dir:")
"""How names begin, in timm, of models of the Hugging Face hub, and of those in a folder laid out as there."""


def of_torchvision(name: str) -> object:
    """Return torchvision's own state dict of the model `name`, from torch's cache or else from the internet.

    Raises:
        WhaleidError: it cannot be downloaded, or what is in the cache cannot be read.
    """
    weights = models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # torchvision's file names end in the beginning of their content's SHA-256
            digits = file.stem.rpartition("-")[2]
            shown = sys.stderr.isatty() and not log.quiet()
            torch.hub.download_url_to_file(weights.url, str(file), digits, progress=shown)
        except (OSError, HTTPException, RuntimeError) as error:
            raise WhaleidError(
                f"backbone.weights: DEFAULT: {weights.url} could not be downloaded ({error}). Fetch {file.name} by "
                f"other means and put it at {file}, or set backbone.weights to where you keep it."
            ) from None
    return loads(file.read_bytes(), str(file))


def of_timm(name: str) -> Mapping[str, Tensor]:
    """Return the state dict that timm has for the model `name`, `timm/` and all.

    Raises:
        WhaleidError: there is none, it cannot be fetched, or it does not fit.
    """
    timm = zoo.load_timm(name)
    source, arguments = _source(name), dict[str, object]()
    if not source:
        source, arguments = zoo.parse(name)
    try:
        # the whole classifier: timm lets weights be missing where the classes are others than those of its file
        model = timm.create_model(source, pretrained=True, **arguments)
    except Exception as error:  # the hub, its client and timm raise nearly anything
        raise _failed("backbone.weights: DEFAULT", source, error) from None
    weights: Mapping[str, Tensor] = model.state_dict()
    return weights


def architecture(name: str) -> str:
    """Return the name by which the model `name` is built without what it may name, the model hub or a folder.

    Raises:
        WhaleidError: the description of the model there cannot be fetched, or timm cannot use it.
    """
    if not (source := _source(name)):
        return name
    timm = zoo.load_timm(name)
    try:
        found = timm.models.resolve_model_input_args(source)
        named, trained = found["model_name"], found["pretrained_cfg"]
        arguments = {"img_size": list(trained["input_size"][1:])} if trained["fixed_input_size"] else {}
        arguments |= found.get("pretrained_model_args", {})
        usual = {"in_chans": 3, "img_size": list(timm.get_pretrained_cfg(named).input_size[1:])}
    except Exception as error:  # besides, a stranger's description may lack anything
        raise _failed("backbone.name", source, error) from None
    unusual = {
        key: value for key, value in arguments.items() if key != "num_classes" and (key, value) not in usual.items()
    }
    return f"{zoo.TIMM}{named} {json.dumps(unusual, sort_keys=True)}" if unusual else f"{zoo.TIMM}{named}"


def _source(name: str) -> str:
    """Return what `name` names beyond the models that timm knows, if it does."""
    source = name.removeprefix(zoo.TIMM)
    return source if name.startswith(zoo.TIMM) and source.startswith(SOURCES) else ""


def _failed(key: str, source: str, error: Exception) -> WhaleidError:
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    if not isinstance(error, OSError):
        return WhaleidError(
            f"{key}: timm cannot use {source} ({reason}). Take another model (backbone.name), or set backbone.weights "
            f"to none or the path of a state dict."
        )
    return WhaleidError(
        f"{key}: timm could not fetch {source} ({reason}). Fetch the model's config.json and model.safetensors by "
        f"other means, put both into a folder, and set backbone.name to timm/local-dir:FOLDER."
    )


def of_file(path: Path) -> object:
    """Return what a file of weights holds: torch's format or, by its ending, safetensors.

    Raises:
        WhaleidError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WhaleidError(
            f"backbone.weights: {path} cannot be read ({error.strerror}). Name the file of a state dict (.pth), or "
            f"set DEFAULT (pretrained weights) or none (random weights)."
        ) from None
    if path.suffix != ".safetensors":
        return loads(data, f"backbone.weights: {path}")
    try:
        from safetensors.torch import load
    except ModuleNotFoundError:
        raise WhaleidError(f"backbone.weights: {path} needs safetensors: pip install 'whaleid[timm]'") from None
    try:
        return load(data)
    except Exception as error:  # by the bytes that it meets, as with torch
        raise WhaleidError(f"backbone.weights: {path} cannot be read ({error}). Make or fetch it anew.") from None
