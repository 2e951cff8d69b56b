"""What the page shows, as its script reads it: of a site, of average Grad-CAM maps, of folding site by site."""

import math
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from stripe.analysis.summary import Summary, summarize
from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.plots.common import column_name
from stripe.plots.heatmap import robust_limits
from stripe.report.budget import Cut, Plan, SiteShape, block_mean
from stripe.report.encode import Encoded, encode

__all__ = ["frontier_record", "gradcam_records", "is_map", "shape_of", "site_record"]

Floats = npt.NDArray[np.floating]

MAX_SIDE = 128
"""Positions per side of a Grad-CAM map that a page shows; maps of 224 px are averaged in squares of two."""

FRONTIER = ("sites", "site", "accuracy", "uncertainty", "error", "relative_speed")
"""Columns of a table of ``stripe fold --frontier``."""


def is_map(site: xr.Dataset) -> bool:
    """Whether one image's attention at a site is a map of height × width."""
    return site["attention"].dims[2:] == ("height", "width")


def shape_of(site: xr.Dataset) -> SiteShape:
    """The sizes of a site; what is no map is laid out as so many channels."""
    _, images, *features = site["attention"].shape
    return SiteShape(images, tuple(features) if is_map(site) else (int(np.prod(features, dtype=np.int64)),))


def site_record(site: xr.Dataset, plan: Plan, cut: Cut, tolerance: float) -> Encoded:
    """The values of a site, as the page's script reads them.

    Args:
        site: ``attention (epoch, image, …)`` and perhaps ``input``, of the same shape.
        plan: Which epochs and differences are shown.
        cut: Which images and channels.
        tolerance: The tolerance of ``stripe.analysis.metrics``.

    Returns:
        A dictionary ready for JSON. ``attention`` (epochs shown, images shown, columns shown), ``limits``, its 1 and
        99 % quantiles; ``std`` and, where it was captured, ``input_std`` (epochs shown, columns shown), of all images;
        ``mean`` for maps, like ``std``; ``diff`` (1, differences shown, columns shown), mean over all images of
        |v[t+1] − v[t]|, null where there is one epoch, and ``diff_limit``, its 99.5 % quantile; ``features``, the
        columns shown (height and width of a map), of ``size`` captured ones; ``columns``, what a column is; ``step``
        and ``group``, see ``Cut``.
    """
    attention = site["attention"]
    shape = shape_of(site)
    after, before = _summaries(site, tolerance)

    def columns(values: Floats) -> Floats:
        """(…, all features) → (…, columns shown)."""
        lead = values.shape[:-1]
        features = values.reshape(*lead, *shape.features)
        axes = range(len(lead), features.ndim)
        return block_mean(features, cut.group, axes).reshape(*lead, -1)

    some = attention.isel(epoch=plan.epochs, image=slice(None, None, cut.step))
    values = some.to_numpy().astype(np.float32)
    shown = columns(values.reshape(*values.shape[:2], -1))
    record: Encoded = {
        "attention": encode(shown, plan.bits),
        "limits": robust_limits(shown),
        "std": encode(columns(np.sqrt(after.moments.variance[plan.epochs]))),
        "columns": column_name(site),
        "features": [-(-size // cut.group) for size in shape.features],
        "size": list(shape.features),
        "step": cut.step,
        "group": cut.group,
        "diff": None,
    }
    if before is not None:
        record["input_std"] = encode(columns(np.sqrt(before.moments.variance[plan.epochs])))
    if is_map(site):
        record["mean"] = encode(columns(after.moments.mean[plan.epochs]))
    if len(after.moments.count) > 1:
        assert after.movement is not None  # summarized with a tolerance
        difference = columns(after.movement.total[1:] / after.moments.count[1:, None])
        difference = block_mean(difference, plan.differences, [0])
        record["diff"] = encode(difference[None])  # one slice, so that it has one range
        record["diff_limit"] = robust_limits(difference, high=0.995)[1]
    return record


def gradcam_records(capture: CaptureLike) -> list[dict[str, Any]]:
    """The average Grad-CAM maps of a capture: the mean map of every layer, and the std over images where there is one.

    Returns:
        Ready for JSON, one record per layer, none where the capture has no such group: ``layer``; ``images``, how many
        were averaged, null where the file doesn't say, and ``empty``, how many of them have a map of zeros; ``target``,
        the class whose evidence the maps show; ``size``, height and width; ``group``, the side of the squares
        of positions that were averaged; ``mean`` and perhaps ``std`` (height, width).
    """
    opened = as_capture(capture)
    records = []
    for layer, average in opened.gradcam.items():
        facts = opened.layers[layer]
        both = {name: average[name] for name in ("mean", "std") if name in average}
        maps = {name: values.to_numpy() for name, values in both.items() if values.ndim == 2}
        if "mean" not in maps:
            continue
        size = maps["mean"].shape
        group = -(-max(size) // MAX_SIDE)
        records.append(
            {
                "layer": layer,
                "images": facts.count,
                "empty": facts.empty,
                "target": facts.target,
                "size": list(size),
                "group": group,
                # One slice, so that the map has one range.
                **{
                    name: encode(block_mean(values.astype(np.float64), group, [0, 1])[None])
                    for name, values in maps.items()
                },
            }
        )
    return records


def frontier_record(table: pd.DataFrame) -> dict[str, list[Any]]:
    """The points of a frontier, ready for JSON.

    Args:
        table: From ``stripe fold --frontier``: one row for each of 0, 1, 2 … folded sites, with ``sites`` (how many),
            ``site`` (the one folded last), ``accuracy`` (per cent), ``uncertainty`` (standard error of its change, in
            points), ``error`` (of the logits, relative) and ``relative_speed``.

    Raises:
        StripeError: It is another table, or has no accuracies.
    """
    if "agreement" in table:
        raise StripeError(
            "The frontier has no accuracies but agreements with the network with attention: the labels of the images "
            "that it was measured on are no classes of the network. `stripe plot --kind frontier` draws it."
        )
    missing = [name for name in FRONTIER if name not in table]
    if missing == ["accuracy"] and "sites" in table:
        raise StripeError(
            f"The frontier has no accuracies but {table.columns[2]}, which a report does not show. "
            "`stripe plot --kind frontier` draws it."
        )
    if missing:
        raise StripeError(f"This is no table of `stripe fold --frontier`: it lacks {', '.join(missing)}.")
    if table.empty or not all(math.isfinite(value) for value in table["accuracy"]):
        raise StripeError("The frontier has no accuracies: the images that it was measured on had no labels.")
    record: dict[str, list[Any]] = {name: table[name].tolist() for name in FRONTIER if name != "site"}
    record["site"] = ["" if pd.isna(name) else str(name) for name in table["site"]]
    return record


def _summaries(site: xr.Dataset, tolerance: float) -> tuple[Summary, Summary | None]:
    """Statistics of all values after and before attention, each read once."""
    lazy = [summarize(site["attention"], tolerance=tolerance)]
    if "input" in site:
        lazy.append(summarize(site["input"]))
    after, *before = dask.compute(*lazy)
    return after, before[0] if before else None
