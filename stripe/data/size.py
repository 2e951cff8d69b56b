"""The size of images: a number of pixels where they are square, else height and width."""

import operator
import re
from typing import Any

from stripe.errors import StripeError

__all__ = ["ImageSize", "in_pixels", "inscribed", "parse_size", "sides", "write_size"]

ImageSize = int | tuple[int, int]
"""Height and width in pixels; one number where both are equal, so that there is one way to say each size."""


def parse_size(value: Any) -> ImageSize:
    """A size from a number, a pair, or text as ``write_size`` gives it.

    Args:
        value: 32, (48, 192), ``"32"`` or ``"48x192"``: height, then width.

    Raises:
        StripeError: It is none of these, or a side is below 1.

    Example:
        >>> parse_size("48x192"), parse_size((32, 32)), parse_size(32)
        ((48, 192), 32, 32)
    """
    parts = value
    if isinstance(value, str):
        said = re.fullmatch(r"\s*(\d+)\s*(?:[xX×]\s*(\d+)\s*)?", value)
        parts = [int(part) for part in said.groups() if part] if said else None
    try:
        given = list(parts) if isinstance(parts, list | tuple) else [parts]
        if any(isinstance(number, bool) for number in given):
            raise TypeError
        numbers = [operator.index(number) for number in given]
        height, width = numbers if len(numbers) == 2 else numbers * 2
    except (TypeError, ValueError):
        raise StripeError(
            f"{value!r} is no image size. Give the side of square images, as 32, or height x width, as 48x192."
        ) from None
    if min(height, width) < 1:
        said_so = write_size((height, width))
        raise StripeError(f"The image size is {said_so}; each side must be at least 1 pixel.")
    return height if height == width else (height, width)


def sides(size: ImageSize) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def write_size(size: ImageSize | None) -> int | str:
    """A size as files hold it: 32, or ``"48x192"`` for height and width, or ``"own"`` where each image has its own."""
    if size is None:
        return "own"
    height, width = sides(size)
    return height if height == width else f"{height}x{width}"


def in_pixels(size: ImageSize | None) -> str:
    """A size as people read it: ``"32 px"``, ``"48x192 px"`` or ``"their own sizes"``."""
    return "their own sizes" if size is None else f"{write_size(size)} px"


def inscribed(size: ImageSize, around: tuple[int, int]) -> ImageSize:
    """The largest box inside an image that has the proportions of a size.

    Args:
        size: The proportions.
        around: Height and width of the image.

    Example:
        >>> inscribed((48, 192), (60, 100)), inscribed(32, (60, 100))
        ((25, 100), 60)
    """
    scale = max(wanted / there for wanted, there in zip(sides(size), around, strict=True))
    height, width = (
        min(there, max(1, round(wanted / scale))) for wanted, there in zip(sides(size), around, strict=True)
    )
    return parse_size((height, width))
