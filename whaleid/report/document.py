"""A page that needs nothing else: its style and its pictures are within."""

from base64 import b64encode
from collections.abc import Mapping
from html import escape

from whaleid.report.style import STYLE


def document(title: str, body: str, photos: Mapping[str, bytes]) -> str:
    """Return an HTML page around `body`, which shows `photos`, JPEG files, as `photo` has them."""
    drawn = "\n".join(
        f".p{number}{{background-image:url({data('jpeg', photos[name])})}}" for name, number in numbers(photos).items()
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}{drawn}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def numbers(photos: Mapping[str, bytes]) -> dict[str, int]:
    """Return the number under which each of `photos` is embedded, once, however often it is shown."""
    return {name: number for number, name in enumerate(sorted(photos))}


def photo(name: str, number: Mapping[str, int]) -> str:
    """Return the place where the photo `name` is shown; `number` is the result of `numbers`."""
    said = escape(name)
    return f'<i class="t p{number[name]}" role="img" aria-label="{said}" title="{said}"></i>'


def data(kind: str, content: bytes) -> str:
    """Return an image file as an address."""
    return f"data:image/{kind};base64,{b64encode(content).decode('ascii')}"
