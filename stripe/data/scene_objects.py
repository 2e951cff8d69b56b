"""What the images of ``scenes`` show on their ground: few or many shapes, small and large, some in front of others."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stripe.data.composition import HUE_SPREAD, Columns, draw_positions, rgb
from stripe.data.silhouettes import SILHOUETTES

__all__ = ["MOST", "SceneObjects", "draw_objects"]

Array = npt.NDArray[np.float32]

MOST = 12
"""The largest number of shapes in an image."""

SMALLEST_RADIUS = 0.1
"""The radius of the smallest shape, where the short side of the image is 2."""

CANDIDATES = 10
"""The places that are tried for each shape: the first that is free enough, or else the freest, is taken."""


@dataclass(frozen=True)
class SceneObjects:
    """The shapes of n images as numbers, in units as in ``stripe.data.composition.Scenes``; those behind come first.

    Attributes:
        count: The number of shapes in each image, ``(n,)``, 1 to ``MOST``; what follows in a row has no meaning.
        label: Positions in ``SILHOUETTES``, int64 ``(n, MOST)``.
        center: Their centres, right and down, ``(n, MOST, 2)``.
        radius: Their radii, ``(n, MOST)``.
        angle: Their rotations in radians, ``(n, MOST)``.
        stretch: Their widths divided by their heights, ``(n, MOST)``.
        color: Their colours, ``(n, MOST, 3)``.
        light: How brightness changes from the centre to the outline, right and down, ``(n, MOST, 2)``.
    """

    count: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    center: Array
    radius: Array
    angle: Array
    stretch: Array
    color: Array
    light: Array


def draw_objects(count: int, *, seed: tuple[int, ...], center_bias: float) -> SceneObjects:
    """Draw the shapes of a set of images. Those of the first n are the same in every set of at least n.

    Half of the images have up to three shapes. Radii are spread evenly over their logarithms, from a twentieth of the
    short side up to half of it, or less where there are many.

    Args:
        count: The number of images.
        seed: Decides them all.
        center_bias: See ``stripe.data.composition.draw_positions``.
    """
    draw = Columns(seed, count)
    number = (1 + MOST * draw.uniform(0, 1) ** 2.2).astype(np.int64)
    largest = np.minimum(1, 1.25 / np.sqrt(number))[:, None]
    radius = SMALLEST_RADIUS * (largest / SMALLEST_RADIUS) ** draw.uniform(0, 1, MOST)
    # Large ones are mostly behind small ones, which they would hide.
    depth = np.where(np.arange(MOST) < number[:, None], np.log(radius) + 0.35 * draw.normal(MOST), -np.inf)
    radius = np.take_along_axis(radius, np.argsort(-depth, axis=1, kind="stable"), axis=1)
    label = (len(SILHOUETTES) * draw.uniform(0, 1, MOST)).astype(np.int64)
    hue = label / len(SILHOUETTES) + HUE_SPREAD * draw.normal(MOST)
    color = rgb(hue, draw.uniform(0.4, 1.0, MOST), draw.uniform(0.4, 1.0, MOST))
    places = draw_positions(draw.uniform(0, 1, MOST, CANDIDATES, 2), center_bias, 1 - 0.7 * radius[..., None, None])
    drawn = {
        "center": _placed(places, radius),
        "radius": radius,
        "angle": draw.uniform(-0.5, 0.5, MOST),
        "stretch": draw.uniform(0.85, 1.18, MOST),
        "color": color,
        "light": 0.15 * draw.normal(MOST, 2),
    }
    return SceneObjects(number, label, **{name: values.astype(np.float32) for name, values in drawn.items()})


def _placed(places: Array, radius: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each shape the one of its places ``(n, MOST, CANDIDATES, 2)`` where it overlaps least with those before."""
    chosen = np.empty((len(places), MOST, 2))
    for k in range(MOST):
        distance = np.linalg.norm(places[:, k, :, None] - chosen[:, None, :k], axis=-1)
        own, others = radius[:, k, None, None], radius[:, None, :k]
        overlap = np.maximum(0, 0.75 * (own + others) - distance) / np.minimum(own, others)
        crowding = np.maximum(0, overlap.sum(-1) - 0.3)
        chosen[:, k] = places[np.arange(len(places)), k, crowding.argmin(1)]
    return chosen
