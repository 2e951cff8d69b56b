"""Texts, names and attributes as HDF5 can keep them."""

import json
from typing import Any

import numpy as np

__all__ = ["attribute", "group_name", "text"]


def text(value: str) -> str:
    r"""A text in valid UTF-8 without NUL, which HDF5 cannot keep; equal texts stay equal.

    Example:
        >>> text("caf\udce9.png")  # a file name that is no UTF-8, as Python reads it
        'caf\\udce9.png'
    """
    return value.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def group_name(name: str) -> str:
    """The name of a site or layer as that of a group: a slash would make two of it, dots alone mean a folder."""
    name = text(name).replace("/", "\\x2f")
    only_dots = not name.strip(".")
    return (name.replace(".", "\\x2e") or "model") if only_dots else name


def attribute(value: Any) -> Any:
    """A value as HDF5 keeps it: text and numbers as they are (netCDF has no booleans), everything else as JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return json.dumps(value, default=_listed)


def _listed(value: Any) -> Any:
    """What JSON has no word for: arrays as lists, everything else by its text."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
