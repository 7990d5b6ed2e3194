"""Where the pipeline keeps its files, relative to the working directory.

Never anchored at this file: a queued experiment runs in a working directory of its own.
"""

from pathlib import Path

ENSEMBLE = "ensemble"
"""The name under which the two variants that the key `ensemble` names decide together."""
FINAL = "final"
"""The name under which they decide after learning once more, from all labelled photos: networks `final/VARIANT`."""
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
BOX_NETWORK = Path("models/boxes.pt")
"""The checkpoint of the network that finds flukes; empty where there was too little to learn from."""
BOX_METRICS = Path("reports/boxes/metrics.json")
BOX_SHEET = Path("reports/boxes/sheet.png")
TURNED_SHEET = Path("reports/boxes/turned.png")
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
"""`group,Image,Id,labels`: labelled photos thrown out because their group carries several labels: `labels`."""
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
PACKED = PACK / "index.csv"
"""`Image,part`: a row a photo, in the order of `PHOTOS`."""


def checkpoint(variant: str) -> Path:
    """Return the checkpoint of `variant` (or of `backbone`, the network before any training on whales)."""
    return Path("models") / f"{variant}.pt"


def unfinished(variant: str) -> Path:
    """Return where the training of `variant` is kept from epoch to epoch, to go on after it was killed."""
    return Path("models") / f"{variant}.unfinished.pt"


def calibration(variant: str) -> Path:
    """Return the weights of the scores, the bias and the threshold found for `variant`."""
    return Path("models") / f"{variant}.calibration.json"


def features(variant: str) -> Path:
    """Return the embeddings of every photo and the class centres of `variant`."""
    return Path("features") / f"{variant}.npz"


def submission(variant: str) -> Path:
    """Return the ranked labels of `variant`, in the form Kaggle takes."""
    return Path("submissions") / f"{variant}.csv"


def bundle(variant: str) -> Path:
    """Return the folder with all that `variant` identifies photos by."""
    return Path("models") / f"{variant}.bundle"


def history(variant: str) -> Path:
    """Return the figures of each epoch of `variant`."""
    return Path("reports") / variant / "history.csv"


def threshold_curve(variant: str) -> Path:
    """Return MAP@5 on validation over every threshold."""
    return Path("reports") / variant / "threshold.csv"


def validation(variant: str) -> Path:
    """Return what `variant` answers on validation, each photo by what was found on others.

    `Image,whale,role,truth,part,threshold,label1…label5,probability1…probability5,uncalibrated,centroid`, sorted by
    Image: `whale` is the photo's own label, `truth` what counts as right; `threshold` is the one found on the other
    parts; the labels are the most probable whales, empty where there are fewer; `uncalibrated` is the probability of
    the first before calibration; `centroid` is 1 / rank of the truth by centroids alone, 0 beyond the fifth.
    """
    return Path("reports") / variant / "validation.csv"


def report(variant: str) -> Path:
    """Return the folder of what `variant` shows a person: report.html, pictures and their tables."""
    return Path("reports") / variant / "report"


def scores(variant: str) -> Path:
    """Return how good each score of `variant` is alone, and all together."""
    return Path("reports") / variant / "scores.csv"


def metrics(variant: str) -> Path:
    """Return the figures of `variant` at its threshold."""
    return Path("reports") / variant / "metrics.json"
