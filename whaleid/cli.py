"""The command line: a command a stage, and a few for people. Heavy imports wait until a command needs them."""

import errno
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaleid import starting
from whaleid.core import log, ranks

if TYPE_CHECKING:
    from whaleid.config import Params

ENVIRONMENT = {
    "WHALEID_DEVICE": "where networks run, as cpu or cuda:1; else on a GPU",
    "WHALEID_FAST": "on: what is faster on a CPU, but may round otherwise",
    "WHALEID_PHOTOS": "addresses below which a served model reads photos",
    "WHALEID_PROCESSES": "how many train and embed; else one a GPU",
    "WHALEID_QUIET": "on: as --quiet, for all that dvc repro runs",
    "WHALEID_SYNC_NORMS": "off: each process has batch norms of its own",
    "WHALEID_TRACKING": "off: no runs in MLflow",
    "WHALEID_VERBOSE": "on: as --verbose, for all that dvc repro runs",
    "MLFLOW_TRACKING_URI": "MLflow's store; else mlflow.db",
    "NO_COLOR": "set to anything: no colours",
}
CODES = {
    0: "done",
    1: "error; the last lines say how to fix it",
    2: "a wrong command line",
    3: "done, but some photos could not be read",
    130: "interrupted",
    143: "terminated",
}
PARTLY = 3
"""The exit code of what is done, but for photos that could not be read."""
app = typer.Typer(
    help="Identify individual humpback whales from photos of their flukes.",
    epilog="\n".join(
        [
            "Environment:",
            *(f"  {name:20}{asks}" for name, asks in ENVIRONMENT.items()),
            "Exit codes:",
            *(f"  {code:<20}{means}" for code, means in CODES.items()),
        ]
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
TRACKED = ("explore", "dedup", "split", "boxes", "train", "embed", "calibrate")
"""The stages whose executions become one MLflow run each."""
SHARED = ("train", "embed")
"""The stages that several processes can share."""


def _with_networks(settings: "Params") -> list[str]:
    return [name for name, prediction in settings.predictions.items() if prediction.networks]


def _names(of: Callable[["Params"], list[str]]) -> Callable[[], list[str]]:
    """Return what completes names of params.yaml."""

    def complete() -> list[str]:
        from whaleid import config
        from whaleid.core import paths

        try:
            return of(config.load(paths.PARAMS))
        except Exception:  # no errors at a shell's prompt, whatever lies there
            return []

    return complete


def _presets() -> list[str]:
    from whaleid import preset

    return [*preset.known()]


SubmissionArgument = Annotated[
    Path, typer.Argument(help="Ranked labels: Image,Id.", exists=True, dir_okay=False, show_default=False)
]
CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The catalogue folder, whose photos of late are known as well.",
        exists=True,
        file_okay=False,
        show_default="data.root, of a project's own model",
    ),
]
MODEL = "models/final.bundle"
ModelOption = Annotated[
    str, typer.Option(metavar="DIR|URI", help="A bundle, or a registered model such as models:/whaleid@champion.")
]
VariantArgument = Annotated[
    str,
    typer.Argument(
        help="A variant named in params.yaml.",
        show_default=False,
        autocompletion=_names(lambda settings: [*settings.variants]),
    ),
]
PredictionArgument = Annotated[
    str,
    typer.Argument(help="A prediction with a network, named in params.yaml.", autocompletion=_names(_with_networks)),
]


def main() -> None:
    """Run a command; print what a user can mend as one plain error, with a traceback only if asked to be verbose."""
    begun = time.perf_counter()
    starting.shorten_spins()
    # as Ctrl-C: what is stopped leaves no run of MLflow's open, and no file half written
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None  # it would only leave out the colours, not bold and dim
    if not ranks.first():  # the first process says it all
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    from whaleid.core.errors import WhaleidError, shown

    try:
        try:
            app(prog_name="whaleid")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who read it has had enough: nothing is left to say, and nowhere to say it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SystemExit as end:
        # of several processes, the one that started them says it
        if end.code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and not ranks.launched():
            print(CODES[end.code], file=sys.stderr)
        raise
    except (WhaleidError, OSError) as error:
        if log.verbose():
            traceback.print_exc()
        sys.exit(f"error: {shown(_mendable(error))}")
    finally:
        if log.verbose() and ranks.first():
            from whaleid import facts

            log.detail(facts.spent(time.perf_counter() - begun))


def _mendable(error: Exception) -> str:
    """Return what is wrong, and what to do."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not here: `dvc repro` makes it, with all that it needs."
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}. {_remedy(error)}"
    return str(error)


def _remedy(error: OSError) -> str:
    """Return what to do about an error of the system's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "Make room there (`dvc gc --workspace` takes what the present state does not need from DVC's cache) and "
            "run the same command again. What was there before is whole."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            "See to it that you may read and write there, or name another place, and run the same command again. What "
            "was there before is whole."
        )
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return "A file is where a folder has to be, or a folder where a file has to be: move it away."
    return (
        "See whether there is room there, and whether the disk is sound. Outputs are written whole or not at all; `dvc "
        "checkout` brings back the last ones."
    )


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"whaleid {version('whaleid')}")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say answers, warnings and errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say what took how long and ran where; errors with a traceback.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Keep what is asked for in the environment, for the rest of the program and for what it starts."""
    if quiet and verbose:
        raise typer.BadParameter("ask for --quiet or for --verbose")
    if quiet or verbose:
        os.environ |= {log.QUIET: "on" if quiet else "off", log.VERBOSE: "on" if verbose else "off"}
    from whaleid.core.switches import switched_on

    for name in (log.QUIET, log.VERBOSE):
        switched_on(name, default="off")
    if log.verbose():
        from whaleid import facts

        log.detail(facts.here())


def _number(threshold: float | str) -> float | None:
    """Return the threshold that is asked for; None for the one that was found."""
    return threshold if isinstance(threshold, float) else None


def _asked_of(model: str, catalogue: Path | None, threshold: float | None = None) -> tuple[Path | None, float | None]:
    """Return the catalogue folder and threshold to identify with: of a project's own model, those of the project."""
    from whaleid import config
    from whaleid.core import paths

    if Path(model).resolve() != Path(MODEL).resolve() or not paths.PARAMS.exists():
        return catalogue, threshold
    settings = config.load(paths.PARAMS)
    own = Path(settings.data.root)
    if catalogue is None and (own / "train.csv").exists():
        catalogue = own
    return catalogue, _number(settings.threshold) if threshold is None else threshold


def _model(named: str) -> Path:
    """Return the bundle that is named: a folder, or a model of MLflow's registry, which is fetched."""
    if not named.startswith("models:/"):
        return Path(named)
    from whaleid import registry

    return registry.fetched(named)


def _check_variant(variant: str, settings: "Params") -> None:
    from whaleid.core.errors import WhaleidError

    if variant not in settings.variants:
        raise WhaleidError(
            f"There is no variant {variant!r} in params.yaml; there are: {', '.join(settings.variants)}."
        )


def _check_prediction(prediction: str, settings: "Params") -> None:
    from whaleid.core.errors import WhaleidError

    known = ", ".join(_with_networks(settings))
    if prediction not in known.split(", "):
        raise WhaleidError(f"There is no prediction {prediction!r} with a network in params.yaml; there are: {known}.")


def _do(stage: str, *arguments: object) -> Any:
    """Do the work of a stage: load its code, which may take longer than the work, and run it; return its records."""
    with log.timed(f"code of {stage} loaded"), starting.importing():
        module = importlib.import_module(f"whaleid.stages.{stage}")
    with log.timed(f"{stage} done"), log.summaries():
        return module.run(*arguments)


def _settings(stage: str) -> "Params":
    """Return the parameters for a stage, once what killed stages left is swept up."""
    from whaleid import config, strays
    from whaleid.core import paths

    settings = config.load(paths.PARAMS)
    if stage not in SHARED and ranks.launched():
        from whaleid.core.errors import WhaleidError

        raise WhaleidError(f"Several processes share {' and '.join(SHARED)}; run {stage} without torchrun.")
    if ranks.first():
        strays.sweep(Path(settings.data.root))
    return settings


def _run(stage: str, variant: str | None = None) -> None:
    """Run a stage, for a variant where it has one a variant."""
    settings = _settings(stage)
    if variant is not None:
        _check_variant(variant, settings)
    if stage in SHARED and variant is not None:
        with starting.importing():
            from whaleid.training import launching

        # a small batch is no faster on many GPUs than on one
        batch_size = settings.variants[variant].train.batch_size
        several = launching.processes(batch_size if stage == "train" else None)
        if several > 1:
            launching.launch(several, [stage, variant])
            return
    arguments: list[object] = [settings] if variant is None else [settings, variant]
    nothing = stage == "calibrate" and variant is not None and settings.variants[variant].learn == "all"
    if stage not in TRACKED or nothing:
        _do(stage, *arguments)
        return
    from whaleid import tracking

    # the run is opened before the stage's modules are loaded: a tracker out of reach is told at once
    with tracking.run(stage, [variant]) as run:
        if stage == "train":
            arguments.append(run.log_epoch)
        record = _do(stage, *arguments)
        with log.timed("tracked"):
            run.log(record)


@app.command(rich_help_panel="Stages")
def sample() -> None:
    """Draw the default catalogue of flukes: data/sample."""
    _run("sample")


@app.command(rich_help_panel="Stages")
def catalog() -> None:
    """Read and check every row and photo of the catalogue folder: data/catalog.csv."""
    _run("catalog")


@app.command(rich_help_panel="Stages")
def explore(
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Describe the catalogue in tables, pictures and one page: reports/explore/explore.html."""
    _run("explore")
    if show:
        from whaleid.core import paths

        typer.launch(str(paths.EXPLORE_PAGE.resolve()))


@app.command(rich_help_panel="Stages")
def dedup() -> None:
    """Find duplicate photos by perceptual hash: data/dedup."""
    _run("dedup")


@app.command(rich_help_panel="Stages")
def split() -> None:
    """Hold out photos and whole whales for validation: data/split.csv."""
    _run("split")


@app.command(rich_help_panel="Stages")
def boxes() -> None:
    """Learn where flukes lie, and which way is up, for photos that nobody says it of: data/flukes.csv."""
    _run("boxes")


@app.command(rich_help_panel="Stages")
def pack() -> None:
    """Crop, turn, grey and resize every photo once, into one array: data/pack."""
    _run("pack")


@app.command(rich_help_panel="Stages")
def backbone() -> None:
    """Build the network that variants start from, with its pretrained weights: checkpoints/backbone.pt."""
    _run("backbone")


@app.command(rich_help_panel="Stages")
def train(variant: VariantArgument) -> None:
    """Train a variant, on a GPU where there is one: checkpoints/VARIANT.pt."""
    _run("train", variant)


@app.command(rich_help_panel="Stages")
def embed(variant: VariantArgument) -> None:
    """Turn every photo into an embedding: features/VARIANT.npz."""
    _run("embed", variant)


@app.command(rich_help_panel="Stages")
def calibrate(variant: VariantArgument) -> None:
    """Turn a variant's scores into probabilities and find its threshold: calibrations/VARIANT."""
    _run("calibrate", variant)


@app.command(rich_help_panel="Stages")
def rank() -> None:
    """Calibrate ensembles, and find the most probable whales of every query: rankings."""
    from whaleid import tracking

    settings = _settings("rank")
    ensembles = [
        name for name, each in settings.predictions.items() if len(each.networks) > 1 and each.calibrated_by is None
    ]
    if not ensembles:
        _do("rank", settings)
        return
    with tracking.run("calibrate", ensembles) as run:
        run.log_each(_do("rank", settings))


@app.command(rich_help_panel="Stages")
def predict() -> None:
    """Rank five labels for every query at the threshold, by every prediction: submissions."""
    from whaleid import tracking

    settings = _settings("predict")
    names = [*settings.predictions]
    setting = "" if settings.threshold == "auto" else f"at {settings.threshold:g}"
    with tracking.run("predict", names, setting) as run:
        records = _do("predict", settings)
        with log.timed("tracked"):
            from whaleid.report import comparison

            run.log_each(records)
            run.summarise(comparison.summary(names))


@app.command(rich_help_panel="Stages")
def report() -> None:
    """Make a page for every prediction that shows it at any threshold: reports/pages."""
    from whaleid import tracking

    settings = _settings("report")
    with tracking.run("report", []) as run:
        run.attach(_do("report", settings))


@app.command(rich_help_panel="Stages")
def bundle(prediction: PredictionArgument = "final") -> None:
    """Put all that identifies a photo into one folder, to hand on or to serve: models/PREDICTION.bundle."""
    settings = _settings("bundle")
    _check_prediction(prediction, settings)
    _do("bundle", settings, prediction)


@app.command(rich_help_panel="For people")
def identify(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO|DIR…", help="Photos, and folders of photos.", show_default=False)
    ],
    model: ModelOption = MODEL,
    catalogue: CatalogueOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The probability at which new_whale takes its rank.", show_default="the model's"
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a table, to review and to add.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all that is known of each photo.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page of photos beside each other.")] = None,
) -> None:
    """Say who is on each photo: five names, each with its probability, and which photos it is a copy of."""
    with starting.importing():
        from whaleid.serving import identify as room

    catalogue, threshold = _asked_of(model, catalogue, threshold)
    if unread := room.run(photos, _model(model), catalogue, threshold, csv, json, html):
        print(f"{unread:,} of the photos could not be read.", file=sys.stderr)
        sys.exit(PARTLY)


@app.command(rich_help_panel="For people")
def register(
    prediction: PredictionArgument = "final",
    alias: Annotated[
        str | None,
        typer.Option(help="What to call it.", show_default="champion or, beside a better one, challenger"),
    ] = None,
) -> None:
    """Make a model that MLflow can serve of a prediction, and register it: models:/whaleid@champion."""
    from whaleid import config, registry, tracking
    from whaleid.core import paths

    with starting.importing():
        from whaleid.stages import bundle as stage

    settings = config.load(paths.PARAMS)
    _check_prediction(prediction, settings)
    with TemporaryDirectory() as folder, tracking.run("register", [prediction]) as run:
        place = Path(folder) / f"{prediction}.bundle"
        with log.summaries():
            stage.write(settings, prediction, place, _number(settings.threshold))
        made = registry.register(run, place, alias)
    print(f"models:/{registry.NAME}/{made.number} is {made.alias}: {made.why}")
    print(f"  mlflow models serve --env-manager local --port 5001 -m models:/{registry.NAME}@{made.alias}")


@app.command(rich_help_panel="For people")
def add(
    reviewed: Annotated[
        Path,
        typer.Argument(
            help="A csv file with columns photo and whale, such as identify --csv writes, once whale is filled in.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who has looked at the photos.", show_default=False)],
    photos: Annotated[Path, typer.Option(metavar="DIR", help="Where their paths start.")] = Path(),
    catalogue: CatalogueOption = None,
    model: ModelOption = MODEL,
) -> None:
    """Put reviewed photos into the catalogue, with who, when and what the model said; identify knows them at once.

    whale is a label of the catalogue, new for a whale that it has not, or new:LABEL to name that whale yourself.
    """
    from whaleid.core.errors import WhaleidError

    with starting.importing():
        from whaleid.importing import add as room

    folder, threshold = _asked_of(model, catalogue)
    if folder is None:
        raise WhaleidError("Which catalogue? Name its folder by --catalogue, or run this in a project that has one.")
    with log.summaries():
        room.run(reviewed, photos, by, folder, _model(model), threshold)


@app.command(rich_help_panel="For people")
def compare() -> None:
    """Print what every prediction reaches on validation, at its threshold and at others; the best is marked."""
    from whaleid import config, registry
    from whaleid.core import paths
    from whaleid.report import comparison

    predictions = [*config.load(paths.PARAMS).predictions]
    print(comparison.as_text(comparison.read(predictions), predictions))
    if (first := registry.champion()) is not None:
        why = first.why if first.alias == registry.CHAMPION else "made champion in MLflow"
        print(f"\nChampion: version {first.number} of models:/{registry.NAME}, {first.variant}: {why}")


@app.command(rich_help_panel="For people")
def duplicates(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of images, at any depth.", show_default=False)
    ],
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another folder: which of its images DIR has again.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables and the page go.")] = Path("duplicates"),
    max_distance: Annotated[int, typer.Option(min=0, max=16, help="Bits of 64 between perceptual hashes.")] = 8,
    max_error: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pixels' variance left unexplained.")
    ] = 0.1,
    turned: Annotated[bool, typer.Option(help="Whether a photo turned by 180 degrees is a copy.")] = True,
    mirrored: Annotated[bool, typer.Option(help="Whether a mirrored photo is a copy.")] = False,
) -> None:
    """Find the same pictures in any folder, outside any pipeline; no image is touched."""
    from whaleid.config import Dedup

    with starting.importing():
        from whaleid.stages import duplicates as command

    rule = Dedup(max_distance=max_distance, max_error=max_error, turned=turned, mirrored=mirrored)
    if command.run(folder, against, out, rule):
        raise typer.Exit(PARTLY)


@app.command(rich_help_panel="For people")
def score(
    submission: SubmissionArgument,
    solution: Annotated[
        Path, typer.Argument(help="The truth: Image,Id.", exists=True, dir_okay=False, show_default=False)
    ],
) -> None:
    """Print the MAP@5 of a submission, as Kaggle counts it: the first five distinct labels of a photo."""
    from whaleid.stages import grading

    print(f"{grading.score(submission, solution):.5f}")


@app.command(rich_help_panel="For people")
def submit(
    submission: SubmissionArgument,
) -> None:
    """Check that a submission answers every query as Kaggle takes it, and print how to upload it."""
    from whaleid.stages import grading

    rows = grading.ready(submission)
    print(f"{submission} is ready: {rows} queries, each answered once. To upload it with Kaggle's own client:")
    print(f"  kaggle competitions submit -c whale-categorization-playground -f {submission} -m whaleid")


@app.command("import", rich_help_panel="For people")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder with a folder a whale, a csv file, a catalogue folder, a zip file or folder of Kaggle's, a "
            "COCO json, the folder of a metadata.csv, or kaggle:CONTEST.",
            show_default=False,
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The catalogue folder, new or to be added to.")],
    photo_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a csv: the photo's path.")] = None,
    whale_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a csv: the whale.")] = None,
    box_columns: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Of a csv: the fluke's box, in pixels or fractions.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the paths of a csv or json begin; else beside it.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(metavar="DIR", help="Photos to identify, at any depth.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Link photos instead of copying them.")] = False,
) -> None:
    """Make a catalogue folder of photos from elsewhere, or add them to one; no photo is moved or changed."""
    from whaleid.importing.csv import Columns

    with starting.importing():
        from whaleid.importing import importer

    with log.summaries():
        importer.run(source, to, Columns(photo_column, whale_column, box_columns, photos), queries, link)


@app.command(rich_help_panel="For people")
def check() -> None:
    """Check params.yaml: its keys, types and ranges, and that every variant starts somewhere."""
    from whaleid import config
    from whaleid.core import paths

    variants = config.load(paths.PARAMS).variants
    print(f"{paths.PARAMS} is right; its variants: {', '.join(variants)}.")


@app.command(rich_help_panel="For people")
def explain(
    key: Annotated[
        str | None,
        typer.Argument(help="A key of params.yaml or a part of it, such as threshold, pack, variants.margin.train.lr."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/parameters.md: every key, in tables.")
    ] = False,
) -> None:
    """Tell what a key of params.yaml means, its unit and range, its value now and what presets set; or all keys."""
    from rich.console import Console

    from whaleid import config
    from whaleid import explain as room
    from whaleid import preset as presets
    from whaleid.core import paths

    if key and markdown:
        raise typer.BadParameter("prints every key: leave KEY out.", param_hint="--markdown")
    known = {name: config.leaves(of) for name, of in presets.known().items()}
    # also where the file has wrong values, which is when one asks
    now = config.leaves(config.read(paths.PARAMS)) if paths.PARAMS.exists() else {}
    names = room.names(now or known["sample"])
    if markdown:
        print(room.markdown(now, known, names), end="")
        return
    found = room.find(key, names)
    if len(found) == 1:
        print(room.block(*found[0], now, known))
    else:
        Console(markup=False, highlight=False, emoji=False).print(room.table(found, now, known))


@app.command(rich_help_panel="For people")
def preset(
    name: Annotated[
        str,
        typer.Argument(help="sample (drawn flukes) or real (photos).", show_default=False, autocompletion=_presets),
    ],
    root: Annotated[str | None, typer.Option(help="The catalogue folder, in Kaggle's layout.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Any torchvision classification model, or timm/NAME.")] = None,
    weights: Annotated[str | None, typer.Option(help="DEFAULT, none, or the path of a state dict.")] = None,
    unknown_share: Annotated[
        float | None, typer.Option(help="Of the queries that are no duplicates, how many are of no known whale.")
    ] = None,
) -> None:
    """Set params.yaml for drawn flukes or for real photos, and print each key that changes."""
    from whaleid import preset as room
    from whaleid.core import paths

    named = {"data.root": root, "backbone.name": backbone, "backbone.weights": weights}
    changes = room.apply(name, paths.PARAMS, {**named, "split.unknown_share": unknown_share})
    with log.summaries():
        print("\n".join(changes) if changes else f"{paths.PARAMS} is as preset {name} has it.")
