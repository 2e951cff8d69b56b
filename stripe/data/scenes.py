"""``scenes``: images with several objects, drawn by ourselves, with boxes, outlines and the class of every pixel."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.data.annotated import KINDS, AnnotatedImages, AnnotatedSplit
from stripe.data.augmentation import Target
from stripe.data.base import Data
from stripe.data.composition import draw_scenes
from stripe.data.drawn import DrawnSettings, drawn_data, parse_drawn
from stripe.data.registry import register
from stripe.data.render import Frame, ground, texture_of
from stripe.data.scene_objects import draw_objects
from stripe.data.silhouettes import SILHOUETTES
from stripe.data.size import ImageSize, sides

__all__ = ["AnnotatedScenes", "load_scenes"]

Array = npt.NDArray[np.float32]

IMAGE_SIZE = 128
SMALLEST = 32
"""Pixels below which small shapes cannot be told apart."""

LEAST_VISIBLE = 0.3
"""A shape of which others hide more than this leaves is not drawn at all."""

LOOKED_AT = 64
"""Pixels of the short side at which it is decided what is hidden, so that it does not depend on the image's size."""

OUTLINES = list(SILHOUETTES.values())
EXTENT = 1.3
"""Radii within which every shape lies, stretched as far as they are."""

DEFAULTS = DrawnSettings("scenes", train=1000, test=200, center_bias=0.7)


@register("scenes", place=6)
def load_scenes(
    *,
    rest: str = "",
    seed: int | None = None,
    center_bias: float | None = None,
    image_size: ImageSize | None = None,
) -> Data:
    """Make the data set: one to twelve shapes per image on textured ground, of the ten classes of ``shapes``.

    Some shapes are partly hidden by others, or reach out of the image. Boxes enclose what is visible, and outlines are
    its pixels. At 256 pixels shapes are small, medium and large as COCO counts (32² and 96² pixels); at 128 there are
    hardly any large ones.

    Args:
        rest: Settings, as ``train=100,seed=3``: ``train`` and ``test``, numbers of images (1000 and 200),
            ``center_bias``, 0 (shapes anywhere) to 1 (in the centre), 0.7 by default, and ``seed``, which decides all
            images (0).
        seed: The same as ``seed=…``, before which it goes.
        center_bias: The same as ``center_bias=…``, before which it goes.
        image_size: Height and width in pixels, 128 by default. The same scenes are drawn at any size; in oblong images
            things keep their proportions and are spread over the long side.

    Raises:
        StripeError: A setting that does not exist, or a value out of its range.

    Example:
        >>> data = load_scenes(rest="train=20,test=10", image_size=96)
        >>> images, targets = next(iter(data.test.loader(4, workers=0)))
        >>> images[0].shape, sorted(targets[0])
        (torch.Size([3, 96, 96]), ['area', 'boxes', 'image_id', 'iscrowd', 'labels', 'masks', 'segmentation'])
    """
    settings = parse_drawn(DEFAULTS, rest, least=1, seed=seed, center_bias=center_bias)
    image_size = image_size or IMAGE_SIZE

    def split(name: str, count: int) -> AnnotatedSplit:
        seed = settings.seed, 3 if name == "train" else 2
        images = AnnotatedScenes(count, image_size, seed=seed, center_bias=settings.center_bias, name=name)
        return AnnotatedSplit(images, KINDS, image_size)

    version = AnnotatedScenes.VERSION
    return drawn_data(settings, DEFAULTS, image_size, split, smallest=SMALLEST, generator=version, annotations=KINDS)


class AnnotatedScenes(AnnotatedImages):
    """Scenes with their annotations, drawn when they are asked for; each depends on the seed and its number alone.

    Args:
        count: The number of images.
        size: Height and width in pixels, or one number for square images.
        seed: Decides them all. Other first two numbers than those of ``shapes`` give other ground.
        center_bias: See ``stripe.data.composition.draw_positions``.
        name: The first part of the names of the images.
    """

    VERSION: ClassVar[int] = 1
    """To be raised when a change makes other images from the same seed."""

    def __init__(
        self, count: int, size: ImageSize, *, seed: tuple[int, int], center_bias: float, name: str = "scene"
    ) -> None:
        self.paths = [f"{name}/{index:05d}" for index in range(count)]
        self._seed = seed
        self._scenes = draw_scenes(count, seed=seed, center_bias=center_bias)
        self._objects = draw_objects(count, seed=(*seed, 0, 2), center_bias=center_bias)
        self._frame = Frame.of(size)
        height, width = sides(size)
        scale = LOOKED_AT / min(height, width)
        self._look = Frame.of((round(scale * height), round(scale * width)))

    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        """See ``AnnotatedImages.read``."""
        scene, frame = self._scenes[np.array([index])], self._frame
        texture = texture_of(scene, frame)
        image = (ground(scene, frame) + texture[:, None])[0]
        owner = np.full(image.shape[1:], -1)
        for shape in self._shapes(index, frame, self._visible(index)):
            here, part = shape.place, image[:, *shape.place]
            part += shape.cover * (shape.color + 0.6 * texture[0][here] - part)
            owner[here][shape.cover > 0.5] = shape.number
        noise = np.random.default_rng([*self._seed, index, 1]).standard_normal(image.shape, np.float32)
        image += scene.noise[0] * noise
        pixels = torch.from_numpy((np.clip(image * 255, 0, 255) + 0.5).astype(np.uint8))
        return pixels, {"image_id": torch.tensor(index)} | self._annotations(index, owner, kinds)

    def _visible(self, index: int) -> list[int]:
        """The shapes of an image of which enough can be seen, those behind first."""
        taken = np.zeros((len(self._look.down), len(self._look.right)), dtype=bool)
        visible = []
        count = int(self._objects.count[index])
        for shape in reversed([*self._shapes(index, self._look, range(count))]):
            inside, there = shape.cover > 0.5, taken[shape.place]
            if (inside & ~there).sum() > LEAST_VISIBLE * inside.sum():
                visible.append(shape.number)
                there |= inside
        return visible[::-1]

    def _shapes(self, index: int, frame: Frame, numbers: Iterable[int]) -> Iterator["_Shape"]:
        """Some shapes of an image, drawn one by one."""
        drawn, reach = self._objects, frame.reach
        for k in numbers:
            radius, stretch = drawn.radius[index, k], np.sqrt(drawn.stretch[index, k])
            cos, sin = np.cos(drawn.angle[index, k]), np.sin(drawn.angle[index, k])
            axes, windows = [], []
            for axis, place, reached in zip(frame[:2], drawn.center[index, k], reach, strict=True):
                start, stop = np.searchsorted(axis - place * reached, (-EXTENT * radius, EXTENT * radius))
                axes.append(axis[start:stop] - place * reached)
                windows.append(slice(int(start), int(stop)))
            right, down = axes[0][None, :], axes[1][:, None]
            x = (cos * right + sin * down) / (radius * stretch)
            y = (cos * down - sin * right) * stretch / radius
            distance = OUTLINES[drawn.label[index, k]](x, y)
            cover = np.clip(0.5 - distance * radius * (frame.short / 2), 0, 1)  # a pixel wide
            light = 1 + drawn.light[index, k, 0] * x + drawn.light[index, k, 1] * y
            yield _Shape(k, (windows[1], windows[0]), cover, drawn.color[index, k][:, None, None] * light)

    def _annotations(self, index: int, owner: npt.NDArray[np.int64], kinds: Sequence[str]) -> Target:
        """What is wanted of the annotations, from the number of the shape that each pixel shows, −1 for the ground."""
        numbers = np.unique(owner[owner >= 0])  # a small shape may have no pixel at all
        labels, target = self._objects.label[index], {}
        if "boxes" in kinds or "masks" in kinds:
            masks = owner == numbers[:, None, None]
            target = {
                "boxes": torch.from_numpy(_boxes(masks)),
                "labels": torch.from_numpy(labels[numbers]),
                "area": torch.from_numpy(masks.sum((1, 2)).astype(np.float32)),
                "iscrowd": torch.zeros(len(numbers), dtype=torch.bool),
            }
            if "masks" in kinds:
                target["masks"] = torch.from_numpy(masks)
        if "segmentation" in kinds:
            target["segmentation"] = torch.from_numpy(np.where(owner < 0, 0, labels[owner] + 1).astype(np.uint8))
        return target


class _Shape(NamedTuple):
    """A shape as it is drawn.

    Attributes:
        number: Which of the image's shapes.
        place: The rows and columns of the image on which it is drawn.
        cover: How much of each pixel it covers, ``(rows, columns)``.
        color: Its colour there, ``(3, rows, columns)``.
    """

    number: int
    place: tuple[slice, slice]
    cover: Array
    color: Array


def _boxes(masks: npt.NDArray[np.bool_]) -> Array:
    """The smallest boxes around masks that are not empty, ``(K, 4)``: left, top, right, bottom."""
    ends = []
    for axis in (1, 2):  # over rows: which columns are taken
        taken = np.any(masks, axis=axis)
        ends.append((taken.argmax(1), taken.shape[1] - taken[:, ::-1].argmax(1)))
    (left, right), (top, bottom) = ends
    return np.stack([left, top, right, bottom], 1).astype(np.float32)
