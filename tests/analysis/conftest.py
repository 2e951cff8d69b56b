"""Captures built by hand, in the layout that the file format documents."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr

DIMS = {
    "channel": ("channel",),
    "spatial": ("height", "width"),
    "strip": ("channel", "height"),
    "branch": ("branch", "channel"),
    "sample": (),
}

MakeCapture = Callable[..., xr.DataTree]


def site(
    attention: Any,
    before: Any = None,
    size: Any = None,
    *,
    kind: str = "channel",
    dims: tuple[str, ...] | None = None,
    order: int = 0,
    input_dependent: int = 1,
    residual: int = 0,
) -> xr.Dataset:
    """A site from arrays (epoch, image, …): attention, mean and root mean square of the map."""
    names = ("epoch", "image", *(DIMS[kind] if dims is None else dims))
    given = {"attention": attention, "input": before, "input_rms": size}
    variables = {name: (names, values) for name, values in given.items() if values is not None}
    attrs = {
        "kind": kind,
        "owner": "SE",
        "map_shape": [8, 7, 7],
        "order": order,
        "input_dependent": input_dependent,
        "residual": residual,
    }
    return xr.Dataset(variables, attrs=attrs)


def capture(
    sites: Mapping[str, xr.Dataset], *, epochs: Any = None, complete: Any = None, labels: Any = None
) -> xr.DataTree:
    """A capture of these sites, with learning rate 0.1 / epoch number."""
    sizes = next(iter(sites.values())).sizes
    epochs = np.arange(1, sizes["epoch"] + 1) if epochs is None else np.asarray(epochs)
    root = xr.Dataset(
        {
            "learning_rate": ("epoch", 0.1 / epochs),
            "complete": ("epoch", np.ones(len(epochs), np.uint8) if complete is None else complete),
        }
        | ({} if labels is None else {"label": ("image", labels)}),
        coords={"epoch": epochs, "image": np.arange(sizes["image"])},
        attrs={"format": "stripe-capture", "format_version": 1},
    )
    return xr.DataTree.from_dict({"/": root} | {f"/sites/{name}": one for name, one in sites.items()})


@pytest.fixture
def make_site() -> Callable[..., xr.Dataset]:
    return site


@pytest.fixture
def make_capture() -> MakeCapture:
    return capture


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
