"""The commands that take photos: import, add, identify, duplicates."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from whaleid.cli.options import MODEL, PARTLY, PEOPLE, CatalogueOption, ModelOption, load_params
from whaleid.core import paths
from whaleid.core.errors import WhaleidError

app = typer.Typer()


@app.command(rich_help_panel=PEOPLE)
def identify(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO|DIR…", help="Photos or folders of photos.", show_default=False)
    ],
    model: ModelOption = MODEL,
    catalogue: CatalogueOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The probability at which new_whale takes its rank.", show_default="the model's"
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a table, for review and for add.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all results of each photo.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the photos side by side.")
    ] = None,
) -> None:
    """Identify the whale in each photo: five labels with probabilities, and the photos that it duplicates."""
    from whaleid.serving import identify as room

    catalogue, threshold = _defaults(model, catalogue, threshold)
    if unread := room.run(photos, _bundle(model), catalogue, threshold, csv, json, html):
        print(f"{unread:,} of the photos could not be read.", file=sys.stderr)
        sys.exit(PARTLY)


@app.command("import", rich_help_panel=PEOPLE)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder with a folder for each whale, a csv file, a catalogue folder, a zip file or folder of "
            "Kaggle's, a COCO json, a folder with a metadata.csv, or kaggle:CONTEST.",
            show_default=False,
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The catalogue folder, new or existing.")],
    photo_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="For a csv: the column of the photo's path.")
    ] = None,
    whale_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="For a csv: the column of the whale.")
    ] = None,
    box_columns: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="For a csv: the columns of the fluke's box, in pixels or fractions."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that paths in a csv or json start from; else that of the file."),
    ] = None,
    queries: Annotated[Path | None, typer.Option(metavar="DIR", help="Photos to identify, at any depth.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Link photos instead of copying them.")] = False,
) -> None:
    """Import photos into a new or existing catalogue folder. No photo is moved or changed."""
    from whaleid.importing import importer
    from whaleid.importing.csv import Columns

    importer.run(source, to, Columns(photo_column, whale_column, box_columns, photos), queries, link)


@app.command(rich_help_panel=PEOPLE)
def add(
    reviewed: Annotated[
        Path,
        typer.Argument(
            help="A csv file with columns photo and whale, as identify --csv writes it, with whale filled in.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who reviewed the photos.", show_default=False)],
    photos: Annotated[Path, typer.Option(metavar="DIR", help="Folder that their paths start from.")] = Path(),
    catalogue: CatalogueOption = None,
    model: ModelOption = MODEL,
) -> None:
    """Add reviewed photos to the catalogue, with reviewer, time and the model's answer. identify uses them at once.

    whale is a label of the catalogue, new for a new whale, or new:LABEL to name the new whale yourself.
    """
    from whaleid.importing import add as room

    folder, threshold = _defaults(model, catalogue)
    if folder is None:
        raise WhaleidError(
            "The catalogue is unknown: name its folder with --catalogue, or run this in a project that has one."
        )
    room.run(reviewed, photos, by, folder, _bundle(model), threshold)


@app.command(rich_help_panel=PEOPLE)
def duplicates(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of images, at any depth.", show_default=False)
    ],
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another folder, to find its images that are in DIR too.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables and the page.")] = Path("duplicates"),
    max_distance: Annotated[
        int, typer.Option(min=0, max=16, help="Largest distance of perceptual hashes, in bits of 64.")
    ] = 8,
    max_error: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of the pixels' variance left unexplained.")
    ] = 0.1,
    turned: Annotated[bool, typer.Option(help="Whether a photo turned by 180 degrees is a duplicate.")] = True,
    mirrored: Annotated[bool, typer.Option(help="Whether a mirrored photo is a duplicate.")] = False,
) -> None:
    """Find duplicate images in any folder, without a pipeline. No image is changed."""
    from whaleid.config import Dedup
    from whaleid.duplicates import folder as room
    from whaleid.report import duplicates as duplicates_page

    rule = Dedup(max_distance=max_distance, max_error=max_error, turned=turned, mirrored=mirrored)
    result = room.search(folder, against, rule)
    page = duplicates_page.render(f"Duplicates in {folder}", result.counts, result.duplicates, result.files, rule)
    room.write(result.tables, page, out)
    counts = result.counts.items()
    print(", ".join(f"{count:,} {name}" for name, count in counts if count or name in ("images", "copies")))
    print(f"{out / 'manifest.csv'} says which to keep and why; look at {out / 'report.html'}")
    if result.counts["unreadable"]:
        print(f"{out / 'unreadable.csv'} says which images could not be read, and why", file=sys.stderr)
        raise typer.Exit(PARTLY)


def _defaults(model: str, catalogue: Path | None, threshold: float | None = None) -> tuple[Path | None, float | None]:
    """Return the catalogue folder and threshold to identify with: for a project's own model, those of the project."""
    if Path(model).resolve() != Path(MODEL).resolve() or not paths.PARAMS.exists():
        return catalogue, threshold
    settings = load_params()
    own = Path(settings.data.root)
    if catalogue is None and (own / "train.csv").exists():
        catalogue = own
    if threshold is None and settings.threshold != "auto":
        threshold = settings.threshold
    return catalogue, threshold


def _bundle(model: str) -> Path:
    """Return the folder of a bundle; a model of MLflow's registry is downloaded."""
    if not model.startswith("models:/"):
        return Path(model)
    from whaleid.serving import registry

    return registry.download(model)
