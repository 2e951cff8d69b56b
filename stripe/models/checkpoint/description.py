"""What a checkpoint of ours says about its network."""

from pathlib import Path
from typing import Any

from stripe.data.size import parse_size, sides
from stripe.errors import StripeError

__all__ = ["META_KEY", "check_meta"]

META_KEY = "stripe"  # in the header of a safetensors file: our description of the model, as JSON

# What the entries of a description are, where it has them; null is as good as none.
META_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "attention": (str,),
    "num_classes": (int,),
    "image_size": (int, str),
    "args": (dict,),
    "data": (str,),
    "classes": (list,),
    "fused": (bool,),
    "epoch": (int,),
    "learning_rate": (int, float),
    "mean": (list,),
    "std": (list,),
}
# What numbers can be; others are damage, and would only be noticed when memory ends.
RANGES: dict[str, tuple[float, float]] = {
    "num_classes": (1, 1 << 20),
    "epoch": (0, 1 << 31),
    "learning_rate": (0, 1e6),
}


LARGEST = 1 << 14
"""Pixels of a side of an image."""


def check_meta(meta: Any, path: Path) -> None:
    """Make sure that a description is what its readers take it for.

    Args:
        meta: As it was read from JSON.
        path: For the message.

    Raises:
        StripeError: It is damaged.
    """
    if not isinstance(meta, dict):
        raise StripeError(f"{path}: its description (header entry {META_KEY!r}) is damaged")
    for key, types in META_TYPES.items():
        value = meta.get(key)
        if value is None:
            continue
        # JSON's true is an int in Python, and no size.
        fine = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
        if fine and key in RANGES:
            fine = RANGES[key][0] <= value <= RANGES[key][1]  # false of NaN, too
        if fine and key == "image_size":
            fine = _is_size(value)
        if fine and key == "classes":
            fine = all(isinstance(name, str) for name in value)
        if not fine:
            shown = repr(value)
            shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
            raise StripeError(f"{path}: its description (header entry {META_KEY!r}) is damaged: {key} is {shown}")


def _is_size(value: int | str) -> bool:
    """Whether it is the size of images: a number, or height and width as ``"48x192"``."""
    try:
        return max(sides(parse_size(value))) <= LARGEST
    except StripeError:
        return False
