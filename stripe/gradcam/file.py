"""Average Grad-CAM maps in the format of a capture: a file of their own, or a group in an existing capture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from stripe.capture import Epoch
from stripe.capture.extend import extending
from stripe.capture.layout import Layout, add_dimension, add_scale, add_variable, appearing, fill
from stripe.capture.lock import open_for_writing
from stripe.capture.structure import readable, structure
from stripe.capture.text import attribute, group_name, text
from stripe.errors import StripeError
from stripe.provenance import provenance

__all__ = ["check", "save"]

# Attributes that may differ between a capture and Grad-CAM of the same network; the images themselves are compared.
FREE = {"weights", "seed", "scale"}


def save(
    averages: xr.Dataset,
    path: str | Path,
    *,
    attrs: Mapping[str, Any] | None = None,
    epoch: Epoch | None = None,
    paths: Sequence[str] = (),
) -> Path:
    """Write averages of ``stripe.gradcam.gradcam`` as the group ``/gradcam/<layer>`` of a capture.

    If the file does not exist, a capture without attention is made, which ``stripe.capture.open_capture`` and
    ``xarray.open_datatree(path, engine="h5netcdf")`` open. If it is a capture of the same network and images, the group
    is added to a copy, which then replaces the file; existing maps of the same layer are replaced.

    Args:
        averages: Averages from ``stripe.gradcam.gradcam``.
        path: Path of the file.
        attrs: Model, data, seed and whatever else decides the values. A capture with other attributes is refused.
        epoch: Epoch of the weights; by default epoch 0 without a checkpoint.
        paths: File of each image.

    Raises:
        StripeError: The file is damaged, is not a capture, was made from something else, is being written elsewhere, or
            can't be written.

    Example:
        >>> save(gradcam(model, loader), "capture.h5")  # doctest: +SKIP
    """
    path, attrs, epoch = Path(path), dict(attrs or {}), epoch or Epoch(0)
    about = {"checkpoint": epoch.checkpoint, "digest": epoch.digest, "epoch": epoch.number}
    about |= {key: attrs[key] for key in ("seed", "weights") if key in attrs}
    averages = averages.assign_attrs(about | provenance())
    check(path, attrs=attrs, paths=paths)
    if path.exists():
        with extending(path) as file:
            _check_images(file, averages, path)
            _put(file, averages)
        return path
    layout = Layout(
        epochs=(epoch,),
        num_images=averages.sizes["image"],
        paths=tuple(paths),
        thumbnail_shape=None,
        sites=(),
        record_input=False,
        dtype="float32",
        attrs=attrs,
        provenance=provenance(),
    )
    try:
        with appearing(path) as file:
            fill(file, layout)
            file["label"][:] = averages["label"].values
            _put(file, averages)
            file["complete"][:] = 1
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # h5py raises any of them
        raise StripeError(f"Can't write {path}: {error}.") from error
    return path


def check(path: str | Path, *, attrs: Mapping[str, Any] | None = None, paths: Sequence[str] = ()) -> None:
    """Check whether averages can be saved in a file, before they are computed.

    Args:
        path: Path of the file.
        attrs: Attributes of the averages, as for ``stripe.gradcam.save``.
        paths: File of each image.

    Raises:
        StripeError: The file exists and is not a capture or was made from something else, or its folder is missing.
    """
    path = Path(path)
    if not path.exists():
        if not path.parent.is_dir():
            raise StripeError(f"{path.parent} is no folder; make it first, or give another output file.")
        return
    with open_for_writing(path) as file, readable(path):
        structure(file, path)
        for key in (attrs or {}).keys() & file.attrs.keys() - FREE:
            new, old = attribute((attrs or {})[key]), file.attrs[key]
            if new != old:
                raise _something_else(path, f"its {key} is {_plain(old)}, not {_plain(new)}")
        new, old = (str(source.get("weights", "")) for source in (attrs or {}, file.attrs))
        if new.startswith("random") and not old.startswith("random"):
            raise _something_else(path, "its weights are trained ones, not random")
        held = file["path"].asstr()[:].tolist()
        if paths and len(paths) != len(held):
            raise _something_else(path, f"it holds {len(held)} images, not {len(paths)}")
        if paths and any(held) and held != list(map(text, paths)):
            raise _something_else(path, "it holds other images")


def _check_images(file: h5py.File, averages: xr.Dataset, path: Path) -> None:
    if file["image"].size != averages.sizes["image"]:
        raise _something_else(path, f"it holds {file['image'].size} images, not {averages.sizes['image']}")
    sides = [file[dim].size == averages.sizes[dim] for dim in ("y", "x") if dim in file]
    if not all(sides) or not np.array_equal(file["label"][:], averages["label"].values):
        raise _something_else(path, "it holds other images")


def _plain(value: Any) -> str:
    """Write the value of an attribute as a person would, not as ``np.int64(32)``."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _something_else(path: Path, difference: str) -> StripeError:
    return StripeError(
        f"{path} is a capture of something else: {difference}. Give another output file, or the options that it was "
        "made with."
    )


def _put(file: h5py.File, averages: xr.Dataset) -> None:
    layer = group_name(str(averages.attrs["layer"]))
    groups = file.require_group("gradcam")
    if layer in groups:
        _remove(groups, layer)
    group = groups.create_group(layer)
    group.attrs.update({key: attribute(value) for key, value in averages.attrs.items()})
    scales = {"image": file["image"]}
    for dim in ("height", "width"):
        scales[dim] = add_scale(group, dim, np.arange(averages.sizes[dim]))
    for dim in ("y", "x", "rgb"):
        scales[dim] = file[dim] if dim in file else add_dimension(group, dim, averages.sizes[dim])
    for name, values in averages.drop_vars("label").data_vars.items():
        variable = add_variable(group, str(name), [scales[str(dim)] for dim in values.dims], values.dtype)
        for start in range(0, len(values), 64):  # maps of all images may outgrow memory
            variable[start : start + 64] = values[start : start + 64].values


def _remove(groups: h5py.Group, layer: str) -> None:
    """Delete the group of a layer, and the references to it that other axes hold."""
    for item in groups[layer].values():
        for axis in () if item.is_scale else item.dims:
            axis.detach_scale(axis[0])
    del groups[layer]
