"""The objects of many images in little memory: boxes, classes and areas, image after image."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from stripe.data.augmentation import Target
from stripe.data.flaws import Flaws
from stripe.errors import StripeError

__all__ = ["UNKNOWN", "Found", "Objects", "cleaned"]

UNKNOWN = 255
"""The class of pixels of which it is not known."""


class Found(NamedTuple):
    """An object as it is found in a file.

    Attributes:
        image: Number of its image.
        label: Position among the classes.
        box: Left, top, width and height in pixels.
        area: Area in pixels.
        iscrowd: Whether it is a region of many objects.
        outline: Number of its outline; −1 if there is none.
        name: What it is called in messages.
    """

    image: int
    label: int
    box: list[float]
    area: float
    iscrowd: bool
    outline: int
    name: str


@dataclass(frozen=True)
class Objects:
    """Objects in the order of their images, as numbers.

    Attributes:
        image: The image of each object, int64 ``(M,)``, ascending.
        labels: Positions among the classes, int64 ``(M,)``.
        boxes: Left, top, right and bottom in pixels, float32 ``(M, 4)``.
        area: Areas in pixels, float32 ``(M,)``.
        iscrowd: Whether they are regions of many objects, bool ``(M,)``.
        outlines: The numbers of their outlines, int64 ``(M,)``; −1 where there is none.
    """

    image: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    area: npt.NDArray[np.float32]
    iscrowd: npt.NDArray[np.bool_]
    outlines: npt.NDArray[np.int64]

    def of(self, image: int) -> slice:
        """Where the objects of an image are."""
        start, stop = np.searchsorted(self.image, [image, image + 1])
        return slice(int(start), int(stop))

    def target(self, image: int) -> Target:
        """Boxes, classes, areas and crowds of an image, as in ``AnnotatedImages.read``."""
        own = self.of(image)
        return {
            "boxes": torch.from_numpy(self.boxes[own].copy()),
            "labels": torch.from_numpy(self.labels[own].copy()),
            "area": torch.from_numpy(self.area[own].copy()),
            "iscrowd": torch.from_numpy(self.iscrowd[own].copy()),
        }

    def counts(self, images: int) -> npt.NDArray[np.int64]:
        """How many objects of each image a detector is trained on, ``(images,)``: those that are no crowds."""
        return np.bincount(self.image[~self.iscrowd], minlength=images)

    def chosen(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Self:
        """Some of the objects."""
        return type(self)(*(getattr(self, each.name)[which] for each in fields(self)))


def cleaned(found: Sequence[Found], sizes: npt.NDArray[np.int64], source: Path, flaws: Flaws) -> Objects:
    """The objects whose boxes have an area in their image, cut where they reach out of it.

    Args:
        found: The objects.
        sizes: Width and height of each image, ``(N, 2)``.
        source: Where they are from, for messages.
        flaws: Where what is left out is counted.

    Raises:
        StripeError: The boxes are clearly not left, top, width and height in pixels.
    """
    image, labels, outlines = (
        np.array([getattr(each, name) for each in found], dtype=np.int64) for name in ("image", "label", "outline")
    )
    crowd = np.array([each.iscrowd for each in found], dtype=bool)
    area = np.array([each.area for each in found], dtype=np.float32)
    given = np.array([each.box for each in found], dtype=np.float64).reshape(-1, 4)
    limits = np.tile(sizes[image].astype(np.float64), 2)  # width, height, width, height
    _check(given, limits, source)
    corners = np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)
    boxes = np.clip(corners, 0, limits).astype(np.float32)
    flat = (given[:, 2:] <= 0).any(1)
    outside = ~flat & (boxes[:, 2:] <= boxes[:, :2]).any(1)
    kept = ~(flat | outside)
    cut = kept & (np.abs(corners - boxes) > 1).any(1)
    for kind, which in (
        ("{} box(es) of no area", flat),
        ("{} box(es) outside of the image", outside),
        ("{} box(es) cut at the edge of the image", cut),
        ("{} region(s) of a crowd, not trained on", crowd & kept),
    ):
        if which.any():
            flaws.add(kind, found[int(which.argmax())].name, int(which.sum()))
    objects = Objects(image, labels, boxes, area, crowd, outlines)
    order = np.flatnonzero(kept)
    return objects.chosen(order[np.argsort(image[order], kind="stable")])


def _check(given: npt.NDArray[np.float64], limits: npt.NDArray[np.float64], source: Path) -> None:
    """Refuse boxes in other units, or by their corners: they would be taken for others than they are."""
    if len(given) and np.abs(given).max() <= 1:
        raise StripeError(
            f"{source}: all numbers of the boxes are within 0 and 1, as if they were shares of the image. Give left, "
            "top, width and height in pixels."
        )
    as_corners = (given[:, 2:] > given[:, :2]).all(1) & (given <= limits + 1).all(1)
    reach_out = (given[:, :2] + given[:, 2:] > limits[:, 2:] + 1).any(1)
    if len(given) > 1 and as_corners.all() and reach_out.mean() > 0.25:
        raise StripeError(
            f"{source}: {reach_out.sum():,} of {len(given):,} boxes reach out of their images, and none would if the "
            "numbers were left, top, right and bottom. COCO's are left, top, width and height, in pixels."
        )
