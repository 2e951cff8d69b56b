"""What the page shows of a site: attention image × channel, its std before and after, its differences."""

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from stripe.analysis.summary import Summary, summarize
from stripe.plots.common import column_name
from stripe.plots.heatmap import robust_limits
from stripe.report.encode import Encoded, encode
from stripe.report.thinning import Cut, Plan, SiteShape, block_mean

__all__ = ["is_map", "shape_of", "site_record"]

Floats = npt.NDArray[np.floating]


def is_map(site: xr.Dataset) -> bool:
    """Whether one image's attention at a site is a map of height × width."""
    return site["attention"].dims[2:] == ("height", "width")


def shape_of(site: xr.Dataset) -> SiteShape:
    """The sizes of a site; what is no map is laid out as so many channels."""
    _, images, *features = site["attention"].shape
    return SiteShape(images, tuple(features) if is_map(site) else (int(np.prod(features, dtype=np.int64)),))


def site_record(site: xr.Dataset, plan: Plan, cut: Cut, tol: float) -> Encoded:
    """The values of a site, as the page's script reads them.

    Args:
        site: ``attention (epoch, image, …)`` and perhaps ``input``, of the same shape.
        plan: Which epochs and differences are shown.
        cut: Which images and channels.
        tol: Of `stripe.analysis.metrics`.

    Returns:
        Ready for JSON. ``attention`` (epochs shown, images shown, columns shown), ``limits``, its 1 and 99 % quantiles;
        ``std`` and, where it was captured, ``input_std`` (epochs shown, columns shown), over all images; ``mean`` for
        maps, like ``std``; ``diff`` (1, differences shown, columns shown), mean over all images of |v[t+1] − v[t]|,
        null where there is one epoch, and ``diff_limit``, its 99.5 % quantile; ``features``, the columns shown (height
        and width of a map), of ``size`` captured ones; ``columns``, what a column is; ``step``, ``group``, see `Cut`.
    """
    attention = site["attention"]
    shape = shape_of(site)
    after, before = _summaries(site, tol)

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


def _summaries(site: xr.Dataset, tol: float) -> tuple[Summary, Summary | None]:
    """Of all values after and before attention, each read once."""
    lazy = [summarize(site["attention"], tol=tol)]
    if "input" in site:
        lazy.append(summarize(site["input"]))
    after, *before = dask.compute(*lazy)
    return after, before[0] if before else None
