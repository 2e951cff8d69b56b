"""``shapes``: a data set that needs no files: ten classes of coloured shapes on textured ground."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stripe.data.base import Data, Split
from stripe.data.normalization import NORMALIZATIONS
from stripe.data.registry import register
from stripe.data.render import SceneImages
from stripe.data.silhouettes import SILHOUETTES
from stripe.data.size import ImageSize, sides, write_size
from stripe.data.splits import MEMORY_LIMIT, make_split
from stripe.errors import StripeError

__all__ = ["load_shapes"]

IMAGE_SIZE = 32
SMALLEST = 16
"""Pixels below which the shapes cannot be told apart."""

NUM_CLASSES = len(SILHOUETTES)


@dataclass(frozen=True)
class _Settings:
    """What a spec can say, and its defaults."""

    train: int = 5000
    test: int = 1000
    center_bias: float = 0.7
    seed: int = 0


@register("shapes", place=0)
def load_shapes(
    *,
    rest: str = "",
    seed: int | None = None,
    center_bias: float | None = None,
    image_size: ImageSize | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Data:
    """Make the data set; see ``stripe.data.scenes`` for what the images show.

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
    given = {"seed": seed, "center_bias": center_bias}
    settings = _settings(_pairs(rest) | {key: str(value) for key, value in given.items() if value is not None})
    image_size = image_size or IMAGE_SIZE
    if min(sides(image_size)) < SMALLEST:
        raise StripeError(f"shapes needs an image size of at least {SMALLEST} pixels, not {write_size(image_size)}.")

    def split(name: str, count: int) -> Split:
        training = name == "train"
        images = SceneImages(count, image_size, seed=(settings.seed, int(training)), center_bias=settings.center_bias)
        labels = np.arange(count) % NUM_CLASSES
        paths = [f"{name}/{index:05d}" for index in range(count)]
        return make_split(images, labels, paths, image_size, training=training, memory_limit=memory_limit)

    values = asdict(settings)
    chosen = [f"{name}={value}" for name, value in values.items() if value != asdict(_Settings())[name]]
    return Data(
        spec="shapes" + (":" + ",".join(chosen) if chosen else ""),
        classes=tuple(SILHOUETTES),
        image_size=image_size,
        mean=NORMALIZATIONS["shapes"].mean,
        std=NORMALIZATIONS["shapes"].std,
        train=split("train", settings.train),
        test=split("test", settings.test),
        attrs={"spec": "shapes", "generator": SceneImages.VERSION, "image_size": write_size(image_size), **values},
    )


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(key and value for key, _, value in pairs):
        raise StripeError(f"'shapes:{text}' is not of the form shapes:key=value,key=value.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _settings(options: dict[str, str]) -> _Settings:
    kinds = {name: type(default) for name, default in asdict(_Settings()).items()}
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in kinds:
            raise StripeError(f"shapes has no option {name!r}; it has {', '.join(kinds)}.")
        try:
            values[name] = kinds[name](text)
        except ValueError:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise StripeError(f"shapes:{name}={text} is not {kind}.") from None
    settings = _Settings(**values)
    if not 0 <= settings.center_bias <= 1:
        raise StripeError(
            f"shapes:center_bias={settings.center_bias} is out of range: 0 (anywhere) .. 1 (in the centre)."
        )
    for name, least in (("train", NUM_CLASSES), ("test", NUM_CLASSES), ("seed", 0)):
        if getattr(settings, name) < least:
            raise StripeError(f"shapes:{name}={getattr(settings, name)} must be at least {least}.")
    return settings
