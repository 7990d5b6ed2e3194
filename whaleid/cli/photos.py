"""The commands that read photos: import, add, identify, duplicates."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from whaleid.cli.options import (
    CATALOGUE_DEFAULT,
    DEFAULT_MODEL,
    EXIT_UNREADABLE,
    TOOLS,
    CatalogueOption,
    ModelOption,
    load_params,
)
from whaleid.core import paths
from whaleid.core.errors import WhaleidError
from whaleid.importing.layouts import Layout

app = typer.Typer()


@app.command(rich_help_panel=TOOLS)
def identify(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO|DIR", help="Photos or folders of photos.", show_default=False)
    ],
    model: ModelOption = DEFAULT_MODEL,
    catalogue: CatalogueOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Probability, 0 to 1, at which new_whale is ranked: whales above it come first.",
            show_default="threshold in params.yaml for the project's own model, otherwise the model's",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one row per photo, to review and pass to whaleid add.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all results as JSON.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with each photo next to its candidates.")
    ] = None,
) -> None:
    """Identify the whale in each photo: five labels with probabilities, and duplicates in the catalogue.

    The label new_whale stands for a whale that is not in the catalogue. Whales above the threshold come before it.
    """
    from whaleid.serving import identify as identify_photos

    catalogue, threshold = _defaults(model, catalogue, threshold)
    if unread := identify_photos.run(photos, _bundle(model), catalogue, threshold, csv, json, html):
        noun = "photo" if unread == 1 else "photos"
        print(f"{unread:,} {noun} could not be read; the results above say why.", file=sys.stderr)
        sys.exit(EXIT_UNREADABLE)


@app.command("import", rich_help_panel=TOOLS)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder with one subfolder per whale, a folder of photos with a csv or COCO json file beside them, "
            "a csv file (.csv, .tsv or .txt), a COCO json file, a folder with a metadata.csv, a catalogue folder, the "
            "data of a Kaggle competition, a zip file of any of these, or kaggle:COMPETITION to download a "
            "competition.",
            show_default=False,
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The catalogue folder, new or existing.")],
    photo_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Csv files: column with the path of the photo.")
    ] = None,
    whale_column: Annotated[str | None, typer.Option(metavar="NAME", help="Csv files: column with the whale.")] = None,
    box_columns: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="Csv files: columns of the fluke's box, in pixels or fractions."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the photos of a csv or json file; default: the file's folder.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(
            metavar="NAME",
            help="What names the whales of a folder: table (a csv or COCO file in it), folders (the outer folders) or "
            "subfolders (the inner ones).",
        ),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of queries (photos to identify) to import as well.")
    ] = None,
    keep_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A word such as unknown or NA that is the name of a whale here. Repeatable."),
    ] = None,
    join_names: Annotated[
        bool,
        typer.Option(
            "--join-names", help="Treat names that differ only in case, spaces or zeros (7, 007) as one whale."
        ),
    ] = False,
    link: Annotated[
        bool,
        typer.Option(
            "--link", help="Link to the photos instead of copying them. Do not move the originals afterwards."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be imported; write nothing.")] = False,
) -> None:
    """Import labelled photos into a new or existing catalogue folder. The originals are not changed."""
    from whaleid.importing import importer
    from whaleid.importing.csv import Columns

    columns = Columns(photo_column, whale_column, box_columns, photos)
    options = importer.Options(columns, layout, queries, keep_name or (), join_names, link, dry_run)
    if importer.run(source, to, options):
        raise typer.Exit(EXIT_UNREADABLE)


@app.command(rich_help_panel=TOOLS)
def add(
    reviewed: Annotated[
        Path,
        typer.Argument(
            help="A csv file with the columns photo and whale: the output of identify --csv, with whale filled in.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who reviewed the photos.", show_default=False)],
    photos: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder from which the paths in the csv file start.")
    ] = Path(),
    catalogue: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The catalogue folder to add the photos to.",
            exists=True,
            file_okay=False,
            show_default=CATALOGUE_DEFAULT,
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
) -> None:
    """Add reviewed photos to the catalogue. whaleid identify uses them immediately.

    In the column whale, write a label of the catalogue, new for a new whale, or new:LABEL to choose its label.
    The reviewer, the time and the model's answer are recorded.
    """
    from whaleid.importing import add as add_photos

    folder, threshold = _defaults(model, catalogue)
    if folder is None:
        raise WhaleidError(
            "The catalogue folder is unknown: set it with --catalogue, or run the command in the project's folder."
        )
    add_photos.run(reviewed, photos, by, folder, _bundle(model), threshold)


@app.command(rich_help_panel=TOOLS)
def duplicates(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of images. Subfolders are included.", show_default=False)
    ],
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another folder, to report which images of DIR are also in it.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables and the page.")] = Path("duplicates"),
    max_distance: Annotated[
        int,
        typer.Option(min=0, max=16, help="In how many of 64 bits the perceptual hashes of duplicates may differ."),
    ] = 8,
    max_error: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How different the pixels of duplicates may be, from 0 (equal) to 1: share of their variance that a "
            "linear fit does not explain.",
        ),
    ] = 0.1,
    turned: Annotated[bool, typer.Option(help="Whether an image rotated by 180 degrees counts as a duplicate.")] = True,
    mirrored: Annotated[bool, typer.Option(help="Whether a mirrored image counts as a duplicate.")] = False,
) -> None:
    """Find duplicate images in any folder, also outside a project. No image is changed."""
    from whaleid.config import Dedup
    from whaleid.duplicates import folder as duplicate_search
    from whaleid.report import duplicates as duplicates_page

    rule = Dedup(max_distance=max_distance, max_error=max_error, turned=turned, mirrored=mirrored)
    result = duplicate_search.search_folder(folder, against, rule)
    page = duplicates_page.render(f"Duplicates in {folder}", result.counts, result.duplicates, result.files, rule)
    duplicate_search.write_results(result.tables, page, out)
    counts = result.counts.items()
    print(", ".join(f"{count:,} {name}" for name, count in counts if count or name in ("images", "copies")))
    print(f"{out / 'manifest.csv'} lists which images to keep and why; {out / 'report.html'} shows them")
    if result.counts["unreadable"]:
        print(f"{out / 'unreadable.csv'} lists the images that could not be read, and why", file=sys.stderr)
        raise typer.Exit(EXIT_UNREADABLE)


def _defaults(model: str, catalogue: Path | None, threshold: float | None = None) -> tuple[Path | None, float | None]:
    """Return the catalogue folder and the threshold. With the project's own model, they default to `params.yaml`."""
    if Path(model).resolve() != Path(DEFAULT_MODEL).resolve() or not paths.PARAMS.exists():
        return catalogue, threshold
    params = load_params()
    root = Path(params.data.root)
    if catalogue is None and (root / "train.csv").exists():
        catalogue = root
    if threshold is None and params.threshold != "auto":
        threshold = params.threshold
    return catalogue, threshold


def _bundle(model: str) -> Path:
    """Return the folder of a bundle. A model of MLflow's registry is downloaded."""
    if not model.startswith("models:/"):
        return Path(model)
    from whaleid.serving import registry

    return registry.download(model)
