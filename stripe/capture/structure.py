"""Validation of a capture file: it is compared with the layout once, when it is opened."""

import json
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stripe.capture.layout import FORMAT, FORMAT_VERSION, NOT_A_VARIABLE, VARIABLES
from stripe.capture.probe import unreadable
from stripe.capture.slab import Slab, slabs
from stripe.capture.text import text
from stripe.errors import StripeError

__all__ = ["attributes", "axes", "readable", "structure"]

STRINGS = "O"
INTEGERS = "iu"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A context that turns the many errors of HDF5 about a damaged file into one sentence.

    Raises:
        StripeError: The file can't be read, or is not a capture.
    """
    try:
        yield
    except StripeError:
        raise
    except PermissionError as error:
        raise StripeError(f"{path} may not be read: {error}. Change its permissions, or name another file.") from error
    except Exception as error:
        reason = text(str(error)).strip("'\"") or type(error).__name__
        raise StripeError(f"{path} can't be read as a capture ({reason}). {unreadable(path)}.") from error


def structure(file: h5py.File, path: Path) -> dict[str, Slab]:
    """Compare a file with the layout of a capture; call it inside ``readable``.

    Args:
        file: The file, open for reading.
        path: Path of the file.

    Returns:
        The contiguous datasets of the file, by their path in it.

    Raises:
        StripeError: The file is not a capture, or one of a newer version.
        Exception: The file is damaged; the message says where.
    """
    if not np.array_equal(file.attrs.get("format"), FORMAT):
        raise StripeError(f"{path} is an HDF5 file but no capture; `stripe capture` makes one.")
    version = operator.index(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise StripeError(
            f"{path} has format version {version}; this stripe reads up to {FORMAT_VERSION}. Update stripe-observation."
        )
    found = slabs(file, path)
    epochs, images = (_numbers(file, name, INTEGERS, 1) for name in ("epoch", "image"))
    if not len(images) or not (np.diff(epochs[:]) > 0).all() or not np.array_equal(images[:], np.arange(len(images))):
        raise ValueError("its epochs or images are not numbered as they were")
    for name, kinds, shape in (
        ("complete", INTEGERS, epochs.shape),
        ("learning_rate", "f", epochs.shape),
        ("checkpoint", STRINGS, epochs.shape),
        ("digest", STRINGS, epochs.shape),
        ("label", INTEGERS, images.shape),
        ("path", STRINGS, images.shape),
    ):
        if _numbers(file, name, kinds, 1).shape != shape:
            raise ValueError(f"its {name} has another length than it should")
    if "thumbnail" in file:
        thumbnail = _numbers(file, "thumbnail", "u", 4)
        if thumbnail.shape[0] != len(images) or thumbnail.shape[3] != 3 or not thumbnail.size:
            raise ValueError("its thumbnails have another shape than they should")
    if not isinstance(json.loads(file.attrs.get("classes", "[]")), list):
        raise ValueError("its classes are no list")
    for name, site in file.get("sites", {}).items():
        _check_site(name, site, {"epoch": len(epochs), "image": len(images)})
    if "controls" in file:
        _check_controls(file, len(images))
    for name, layer in file.get("gradcam", {}).items():
        _check_layer(name, layer, len(images))
    return found


def attributes(group: h5py.Group) -> dict[str, Any]:
    """The attributes of a group: texts in valid UTF-8, and arrays of one number as that number."""
    found = {}
    for name, value in group.attrs.items():
        if isinstance(value, np.ndarray) and value.shape == (1,) and name != "map_shape":
            value = value[0]
        found[text(name)] = text(value) if isinstance(value, str) else value
    return found


def axes(item: h5py.Dataset) -> list[str]:
    """The names of a dataset's axes, from the labels of their scales: HDF5 would search the whole file for a name."""
    names = []
    for dim in item.dims:
        label = h5py.h5ds.get_scale_name(dim[0].id).decode()
        names.append(dim[0].name.rsplit("/", 1)[-1] if label.startswith(NOT_A_VARIABLE) else label)
    return names


def _numbers(group: h5py.Group, name: str, kinds: str, ndim: int) -> h5py.Dataset:
    """A dataset of a group, whose type must be one of the given kinds (letters of NumPy)."""
    item = group[name]
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in kinds or item.ndim != ndim:
        raise ValueError(f"its {text(item.name)} is not what it should be")
    if kinds == STRINGS and h5py.check_string_dtype(item.dtype) is None:
        raise ValueError(f"its {text(item.name)} is no text")
    return item


def _check_controls(file: h5py.File, images: int) -> None:
    complete = _numbers(file["controls"], "complete", INTEGERS, 1)
    controls = {name: item for name, item in file["controls"].items() if isinstance(item, h5py.Group)}
    orders = sorted(operator.index(attributes(group)["order"]) for group in controls.values())
    if orders != list(range(len(complete))):
        raise ValueError("its controls are not numbered as they were")
    for name, group in controls.items():
        about = attributes(group)
        operator.index(about["epoch"]), operator.index(about["seed"])
        if not isinstance(about["how"], str) or not isinstance(about["digest"], str):
            raise ValueError(f"the description of its control {text(name)} is not readable")
        if group["sites"].keys() != file["sites"].keys():
            raise ValueError(f"its control {text(name)} is of other sites than it should")
        for site, values in group["sites"].items():
            _check_site(site, values, {"image": images})
            if values["attention"].shape[1:] != file["sites"][site]["attention"].shape[2:]:
                raise ValueError(f"its control {text(name)} at {text(site)} has another shape than it should")


def _check_site(name: str, site: h5py.Group, lead: dict[str, int]) -> None:
    about = attributes(site)
    if not isinstance(about["kind"], str) or not isinstance(about["owner"], str):
        raise ValueError(f"the description of its site {text(name)} is not readable")
    operator.index(about["order"]), operator.index(about["input_dependent"])
    operator.index(about.get("residual", 0))
    if np.asarray(about["map_shape"]).ndim != 1 or np.asarray(about["map_shape"]).dtype.kind not in INTEGERS:
        raise ValueError(f"the shape of the map of its site {text(name)} is not readable")
    attention = site["attention"]
    for variable in ("attention", *(name for name in VARIABLES[1:] if name in site)):
        values = _numbers(site, variable, "f", attention.ndim)
        dims = axes(values)
        named = dict(zip(dims[: len(lead)], values.shape, strict=False))
        if list(named.items()) != list(lead.items()) or values.shape != attention.shape:
            raise ValueError(f"its {variable} at {text(name)} has another shape than it should")
        if values.dtype != attention.dtype or not values.size:
            raise ValueError(f"its {variable} at {text(name)} has another type than it should")


def _check_layer(name: str, layer: h5py.Group, images: int) -> None:
    about = attributes(layer)
    if not isinstance(about["layer"], str) or not isinstance(about["target"], str):
        raise ValueError(f"the description of its Grad-CAM maps at {text(name)} is not readable")
    for key in {"count", "empty", "epoch"} & about.keys() | {"count", "empty"}:
        operator.index(about[key])
    sides = _numbers(layer, "mean", "f", 2).shape
    shapes = {"std": sides, "target": (images,), "mass": (images,), "moment": (images,), "map": (images, *sides)}
    for variable, shape in shapes.items():
        if variable in layer and _numbers(layer, variable, "fiu", len(shape)).shape != shape:
            raise ValueError(f"its Grad-CAM {variable} at {text(name)} has another shape than it should")
    if not all(sides) or ("mean_image" in layer and _numbers(layer, "mean_image", "u", 3).shape[2] != 3):
        raise ValueError(f"its Grad-CAM maps at {text(name)} have another shape than they should")
