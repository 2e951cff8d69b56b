"""Pictures to take a style from, drawn by formulas from a seed: nobody's painting.

============ ==========================================================================================
``strokes``  brush strokes along a field of eddies, in blue, ochre and white
``mosaic``   tiles of bright colours with dark joints
``rings``    waves around a few centres, in flat colours with hard edges
============ ==========================================================================================
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.errors import StripeError
from stripe.names import did_you_mean

__all__ = ["PAINTINGS", "draw_painting"]

Array = npt.NDArray[np.float64]

SIDE = 256
"""Pixels of a side in which the lengths below are meant."""


def draw_painting(name: str, *, size: int = SIDE, seed: int = 0) -> Tensor:
    """Draw a picture.

    Args:
        name: A key of ``PAINTINGS``.
        size: Pixels of a side. What is drawn, such as a tile, has the same size in pixels in a larger picture.
        seed: Decides everything that is random.

    Returns:
        uint8 (3, size, size).

    Raises:
        StripeError: There is no such picture, or a number is out of its range.

    Example:
        >>> draw_painting("mosaic", size=64).shape
        torch.Size([3, 64, 64])
    """
    if name not in PAINTINGS:
        raise StripeError(
            f"there is no drawn picture {name!r}; there are {', '.join(PAINTINGS)}{did_you_mean(name, PAINTINGS)}"
        )
    if size < 1 or seed < 0:
        raise StripeError(f"size={size} must be at least 1, and seed={seed} at least 0")
    colours = PAINTINGS[name](size, np.random.default_rng([seed, list(PAINTINGS).index(name)]))
    return torch.from_numpy((255 * np.clip(colours, 0, 1) + 0.5).astype(np.uint8)).permute(2, 0, 1).contiguous()


def _strokes(size: int, random: np.random.Generator) -> Array:
    """Noise that is smeared along the streamlines of a field (line integral convolution), as colours and relief."""
    down, right = np.indices((size, size), dtype=np.float64)
    angle = np.zeros((size, size))
    for _ in range(6):
        frequency, phase = random.normal(0, 2 * math.pi / 110, 2), random.uniform(0, 2 * math.pi)
        angle += 1.1 * np.sin(frequency[0] * right + frequency[1] * down + phase)
    smeared = np.zeros((size, size, 2))
    coarse = np.kron(random.random((size // 3 + 1, size // 3 + 1, 2)), np.ones((3, 3, 1)))[:size, :size]
    reach = 12
    for direction in (-1, 1):
        x, y = right.copy(), down.copy()
        for _ in range(reach):
            column, row = np.rint(x).astype(int) % size, np.rint(y).astype(int) % size
            smeared += coarse[row, column] / (2 * reach)
            x += direction * np.cos(angle[row, column])
            y += direction * np.sin(angle[row, column])
    smeared = (smeared - smeared.mean((0, 1))) / (smeared.std((0, 1)) + 1e-9)
    palette = np.array(
        [[0.06, 0.12, 0.35], [0.12, 0.32, 0.62], [0.42, 0.62, 0.72], [0.92, 0.9, 0.78], [0.86, 0.62, 0.16]]
    )
    place = np.clip((smeared[..., 0] + 0.6 * np.sin(2 * angle) + 1.8) / 3.6, 0, 1) * (len(palette) - 1)
    colours = np.stack([np.interp(place, np.arange(len(palette)), channel) for channel in palette.T], -1)
    relief: Array = colours + 0.05 * smeared[..., 1:]
    return relief


def _mosaic(size: int, random: np.random.Generator) -> Array:
    """Voronoi cells of a jittered grid; joints where the two nearest centres are almost equally far."""
    tile = 18
    count = size // tile + 3
    centres = (np.indices((count, count)).transpose(1, 2, 0) - 1 + random.uniform(0.1, 0.9, (count, count, 2))) * tile
    tones = np.array([[0.84, 0.18, 0.12], [0.95, 0.72, 0.15], [0.1, 0.42, 0.62], [0.2, 0.6, 0.35], [0.93, 0.9, 0.82]])
    tints = tones[random.integers(len(tones), size=(count, count))] + random.normal(0, 0.05, (count, count, 3))
    pixels = np.indices((size, size)).transpose(1, 2, 0) + 0.5
    cell = (pixels // tile).astype(int) + 1
    neighbours = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(9, 1, 1, 2)
    near = np.clip(cell + neighbours, 0, count - 1)  # (9, size, size, 2)
    distance = np.linalg.norm(centres[near[..., 0], near[..., 1]] - pixels, axis=-1)
    nearest = distance.argmin(0)
    own = np.take_along_axis(near, nearest[None, ..., None], 0)[0]
    first, second = np.partition(distance, 1, axis=0)[:2]
    joint = np.clip((second - first) / 3, 0, 1)[..., None]
    colours: Array = joint * tints[own[..., 0], own[..., 1]] + (1 - joint) * 0.08
    return colours


def _rings(size: int, random: np.random.Generator) -> Array:
    """The sum of waves around centres, cut into steps of one colour each."""
    pixels = np.indices((size, size), dtype=np.float64).transpose(1, 2, 0)
    height = np.zeros((size, size))
    for _ in range(5):
        centre, length = random.uniform(0, size, 2), random.uniform(22, 40)
        height += np.sin(2 * math.pi * np.linalg.norm(pixels - centre, axis=-1) / length)
    palette = np.array([[0.1, 0.08, 0.12], [0.75, 0.1, 0.15], [0.96, 0.86, 0.6], [0.05, 0.45, 0.45], [0.9, 0.45, 0.1]])
    step = np.clip(np.floor(height + 2.5), 0, len(palette) - 1).astype(int)
    colours: Array = palette[step]
    return colours


PAINTINGS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "strokes": _strokes,
    "mosaic": _mosaic,
    "rings": _rings,
}
"""Name → function of the pixels of a side and a generator, which gives colours (size, size, 3) in 0..1."""
