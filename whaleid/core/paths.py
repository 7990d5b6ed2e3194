"""The files of the pipeline, as paths relative to the working directory.

They are not relative to this module, because a queued experiment runs in its own working directory.
"""

from pathlib import Path

BACKBONE = "backbone"
"""The `init` of a variant whose training starts from the backbone's weights, before any training on whales."""
PARAMS = Path("params.yaml")
"""The parameters of the pipeline."""
SAMPLE = Path("data/sample")
"""The synthetic catalogue, the default of `data.root`."""
CATALOG = Path("data/catalog.csv")
"""All photos: `Image,Id,part,width,height,mode,bytes,sha256,phash`, one row per photo, sorted by part and Image.

`part` is `train` (labelled photos) or `test` (queries). `Id`, the label, is empty for queries. `bytes` is the size of
the file. `phash`, the perceptual hash, has 16 hexadecimal digits.
"""
THUMBNAILS = Path("data/thumbnails.npy")
"""The thumbnails used to detect duplicates: a uint16 array of shape (photos, 32, 32), in the order of `CATALOG`."""
BOXES = Path("data/boxes.csv")
"""The fluke boxes of the catalogue: `Image,x0,y0,x1,y1,aspect`, one row per photo with a box.

The corners are fractions of the photo's width and height. `aspect` is the width / height of the original photo.
"""
FLUKES = Path("data/flukes.csv")
"""The fluke boxes used for cropping: `Image,x0,y0,x1,y1,aspect,source,turned`, sorted by Image.

`source` is `given` for a box from `BOXES` and `found` for a predicted box. Boxes are predicted for photos without one,
and for validation photos if queries have no boxes, so that validation resembles the queries. `turned` is 1 for a photo
that is upside down, else 0.
"""
BOX_NETWORK = Path("models/boxes.safetensors")
"""The checkpoint of the network that predicts boxes; an empty file if there were too few boxes to train it."""
BOX_REPORT = Path("reports/boxes")
"""The quality of predicted boxes (figures.json), examples (sheet.png) and photos that are upside down (turned.png)."""
SOLUTION = Path("data/solution.csv")
"""The true labels of the queries, used for evaluation only: `Image,Id`; no rows if the catalogue has no solution."""
EXPLORE = Path("reports/explore")
"""The description of the catalogue: tables, plots and a page."""
EXPLORE_PAGE = EXPLORE / "explore.html"
"""The description of the catalogue as one self-contained HTML page."""
DEDUP = Path("data/dedup")
"""The folder of the tables about duplicates: `MANIFEST` to `LEAKS`."""
MANIFEST = DEDUP / "manifest.csv"
"""Whether each photo is kept, and why: `photo,part,Id,group,representative,keep,reason,distance,error`.

Rows are sorted by photo. `group` is the number of the photo's duplicate group, or -1 if it has no duplicate.
`representative` is the best photo of the group. `distance` (differing bits of the perceptual hashes) and `error` (of
the pixels, 0 to 1) compare the photo with its representative.
"""
GROUPS = DEDUP / "groups.csv"
"""The duplicate groups: `group,Image,part,Id`, one row per photo that has a duplicate."""
CONFLICTS = DEDUP / "conflicts.csv"
"""The labelled photos of groups with several labels: `group,Image,Id,labels`. They are not used for training.

`labels` are all labels of the group, separated by spaces.
"""
UNIQUE = DEDUP / "unique.csv"
"""The labelled photos without duplicates and conflicts: `Image,Id`, one photo per duplicate group."""
LEAKS = DEDUP / "leaks.csv"
"""The labelled photos that each query duplicates: `query,photo,Id,distance,error,confidence`.

Rows are sorted by query, then closest first. `confidence` (0 to 1) is how reliable `Id` is as the label of the query.
"""
DUPLICATES = Path("reports/dedup")
"""The HTML page that shows the duplicates (report.html)."""
SPLIT = Path("data/split.csv")
"""The split of the labelled photos: `Image,Id,part,role`, sorted by Image.

`part` is `train` or `validation`. `role` is `catalogue` for training photos. For validation photos it says why they are
held out: `known`, `unknown`, `new_whale` or `duplicate`.
"""
PACK = Path("data/pack")
"""The folder of the cropped and resized photos: `PHOTOS` and `PACK_INDEX`."""
PHOTOS = PACK / "photos.npy"
"""The cropped and resized photos: a uint8 array of shape (photos, height, width, channels)."""
PACK_INDEX = PACK / "index.csv"
"""The names of the photos in `PHOTOS`, in the same order: `Image,part`."""
CHECKPOINTS = Path("checkpoints")
"""The networks: one safetensors file per variant, and one for the backbone."""
FEATURES = Path("features")
"""The embeddings of photos and the centres of classes: one npz file per variant."""
CALIBRATIONS = Path("calibrations")
"""The calibrations of single networks: one folder per variant."""
RANKINGS = Path("rankings")
"""The ranked whales before a threshold is applied: one folder per prediction."""
SUBMISSIONS = Path("submissions")
"""The ranked labels of the queries, in Kaggle's format: one CSV file per prediction."""
HISTORIES = Path("reports/histories")
"""The learning curves, one row per epoch: one CSV file per variant."""
FIGURES = Path("reports/figures")
"""The metrics at the prediction's threshold: one JSON file per prediction."""
CURVES = Path("reports/curves")
"""The plot of MAP@5 over the threshold: one PNG file per prediction that has a threshold."""
HEADLINE = Path("reports/metrics.json")
"""The metrics that `dvc metrics` shows, with one line per prediction so that they fit a terminal."""
PAGES = Path("reports/pages")
"""The results at thresholds in steps of 0.005: one HTML page per prediction."""
TABLES = Path("reports/tables")
"""The data of the plots, as CSV files. Each contains all predictions, with their names in the column `name`."""
DECISION, VALIDATION, CURVE, SCORES, QUERIES, THRESHOLD_FREE = (
    "decision.json",
    "validation.csv",
    "threshold.csv",
    "scores.csv",
    "queries.csv",
    "figures.json",
)
"""The files in the folder of a calibration or a ranking:

- `DECISION`: the weights of the scores, the bias of `new_whale`, the calibration of probabilities, and the fitted
  thresholds.
- `VALIDATION`: the cross-fitted prediction for each validation query, fitted on the other folds, sorted by Image:
  `Image,whale,role,truth,fold,cluster,threshold,label1…label5,probability1…probability5,uncalibrated`.
  `whale` is the label of the photo. `truth` is the correct answer, which is `new_whale` if the whale is held out.
  `cluster` is the number of a whale together with the whales that duplicates connect to it; queries of a cluster are
  resampled together. `threshold` is fitted on the other folds. `label1…label5` are the most probable whales, empty if
  there are fewer. `uncalibrated` is the probability of `label1` before calibration. A calibration adds `centroid`: the
  reciprocal rank of the truth by centroid scores alone, 0 below rank five. `phash` has neither `fold` nor `threshold`.
- `CURVE`: MAP@5 on validation by threshold: `threshold,map5,map5_known,map5_unknown`.
- `SCORES`: MAP@5 by each score alone and by all scores together: `score,map5,map5_no_duplicates,map5_known`.
- `QUERIES`: the most probable whales of each query: `Image,leaked,label1…label5,probability1…probability5`.
  `leaked` is 1 if the query duplicates a labelled photo, else 0.
- `THRESHOLD_FREE`: the metrics that do not depend on the threshold.
"""


def checkpoint(variant: str) -> Path:
    """Return the path of the network of `variant`; for `BACKBONE`, the network before any training on whales."""
    return CHECKPOINTS / f"{variant}.safetensors"


def training_state(variant: str) -> Path:
    """Return the path of the state saved after each epoch of `variant`, from which interrupted training resumes."""
    return Path("models") / f"{variant}.unfinished.safetensors"


def history(variant: str) -> Path:
    """Return the path of the learning curve of `variant`."""
    return HISTORIES / f"{variant}.csv"


def features(variant: str) -> Path:
    """Return the path of the embeddings of all photos and the class centres of `variant`."""
    return FEATURES / f"{variant}.npz"


def calibration(variant: str) -> Path:
    """Return the folder of the calibration of `variant`, fitted on validation."""
    return CALIBRATIONS / variant


def ranking(prediction: str) -> Path:
    """Return the folder of the ranked whales of `prediction`, before a threshold ranks `new_whale`."""
    return RANKINGS / prediction


def submission(prediction: str) -> Path:
    """Return the path of the ranked labels of `prediction`, in Kaggle's format."""
    return SUBMISSIONS / f"{prediction}.csv"


def figures(prediction: str) -> Path:
    """Return the path of the metrics of `prediction` at its threshold."""
    return FIGURES / f"{prediction}.json"


def curve_plot(prediction: str) -> Path:
    """Return the path of the plot of MAP@5 over the threshold of `prediction`."""
    return CURVES / f"{prediction}.png"


def page(prediction: str) -> Path:
    """Return the path of the page that shows `prediction` at thresholds in steps of 0.005."""
    return PAGES / f"{prediction}.html"


def bundle(prediction: str) -> Path:
    """Return the folder of the model that identifies photos like `prediction`."""
    return Path("models") / f"{prediction}.bundle"
