"""Captures made by hand, in the documented layout, with the properties that real ones have."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import xarray as xr

CLASSES = ["airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def channel_site(rng, epochs, images, channels, order, noise=0.15, with_input=True):
    """Gates that settle over the epochs: the same for every image but for a little noise."""
    t = np.arange(epochs)[:, None, None]
    final, start = rng.normal(0, 0.8, channels), rng.normal(0, 0.3, channels)
    settle = np.exp(-t / max(epochs / 6, 1))
    wobble = rng.normal(0, 0.5, (epochs, 1, channels)) * settle
    logits = final * (1 - settle) + start * settle + wobble
    logits = logits + noise * (0.3 + settle) * rng.normal(0, 1, (1, images, channels))
    variables = {"attention": (("epoch", "image", "channel"), sigmoid(logits).astype(np.float32))}
    if with_input:
        maps = rng.normal(0, 1, channels) * 0.4 + rng.normal(0, 1, (epochs, images, channels))
        variables["input"] = (("epoch", "image", "channel"), maps.astype(np.float32))
    return site(variables, "channel", "SELayer", [channels, 8, 8], order)


def spatial_site(rng, epochs, images, size, order):
    """Smooth maps with a bright spot, somewhere else in every image."""
    y, x = np.mgrid[:size, :size] / (size - 1)
    cy, cx = rng.uniform(0.2, 0.8, (2, 1, images, 1, 1))
    blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.08)
    noise = rng.normal(0, 0.15, (epochs, images, size, size))
    values = sigmoid(2.5 * blob - 1 + noise).astype(np.float32)
    return site(
        {"attention": (("epoch", "image", "height", "width"), values)}, "spatial", "CBAM", [64, size, size], order
    )


def site(variables, kind, owner, map_shape, order, input_dependent=1) -> xr.Dataset:
    attrs = {"kind": kind, "owner": owner, "map_shape": map_shape, "order": order, "input_dependent": input_dependent}
    return xr.Dataset(variables, attrs=attrs)


def tree(
    sites: dict[str, xr.Dataset],
    epochs: Sequence[int],
    images: int,
    learning_rate: Sequence[float] | None = None,
    **attrs: str,
) -> xr.DataTree:
    """A capture with these sites: thumbnails of coloured discs, ten classes in turn."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:32, :32]
    disc = (y - 16) ** 2 + (x - 16) ** 2 < 100
    ground, colour = rng.integers(0, 256, (2, images, 1, 1, 3))
    root = xr.Dataset(
        {
            "label": ("image", np.arange(images) % 10),
            "path": ("image", [f"{i}.png" for i in range(images)]),
            "thumbnail": (("image", "y", "x", "rgb"), np.where(disc[..., None], colour, ground).astype(np.uint8)),
            "learning_rate": ("epoch", np.full(len(epochs), np.nan) if learning_rate is None else learning_rate),
            "checkpoint": ("epoch", [""] * len(epochs)),
            "complete": ("epoch", np.ones(len(epochs), np.uint8)),
        },
        coords={"epoch": np.asarray(epochs, np.int64), "image": np.arange(images)},
        attrs={
            "format": "stripe-capture",
            "format_version": 1,
            "model": "resnet29",
            "attention": "se",
            "data": "cifar10",
            "seed": 0,
            "scale": "quick",
            "classes": json.dumps(CLASSES),
            **attrs,
        },
    )
    return xr.DataTree.from_dict({"/": root, **{f"/sites/{name}": data for name, data in sites.items()}})


def steps(epochs: int) -> list[float]:
    """Learning rate .1, a tenth of it from half the epochs on, a hundredth from three quarters on."""
    return [0.1 * 0.1 ** ((t >= epochs // 2) + (t >= epochs * 3 // 4)) for t in range(epochs)]


def network(
    blocks: int = 3, epochs: int = 6, images: int = 40, spatial: bool = False, with_input: bool = True, width: int = 16
) -> xr.DataTree:
    """A capture of a network of three stages, `blocks` blocks each, with SE and perhaps spatial attention."""
    rng = np.random.default_rng(0)
    sites: dict[str, xr.Dataset] = {}
    for stage in range(3):
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}.attention_module"
            noise = 0.1 * 4**stage
            sites[name] = channel_site(rng, epochs, images, width * 2**stage, len(sites), noise, with_input)
            if spatial:
                sites[f"{name}#2"] = spatial_site(rng, epochs, images, 32 // 2**stage, len(sites))
    return tree(sites, range(1, epochs + 1), images, steps(epochs))


@pytest.fixture(scope="session")
def make_tree() -> Callable[..., xr.DataTree]:
    return tree


@pytest.fixture(scope="session")
def make_site() -> Callable[..., xr.Dataset]:
    """A site from the values of its attention, (epoch, image, *dims), and of its input."""

    def make(attention, *dims, kind="channel", order=0, before=None, **attrs) -> xr.Dataset:
        names = ("epoch", "image", *(dims or ("channel",)))
        variables = {"attention": (names, np.asarray(attention))}
        if before is not None:
            variables["input"] = (names, np.asarray(before))
        return site(variables, kind, "Gate", [8, 4, 4], order, **attrs)

    return make


@pytest.fixture(scope="session")
def capture() -> xr.DataTree:
    """Nine channel sites, six epochs, forty images."""
    return network()


@pytest.fixture(scope="session")
def cbam() -> xr.DataTree:
    """Channel and spatial sites in turn."""
    return network(blocks=2, spatial=True, with_input=False)
