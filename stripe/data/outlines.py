"""The outlines of many objects in little memory, as polygons or as runs of pixels, by pycocotools."""

import math
from array import array
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

__all__ = ["Outlines"]

FARTHEST = 10
"""Sides of the image beyond which no point of a polygon may lie: pycocotools walks along all of it."""


class Outlines:
    """Outlines by number, added one by one, in the forms of COCO's annotation files.

    Kept as numbers in a row rather than as lists: a data set has hundreds of thousands, and every worker process would
    copy the lists.
    """

    def __init__(self) -> None:
        self._points = array("d")
        self._ends = array("q", [0])  # of the polygons among the points
        self._polygons = array("q", [0])  # of the outlines among the polygons
        self._runs: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._polygons) - 1

    def add(self, said: Any, height: int, width: int) -> bool:
        """Add an outline, if it is one.

        Args:
            said: A list of polygons, each x, y, x, y, … in pixels; one polygon; or a dictionary of ``size``, height and
                width, and ``counts``, the lengths of runs of pixels from top to bottom, column by column, outside and
                inside by turns, as numbers or as text.
            height: Height of the image in pixels.
            width: Width of the image.

        Returns:
            Whether it is such an outline, of an image of this size. If not, nothing is added.
        """
        try:
            if isinstance(said, dict):
                self._runs[len(self)] = _runs(said, height, width)
            else:
                polygons = [said] if said and not isinstance(said[0], list) else said
                if not polygons:
                    return False
                farthest = FARTHEST * max(height, width)
                for polygon in polygons:
                    if len(polygon) < 6 or len(polygon) % 2 or not math.isfinite(sum(polygon)):
                        return False
                    if min(polygon) < -farthest or max(polygon) > farthest:
                        return False
                for polygon in polygons:
                    self._ends.append(self._ends[-1] + len(polygon))
                self._points.extend(chain.from_iterable(polygons))
        except (TypeError, ValueError, KeyError, OverflowError, UnicodeError):  # not numbers, or not as many
            return False
        self._polygons.append(len(self._ends) - 1)
        return True

    def mask(self, number: int, height: int, width: int) -> npt.NDArray[np.bool_]:
        """The pixels inside an outline, ``(height, width)``."""
        runs = self._runs.get(number) or self._drawn(number, height, width)
        return np.asarray(coco_mask.decode(runs), dtype=bool)

    def area(self, number: int, height: int, width: int) -> float:
        """The number of pixels inside an outline."""
        return float(coco_mask.area(self._runs.get(number) or self._drawn(number, height, width)))

    def box(self, number: int, height: int, width: int) -> list[float]:
        """The smallest box around an outline: left, top, width, height."""
        found = coco_mask.toBbox(self._runs.get(number) or self._drawn(number, height, width))
        return [float(value) for value in found]

    def _drawn(self, number: int, height: int, width: int) -> dict[str, Any]:
        ends = self._ends[self._polygons[number] : self._polygons[number + 1] + 1]
        polygons = [list(self._points[start:stop]) for start, stop in pairwise(ends)]
        merged: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return merged


def _runs(said: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Runs of pixels as pycocotools wants them.

    Raises:
        ValueError: They are not of this size. pycocotools itself gives pixels of chance where there are too few.
    """
    counts = said["counts"]
    lengths = counts if isinstance(counts, list) else _lengths(counts)
    if list(said["size"]) != [height, width] or any(type(length) is not int or length < 0 for length in lengths):
        raise ValueError
    if sum(lengths) != height * width:
        raise ValueError
    runs: dict[str, Any] = coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    return runs


def _lengths(text: str) -> list[int]:
    """The lengths of runs from COCO's text: five bits a character, and from the fourth on as differences."""
    lengths: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        bits = code - 48
        if not 0 <= bits < 64:
            raise ValueError
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last character of a number; its highest bit is the sign
            if bits & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError
    return lengths
