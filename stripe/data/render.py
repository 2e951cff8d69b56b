"""Draws the scenes of `shapes` at any size."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.data.base import IntArray
from stripe.data.images import Images
from stripe.data.scenes import Scenes, draw_scenes
from stripe.data.silhouettes import SILHOUETTES

__all__ = ["SceneImages"]

Array = npt.NDArray[np.float32]


class SceneImages(Images):
    """Scenes as images, drawn when they are asked for.

    Sums and products are numpy's, element by element, so that an image does not depend on which others are
    drawn with it. Another kind of processor may round a few values to the neighbouring grey level.

    Args:
        count: The number of images.
        size: Height and width in pixels.
        seed: Decides them all.
        center_bias: See `stripe.data.scenes.draw_positions`.
    """

    VERSION: ClassVar[int] = 1
    """To be raised when a change makes other images from the same seed."""

    def __init__(self, count: int, size: int, *, seed: tuple[int, ...], center_bias: float) -> None:
        self.size = size
        self._count, self._seed = count, seed
        self._scenes = draw_scenes(count, seed=seed, center_bias=center_bias)

    def __len__(self) -> int:
        return self._count

    def read(self, indices: IntArray) -> Tensor:
        """See `Images.read`."""
        scenes = self._scenes[indices]
        texture = _texture(scenes, self.size)[:, None]
        image = _ground(scenes, self.size) + texture
        color, cover = _shape(scenes, self.size)
        image += cover[:, None] * (color + 0.6 * texture - image)
        for row, index in enumerate(indices):
            noise = np.random.default_rng([*self._seed, index, 1]).standard_normal(image.shape[1:], np.float32)
            image[row] += scenes.noise[row] * noise
        image *= 255
        np.clip(image, 0, 255, out=image)
        return torch.from_numpy((image + 0.5).astype(np.uint8))


def _axis(size: int) -> Array:
    """The centres of the pixels in a frame from -1 to 1."""
    return ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)


def _ground(scenes: Scenes, size: int) -> Array:
    """Sky, earth and clutter, ``(n, 3, size, size)``."""
    axis = _axis(size)
    place, steepness = scenes.horizon[:, 0, None], scenes.horizon[:, 1, None]
    below = (1 / (1 + np.exp(-steepness * (axis - place))))[:, None, :, None]
    sky, earth = scenes.sky[..., None, None], scenes.earth[..., None, None]
    image = np.repeat(sky + below * (earth - sky), size, axis=3)
    for k in range(scenes.clutter.shape[1]):
        x, y, width, height = (scenes.clutter[:, k, i, None] for i in range(4))
        across, down = (np.exp(-(((axis - c) / half) ** 4)) for c, half in ((x, width), (y, height)))
        cover = (down[:, :, None] * across[:, None, :])[:, None]
        image += cover * (scenes.clutter_color[:, k, :, None, None] - image)
    return image


def _texture(scenes: Scenes, size: int) -> Array:
    """A sum of cosines, ``(n, size, size)``: cos(a + b) = cos a cos b - sin a sin b needs few cosines."""
    axis = _axis(size)
    right, down, phase, amplitude = (scenes.wave[:, :, i, None] for i in range(4))
    across, below = right * axis + phase, down * axis
    cos_x, sin_x = amplitude * np.cos(across), amplitude * np.sin(across)
    cos_y, sin_y = np.cos(below), np.sin(below)
    texture = np.zeros((len(scenes.label), size, size), dtype=np.float32)
    for k in range(scenes.wave.shape[1]):
        texture += cos_y[:, k, :, None] * cos_x[:, k, None, :]
        texture -= sin_y[:, k, :, None] * sin_x[:, k, None, :]
    return texture


def _shape(scenes: Scenes, size: int) -> tuple[Array, Array]:
    """The shape's colour, ``(n, 3, size, size)``, and how much of each pixel it covers, ``(n, size, size)``."""
    axis = _axis(size)
    right = (axis - scenes.center[:, 0, None])[:, None, :]
    down = (axis - scenes.center[:, 1, None])[:, :, None]
    cos, sin, radius, stretch = (
        values[:, None, None]
        for values in (np.cos(scenes.angle), np.sin(scenes.angle), scenes.radius, np.sqrt(scenes.stretch))
    )
    x, y = (cos * right + sin * down) / (radius * stretch), (cos * down - sin * right) * stretch / radius
    distance = np.empty((len(scenes.label), size, size), dtype=np.float32)
    for label, silhouette in enumerate(SILHOUETTES.values()):
        these = np.flatnonzero(scenes.label == label)
        if len(these):
            distance[these] = silhouette(x[these], y[these])
    cover = np.clip(0.5 - distance * radius * (size / 2), 0, 1)  # a pixel wide
    light = 1 + scenes.light[:, 0, None, None] * x + scenes.light[:, 1, None, None] * y
    return scenes.color[..., None, None] * light[:, None], cover
