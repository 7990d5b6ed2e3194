"""What a user turns on and off by the environment."""

import os

from whaleid.core.errors import WhaleidError


def switched_on(name: str, default: str) -> bool:
    """Tell whether the environment's `name` is `on`; where it is unset, whether `default` is.

    Raises:
        WhaleidError: it is neither `on` nor `off`.
    """
    asked = os.environ.get(name, default)
    if asked not in ("on", "off"):
        raise WhaleidError(f"{name} is {asked!r}: set it to on or off, or leave it unset.")
    return asked == "on"
