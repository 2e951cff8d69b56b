"""What the images of ``shapes`` show: one coloured shape on textured ground, with the priors of natural photos.

What a network can learn from, as in photos: the outline (the class), the colour (each class has a typical hue,
which overlaps with its neighbours'), and the place (near the centre, as photographers do). What it has to
see through: ground that is bluish above and brownish below, texture with a 1/f spectrum, clutter in other
colours, light from one side, weak contrast and noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from stripe.data.base import IntArray
from stripe.data.silhouettes import SILHOUETTES

__all__ = ["HUE_SPREAD", "Columns", "Scenes", "draw_positions", "draw_scenes", "rgb"]

Array = npt.NDArray[np.float32]

NUM_CLASSES = len(SILHOUETTES)
WAVES = 16
CLUTTER = 4
HUE_SPREAD = 0.1
"""Standard deviation of a class's hue on a colour circle of length 1, where the classes lie 0.1 apart."""

SKY = np.array([-0.08, 0.0, 0.13], dtype=np.float32)
EARTH = np.array([0.08, 0.01, -0.09], dtype=np.float32)


@dataclass(frozen=True)
class Scenes:
    """Scenes as rows of numbers: each can be drawn at any size, alone or with others.

    The frame reaches from -1 to 1, right and down; colours are RGB in 0..1.

    Attributes:
        label: The shape, a position in ``SILHOUETTES``, ``(n,)``.
        center: The shape's centre, right and down, ``(n, 2)``.
        radius: Its radius, ``(n,)``.
        angle: Its rotation in radians, ``(n,)``.
        stretch: Its width divided by its height, ``(n,)``.
        color: Its colour, ``(n, 3)``.
        light: How its brightness changes from the centre to the outline, right and down, ``(n, 2)``.
        sky: Colour of the ground above, ``(n, 3)``.
        earth: Colour of the ground below, ``(n, 3)``.
        horizon: Where the two meet, and how sharply, ``(n, 2)``.
        wave: The texture's cosines: angular frequency right and down, phase, amplitude, ``(n, WAVES, 4)``.
        clutter: Soft boxes: centre and half size, right and down, ``(n, CLUTTER, 4)``.
        clutter_color: Their colours, ``(n, CLUTTER, 3)``.
        noise: Standard deviation of the noise, ``(n,)``.
    """

    label: Array
    center: Array
    radius: Array
    angle: Array
    stretch: Array
    color: Array
    light: Array
    sky: Array
    earth: Array
    horizon: Array
    wave: Array
    clutter: Array
    clutter_color: Array
    noise: Array

    def __getitem__(self, indices: IntArray) -> Self:
        return type(self)(*(getattr(self, each.name)[indices] for each in fields(self)))


def draw_scenes(count: int, *, seed: tuple[int, ...], center_bias: float) -> Scenes:
    """Draw the scenes of a set. The first n are the same in every set of at least n.

    Args:
        count: The number of scenes; scene i shows shape i mod 10.
        seed: Decides them all.
        center_bias: See ``draw_positions``.
    """
    draw = Columns(seed, count)
    label = np.arange(count) % NUM_CLASSES
    radius = draw.uniform(0.36, 0.62)
    brightness = draw.uniform(0.3, 0.7)[:, None]
    tint = draw.uniform(0.2, 1.2)[:, None]
    hue = label / NUM_CLASSES + HUE_SPREAD * draw.normal()
    frequency, direction = draw.uniform(0, 1, WAVES) ** 2 * 13 + 0.7, draw.uniform(0, np.pi, WAVES)
    contrast = draw.uniform(0.04, 0.15)[:, None]
    wave = (
        np.pi * frequency * np.cos(direction),
        np.pi * frequency * np.sin(direction),
        draw.uniform(0, 2 * np.pi, WAVES),
        contrast * draw.normal(WAVES) / frequency,
    )
    scenes: dict[str, npt.NDArray[Any]] = {
        "label": label,
        "center": draw_positions(draw.uniform(0, 1, 2), center_bias, 1 - 0.9 * radius[:, None]),
        "radius": radius,
        "angle": draw.uniform(-0.5, 0.5),
        "stretch": draw.uniform(0.85, 1.18),
        "color": rgb(hue, draw.uniform(0.4, 1.0), draw.uniform(0.4, 1.0)),
        "light": 0.15 * draw.normal(2),
        "sky": brightness + tint * SKY + draw.uniform(0, 0.2)[:, None] + 0.05 * draw.normal(3),
        "earth": brightness + tint * EARTH - draw.uniform(0, 0.2)[:, None] + 0.05 * draw.normal(3),
        "horizon": np.stack([draw.uniform(-0.5, 0.6), np.exp(draw.uniform(0, 3.5))], -1),
        "wave": np.stack(wave, -1),
        "clutter": np.concatenate([draw.uniform(-1, 1, CLUTTER, 2), draw.uniform(0.05, 0.3, CLUTTER, 2)], -1),
        "clutter_color": rgb(
            draw.uniform(0, 1, CLUTTER), draw.uniform(0.1, 0.7, CLUTTER), draw.uniform(0.2, 0.9, CLUTTER)
        ),
        "noise": draw.uniform(0.01, 0.06),
    }
    return Scenes(**{name: values.astype(np.float32) for name, values in scenes.items()})


def draw_positions(uniform: npt.ArrayLike, center_bias: float, limit: npt.ArrayLike) -> Array:
    """Positions that are truncated-normal around 0: from uniform in the frame to all in the centre.

    The normal distribution of standard deviation ``σ = limit · (1 - b) / b``, cut off at ``±limit``, where b is
    the bias: uniform at b = 0, σ = limit at b = ½, all at 0 at b = 1.

    Args:
        uniform: Random numbers, uniform in 0..1, any shape.
        center_bias: b, in 0..1.
        limit: The largest distance from the centre; broadcasts against ``uniform``.

    Returns:
        Positions in -limit..limit, the shape of ``uniform``.
    """
    bias = min(max(center_bias, 1e-6), 1 - 1e-6)  # at both ends the formula has only a limit
    spread = (1 - bias) / bias
    # The quantile function: Φ⁻¹ of a number that is uniform between Φ(-1/σ) and Φ(1/σ), in units of the limit.
    tail = float(torch.special.ndtr(torch.tensor(-1 / spread, dtype=torch.float64)))
    inner = tail + np.asarray(uniform, dtype=np.float64) * (1 - 2 * tail)
    quantile = torch.special.ndtri(torch.as_tensor(inner)).numpy()
    positions: Array = (np.clip(spread * quantile, -1, 1) * np.asarray(limit)).astype(np.float32)
    return positions


class Columns:
    """Random columns, each from a stream of its own: adding one changes no other, nor does the count."""

    def __init__(self, seed: tuple[int, ...], count: int) -> None:
        self._count = count
        self._streams: Iterator[np.random.Generator] = (
            np.random.default_rng([*seed, stream]) for stream in range(1000)
        )

    def uniform(self, low: float, high: float, *shape: int) -> npt.NDArray[np.float64]:
        """Numbers that are even between two limits, ``(count, *shape)``."""
        return low + (high - low) * next(self._streams).random((self._count, *shape))

    def normal(self, *shape: int) -> npt.NDArray[np.float64]:
        """Numbers of the standard normal distribution, ``(count, *shape)``."""
        return next(self._streams).standard_normal((self._count, *shape))


def rgb(
    hue: npt.NDArray[np.float64], saturation: npt.NDArray[np.float64], value: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """HSV to RGB, one more axis of length 3."""
    offsets = np.array([0, 4, 2])
    ramp = np.clip(np.abs((6 * hue[..., None] + offsets) % 6 - 3) - 1, 0, 1)
    rgb: npt.NDArray[np.float64] = value[..., None] * (1 - saturation[..., None] * (1 - ramp))
    return rgb
