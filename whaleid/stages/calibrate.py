"""Stage `calibrate`: how a variant's scores are weighed, and its threshold, found on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid import files, paths
from whaleid.identify import validation
from whaleid.identify.calibration import best_threshold, fit_fusion, threshold_curve
from whaleid.identify.fusion import probabilities
from whaleid.identify.ranking import rank
from whaleid.identify.similarity import DUPLICATES
from whaleid.record import Record
from whaleid.stages import features

if TYPE_CHECKING:
    from whaleid.params import Params

COMPARED = ["map5", "map5_no_duplicates", "map5_known"]
"""The figures of each score alone."""


def run(params: Params, variant: str) -> Record:
    """Weigh the scores, draw MAP@5 over all thresholds and take the best one; do the same for each score alone."""
    split, leaks = files.read_csv(paths.SPLIT), files.read_csv(paths.LEAKS)
    unknown_share = params.split.unknown_share
    duplicate_share = validation.duplicate_share(leaks, files.read_csv(paths.CATALOG))
    networks = features.load(params.networks_of(variant), split["Image"])
    given = {
        network: [networks.called(network, score) for score in params.settings_of(network).scores]
        for network in networks.features
    }
    names = [*dict.fromkeys(chain.from_iterable(given.values()))]
    asked = validation.queries(split, networks.classes)
    evidence = validation.duplicate_evidence(asked, files.read_csv(paths.GROUPS))
    photos = validation.gallery(split, held_out=False)
    table = np.concatenate([*networks.score_tables(names, asked["Image"].tolist(), evidence, photos)], axis=1)

    truth, whales = asked["truth"].to_numpy(dtype=np.str_), np.unique(photos["Id"].to_numpy(dtype=np.str_))
    # whose whale is no candidate, is of no known whale to whoever answers
    column = {label: index for index, label in enumerate(whales.tolist())}
    columns = np.array([column.get(label, len(whales)) for label in truth.tolist()])
    counts = validation.importance(asked["role"], unknown_share, duplicate_share)
    # the threshold is found without duplicates: they would reward remembering a picture
    others = ~asked["role"].isin(["duplicate", "new_whale_train"]).to_numpy()
    others_count = validation.importance(asked["role"][others], unknown_share, duplicate_share)

    compared: dict[str, dict[str, float]] = {}
    for label, chosen in _alternatives(given).items():
        weighed = table[[names.index(name) for name in chosen]]
        fusion = fit_fusion(chosen, weighed, columns, counts)
        likely = probabilities(weighed, fusion)[:, :-1]
        curve = threshold_curve(likely[others], whales, truth[others], others_count)
        threshold = best_threshold(curve)
        answers = rank(likely, whales, threshold).tolist()
        compared[label] = validation.figures(asked, answers, unknown_share, duplicate_share)
    # the last alternative is the variant itself
    figures = {**fusion.as_figures(), "threshold_auto": threshold, "map5_auto": float(curve["map5"].max())}
    files.write_csv(curve, paths.threshold_curve(variant))
    shown = pd.DataFrame.from_dict(compared, orient="index").reindex(columns=COMPARED)
    files.write_csv(shown.rename_axis("score").reset_index(), paths.scores(variant))
    files.write_json(figures, paths.calibration(variant))
    weights = ", ".join(f"{name} {weight:g}" for name, weight in fusion.weights.items())
    print(
        f"calibrate {variant}: {weights}, new_whale {fusion.bias:g}, best threshold {threshold:g}: "
        f"MAP@5 {figures['map5_auto']:.4f} on {others.sum():,} validation photos without duplicates"
    )
    alone = {
        f"{figure}_{label}": measured[figure]
        for label, measured in compared.items()
        for figure in COMPARED
        if figure in measured
    }
    return Record(
        params={"variant": variant, "unknown_share": unknown_share, "scores": " ".join(names)},
        metrics=figures | alone,
        artifacts=[paths.threshold_curve(variant), paths.scores(variant)],
        inputs=[*map(paths.features, networks.features), paths.GROUPS, paths.LEAKS],
        outputs=[paths.calibration(variant)],
        dataset=paths.SPLIT,
    )


def _alternatives(given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the sets of scores to compare by what they are called; the last has all that networks have `given`.

    Of one network they are its scores one by one, of several those of each network.
    """
    names = [*dict.fromkeys(chain.from_iterable(given.values()))]
    if len(names) == 1:
        return {names[0]: names}
    rankers = [name for name in names if name != DUPLICATES]  # duplicates alone rank no whales
    found = {name: [name] for name in rankers}
    if len(given) > 1:
        found = {network: [name for name in rankers if name in own] for network, own in given.items()}
    if len(rankers) not in (1, len(names)):
        found["without_duplicates"] = rankers
    return {label: chosen for label, chosen in found.items() if chosen} | {"all": names}
