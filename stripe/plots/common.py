"""Helpers that the kinds of plot share: columns of values, names, thumbnails, and the caption."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, HPacker, OffsetImage, TextArea

from stripe.analysis.metrics import FROZEN
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.names import data_name, without_folders

__all__ = [
    "add_thumbnail_title",
    "caption",
    "column_name",
    "columns",
    "control_of",
    "describe",
    "ending_note",
    "image_name",
    "label_epochs",
    "short_names",
    "sides_of",
    "still_note",
]


def columns(values: xr.DataArray) -> xr.DataArray:
    """Flatten all axes but epoch and image into one dimension, ``channel``.

    Args:
        values: Array (epoch, image, channel), or (…, branch, channel), (…, channel, height) and the like.

    Returns:
        Array (epoch, image, channel), in which the last of the flattened axes runs fastest.
    """
    axes = [dim for dim in values.dims if dim not in ("epoch", "image")]
    if axes == ["channel"]:
        return values
    flat = values.drop_vars(axes, errors="ignore").rename({dim: f"{dim}_" for dim in axes})
    return flat.stack(channel=[f"{dim}_" for dim in axes], create_index=False)


def column_name(site: xr.Dataset) -> str:
    """Name of the columns of a site, such as ``channel`` or ``branch × channel``."""
    return " × ".join(str(dim) for dim in site["attention"].dims if dim not in ("epoch", "image"))


def sides_of(sites: Mapping[str, xr.Dataset]) -> tuple[str, ...]:
    """Names of the variables to draw: ``input`` (before attention), if it was recorded, and ``attention`` (after)."""
    return ("input", "attention") if all("input" in data for data in sites.values()) else ("attention",)


def still_note(sites: Mapping[str, xr.Dataset]) -> str:
    """What a caption says of sites at which nothing varies, as behind a normalisation whose gain begins at 0.

    Their attention is the same for every image because their input is, so that a picture of stripes tells nothing.

    Args:
        sites: Name → site, as ``choose_sites`` gives them.

    Returns:
        Text with the number of these sites at the last epoch; empty where there is none.
    """
    still = [name for name, site in sites.items() if "input" in site and all(map(_is_still, _last(site)))]
    return f"{len(still)} of {len(sites)} sites: their input does not vary, which tells nothing" if still else ""


def _last(site: xr.Dataset) -> list[xr.DataArray]:
    """What was recorded of a site at the last epoch."""
    return [site[name].isel(epoch=-1) for name in ("attention", "input", "input_rms") if name in site]


def _is_still(values: xr.DataArray) -> bool:
    """Whether no value changes from image to image."""
    found = np.asarray(values.values, dtype=np.float64)
    return bool((found.std(axis=0) <= FROZEN * np.sqrt((found**2).mean())).all())


def control_of(capture: Capture) -> tuple[str, Capture] | None:
    """The control to show beside a capture, and its name: that at initialisation, else the first; None without any."""
    name = "init" if "init" in capture.controls else next(iter(capture.controls), None)
    return None if name is None else (name, capture.controls[name])


def short_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Shorten the names of sites by the last parts that all of them share, or by the last but one.

    Returns:
        The shortened names, and what was left out: the common ending (``".attention_module"``), a part that ``…``
        stands for (``"…attention_module"``), or ``""``.

    Example:
        >>> short_names(["layer1.0.se", "layer1.1.se"])
        (['layer1.0', 'layer1.1'], '.se')
        >>> short_names(["layer1.0.cbam.channel", "layer1.0.cbam.spatial"])
        (['layer1.0…channel', 'layer1.0…spatial'], '…cbam')
    """
    parts = [name.split(".") for name in names]
    shared = 0
    while len(names) > 1 and all(len(part) > shared + 1 for part in parts):
        last = {part[-1 - shared] for part in parts}
        if len(last) > 1 or last.pop().isdigit():  # a number tells which block it is
            break
        shared += 1
    if not shared:
        inner = {part[-2] if len(part) > 2 else "" for part in parts}
        if len(names) < 2 or len(inner) > 1 or not (left_out := inner.pop()) or left_out.isdigit():
            return list(names), ""
        return [".".join(part[:-2]) + "…" + part[-1] for part in parts], f"…{left_out}"
    return [".".join(part[:-shared]) for part in parts], "." + ".".join(parts[0][-shared:])


def ending_note(ending: str) -> str:
    """Note for the caption about the ending that ``short_names`` took off."""
    if ending.startswith("…"):
        return f"… in names of sites: .{ending[1:]}."
    return f"names of sites end in {ending}" if ending else ""


def label_epochs(axes: Axes, epochs: npt.NDArray[np.int64], room: int) -> None:
    """Set ticks at round epochs below the columns of a heatmap.

    Args:
        axes: Axes of the heatmap, whose column j shows ``epochs[j]``.
        epochs: Numbers of the epochs, ascending and at any distance, as an array (columns,).
        room: Largest number of labels that fit.
    """
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        places = np.flatnonzero(epochs % step == 0)
        if len(places) <= room:
            break
    if len(places) < 2:
        places = np.unique([0, len(epochs) - 1])
    axes.set_xticks(places, [str(epoch) for epoch in epochs[places]])


def image_name(capture: CaptureLike, position: int) -> str:
    """Name of an image, such as ``image 17 · cat``; without the class if it is unknown."""
    opened = as_capture(capture)
    name, label, classes = f"image {opened.images[position]}", int(opened.labels[position]), opened.classes
    return f"{name} · {classes[label]}" if 0 <= label < len(classes) else name


_WIDEST = 2.0
"""Width of the box for a picture before a title, in units of its height."""


def add_thumbnail_title(axes: Axes, text: str, picture: npt.NDArray[np.uint8] | None) -> None:
    """Add a title above the left corner of a panel, with a small picture before it.

    Args:
        axes: Axes of the panel.
        text: Text of the title.
        picture: Picture (y, x, rgb) in uint8; None for the title alone.
    """
    font = axes.title.get_fontproperties()
    label = TextArea(text, textprops={"fontproperties": font, "color": axes.title.get_color(), "linespacing": 1.25})
    height = 2.6 * font.get_size_in_points()
    parts: list[Artist] = [label]
    if picture is not None:
        zoom = min(height / picture.shape[0], _WIDEST * height / picture.shape[1])
        parts.insert(0, OffsetImage(picture, zoom=zoom, interpolation="nearest"))
    title = AnnotationBbox(
        HPacker(children=parts, align="center", pad=0, sep=4),
        (0, 1),
        xybox=(0, 6),
        xycoords="axes fraction",
        boxcoords="offset points",
        box_alignment=(0, 0),
        frameon=False,
        pad=0,
        annotation_clip=False,
    )
    axes.add_artist(title)
    # A long name must not make the layout narrow the panel; two blank lines reserve the space above it instead.
    title.set_in_layout(False)
    axes.set_title(" \n ", linespacing=1.5, pad=9)


def describe(capture: Capture, kind: str, **facts: Any) -> dict[str, Any]:
    """Describe the content of a picture in JSON types, for the record in its file."""
    about = {name: getattr(capture, name) for name in ("model", "attention", "data", "scale")}
    said = {name: value for name, value in about.items() if value}
    return {"kind": kind, "capture": capture.path, **said, **facts}


def caption(capture: CaptureLike, *notes: str) -> str:
    """The line at the foot of a figure: model · data · notes · seed · scale, as far as they are known."""
    opened = as_capture(capture)
    model = " + ".join(map(without_folders, opened.network)) + (
        " with random weights" if opened.has_random_weights else ""
    )
    seed = "" if opened.seed is None else f"capture seed {opened.seed}"
    parts = [model, data_name(opened.data), *notes, seed, opened.scale]
    return " · ".join(part for part in parts if part)
