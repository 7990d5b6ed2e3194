"""The page of `identify`: each photo, its labels, and the labelled photos most like it."""

from collections.abc import Mapping, Sequence

from whaleid.core.labels import NEW_WHALE, TOP_K
from whaleid.report import pages, sheets
from whaleid.report.sheets import Cell, Sheet, Strip
from whaleid.serving.recogniser import Answer


def key(photo: str) -> str:
    """Return the name of a query's picture, which no labelled photo has: theirs hold no slash."""
    return f"/{photo}"


def render(answers: Sequence[Answer], threshold: float, photos: Mapping[str, bytes]) -> str:
    """Return the page of `answers`; `photos` has the pictures there are: labelled photos by name, queries by `key`."""
    strips = []
    for answer in answers:
        same = {each.photo for each in answer.same}
        copies = ", ".join(f"{each.photo} ({each.whale})" for each in answer.same)
        query = Cell(
            photo=key(answer.photo) if key(answer.photo) in photos else "",
            text=answer.problem or (f"same picture as {copies}" if copies else ""),
            bold=answer.photo,
            kind="query same" if copies else "query",
        )
        cells = [
            Cell(
                photo=name.nearest if name.nearest in photos else "",
                text=name.nearest,
                bold=f"{name.whale} {name.probability:.0%}",
                placeholder="new" if name.whale == NEW_WHALE else "no photo",
                kind="same" if name.nearest in same else "",
            )
            for name in answer.names
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
