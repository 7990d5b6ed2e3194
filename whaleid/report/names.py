"""Display names and descriptions of the figures of a prediction."""

NAMES = {
    "MAP@5": {
        "map5": ("overall", "kinds of queries weighted by the shares expected of the queries to come"),
        "map5_no_duplicates": ("without duplicates", "the same, over queries that duplicate no labelled photo"),
        "map5_known": ("known", "queries of whales in the catalogue"),
        "map5_unknown": ("unknown", "queries of whales that were held out whole"),
        "map5_duplicates": ("duplicates", "queries that duplicate a labelled photo"),
        "map5_new_whale": (
            "new_whale",
            "validation photos of that label, which may be of a known whale: counted separately",
        ),
        "map5_new_whale_train": ("new_whale, training", "training photos of that label: counted separately"),
    },
    "Which whale": {
        "top1": ("top-1", "share of known queries whose whale ranks first"),
        "top5": ("top-5", "share of known queries whose whale is one of the five labels"),
    },
    "Known or unknown": {
        "auroc": ("AUROC", "how often a known query's best whale is more probable than an unknown query's"),
        "tpr_at_fpr01": ("TPR at 1 % FPR", "known queries accepted when 1 % of the unknown are"),
        "tpr_at_fpr05": ("TPR at 5 % FPR", "known queries accepted when 5 % of the unknown are"),
        "oscr": ("OSCR", "area under correctly classified known queries by accepted unknown queries"),
        "baks": ("BAKS", "balanced accuracy on known whales: every whale counts the same"),
        "baus": ("BAUS", "balanced accuracy on unknown whales: new_whale ranks first"),
        "baks_baus": ("BAKS and BAUS", "their geometric mean"),
    },
    "Probabilities": {
        "ece": ("ECE", "mean distance between the probability and how often the best whale is right"),
        "ece_uncalibrated": ("ECE before calibration", "the same before calibration"),
        "ece_chance": ("ECE by chance", "what so many queries have by chance under perfect calibration"),
    },
    "Threshold": {
        "threshold_auto": ("auto", "the threshold fitted on validation; least and greatest over its folds"),
        "map5_auto": ("MAP@5 at auto", "without duplicates; each fold at the threshold fitted on the other folds"),
        "oracle_gain": ("oracle", "MAP@5 that the best threshold in hindsight would gain over that"),
        "threshold_cost": (
            "cost",
            "MAP@5 that the threshold loses against auto; below 0 if it was picked by looking at these queries",
        ),
    },
    "Solution": {
        "solution_map5": ("MAP@5", "over the queries in the solution"),
        "solution_map5_no_duplicates": ("without leaks", "the same, over queries that duplicate no labelled photo"),
    },
    "Expected queries": {
        "unknown_share": ("unknown share", "share of unknown queries, duplicates aside: split.unknown_share"),
        "duplicate_share": ("duplicate share", "share of the queries to come that duplicate a labelled photo"),
    },
    "Baselines, MAP@5": {
        "baseline_new_whale": ("new_whale for all", ""),
        "baseline_duplicates": ("duplicates, else new_whale", ""),
        "baseline_centroid": ("nearest centroid, no threshold", ""),
    },
}
"""Under each heading of the page, the figures by key: display name and description."""
BASELINES = {key: name for key, (name, _) in NAMES["Baselines, MAP@5"].items()}
"""Display name of each baseline, by key."""
TILES = {
    "map5": "MAP@5",
    "map5_known": "MAP@5, known",
    "map5_unknown": "MAP@5, unknown",
    "map5_duplicates": "MAP@5, duplicates",
    "top1": "top-1, known",
    "solution_map5": "MAP@5, solution",
    "solution_map5_no_duplicates": "solution, without leaks",
    "auroc": "AUROC, known or unknown",
    "ece": "ECE",
}
"""Display names of the figures in the tiles at the top of the page."""
SHEETS = {
    "right": ("Most confident, and right", "Validation queries whose whale ranks first, most probable first."),
    "wrong": ("Most confident, and wrong", "A wrong whale ranks first, most probable first."),
    "close": ("Closest to the threshold", "The best whale's probability is nearest to the threshold."),
}
"""Title and caption of each contact sheet of `tables.examples`."""
ROLES = {
    "known": "of known whales",
    "unknown": "of unknown whales",
    "duplicate": "duplicates",
    "new_whale": "labelled new_whale",
    "new_whale_train": "training photos labelled new_whale",
}
"""Description of each role of validation queries, to follow their number."""
