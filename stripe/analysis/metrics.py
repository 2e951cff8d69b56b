"""All numbers of a capture as one tidy table: a row a site and epoch."""

import dask
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stripe.analysis.accumulate import Moments, Movement
from stripe.analysis.dims import feature_dims, map_dims, require
from stripe.analysis.sites import select_sites
from stripe.analysis.summary import Summary, summarize
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.names import renamed

__all__ = ["metrics"]

Floats = NDArray[np.float64]

# A channel whose std is below this share of its site's attention never varies: what is left is rounding.
FROZEN = 1e-6


@renamed(tol="tolerance")
def metrics(capture: CaptureLike, sites: str = "*", tolerance: float = 0.01) -> pd.DataFrame:
    r"""Measure every site of a capture at every epoch, reading each value once.

    Works on captures larger than memory: chunks of some images are read and measured in parallel by dask.

    *Channel* below is one of the numbers that make up one image's attention at a site: a channel, a channel of a
    branch, a position of a map or a token; the only one where an image has a single value. A channel in which an image
    has a NaN or infinite value is left out of that epoch's summaries over channels; ``nonfinite`` counts such values.

    Args:
        capture: A capture, its tree (as `stripe.capture.open_capture` or ``xarray.open_datatree`` opens it) or its
            path.
        sites: Shell pattern of the sites to measure, such as ``"layer3.*"``.
        tolerance: Largest distance from the value at the last epoch that counts as settled, in the unit of attention.

    Returns:
        One row a site and epoch, in the order of the forward pass, with the columns

        - ``site``, ``order`` (position in the forward pass), ``kind``, ``input_dependent`` (False for a factor that is
          constant by construction), ``epoch``, ``learning_rate`` (NaN where unknown), ``images``, ``channels``;
        - ``mean``, ``mean_min``, ``mean_max``: mean of attention over the images; mean over, least and greatest of the
          channels;
        - ``std_median``, ``std_mean``, ``std_p95``, ``std_max``: `channel_std` of attention, over the channels;
          ``relative_std``: median over the channels of std / \|mean\|;
        - ``input_std_median`` … ``input_relative_std``: the same of what came before, the mean over positions of the
          map that attention is multiplied with; NaN where it was not captured;
        - ``frozen``: share of the channels that never vary, whose std is at most 1e-6 of the RMS of attention;
          ``input_frozen``: the same of what came before;
        - ``constant_error``: RMS of v − its mean over images, divided by the RMS of v: how far off a constant would be
          (``constant_error``, which makes up for the mean being that of the same images);
        - ``stripe_index``: η² (``stripe_index``), which is 1/N for pure noise on N images;
        - ``diff_mean``, ``diff_p95``, ``diff_max``: \|v[t] − v[t−1]\| to the captured epoch before (`epoch_diff`):
          mean; 95th percentile over channels of the mean over images; greatest of all. NaN in the first epoch;
        - ``settled``: share of the values that from here on stay within ``tolerance`` of that of the last epoch
          (``settled_fraction``); NaN where there is one epoch;
        - ``map_correlation``: `map_correlation`; NaN where one image's attention is no map;
        - ``nonfinite``, ``input_nonfinite``: how many values are NaN or infinite, after and before.

        ``attrs["tolerance"]`` is ``tolerance``.

    Raises:
        StripeError: The capture has no site that matches, or a site without an epoch or an image.
    """
    opened = as_capture(capture)
    chosen = select_sites(opened, sites)
    lazy = []
    for name, site in chosen.items():
        attention = site["attention"]
        require(attention, ["epoch", "image"], f"The analysis of site {name}")
        is_map = bool(map_dims(attention)) and map_dims(attention) == feature_dims(attention)
        before = summarize(site["input"]) if "input" in site else None
        lazy.append((summarize(attention, tolerance=tolerance, maps=is_map), before))
    summaries: tuple[tuple[Summary, Summary | None], ...] = dask.compute(*lazy)
    tables = [
        _site_table(opened, name, site, after, before)
        for (name, site), (after, before) in zip(chosen.items(), summaries, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["tolerance"] = tolerance
    return table


def _site_table(capture: Capture, name: str, site: xr.Dataset, after: Summary, before: Summary | None) -> pd.DataFrame:
    facts = capture.facts[name]
    unknown = np.full(len(capture.epochs), np.nan)
    moments = after.moments
    assert after.movement is not None  # summarized with a tolerance
    return pd.DataFrame(
        {
            "site": name,
            "order": facts.order,
            "kind": facts.kind,
            "input_dependent": facts.input_dependent,
            "epoch": capture.epochs,
            "learning_rate": capture.learning_rate,
            "images": site.sizes["image"],
            "channels": moments.total.shape[1],
            **_level(moments),
            **_spread(moments, ""),
            **(_spread(before.moments, "input_") if before else dict.fromkeys(_spread(moments, "input_"), unknown)),
            **_constancy(moments),
            "input_frozen": _frozen(before.moments) if before else unknown,
            **_change(after.movement, moments.count),
            "map_correlation": after.agreement.correlation if after.agreement else unknown,
            "nonfinite": moments.nonfinite,
            "input_nonfinite": before.moments.nonfinite if before else 0,
        }
    )


def _level(moments: Moments) -> dict[str, pd.Series]:
    mean = _channels(moments.mean)
    return {"mean": mean.mean(), "mean_min": mean.min(), "mean_max": mean.max()}


def _spread(moments: Moments, prefix: str) -> dict[str, pd.Series]:
    """Summaries over the channels of the channel std."""
    std, mean = _channels(np.sqrt(moments.variance)), _channels(moments.mean)
    return {
        f"{prefix}std_median": std.median(),
        f"{prefix}std_mean": std.mean(),
        f"{prefix}std_p95": std.quantile(0.95),
        f"{prefix}std_max": std.max(),
        f"{prefix}relative_std": (std / mean.abs().where(mean != 0)).median(),
    }


def _constancy(moments: Moments) -> dict[str, pd.Series]:
    """How much of the attention, and of its variance, is a constant of the channel."""
    mean, variance = _channels(moments.mean), _channels(moments.variance)
    within, rms = variance.mean(), np.sqrt((mean**2 + variance).mean())
    images = pd.Series(moments.count)
    unbiased = images / (images - 1).where(images > 1)  # their mean is nearer to these images than to others
    between = (mean - mean.bfill().iloc[0]).var(ddof=0)  # shifted: the same mean everywhere gives exactly 0
    total = between + within
    comparable = (total > 0) & (moments.count > 1) & (mean.count() > 1)
    return {
        "frozen": _frozen(moments),
        "constant_error": (np.sqrt(unbiased * within) / rms).mask((rms == 0) & (images > 1), 0.0),
        "stripe_index": (between / total).where(comparable),
    }


def _frozen(moments: Moments) -> pd.Series:
    """Share of the channels that never vary."""
    mean, variance = _channels(moments.mean), _channels(moments.variance)
    rms = np.sqrt((mean**2 + variance).mean())
    still: pd.DataFrame = (np.sqrt(variance) <= FROZEN * rms).where(variance.notna())
    return still.mean()


def _change(movement: Movement, count: NDArray[np.int64]) -> dict[str, pd.Series]:
    """How much attention differs from the epoch before, and how much of it never moves again."""
    difference, largest = _channels(movement.total / count[:, None]), _channels(movement.largest)
    settled = pd.Series(movement.settled / (count * movement.total.shape[1]))
    settled.iloc[-1] = settled.iloc[-2] if len(settled) > 1 else np.nan  # nothing is known of what comes after
    change = {
        "diff_mean": difference.mean(),
        "diff_p95": difference.quantile(0.95),
        "diff_max": largest.max(),
    }
    for series in change.values():
        series.iloc[0] = np.nan  # there is no epoch before
    return change | {"settled": settled}


def _channels(values: Floats) -> pd.DataFrame:
    """``(epoch, channel)`` as a column an epoch, without the channels that are not finite: pandas skips NaN."""
    return pd.DataFrame(np.where(np.isfinite(values), values, np.nan).T)
