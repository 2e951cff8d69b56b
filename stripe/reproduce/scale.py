"""At what scale the paper is reproduced: `quick`, in CPU minutes, or `paper`, as it was done there."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from stripe.errors import StripeError
from stripe.reproduce.checking import check
from stripe.reproduce.finding import SCALES, folder
from stripe.reproduce.recipe import read_toml

__all__ = ["Changes", "Scale", "read_scale"]


@dataclass(frozen=True)
class Scale:
    """What all recipes have in common at a scale.

    Attributes:
        name: ``quick`` or ``paper``.
        seeds: Runs of each network in a table, with seeds from 0 on.
        select: What the best epoch is chosen by, ``val`` or ``test``.
        capture: Test images of which figures record the attention.
        gradcam: Test images over which Grad-CAM is averaged.
        epochs: Of each training; None: the paper's.
        images_per_epoch: Training images an epoch; None: all.
        batch_size: Images a step; None: the paper's.
        train_images: The training images are so many of the data set's, balanced over the classes; None: all.
        test_images: The same of the test images.
        bench_batch: Images a pass where speed is measured.
        bench_repeats: Rounds there.
        models: Network of the paper → the one that stands for it.
        data: Data set of the paper → the one that stands for it.
    """

    name: str
    seeds: int = 1
    select: Literal["val", "test"] = "val"
    capture: int = 500
    gradcam: int = 500
    epochs: int | None = None
    images_per_epoch: int | None = None
    batch_size: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    bench_batch: int = 128
    bench_repeats: int = 10
    models: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What a user wants otherwise; None changes nothing.

    Attributes:
        data: Instead of every data set.
        model: Instead of the network of a recipe that has one only.
        epochs: Of each training.
        images_per_epoch: Of each training.
        seeds: How many.
        precision: Of the computation.
    """

    data: str | None = None
    model: str | None = None
    epochs: int | None = None
    images_per_epoch: int | None = None
    seeds: int | None = None
    precision: Literal["float32", "bfloat16"] | None = None

    def of(self, scale: Scale) -> Scale:
        """A scale with these changes."""
        named = {"epochs": self.epochs, "images_per_epoch": self.images_per_epoch, "seeds": self.seeds}
        return replace(scale, **{key: value for key, value in named.items() if value is not None})  # type: ignore[arg-type]


def read_scale(name: str, *, table: bool = False) -> Scale:
    """A scale of ``figures/scales.toml``.

    Args:
        name: ``quick`` or ``paper``.
        table: For what compares many runs; those may be shorter.

    Raises:
        StripeError: There is no such scale, or the file is wrong.
    """
    path = folder() / SCALES
    content = read_toml(path)
    if name not in content:
        raise StripeError(f"There is no scale {name!r}; there are {', '.join(content)}.")
    values: dict[str, Any] = dict(content[name])
    changed = values.pop("table", {})
    types = {entry.name: _TYPES.get(entry.name, int) for entry in fields(Scale) if entry.name != "name"}
    for part, where in ((values, f"[{name}]"), (changed, f"[{name}.table]")):
        check(part, types, path, where)
    if table:
        merged = {key: {**values.get(key, {}), **changed[key]} for key in ("models", "data") if key in changed}
        values |= changed | merged
    return Scale(name, **values)


_TYPES: dict[str, type] = {"select": str, "models": dict, "data": dict}
