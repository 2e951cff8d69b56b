"""The outlines of the ten classes of ``shapes``, as functions of a point."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SILHOUETTES"]

Array = npt.NDArray[np.floating[Any]]
Silhouette = Callable[[Array, Array], Array]
"""From x (right) and y (down), in units of the shape's radius, to the distance from the outline: negative
inside, and growing by about one a unit where it is near zero, which is what a smooth edge needs."""


def _both(a: Array, b: Array) -> Array:
    """The points inside both outlines."""
    inside: Array = np.maximum(a, b)
    return inside


def _either(a: Array, b: Array) -> Array:
    """The points inside one outline or the other."""
    inside: Array = np.minimum(a, b)
    return inside


def _disc(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - 0.85


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.68) - 0.24


def _square(x: Array, y: Array) -> Array:
    return _both(np.abs(x) - 0.75, np.abs(y) - 0.75)


def _triangle(x: Array, y: Array) -> Array:
    y = y - 0.15
    return _both(0.866 * np.abs(x) - 0.5 * y - 0.52, y - 0.52)


def _bar(x: Array, y: Array) -> Array:
    return _both(np.abs(x) - 0.98, np.abs(y) - 0.26)


def _cross(x: Array, y: Array) -> Array:
    def arm(x: Array, y: Array) -> Array:
        return _both(np.abs(x) - 0.92, np.abs(y) - 0.28)

    return _either(arm(x, y), arm(y, x))


def _star(x: Array, y: Array) -> Array:
    # A tenth of the star, mirrored: one straight edge from the tip of a ray (1, 0) to a notch, 36 degrees on.
    tenth = np.pi / 5
    angle = np.abs(np.mod(np.arctan2(x, -y) + tenth, 2 * tenth) - tenth)
    notch_x, notch_y = 0.42 * np.cos(tenth), 0.42 * np.sin(tenth)
    length = np.hypot(1 - notch_x, notch_y)
    out, across = float(notch_y / length), float((1 - notch_x) / length)
    radius = np.hypot(x, y)
    return out * (radius * np.cos(angle) - 1) + across * radius * np.sin(angle)


def _crescent(x: Array, y: Array) -> Array:
    return _both(np.hypot(x - 0.1, y) - 0.92, 0.74 - np.hypot(x - 0.55, y))


def _heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y - 0.05
    return _either((x + np.abs(y) - 0.82) * 0.707, np.hypot(x - 0.41, y + 0.41) - 0.58)


def _bowtie(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return _both(x - 0.88, (y - 0.8 * x - 0.06) * 0.78)


SILHOUETTES: dict[str, Silhouette] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "crescent": _crescent,
    "heart": _heart,
    "bar": _bar,
    "bowtie": _bowtie,
}
