"""Conversion of texts, names and attributes to what HDF5 can store."""

import json
from typing import Any

import numpy as np

__all__ = ["attribute", "group_name", "text"]


def text(value: str) -> str:
    r"""Convert a text to valid UTF-8 without NUL, which HDF5 cannot store; equal texts stay equal.

    Example:
        >>> text("caf\udce9.png")  # a file name that is no UTF-8, as Python reads it
        'caf\\udce9.png'
    """
    return value.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def group_name(name: str) -> str:
    """Convert the name of a site or layer to the name of a group: slashes and names of dots have other meanings."""
    name = text(name).replace("/", "\\x2f")
    only_dots = not name.strip(".")
    return (name.replace(".", "\\x2e") or "model") if only_dots else name


def attribute(value: Any) -> Any:
    """Convert a value to an attribute: texts and numbers are kept, booleans become integers, all else JSON."""
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
    """Convert a value for JSON: an array to a list, everything else to its text."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
