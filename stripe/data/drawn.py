"""Settings of the data sets that are drawn, ``shapes`` and ``scenes``: how a specification says them."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from stripe.errors import StripeError

__all__ = ["Drawn", "parse_drawn"]


@dataclass(frozen=True)
class Drawn:
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

    def spec(self, defaults: "Drawn") -> str:
        """The specification that loads the data set again, as ``shapes:train=100,seed=3``."""
        usual = defaults.values()
        chosen = [f"{key}={value}" for key, value in self.values().items() if value != usual[key]]
        return self.name + (":" + ",".join(chosen) if chosen else "")


def parse_drawn(
    defaults: Drawn, rest: str, *, least: int, seed: int | None = None, center_bias: float | None = None
) -> Drawn:
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
        >>> parse_drawn(Drawn("shapes", 5000, 1000, 0.7), "train=100,seed=3", least=10)
        Drawn(name='shapes', train=100, test=1000, center_bias=0.7, seed=3)
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


def _pairs(name: str, text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(key and value for key, _, value in pairs):
        raise StripeError(f"'{name}:{text}' is not of the form {name}:key=value,key=value.")
    return {key.strip(): value.strip() for key, _, value in pairs}
