"""The HTML page of `identify`: each query with its labels and the most similar photos of those whales."""

from collections.abc import Mapping, Sequence

from whaleid.core.labels import NEW_WHALE, TOP_K
from whaleid.report import pages, sheets
from whaleid.report.sheets import Cell, Sheet, Strip
from whaleid.serving.recogniser import Answer


def picture_key(photo: str) -> str:
    """Return the key of a query's picture. The slash distinguishes it from the names of labelled photos."""
    return f"/{photo}"


def render(answers: Sequence[Answer], threshold: float, photos: Mapping[str, bytes]) -> str:
    """Render the page as HTML. `photos` has JPEG files: labelled photos by Image, queries by `picture_key`."""
    strips = []
    for answer in answers:
        key = picture_key(answer.photo)
        same = {duplicate.photo for duplicate in answer.same}
        duplicates = ", ".join(f"{duplicate.photo} ({duplicate.whale})" for duplicate in answer.same)
        query = Cell(
            photo=key if key in photos else "",
            text=answer.problem or (f"same picture as {duplicates}" if duplicates else ""),
            bold=answer.photo,
            kind="query same" if duplicates else "query",
        )
        cells = [
            Cell(
                photo=candidate.nearest if candidate.nearest in photos else "",
                text=candidate.nearest,
                bold=f"{candidate.whale} {candidate.probability:.0%}",
                placeholder="new" if candidate.whale == NEW_WHALE else "no photo",
                kind="same" if candidate.nearest in same else "",
            )
            for candidate in answer.names
        ]
        strips.append(Strip([query, *cells]))
    lead = [
        f"Each row shows a photo, and up to {TOP_K} labels with their probabilities and the labelled photo of that "
        f"whale most like it. {NEW_WHALE} means that the whale is in no catalogue: it is ranked at the threshold, "
        f"{threshold:g}, and has the probability that the known whales leave."
    ]
    sheet = Sheet("", "", strips, layout="large")
    pictures = {name: photos[name] for name in sheets.photos([sheet])}
    title = f"whaleid: who is on {len(answers):,} photos"
    return pages.render_sheets(title, lead, [sheet], pictures)
