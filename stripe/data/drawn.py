"""What ``shapes`` and ``scenes``, the data sets that are drawn, have in common: their settings and their form."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from stripe.data.base import Data, Split
from stripe.data.normalization import NORMALIZATIONS
from stripe.data.silhouettes import SILHOUETTES
from stripe.data.size import ImageSize, sides, write_size
from stripe.errors import StripeError

__all__ = ["DrawnSettings", "drawn_data", "parse_drawn"]


@dataclass(frozen=True)
class DrawnSettings:
    """What a specification can say of a drawn data set.

    Attributes:
        name: Name of the data set.
        train: Number of images to train on.
        test: Number of images to measure on.
        center_bias: From 0, shapes anywhere, to 1, all in the centre; see ``stripe.data.composition.draw_positions``.
        seed: Decides all images.
    """

    name: str
    train: int
    test: int
    center_bias: float
    seed: int = 0

    def values(self) -> dict[str, Any]:
        """The settings by name."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def spec(self, defaults: "DrawnSettings") -> str:
        """The specification that loads the data set again, as ``shapes:train=100,seed=3``."""
        usual = defaults.values()
        chosen = [f"{key}={value}" for key, value in self.values().items() if value != usual[key]]
        return self.name + (":" + ",".join(chosen) if chosen else "")


def parse_drawn(
    defaults: DrawnSettings, rest: str, *, least: int, seed: int | None = None, center_bias: float | None = None
) -> DrawnSettings:
    """Read settings from what follows the colon of a specification.

    Args:
        defaults: What holds where nothing is said.
        rest: As ``train=100,seed=3``.
        least: The least number of images in each half.
        seed: Goes before ``seed=…``.
        center_bias: Goes before ``center_bias=…``.

    Raises:
        StripeError: A setting does not exist, or a value is out of its range.

    Example:
        >>> parse_drawn(DrawnSettings("shapes", 5000, 1000, 0.7), "train=100,seed=3", least=10)
        DrawnSettings(name='shapes', train=100, test=1000, center_bias=0.7, seed=3)
    """
    name = defaults.name
    given = {"seed": seed, "center_bias": center_bias}
    texts = _pairs(name, rest) | {key: str(value) for key, value in given.items() if value is not None}
    kinds = {key: type(value) for key, value in defaults.values().items()}
    values: dict[str, Any] = {}
    for key, text in texts.items():
        if key not in kinds:
            raise StripeError(f"{name} has no option {key!r}; it has {', '.join(kinds)}.")
        try:
            values[key] = kinds[key](text)
        except ValueError:
            kind = "a whole number" if kinds[key] is int else "a number"
            raise StripeError(f"{name}:{key}={text} is not {kind}.") from None
    settings = replace(defaults, **values)
    if not 0 <= settings.center_bias <= 1:
        raise StripeError(
            f"{name}:center_bias={settings.center_bias} is out of range: 0 (anywhere) .. 1 (in the centre)."
        )
    for key, lowest in (("train", least), ("test", least), ("seed", 0)):
        if getattr(settings, key) < lowest:
            raise StripeError(f"{name}:{key}={getattr(settings, key)} must be at least {lowest}.")
    return settings


def drawn_data(
    settings: DrawnSettings,
    defaults: DrawnSettings,
    image_size: ImageSize,
    split: Callable[[str, int], Split],
    *,
    smallest: int,
    generator: int,
    annotations: tuple[str, ...] = (),
) -> Data:
    """The data set of some settings.

    Args:
        settings: What was asked for.
        defaults: What need not be said to load it again.
        image_size: Height and width in pixels.
        split: Makes a half of its name, ``train`` or ``test``, and its number of images.
        smallest: Pixels that a side must have.
        generator: Version of what draws the images.
        annotations: See ``Data.annotations``.

    Raises:
        StripeError: The images would be too small.
    """
    name = settings.name
    if min(sides(image_size)) < smallest:
        raise StripeError(f"{name} needs an image size of at least {smallest} pixels, not {write_size(image_size)}.")
    return Data(
        spec=settings.spec(defaults),
        classes=tuple(SILHOUETTES),
        image_size=image_size,
        mean=NORMALIZATIONS[name].mean,
        std=NORMALIZATIONS[name].std,
        train=split("train", settings.train),
        test=split("test", settings.test),
        attrs={
            "spec": name,
            "generator": generator,
            "image_size": write_size(image_size),
            **settings.values(),
        },
        annotations=annotations,
    )


def _pairs(name: str, text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(key and value for key, _, value in pairs):
        raise StripeError(f"'{name}:{text}' is not of the form {name}:key=value,key=value.")
    return {key.strip(): value.strip() for key, _, value in pairs}
