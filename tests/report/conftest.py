"""Captures in memory, runs and captures on disk, and how to read what a page holds."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

from stripe.capture import CaptureSession

HOSTILE = "</script><img src=x onerror=alert(1)>"
MADE_BY = {"stripe": "1.2.3", "command": "stripe report <run>", "created": "2026-01-01T00:00:00+00:00"}


def decode(encoded: Mapping[str, Any]) -> np.ndarray:
    """The values of an encoded array, written after the formula in the documentation."""
    codes = np.frombuffer(base64.b64decode(encoded["codes"]), f"<u{encoded['bits'] // 8}").reshape(encoded["shape"])
    top = 2 ** encoded["bits"] - 2
    lift = (-1,) + (1,) * (codes.ndim - 1)
    low, high = (np.reshape(encoded[end], lift) for end in ("low", "high"))
    return np.where(codes > top, np.nan, low + (high - low) * codes / top)


def contents(html: str) -> dict[str, Any]:
    """The data in a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL).group(1))


def site(attention, order=0, before=None, dims=("channel",), kind="channel") -> xr.Dataset:
    names = ("epoch", "image", *dims)
    variables = {"attention": (names, np.asarray(attention, np.float32))}
    if before is not None:
        variables["input"] = (names, np.asarray(before, np.float32))
    attrs = {"kind": kind, "owner": "Gate", "map_shape": [4, 8, 8], "order": order, "input_dependent": 1}
    return xr.Dataset(variables, attrs=attrs)


def tree(sites: Mapping[str, xr.Dataset], gradcam: Mapping[str, xr.Dataset] | None = None, **attrs: str) -> xr.DataTree:
    """A capture of epochs 1, 2, … with these sites."""
    first = next(iter(sites.values()), None)
    epochs, images = (first.sizes["epoch"], first.sizes["image"]) if first is not None else (0, 0)
    root = xr.Dataset(
        {
            "label": ("image", np.arange(images) % 3 - (images > 3)),  # -1 is unknown
            "learning_rate": ("epoch", np.full(epochs, 0.1)),
            "complete": ("epoch", np.ones(epochs, np.uint8)),
        },
        coords={"epoch": np.arange(1, epochs + 1), "image": np.arange(images)},
        attrs={
            "model": "resnet20",
            "attention": "se",
            "data": "cifar10",
            "classes": json.dumps(["cat", "dog"]),
            **attrs,
        },
    )
    nodes = {f"/sites/{name}": data for name, data in sites.items()}
    nodes |= {f"/gradcam/{name}": data for name, data in (gradcam or {}).items()}
    return xr.DataTree.from_dict({"/": root if sites else xr.Dataset(attrs=root.attrs), **nodes})


@pytest.fixture(scope="session")
def small() -> xr.DataTree:
    """Two channel sites and one spatial one: 3 epochs, 5 images, with Grad-CAM."""
    rng = np.random.default_rng(0)
    maps = {"mean": (("height", "width"), rng.random((3, 4))), "std": (("height", "width"), rng.random((3, 4)))}
    return tree(
        {
            "layer1.0.se": site(rng.random((3, 5, 4)), 0, rng.normal(size=(3, 5, 4))),
            "layer1.1.se": site(rng.random((3, 5, 6)), 1, rng.normal(size=(3, 5, 6))),
            "layer1.1.spatial": site(rng.random((3, 5, 2, 3)), 2, dims=("height", "width"), kind="spatial"),
        },
        {"layer4": xr.Dataset(maps, attrs={"count": 500, "target": "predicted"})},
    )


@pytest.fixture
def make_run(tmp_path, se_net, images) -> Callable[..., Path]:
    """A run's folder: its description, the metrics of some epochs and, where asked for, a capture."""

    def make(
        name: str = "run",
        finished: int = 3,
        planned: int = 3,
        captured: Sequence[int] = (),
        train_loss: float = 1.5,
        **settings: Any,
    ) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        known = {
            "model": "resnet20",
            "attention": "se",
            "data": "folder:/home/somebody/photos",
            "seed": 0,
            "select": "val",
            "image_size": 32,
            "classes": ["cat", "dog"],
            "recipe": {"epochs": planned, "lr": 0.1, "batch_size": 128},
        }
        record = {
            "format": "stripe-run",
            "scale": "3 epochs of 64 images",
            "settings": known | settings,
            "sessions": [],
        }
        (path / "run.json").write_text(json.dumps(record))
        columns = (
            "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,"
            "val_loss,val_accuracy"
        )
        rows = [
            f"{epoch},{0.1 if epoch < 3 else 0.01},{train_loss},{20 + epoch},1.25,{test},2,64,1.3,{30 - epoch}"
            for epoch, test in zip(range(1, finished + 1), (31, 33.5, 32), strict=False)
        ]
        (path / "metrics.csv").write_text("\n".join([columns, *rows]) + "\n")
        if captured:
            loader = DataLoader(TensorDataset(images, torch.arange(6)), batch_size=6)
            attrs = {"classes": ["cat", HOSTILE], "model": "tiny"}
            with CaptureSession(se_net, loader, path / "capture.h5", epochs=captured, attrs=attrs) as session:
                for epoch in captured:
                    session.record(epoch, learning_rate=0.1)
                    with torch.no_grad():
                        se_net.att.fc.weight.add_(0.5)
        return path

    return make
