"""``shapes``: a data set that needs no files: ten classes of coloured shapes on textured ground."""

import numpy as np

from stripe.data.base import Data, Split
from stripe.data.drawn import DrawnSettings, drawn_data, parse_drawn
from stripe.data.registry import register
from stripe.data.render import SceneImages
from stripe.data.silhouettes import SILHOUETTES
from stripe.data.size import ImageSize
from stripe.data.splits import MEMORY_LIMIT, make_split

__all__ = ["load_shapes"]

IMAGE_SIZE = 32
SMALLEST = 16
"""Pixels below which the shapes cannot be told apart."""

DEFAULTS = DrawnSettings("shapes", train=5000, test=1000, center_bias=0.7)


@register("shapes", place=0)
def load_shapes(
    *,
    rest: str = "",
    seed: int | None = None,
    center_bias: float | None = None,
    image_size: ImageSize | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Data:
    """Make the data set; see ``stripe.data.composition`` for what the images show.

    The classes take turns: image i is of class i mod 10, so that every set is balanced, and images 0..n-1
    are the same in every set of at least n.

    Args:
        rest: Settings, as ``train=100,seed=3``: ``train`` and ``test``, numbers of images (5000 and 1000),
            ``center_bias``, 0 (shapes anywhere) .. 1 (in the centre), 0.7 by default, and ``seed``, which decides all
            scenes (0).
        seed: The same as ``seed=…``, before which it goes.
        center_bias: The same as ``center_bias=…``, before which it goes.
        image_size: Height and width in pixels, 32 by default. The same scenes are drawn at any size; in oblong images
            things keep their proportions and are spread over the long side.
        memory_limit: Bytes up to which a split is held in memory.

    Raises:
        StripeError: A setting that does not exist, or a value out of its range.
    """
    settings = parse_drawn(DEFAULTS, rest, least=len(SILHOUETTES), seed=seed, center_bias=center_bias)
    image_size = image_size or IMAGE_SIZE

    def split(name: str, count: int) -> Split:
        training = name == "train"
        images = SceneImages(count, image_size, seed=(settings.seed, int(training)), center_bias=settings.center_bias)
        labels = np.arange(count) % len(SILHOUETTES)
        paths = [f"{name}/{index:05d}" for index in range(count)]
        return make_split(images, labels, paths, image_size, training=training, memory_limit=memory_limit)

    return drawn_data(settings, DEFAULTS, image_size, split, smallest=SMALLEST, generator=SceneImages.VERSION)
