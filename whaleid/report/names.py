"""What the figures of a report are called, and what they mean."""

NAMES = {
    "MAP@5": {
        "map5": ("overall", "kinds of queries weighed as they are expected to come"),
        "map5_no_duplicates": ("without duplicates", "the same, of queries that duplicate no labelled photo"),
        "map5_known": ("known", "queries of whales that are in the catalogue"),
        "map5_unknown": ("unknown", "queries of whales that were held out whole"),
        "map5_duplicates": ("duplicates", "queries that duplicate a labelled photo"),
        "map5_new_whale": (
            "new_whale",
            "validation photos of that label, which may be of a known whale: counted apart",
        ),
        "map5_new_whale_train": ("new_whale, training", "training photos of that label: counted apart"),
    },
    "Which whale": {
        "top1": ("top-1", "known queries whose whale is named first"),
        "top5": ("top-5", "known queries whose whale is among the five names"),
    },
    "Known or unknown": {
        "auroc": ("AUROC", "how often a known query's best whale is more probable than an unknown one's"),
        "tpr_at_fpr01": ("TPR at 1 % FPR", "known queries accepted when 1 % of the unknown are"),
        "tpr_at_fpr05": ("TPR at 5 % FPR", "known queries accepted when 5 % of the unknown are"),
        "oscr": ("OSCR", "area under rightly named known queries by accepted unknown ones"),
        "baks": ("BAKS", "balanced accuracy on known whales: the mean of the whales' own"),
        "baus": ("BAUS", "accuracy on unknown whales: those answered new_whale first"),
        "baks_baus": ("BAKS and BAUS", "their geometric mean"),
    },
    "Probabilities": {
        "ece": ("ECE", "how far what is said is from what is true, on average"),
        "ece_uncalibrated": ("ECE before calibration", "the same before calibration"),
        "ece_chance": ("ECE by chance", "what so many queries show by chance where all that is said is true"),
    },
    "Threshold": {
        "threshold": ("threshold", "the probability at which new_whale takes its rank"),
        "threshold_auto": ("auto", "the one found on validation; least and greatest over its parts"),
        "map5_auto": ("MAP@5 at auto", "without duplicates; each part at the threshold found on the others"),
        "threshold_cost": (
            "cost",
            "MAP@5 that the chosen threshold loses against auto; below 0 if it was picked with a look at these photos",
        ),
    },
    "Solution": {
        "solution_map5": ("MAP@5", "of the submission, by the solution"),
        "solution_map5_no_duplicates": ("without leaks", "the same, of queries that duplicate no labelled photo"),
    },
}
"""What the keys of `paths.metrics` mean, by the heading they stand under."""
BASELINES = {
    "baseline_new_whale": "new_whale to everything",
    "baseline_duplicates": "duplicates, else new_whale",
    "baseline_centroid": "nearest centroid, no threshold",
}
TILES = {
    "map5": "MAP@5",
    "map5_known": "MAP@5, known",
    "map5_unknown": "MAP@5, unknown",
    "top1": "top-1, known",
    "auroc": "AUROC, known or unknown",
    "ece": "ECE",
    "solution_map5": "MAP@5, solution",
    "solution_map5_no_duplicates": "solution, without leaks",
}
"""The figures on top of the page."""
