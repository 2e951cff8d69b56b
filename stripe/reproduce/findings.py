"""Findings: what a figure of a capture or a table with a control shows, in numbers and in a sentence."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import xarray as xr

from stripe.analysis import map_correlation, metrics, settled_fraction, stripe_index, verdicts
from stripe.analysis.wording import difference_text
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.names import counted
from stripe.plots.common import columns
from stripe.plots.diff import learning_rate_drops
from stripe.plots.select import CHANNEL_KINDS, choose_sites
from stripe.plots.spatial import as_maps

__all__ = ["TOLERANCE", "difference_of", "differences", "findings_of"]

TOLERANCE = 0.01
"""Differences from epoch to epoch up to which a value counts as unchanged."""


def findings_of(kind: str, capture: CaptureLike) -> tuple[pd.DataFrame, str]:
    """Measure what a figure of a capture shows.

    Args:
        kind: Kind of the figure, such as ``stripe``.
        capture: A capture, its tree or its path.

    Returns:
        A table with one row per site, and a sentence about it.

    Raises:
        StripeError: The capture has no site that this kind of figure shows.
    """
    known = {
        "stripe": _stripes,
        "std": _spread,
        "diff": _changes,
        "spatial": _likeness,
        "maps": _focus,
        "index": _stripes,
    }
    return known.get(kind, _judged)(as_capture(capture))


def _judged(capture: Capture) -> tuple[pd.DataFrame, str]:
    """Judge each site, for a kind of figure that has no numbers of its own."""
    judged = verdicts(metrics(capture, tolerance=TOLERANCE))
    counts = ", ".join(f"{count} {category}" for category, count in judged["category"].value_counts().items())
    return judged[["site", "constant_error", "stripe_index", "category"]], f"Of {len(judged)} sites: {counts}."


def _stripes(capture: Capture) -> tuple[pd.DataFrame, str]:
    """Measure how striped the attention is, and the map before it."""
    judged = verdicts(metrics(capture, tolerance=TOLERANCE)).set_index("site")
    rows = []
    for name, site in choose_sites(capture, None, CHANNEL_KINDS).items():
        last = site.isel(epoch=-1)
        rows.append(
            {
                "site": name,
                "index_before": float(stripe_index(columns(last["input"]))),
                "index_after": float(stripe_index(columns(last["attention"]))),
                "constant_error": judged.loc[name, "constant_error"],
                "verdict": judged.loc[name, "category"],
            }
        )
    table = pd.DataFrame(rows)
    constant = int(table["verdict"].isin(["constant", "nearly constant"]).sum())
    striped = int((table["verdict"] == "striped").sum())
    return table, (
        f"Of {len(table)} sites {constant} {_is(constant)} a constant to 5 %, {striped} further {_is(striped)} striped "
        f"(η² ≥ .9). The median stripe index η² is {table['index_after'].median():.2f} after the attention and "
        f"{table['index_before'].median():.2f} before it (1: perfect stripes)."
    )


def _spread(capture: Capture) -> tuple[pd.DataFrame, str]:
    """Measure the channels' standard deviation over images, before and after the attention."""
    measured = metrics(capture)
    last = measured[measured["kind"].isin(CHANNEL_KINDS) & (measured["epoch"] == measured["epoch"].max())]
    names = {"std_before": "input_std_median", "std_after": "std_median"}
    names |= {"relative_std_before": "input_relative_std", "relative_std_after": "relative_std"}
    table = pd.DataFrame({"site": last["site"], **{name: last[column] for name, column in names.items()}})
    low, high = table["relative_std_after"].min(), table["relative_std_after"].max()
    return table, (
        f"The median channel's standard deviation over images is {table['std_after'].median():.3f} after the attention "
        f"and {table['std_before'].median():.3f} before it (medians over {len(table)} sites). Relative to the "
        f"channel's mean it is {low:.0%} to {high:.0%} after it, depending on the site."
    )


def _changes(capture: Capture) -> tuple[pd.DataFrame, str]:
    """Measure how much of the attention has settled when the learning rate first drops."""
    measured = metrics(capture, tolerance=TOLERANCE)
    judged = verdicts(measured).set_index("site")
    epochs = capture.epochs
    drops = learning_rate_drops(capture.learning_rate)
    at = int(drops[0]) - 1 if len(drops) else len(epochs) // 2
    rows = []
    for name, site in choose_sites(capture, None, CHANNEL_KINDS).items():
        settled = settled_fraction(site["attention"], TOLERANCE)
        own = measured[(measured["site"] == name) & (measured["epoch"] == epochs[-1])]
        rows.append(
            {
                "site": name,
                "settled_at_drop": float(settled.isel(epoch=at)),
                "settled_by": judged.loc[name, "settled_by"],
                "last_difference": float(own["diff_mean"].iloc[0]),
            }
        )
    table = pd.DataFrame(rows)
    when = (
        f"the first drop of the learning rate (epoch {epochs[at]})"
        if len(drops)
        else f"half of the training (epoch {epochs[at]})"
    )
    low, high = table["settled_at_drop"].min(), table["settled_at_drop"].max()
    return table, (
        f"From {when} on, {table['settled_at_drop'].median():.0%} of a site's values stay within {TOLERANCE} of their "
        f"last (median over {len(table)} sites, {low:.0%} to {high:.0%}); in the last epoch the mean "
        f"change is {table['last_difference'].median():.4f}."
    )


def _likeness(capture: Capture) -> tuple[pd.DataFrame, str]:
    """Measure how alike the maps of different images are."""
    rows = []
    for name, site in choose_sites(capture, None, ["spatial"]).items():
        maps = xr.DataArray(as_maps(site["attention"].isel(epoch=-1), name), dims=("image", "height", "width"))
        shape = f"{maps.sizes['height']} × {maps.sizes['width']}"
        rows.append({"site": name, "map": shape, "correlation": float(map_correlation(maps))})
    table = pd.DataFrame(rows)
    low, high = table["correlation"].min(), table["correlation"].max()
    return table, (
        f"The maps of two images correlate by {table['correlation'].median():.2f} (median over {len(table)} sites, "
        f"{low:.2f} to {high:.2f}): 1 were one map for all images, 0 a map of its own for each."
    )


def _focus(capture: Capture) -> tuple[pd.DataFrame, str]:
    """Measure whether spatial attention weighs large values of the map more than small ones."""
    rows = []
    for name, site in choose_sites(capture, None, ["spatial"]).items():
        last = site.isel(epoch=-1)
        weights, sizes = (
            xr.DataArray(as_maps(last[each], name), dims=("image", "height", "width")).astype("float64")
            for each in ("attention", "input_rms")
        )
        alike = xr.corr(weights, sizes, dim=("height", "width"))  # NaN where a map is flat
        rows.append(
            {"site": name, "mean_weight": float(weights.mean()), "correlation_with_size": float(alike.mean("image"))}
        )
    table = pd.DataFrame(rows)
    each = table["correlation_with_size"]
    return table, (
        f"Over the positions of an image, the weights correlate with the size of the map by {each.median():+.2f} "
        f"(median over {len(table)} sites, {each.min():+.2f} to {each.max():+.2f})."
    )


def differences(table: pd.DataFrame) -> str:
    """Say what a table shows of the differences to its control; nothing where there are none.

    Args:
        table: What ``stripe.reproduce.tables.of_runs`` returns for a recipe with a control.
    """
    compared = table[table["difference"].notna()]
    if compared.empty:
        return ""
    main = compared[compared["metric"] == compared["metric"].iloc[0]]  # numbers of one unit
    row = main.loc[main["difference"].abs().idxmax()].to_dict()
    of_column = row["control"] in set(table["column"])
    what, where = (row["column"], row["row"]) if of_column else (row["row"], row["column"])
    place = ", ".join(str(part) for part in (row["group"], where) if part)
    largest = f"{what} − {row['control']} at {place}: {difference_of(row)}"
    sure = compared[compared["difference_low"].notna()]
    if sure.empty:
        number = len(main)
        return f"Differences to the control are of one seed, without intervals; the largest of {number} is {largest}."
    above, below = int((sure["difference_low"] > 0).sum()), int((sure["difference_high"] < 0).sum())
    return (
        f"Of {counted(len(sure), 'difference')} to the control {above} {_is(above)} above zero and {below} below with "
        f"the whole of their 95 % intervals, of which one in 20 misses by chance; the intervals of the other "
        f"{len(sure) - above - below} hold zero. The largest difference is {largest}."
    )


def difference_of(row: Mapping[Hashable, Any]) -> str:
    """Return the difference of a row of a table to its control, and its interval, where it has one."""
    return difference_text(*(float(row[f"difference{end}"]) for end in ("", "_low", "_high")))


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
