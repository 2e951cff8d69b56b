"""Scales at which a paper is reproduced: ``quick``, in minutes on a CPU, or ``paper``, as the paper did it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stripe.errors import StripeError
from stripe.reproduce.papers import SCALES, folder
from stripe.reproduce.toml import check, read_toml, types_of

__all__ = ["Changes", "Scale", "read_scale"]


@dataclass(frozen=True)
class Scale:
    """What all recipes have in common at a scale.

    Attributes:
        name: ``quick`` or ``paper``.
        seeds: Number of runs of each network in a table, with seeds from 0 on.
        select: The images that the best epoch is chosen by, ``val`` or ``test``.
        capture: Number of test images of which figures record the attention.
        gradcam: Number of test images over which Grad-CAM is averaged.
        epochs: Number of epochs of each training; None: the paper's.
        images_per_epoch: Number of training images per epoch; None: all.
        batch_size: Number of images per step; None: the paper's.
        train_images: Number of training images taken from the data set, balanced over the classes; None: all.
        test_images: Number of test images taken from the data set, balanced over the classes; None: all.
        bench_batch: Number of images per pass where speed is measured.
        bench_repeats: Number of rounds where speed is measured.
        models: For networks of the paper, the network that replaces each.
        data: For data sets of the paper, the data set that replaces each.
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
    """Changes to a scale or recipe that a user wants; None changes nothing.

    Attributes:
        data: The data set that replaces every other.
        model: The network that replaces that of a recipe with a single network.
        epochs: Number of epochs of each training.
        images_per_epoch: Number of training images per epoch.
        seeds: Number of runs of each network in a table.
        precision: Precision of the computation.
    """

    data: str | None = None
    model: str | None = None
    epochs: int | None = None
    images_per_epoch: int | None = None
    seeds: int | None = None
    precision: Literal["float32", "bfloat16"] | None = None

    def of(self, scale: Scale) -> Scale:
        """Return a scale with these changes."""
        named = {"epochs": self.epochs, "images_per_epoch": self.images_per_epoch, "seeds": self.seeds}
        return replace(scale, **{key: value for key, value in named.items() if value is not None})  # type: ignore[arg-type]


def read_scale(name: str, *, table: bool = False) -> Scale:
    """Read a scale from ``figures/scales.toml``.

    Args:
        name: Name of the scale, ``quick`` or ``paper``.
        table: Whether it is for a table, which compares many runs; those may be shorter.

    Raises:
        StripeError: There is no scale of this name, or the file is wrong.
    """
    path = folder() / SCALES
    content = read_toml(path)
    if name not in content:
        raise StripeError(f"There is no scale {name!r}; there are {', '.join(content)}.")
    values: dict[str, Any] = dict(content[name])
    changed = values.pop("table", {})
    types = {key: kind for key, kind in types_of(Scale).items() if key != "name"}
    for part, where in ((values, f"[{name}]"), (changed, f"[{name}.table]")):
        check(part, types, path, where)
    if table:
        merged = {key: {**values.get(key, {}), **changed[key]} for key in ("models", "data") if key in changed}
        values |= changed | merged
    return Scale(name, **values)
