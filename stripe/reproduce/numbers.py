"""The numbers of a figure or table, as a tidy table beside the paper's own."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import xarray as xr

from stripe.analysis import map_correlation, metrics, settled_fraction, stripe_index, verdicts
from stripe.names import data_name, run_name
from stripe.plots.common import columns
from stripe.plots.diff import learning_rate_drops
from stripe.plots.select import CHANNEL_KINDS, choose_sites
from stripe.plots.spatial import as_maps
from stripe.reproduce.cache import Planned
from stripe.reproduce.plan import Cell, Plan
from stripe.training.config import RunConfig

__all__ = ["TOLERANCE", "of_capture", "of_runs"]

TOLERANCE = 0.01
"""Differences from epoch to epoch that count as none."""

Measure = Callable[[Planned], tuple[float, float]]
"""At the best and at the last epoch."""


def of_runs(
    plan: Plan, served: Mapping[RunConfig, Planned], failures: Mapping[str, str], measures: Mapping[str, Measure]
) -> pd.DataFrame:
    """A row a cell of the recipe that is measured on trained runs.

    Args:
        plan: Which cells.
        served: The runs.
        failures: Name of a run's directory → why it could not be finished.
        measures: Metric → what measures it, of those that are not in the run itself.

    Returns:
        ``group``, ``row``, ``column``, ``metric``, ``paper``; ``best`` and ``last``, the mean over seeds on the test
        images at the best and after the last epoch, with ``best_std`` and ``last_std`` (n − 1; NaN of one seed);
        ``seeds``, how many are finished; ``network`` and ``data``, on which; ``problem``, why there is no number.
    """
    known = {"accuracy": _accuracy, **measures}
    return pd.DataFrame([_measured(c, served, failures, known) for c in plan.cells if c.column.metric in known])


def _measured(
    cell: Cell, served: Mapping[RunConfig, Planned], failures: Mapping[str, str], measures: Mapping[str, Measure]
) -> dict[str, object]:
    runs = [served[request] for request in cell.requests]
    measure = measures[cell.column.metric]
    values = [measure(run) for run in runs if run.path.name not in failures]
    best, last = ([pair[position] for pair in values] for position in (0, 1))
    request = cell.requests[0]
    return {
        "group": cell.row.group,
        "row": cell.row.name,
        "column": cell.column.name,
        "metric": cell.column.metric,
        "paper": cell.paper,
        "best": _mean(best),
        "best_std": _std(best),
        "last": _mean(last),
        "last_std": _std(last),
        "seeds": len(values),
        "network": run_name(request.description()),
        "data": data_name(request.data),
        "problem": "; ".join(dict.fromkeys(failures[run.path.name] for run in runs if run.path.name in failures)),
    }


def _accuracy(planned: Planned) -> tuple[float, float]:
    run = planned.run
    return run.best.test_accuracy, run.history[-1].test_accuracy


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def of_capture(kind: str, tree: xr.DataTree) -> tuple[pd.DataFrame, str]:
    """What a picture of a capture shows, in numbers over all images and channels.

    Args:
        kind: Of the picture.
        tree: The capture.

    Returns:
        A row a site, and a sentence.
    """
    known = {"stripe": _stripes, "std": _spread, "diff": _changes, "spatial": _maps, "index": _stripes}
    return known.get(kind, _judged)(tree)


def _judged(tree: xr.DataTree) -> tuple[pd.DataFrame, str]:
    """What the numbers of each site mean, for a kind of picture that has none of its own."""
    judged = verdicts(metrics(tree, tol=TOLERANCE))
    counts = ", ".join(f"{count} {category}" for category, count in judged["category"].value_counts().items())
    return judged[["site", "constant_error", "stripe_index", "category"]], f"Of {len(judged)} sites: {counts}."


def _stripes(tree: xr.DataTree) -> tuple[pd.DataFrame, str]:
    """How striped attention is, and what came before it."""
    judged = verdicts(metrics(tree, tol=TOLERANCE)).set_index("site")
    rows = []
    for name, site in choose_sites(tree, None, CHANNEL_KINDS).items():
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


def _spread(tree: xr.DataTree) -> tuple[pd.DataFrame, str]:
    """The channels' standard deviation over images, before and after."""
    measured = metrics(tree)
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


def _changes(tree: xr.DataTree) -> tuple[pd.DataFrame, str]:
    """How much of attention has settled when the learning rate first drops."""
    measured = metrics(tree, tol=TOLERANCE)
    judged = verdicts(measured).set_index("site")
    epochs = tree.dataset["epoch"].to_numpy()
    drops = learning_rate_drops(tree.dataset["learning_rate"].values)
    at = int(drops[0]) - 1 if len(drops) else len(epochs) // 2
    rows = []
    for name, site in choose_sites(tree, None, CHANNEL_KINDS).items():
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


def _maps(tree: xr.DataTree) -> tuple[pd.DataFrame, str]:
    """How alike the maps of different images are."""
    rows = []
    for name, site in choose_sites(tree, None, ["spatial"]).items():
        maps = xr.DataArray(as_maps(site["attention"].isel(epoch=-1), name), dims=("image", "height", "width"))
        shape = f"{maps.sizes['height']} × {maps.sizes['width']}"
        rows.append({"site": name, "map": shape, "correlation": float(map_correlation(maps))})
    table = pd.DataFrame(rows)
    low, high = table["correlation"].min(), table["correlation"].max()
    return table, (
        f"The maps of two images correlate by {table['correlation'].median():.2f} (median over {len(table)} sites, "
        f"{low:.2f} to {high:.2f}): 1 were one map for all images, 0 a map of its own for each."
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
