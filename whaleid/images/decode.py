"""Photos from files: upright, in one of two modes, and refused where a file cannot be trusted."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from whaleid.errors import WhaleidError

MAX_PIXELS = 100_000_000
"""More than any camera in use takes; a decoded photo of this size needs 300 MB."""


def load(path: Path, least: int | None = None) -> Image.Image:
    """Read the JPEG or PNG file `path` whole, in the mode it is stored in, upright by its EXIF orientation.

    With `least`, a photo of which no side need have more pixels than that may come smaller, by 2, 4 or 8: a JPEG file
    is read so in a fraction of the time.

    Raises:
        WhaleidError: the file is neither, cannot be read, breaks off, is damaged, or has more than
            `MAX_PIXELS` pixels (told from its header, before any pixel is decoded).
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns and then refuses by limits of its own, which lie on both sides of MAX_PIXELS
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("JPEG", "PNG"))
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise WhaleidError(f"{path}: {image.width} x {image.height} pixels, over the {MAX_PIXELS:,} allowed")
            if least is not None:
                image.draft(None, (least, least))
            image.load()
            return ImageOps.exif_transpose(image)
    except WhaleidError:
        raise
    except Image.DecompressionBombError:
        raise WhaleidError(f"{path}: over the {MAX_PIXELS:,} pixels allowed") from None
    except UnidentifiedImageError:
        raise WhaleidError(f"{path}: no JPEG or PNG image") from None
    except Exception as error:  # on damaged bytes Pillow raises OSError, SyntaxError, ValueError and more
        raise WhaleidError(f"{path}: damaged or unreadable ({error})") from None


def simplify(image: Image.Image) -> Image.Image:
    """Return `image` in mode L if it is grey, else in RGB; what shows through transparency is white."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
    grey = image.mode in ("1", "LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if grey else "RGB")


def decode(path: Path, least: int | None = None) -> Image.Image:
    """Read the photo `path`, upright, in mode L or RGB; `least` as in `load`.

    Raises:
        WhaleidError: as `load`.
    """
    return simplify(load(path, least))
