"""Draws the images of ``shapes``, and the ground of those of ``scenes``, at any size."""

from typing import ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.data.base import IntArray
from stripe.data.composition import Scenes, draw_scenes
from stripe.data.images import Images
from stripe.data.silhouettes import SILHOUETTES
from stripe.data.size import ImageSize, sides

__all__ = ["Frame", "SceneImages", "ground", "texture_of"]

Array = npt.NDArray[np.float32]


class SceneImages(Images):
    """Scenes as images, drawn when they are asked for.

    Sums and products are numpy's, element by element, so that an image does not depend on which others are
    drawn with it. Another kind of processor may round a few values to the neighbouring grey level.

    Args:
        count: The number of images.
        size: Height and width in pixels, or one number for square images.
        seed: Decides them all.
        center_bias: See ``stripe.data.composition.draw_positions``.
    """

    VERSION: ClassVar[int] = 1
    """To be raised when a change makes other images from the same seed."""

    def __init__(self, count: int, size: ImageSize, *, seed: tuple[int, ...], center_bias: float) -> None:
        self.size = size
        self._count, self._seed = count, seed
        self._scenes = draw_scenes(count, seed=seed, center_bias=center_bias)

    def __len__(self) -> int:
        return self._count

    def read(self, indices: IntArray) -> Tensor:
        """See ``Images.read``."""
        scenes = self._scenes[indices]
        frame = Frame.of(self.size)
        texture = texture_of(scenes, frame)[:, None]
        image = ground(scenes, frame) + texture
        color, cover = _shape(scenes, frame)
        image += cover[:, None] * (color + 0.6 * texture - image)
        for row, index in enumerate(indices):
            noise = np.random.default_rng([*self._seed, index, 1]).standard_normal(image.shape[1:], np.float32)
            image[row] += scenes.noise[row] * noise
        image *= 255
        np.clip(image, 0, 255, out=image)
        return torch.from_numpy((image + 0.5).astype(np.uint8))


class Frame(NamedTuple):
    """The picture's plane: the short side reaches from -1 to 1, and the long side further.

    Attributes:
        right: The centres of the columns of pixels, ``(width,)``.
        down: The centres of the rows, ``(height,)``.
        reach: How far it reaches right and down; scenes are spread over that.
        short: Pixels of the short side.
    """

    right: Array
    down: Array
    reach: tuple[float, float]
    short: int

    @classmethod
    def of(cls, size: ImageSize) -> Self:
        """The plane of pictures of a size."""
        height, width = sides(size)
        short = min(height, width)
        right, down = (((2 * np.arange(n) + 1) / short - n / short).astype(np.float32) for n in (width, height))
        return cls(right, down, (width / short, height / short), short)


def ground(scenes: Scenes, frame: Frame) -> Array:
    """Sky, earth and clutter, ``(n, 3, height, width)``."""
    place, steepness = scenes.horizon[:, 0, None], scenes.horizon[:, 1, None]
    above = np.minimum(-steepness * (frame.down - place * frame.reach[1]), 80)  # far from it exp would overflow
    below = (1 / (1 + np.exp(above)))[:, None, :, None]
    sky, earth = scenes.sky[..., None, None], scenes.earth[..., None, None]
    image = np.repeat(sky + below * (earth - sky), len(frame.right), axis=3)
    for k in range(scenes.clutter.shape[1]):
        x, y, width, height = (scenes.clutter[:, k, i, None] for i in range(4))
        across, down = (
            np.exp(-(((axis - c * reach) / half) ** 4))
            for axis, c, reach, half in zip(frame[:2], (x, y), frame.reach, (width, height), strict=True)
        )
        cover = (down[:, :, None] * across[:, None, :])[:, None]
        image += cover * (scenes.clutter_color[:, k, :, None, None] - image)
    return image


def texture_of(scenes: Scenes, frame: Frame) -> Array:
    """A sum of cosines, ``(n, height, width)``: cos(a + b) = cos a cos b - sin a sin b needs few cosines."""
    right, down, phase, amplitude = (scenes.wave[:, :, i, None] for i in range(4))
    across, below = right * frame.right + phase, down * frame.down
    cos_x, sin_x = amplitude * np.cos(across), amplitude * np.sin(across)
    cos_y, sin_y = np.cos(below), np.sin(below)
    texture = np.zeros((len(scenes.label), len(frame.down), len(frame.right)), dtype=np.float32)
    for k in range(scenes.wave.shape[1]):
        texture += cos_y[:, k, :, None] * cos_x[:, k, None, :]
        texture -= sin_y[:, k, :, None] * sin_x[:, k, None, :]
    return texture


def _shape(scenes: Scenes, frame: Frame) -> tuple[Array, Array]:
    """The shape's colour, ``(n, 3, height, width)``, and how much of each pixel it covers, ``(n, height, width)``."""
    right = (frame.right - scenes.center[:, 0, None] * frame.reach[0])[:, None, :]
    down = (frame.down - scenes.center[:, 1, None] * frame.reach[1])[:, :, None]
    cos, sin, radius, stretch = (
        values[:, None, None]
        for values in (np.cos(scenes.angle), np.sin(scenes.angle), scenes.radius, np.sqrt(scenes.stretch))
    )
    x, y = (cos * right + sin * down) / (radius * stretch), (cos * down - sin * right) * stretch / radius
    distance = np.empty(x.shape, dtype=np.float32)
    for label, silhouette in enumerate(SILHOUETTES.values()):
        these = np.flatnonzero(scenes.label == label)
        if len(these):
            distance[these] = silhouette(x[these], y[these])
    cover: Array = np.clip(0.5 - distance * radius * (frame.short / 2), 0, 1)  # a pixel wide
    light = 1 + scenes.light[:, 0, None, None] * x + scenes.light[:, 1, None, None] * y
    return scenes.color[..., None, None] * light[:, None], cover
