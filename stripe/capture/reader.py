"""Reading of a capture as a lazy ``xarray.DataTree``."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import xarray as xr

from stripe.capture.layout import NOT_A_VARIABLE
from stripe.capture.probe import probe
from stripe.capture.slab import Slab
from stripe.capture.structure import attributes, axes, readable, structure
from stripe.capture.text import text
from stripe.errors import StripeError

__all__ = ["complete_epochs", "open_capture"]

# Bytes of a chunk: large enough to read fast, small enough that a few fit the memory of any machine.
CHUNK_BYTES = 64 * 2**20


def open_capture(path: str | Path) -> xr.DataTree:
    """Open the complete epochs of a capture.

    Values are dask arrays, chunked by image with all epochs in a chunk, so that captures larger than memory work. No
    file stays open and none is locked: a capture that is still being written can be looked at.

    Args:
        path: Path of the file.

    Returns:
        A tree with ``epoch``, ``image``, ``label``, ``path``, ``thumbnail`` … at its root, ``attention``, ``input``
        and ``input_rms`` (epoch, image, …) in ``/sites/<name>``, average Grad-CAM maps in ``/gradcam/<layer>``, and
        the complete controls in ``/controls/<control>/sites/<name>`` (image, …).

    Raises:
        StripeError: The file does not exist, is damaged, is not a capture, or has no complete epoch yet.

    Example:
        >>> tree = open_capture("capture.h5")                                        # doctest: +SKIP
        >>> tree["sites/layer1.0.attention_module/attention"].std("image").compute()  # doctest: +SKIP
    """
    path = Path(path)
    with readable(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        raise StripeError(f"{path} is a folder; name a capture in it, such as {path / 'capture.h5'}.")
    if not is_file:
        raise StripeError(f"There is no file {path}; `stripe capture` makes one.")
    with readable(path):
        probe(path)
    with readable(path), _open(path) as file:
        in_one_piece = structure(file, path)
        tree = xr.DataTree.from_dict(
            {
                "/": _dataset(file, in_one_piece),
                **{
                    f"/{part}/{text(name)}": _dataset(group, in_one_piece)
                    for part in ("sites", "gradcam")
                    for name, group in file.get(part, {}).items()
                },
                **_controls(file, in_one_piece),
            }
        )
    tree = complete_epochs(tree)
    if not tree.sizes["epoch"]:
        raise StripeError(f"{path} has no complete epoch yet. Give the command that was writing it again.")
    tree.encoding["source"] = str(path)  # as xarray's own readers do
    return tree


def complete_epochs(tree: xr.DataTree) -> xr.DataTree:
    """Select the complete epochs of a tree; a tree that does not mark them is returned unchanged."""
    root = tree.dataset
    if "controls" in tree.children and "complete" in tree["controls"].dataset:  # opened by xarray
        marks = tree["controls"].dataset["complete"].to_numpy()
        made = {name: node for name, node in tree["controls"].children.items() if marks[node.attrs["order"]]}
        parts = {path: node.to_dataset(inherit=False) for path, node in tree.subtree_with_keys}
        kept = {path: part for path, part in parts.items() if _is_kept(path, made)}
        encoding = dict(tree.encoding)
        tree = xr.DataTree.from_dict({"/" if path == "." else f"/{path}": part for path, part in kept.items()})
        tree.encoding = encoding
    complete = np.flatnonzero(root["complete"]) if "complete" in root else None
    if complete is None or len(complete) == root.sizes["epoch"]:
        return tree
    found = tree.isel(epoch=complete)
    found.encoding = dict(tree.encoding)
    return found


def _is_kept(path: str, controls: Container[str]) -> bool:
    """Whether a group of a tree is none of an incomplete control; the group of all controls holds their marks alone."""
    first, *rest = path.split("/")
    return first != "controls" or bool(rest and rest[0] in controls)


def _controls(file: h5py.File, in_one_piece: dict[str, Slab]) -> dict[str, xr.Dataset]:
    """The complete controls by their path."""
    found = {}
    for name, group in file.get("controls", {}).items():
        if isinstance(group, h5py.Group) and file["controls/complete"][group.attrs["order"]]:
            found[f"/controls/{text(name)}"] = _dataset(group, in_one_piece)
            for site, values in group["sites"].items():
                found[f"/controls/{text(name)}/sites/{text(site)}"] = _dataset(values, in_one_piece)
    return found


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # this very process has it open for writing


def _dataset(group: h5py.Group, in_one_piece: dict[str, Slab]) -> xr.Dataset:
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for name, item in group.items():
        if not isinstance(item, h5py.Dataset):
            continue
        if not item.is_scale:
            dims = axes(item)
            variables[name] = (dims, _values(item, dims, in_one_piece))
        elif not h5py.h5ds.get_scale_name(item.id).decode().startswith(NOT_A_VARIABLE):
            coordinates[name] = (name, item[:])
    return xr.Dataset(variables, coordinates, attributes(group))


def _values(item: h5py.Dataset, dims: list[str], in_one_piece: dict[str, Slab]) -> Any:
    """The values of a dataset: per-image values as a dask array, everything else as a NumPy array."""
    if h5py.check_string_dtype(item.dtype) is not None:
        return item.asstr()[:].astype(str)
    slab = in_one_piece.get(item.name.lstrip("/"))
    if slab is None or "image" not in dims or not item.size:
        return item[:]
    image = dims.index("image")
    image_bytes = item.nbytes // item.shape[image]
    images = min(item.shape[image], max(1, CHUNK_BYTES // image_bytes))
    chunks = tuple(images if axis == image else -1 for axis in range(item.ndim))
    return da.from_array(slab, chunks, asarray=False, name=False)
