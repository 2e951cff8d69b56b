"""The layout of a capture file, for its writer and its reader.

A capture is an HDF5 file that is also a valid netCDF-4 file: every axis is a dimension scale, so that
``xarray.open_datatree(path, engine="h5netcdf")`` reads it without any code of ours.

===========================  ================================  ====================================================
``/epoch``                   (epoch)                           number of the epoch; int64
``/image``                   (image)                           0 … n−1; int64
``/complete``                (epoch)                           1 if the epoch is complete, else 0
``/learning_rate``           (epoch)                           NaN where unknown
``/checkpoint``              (epoch)                           file of the weights, "" if there is none
``/digest``                  (epoch)                           BLAKE2b of that file, "" if there is none
``/label``                   (image)                           −1 where unknown
``/path``                    (image)                           file of the image, "" if there is none
``/thumbnail``               (image, y, x, rgb)                uint8; absent if the inputs are not pictures
``/sites/<name>/attention``  (epoch, image, *dims of site)     the gate
``/sites/<name>/input``      (epoch, image, *dims of site)     mean of the map over the axes that the gate lacks
``/sites/<name>/input_rms``  (epoch, image, *dims of site)     root mean square of the map over the same axes
``/gradcam/<layer>/…``       (height, width), (image) …        present if ``stripe gradcam`` added it
``/controls/complete``       (control)                         1 if the control is complete, else 0
``/controls/<name>/sites``   as ``/sites``, without (epoch)    the same images, in a network that has not learned
===========================  ================================  ====================================================

A control has no axis of epochs because xarray lets no group have another one than its parent.

The file has old object headers, and its datasets are contiguous and allocated at creation. Afterwards only raw data
changes, so that a process killed at any moment leaves a file that opens.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from stripe.capture.probe import mark_sound
from stripe.capture.text import attribute, group_name, text
from stripe.files import beside, name_new

if TYPE_CHECKING:  # code that reads a capture does not import torch
    from torch import nn

    from stripe.capture.sites import Site

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "LIBVER",
    "NOT_A_VARIABLE",
    "VARIABLES",
    "Control",
    "Epoch",
    "Layout",
    "add_dimension",
    "add_scale",
    "add_variable",
    "appearing",
    "create",
    "fill",
    "weights_digest",
]

FORMAT = "stripe-capture"
FORMAT_VERSION = 1

VARIABLES = ("attention", "input", "input_rms")
"""What a site can hold, in this order; a file has the first one, two or all of them, the same at every site."""

# How netCDF-4 names an axis that has no coordinates.
NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable."

# Newer superblocks set an "open for writing" flag that a killed writer leaves behind.
LIBVER = ("earliest", "v108")


@dataclass(frozen=True)
class Epoch:
    """One epoch of a capture, and the weights that it shows.

    Attributes:
        number: Number of the epoch, from 0.
        checkpoint: File of the weights, ``""`` if there is none.
        digest: BLAKE2b of that file, by which a resumed capture recognises it.
    """

    number: int
    checkpoint: str = ""
    digest: str = ""

    @classmethod
    def of_file(cls, number: int, path: Path) -> "Epoch":
        """The epoch with the given number and the weights of a checkpoint file."""
        with path.open("rb") as file:
            return cls(number, str(path), hashlib.file_digest(file, "blake2b").hexdigest()[:32])


@dataclass(frozen=True)
class Control:
    """A control of a capture: the same images, in a network that has not learned, or whose gates have not.

    Attributes:
        name: Name of the control, such as ``init`` or ``permuted``.
        epoch: Number of the epoch whose weights it shows, 0 before training.
        seed: Seed of the random numbers that it was made with, −1 if it is unknown.
        how: How its weights came about, in words.
        digest: Digest of the weights that it was made from, by which a resumed capture recognises it.
    """

    name: str
    epoch: int = 0
    seed: int = -1
    how: str = ""
    digest: str = ""


def weights_digest(model: "nn.Module") -> str:
    """BLAKE2b of a model's parameters and buffers."""
    import torch

    state = hashlib.blake2b()
    for name, tensor in model.state_dict().items():
        state.update(name.encode(errors="surrogatepass"))
        if isinstance(tensor, torch.Tensor):
            state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()[:32]


@dataclass(frozen=True)
class Layout:
    """The layout of one capture, which must be known before the first value is written.

    Attributes:
        epochs: All epochs that the file has room for, ascending by number.
        num_images: Number of images.
        paths: File of each image; empty if the images have no files.
        thumbnail_shape: Shape (y, x, 3) of a thumbnail; None if no thumbnails are kept.
        sites: The sites that are recorded.
        record_input: Whether the variable ``input`` is recorded, too.
        record_rms: Whether the variable ``input_rms`` is recorded with it; captures of the first release lack it.
        dtype: Data type of the values, ``float16`` or ``float32``.
        attrs: Model, data, seed and whatever else decides the values; compared when a capture is resumed.
        provenance: Versions, command and time of writing; not compared.
        controls: The controls that the file has room for.
    """

    epochs: tuple[Epoch, ...]
    num_images: int
    paths: tuple[str, ...]
    thumbnail_shape: tuple[int, int, int] | None
    sites: "tuple[Site, ...]"
    record_input: bool
    dtype: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    record_rms: bool = True
    controls: tuple[Control, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables of each site."""
        if not self.record_input:
            return VARIABLES[:1]
        return VARIABLES if self.record_rms else VARIABLES[:2]

    @property
    def nbytes(self) -> int:
        """Size of the recorded values in the file, in bytes."""
        values = sum(int(np.prod(site.shape, dtype=np.int64)) for site in self.sites) * len(self.variables)
        passes = len(self.epochs) + len(self.controls)
        return passes * self.num_images * values * np.dtype(self.dtype).itemsize


@contextmanager
def appearing(path: Path, *, replace: bool = False) -> Iterator[h5py.File]:
    """Open a new file that gets its name when the context ends without an error, so that it is whole or absent.

    Args:
        path: Path of the file.
        replace: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists already and ``replace`` is False.
    """
    temporary = beside(path)
    try:
        with h5py.File(temporary, "w", libver=LIBVER, locking=False) as file:  # no other process knows this name
            yield file
        if replace:
            temporary.replace(path)
        else:
            name_new(temporary, path)
        mark_sound(path)
    finally:
        temporary.unlink(missing_ok=True)


def create(path: Path, layout: Layout, *, replace: bool = False) -> None:
    """Create a capture file with all its metadata and no complete epoch.

    Args:
        path: Path of the file.
        layout: Layout of the capture.
        replace: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists already and ``replace`` is False.
    """
    with appearing(path, replace=replace) as file:
        fill(file, layout)


def fill(file: h5py.File, layout: Layout) -> None:
    """Write the metadata and the coordinates into a new file, and allocate all other variables."""
    for key, value in {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **layout.attrs,
        **layout.provenance,
    }.items():
        file.attrs[text(key)] = attribute(value)
    epoch = add_scale(file, "epoch", np.asarray([e.number for e in layout.epochs], np.int64))
    image = add_scale(file, "image", np.arange(layout.num_images))
    add_variable(file, "complete", (epoch,), np.uint8)[:] = 0
    add_variable(file, "learning_rate", (epoch,), np.float64)[:] = np.nan
    add_variable(file, "label", (image,), np.int64)[:] = -1
    if layout.thumbnail_shape:
        sides = [add_dimension(file, *side) for side in zip(("y", "x", "rgb"), layout.thumbnail_shape, strict=True)]
        add_variable(file, "thumbnail", (image, *sides), np.uint8)
    add_variable(file, "checkpoint", (epoch,), h5py.string_dtype())[:] = [text(e.checkpoint) for e in layout.epochs]
    add_variable(file, "digest", (epoch,), h5py.string_dtype())[:] = [e.digest for e in layout.epochs]
    add_variable(file, "path", (image,), h5py.string_dtype())[:] = list(
        map(text, layout.paths or [""] * layout.num_images)
    )
    _add_sites(file, layout, (epoch, image))
    if layout.controls:
        controls = file.create_group("controls")
        add_variable(controls, "complete", (add_dimension(controls, "control", len(layout.controls)),), np.uint8)[:] = 0
    for order, control in enumerate(layout.controls):
        group = controls.create_group(control.name)
        about = {"epoch": control.epoch, "seed": control.seed, "how": control.how, "digest": control.digest}
        group.attrs.update({key: attribute(value) for key, value in (about | {"order": order}).items()})
        _add_sites(group, layout, (image,))


def _add_sites(parent: h5py.Group, layout: Layout, lead: tuple[h5py.Dataset, ...]) -> None:
    sites = parent.create_group("sites")
    for order, site in enumerate(layout.sites):
        group = sites.create_group(group_name(site.name))
        group.attrs.update(
            {
                "kind": site.kind,
                "owner": text(site.owner),
                "map_shape": np.asarray(site.map_shape, np.int64),
                "input_dependent": int(site.input_dependent is True),
                "residual": int(site.residual),
                "order": order,
            }
        )
        scales = [add_scale(group, dim, np.arange(size)) for dim, size in zip(site.dims, site.shape, strict=True)]
        for name in layout.variables:
            add_variable(group, name, (*lead, *scales), np.dtype(layout.dtype))


def add_scale(group: h5py.Group, name: str, values: np.ndarray[Any, Any]) -> h5py.Dataset:
    """Add an axis with coordinates to a group."""
    scale = group.create_dataset(name, data=values)
    scale.make_scale(name)
    return scale


def add_dimension(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    """Add an axis without coordinates, as netCDF-4 marks it: every site would inherit coordinates of the root."""
    scale = group.create_dataset(name, shape=(size,), dtype=">f4")
    scale.make_scale(f"{NOT_A_VARIABLE}{size:10d}")
    return scale


def add_variable(group: h5py.Group, name: str, scales: Sequence[h5py.Dataset], dtype: Any) -> h5py.Dataset:
    """Add a variable, allocated at once and in one piece; its numbers are not yet set."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    if h5py.check_string_dtype(np.dtype(dtype)) is None:
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a gigabyte of zeros would be written for nothing
    dataset = group.create_dataset(name, shape=tuple(scale.size for scale in scales), dtype=dtype, dcpl=properties)
    for axis, scale in enumerate(scales):
        dataset.dims[axis].attach_scale(scale)
    return dataset
