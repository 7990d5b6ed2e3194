"""Where the pipeline keeps its files, relative to the working directory.

Never anchored at this file: a queued experiment runs in a working directory of its own.
"""

from pathlib import Path

BACKBONE = "backbone"
"""The `init` of a variant that starts from the network before any training on whales."""
PARAMS = Path("params.yaml")
SAMPLE = Path("data/sample")
"""The drawn catalogue: the default of `data.root`."""
CATALOG = Path("data/catalog.csv")
"""`Image,Id,part,width,height,mode,bytes,sha256,phash`, a row a photo, sorted by part and Image.

`part` is `train` or `test`; `Id` is empty for `test`; `phash` is 16 hexadecimal digits.
"""
THUMBNAILS = Path("data/thumbnails.npy")
"""uint16 array of shape (photos, 32, 32), in the order of `CATALOG`: what duplicates are found by."""
BOXES = Path("data/boxes.csv")
"""`Image,x0,y0,x1,y1,aspect` of the photos that have a box; fractions of width and height."""
FLUKES = Path("data/flukes.csv")
"""`Image,x0,y0,x1,y1,aspect,source,turned`, sorted by Image: the boxes given, those found where none was given or where
validation is to ask what the queries ask, and which photos are upside down."""
BOX_NETWORK = Path("models/boxes.safetensors")
"""The checkpoint of the network that finds flukes; empty where there was too little to learn from."""
BOX_REPORT = Path("reports/boxes")
"""How good the boxes found are (figures.json), some to look at (sheet.png), and photos to be turned (turned.png)."""
SOLUTION = Path("data/solution.csv")
"""`Image,Id`: the truth for `test/`, used only to grade; no rows where the catalogue has none."""
EXPLORE = Path("reports/explore")
EXPLORE_PAGE = EXPLORE / "explore.html"
"""The catalogue on one page that needs nothing else."""
DEDUP = Path("data/dedup")
MANIFEST = DEDUP / "manifest.csv"
"""`photo,part,Id,group,representative,keep,reason,distance,error`: what becomes of every photo, sorted by `photo`.

`group` is -1 where there is no duplicate; `distance` (bits) and `error` (0 to 1) are those to the representative.
"""
GROUPS = DEDUP / "groups.csv"
"""`group,Image,part,Id`: every photo of every group of two or more photos."""
CONFLICTS = DEDUP / "conflicts.csv"
"""`group,Image,Id,labels`: labelled photos left out because their group has several labels: `labels`."""
UNIQUE = DEDUP / "unique.csv"
"""`Image,Id`: the unique training subset, one photo a group, none of a conflict."""
LEAKS = DEDUP / "leaks.csv"
"""`query,photo,Id,distance,error,confidence`: what duplicates a query, closest first within a query."""
DUPLICATES = Path("reports/dedup")
"""What `dedup` shows a person: report.html."""
SPLIT = Path("data/split.csv")
"""`Image,Id,part,role`: `part` is `train` or `validation`."""
PACK = Path("data/pack")
PHOTOS = PACK / "photos.npy"
"""uint8 array of shape (photos, height, width, channels)."""
PACK_INDEX = PACK / "index.csv"
"""`Image,part`: a row a photo, in the order of `PHOTOS`."""
CHECKPOINTS, FEATURES, CALIBRATIONS, RANKINGS = (
    Path(name) for name in ("checkpoints", "features", "calibrations", "rankings")
)
SUBMISSIONS = Path("submissions")
HISTORIES = Path("reports/histories")
FIGURES = Path("reports/figures")
"""For each prediction, all figures at its threshold (JSON)."""
CURVES = Path("reports/curves")
"""For each prediction with a threshold, a picture of its threshold curve, the threshold marked (PNG)."""
HEADLINE = Path("reports/metrics.json")
"""The figures that DVC shows as metrics: a line a prediction, so that they fit a terminal."""
PAGES = Path("reports/pages")
"""For each prediction, a page that shows it at thresholds in steps of 0.005."""
TABLES = Path("reports/tables")
"""What the pages plot, of all predictions: a row a point, the prediction's name in the column `name`."""
DECISION, VALIDATION, CURVE, SCORES, QUERIES, THRESHOLD_FREE = (
    "decision.json",
    "validation.csv",
    "threshold.csv",
    "scores.csv",
    "queries.csv",
    "figures.json",
)
"""The files of a calibration or a ranking:

- `DECISION`: the weights of the scores, the bias of `new_whale`, the calibration and the threshold found.
- `VALIDATION`: the answer to each validation query, by what was fitted on the other folds of validation (`phash` has
  no `fold` and no `threshold`):
  `Image,whale,role,truth,fold,cluster,threshold,label1…label5,probability1…probability5,uncalibrated`, sorted by Image.
  `whale` is the photo's own label, `truth` what counts as right; queries of a `cluster`, a whale with what duplicates
  tie to it, are resampled together; `threshold` is the one found on the other folds; the labels are the most probable
  whales, empty where there are fewer; `uncalibrated` is the probability of the first before calibration. A calibration
  adds `centroid`, 1 / rank of the truth by centroids alone, 0 beyond the fifth.
- `CURVE`: MAP@5 on validation at every threshold: `threshold,map5,map5_known,map5_unknown`.
- `SCORES`: how good each score is alone, and all together.
- `QUERIES`: the most probable whales of each photo to identify: `Image,leaked,label1…label5,probability1…probability5`;
  `leaked` is 1 where it duplicates a labelled photo.
- `THRESHOLD_FREE`: the figures that no threshold changes.
"""


def checkpoint(variant: str) -> Path:
    """Return the checkpoint of `variant` (or of `backbone`, the network before any training on whales)."""
    return CHECKPOINTS / f"{variant}.safetensors"


def training_state(variant: str) -> Path:
    """Return where the state of the training of `variant` is saved between epochs, to resume after it was killed."""
    return Path("models") / f"{variant}.unfinished.safetensors"


def history(variant: str) -> Path:
    """Return the figures of each epoch of `variant`."""
    return HISTORIES / f"{variant}.csv"


def features(variant: str) -> Path:
    """Return the embeddings of every photo and the class centres of `variant`."""
    return FEATURES / f"{variant}.npz"


def calibration(variant: str) -> Path:
    """Return the folder of what `calibrate` found for `variant` on validation."""
    return CALIBRATIONS / variant


def ranking(prediction: str) -> Path:
    """Return the folder of what `prediction` answers, before a threshold ranks `new_whale`."""
    return RANKINGS / prediction


def submission(prediction: str) -> Path:
    """Return the ranked labels of `prediction`, in the form Kaggle takes."""
    return SUBMISSIONS / f"{prediction}.csv"


def figures(prediction: str) -> Path:
    """Return the figures of `prediction` at its threshold."""
    return FIGURES / f"{prediction}.json"


def curve_plot(prediction: str) -> Path:
    """Return the picture of the threshold curve of `prediction`, its threshold marked."""
    return CURVES / f"{prediction}.png"


def page(prediction: str) -> Path:
    """Return the page that shows `prediction` at thresholds in steps of 0.005."""
    return PAGES / f"{prediction}.html"


def bundle(prediction: str) -> Path:
    """Return the folder with all that `prediction` identifies photos by."""
    return Path("models") / f"{prediction}.bundle"
