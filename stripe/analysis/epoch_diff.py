"""Differences from epoch to epoch: when did attention stop changing (the paper, figures 1c and 12–19)?"""

import xarray as xr

from stripe.analysis.dims import require
from stripe.errors import StripeError
from stripe.names import renamed

__all__ = ["epoch_diff", "settled_fraction", "settling_epoch"]


def epoch_diff(attention: xr.DataArray) -> xr.DataArray:
    r"""Absolute first-order difference over the epochs, |v[t+1] − v[t]|.

    .. math:: \Delta^{t+1} = |v^{t+1} - v^t|

    Between captured epochs, whatever lies between them: a difference over ten epochs is not divided by ten.

    Args:
        attention: Attention values with a dimension ``epoch``, in ascending order, and any others.

    Returns:
        The dimensions of ``attention``, one epoch fewer; each difference is labelled with the later of its two epochs.
        The type of ``attention`` (float32 for float16). Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``epoch``, only one epoch, or the epochs are out of order.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import epoch_diff
        >>> v = xr.DataArray([0.5, 0.25, 0.25], dims="epoch", coords={"epoch": [1, 2, 5]})
        >>> epoch_diff(v).to_series().to_dict()
        {2: 0.25, 5: 0.0}
    """
    _require_epochs(attention)
    if attention.dtype == "float16":
        attention = attention.astype("float32")
    return abs(attention.diff("epoch", label="upper")).rename("epoch_diff")


def _require_epochs(attention: xr.DataArray) -> None:
    """Raise a ``StripeError`` unless there are two epochs or more, in ascending order."""
    require(attention, ["epoch"], "The epoch difference")
    if attention.sizes["epoch"] < 2:
        raise StripeError("The epoch difference needs two epochs, but the array holds one. Capture more checkpoints.")
    if "epoch" in attention.indexes and not attention.indexes["epoch"].is_monotonic_increasing:
        raise StripeError("The epoch difference needs ascending epochs. Sort the array with .sortby('epoch').")


@renamed(tol="tolerance")
def settling_epoch(attention: xr.DataArray, tolerance: float = 0.01) -> xr.DataArray:
    r"""The first epoch from which on a value stays within the tolerance of its last one, for every value by itself.

    .. math:: e^* = \min\{t : |v^T - v^s| \le \mathrm{tolerance}\ \ \forall s \ge t\}

    with :math:`v^T` the value at the last epoch. Small differences from epoch to epoch are not enough: a value that
    drifts slowly, but all the time, has not settled before it is within the tolerance of where it ends.

    A value whose last difference exceeds the tolerance has not settled within the capture: NaN, because nothing is
    known about what comes after. So has one whose last difference is NaN; earlier NaNs count as unsettled as well.
    For one epoch of a whole site, take a quantile over images and channels rather than the maximum, which a single
    value among millions decides, or see ``settled_fraction``.

    Args:
        attention: Attention values with a dimension ``epoch``, in ascending order, and any others.
        tolerance: The largest distance from the last value that still counts as settled, in the unit of ``attention``.

    Returns:
        The dimensions of ``attention`` without ``epoch``, float64: labels of the coordinate ``epoch``. Lazy if
        ``attention`` is.

    Raises:
        StripeError: As ``epoch_diff``.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import settling_epoch
        >>> v = xr.DataArray([0.1, 0.5, 0.505, 0.5], dims="epoch", coords={"epoch": [1, 2, 3, 4]})
        >>> float(settling_epoch(v))
        2.0
    """
    _require_epochs(attention)
    if attention.dtype == "float16":
        attention = attention.astype("float32")
    distance = abs(attention.isel(epoch=slice(None, -1)) - attention.isel(epoch=-1, drop=True))
    moved = ~(distance <= tolerance)  # a NaN distance has not settled
    epochs = attention["epoch"].astype("float64")  # 0, 1, 2 … where the dimension has no labels
    moved = moved.assign_coords(epoch=epochs[1:])
    last_move = epochs[1:].where(moved, epochs[0].item()).max("epoch")
    return last_move.where(~moved.isel(epoch=-1, drop=True)).rename("settling_epoch")


@renamed(tol="tolerance")
def settled_fraction(attention: xr.DataArray, tolerance: float = 0.01) -> xr.DataArray:
    """The share of all values that have settled by each epoch, see ``settling_epoch``.

    It never falls, and at the last epoch is what it was one before: a value that moved there has not settled.

    Args:
        attention: Attention values with a dimension ``epoch``, in ascending order, and any others.
        tolerance: The largest distance from the last value that still counts as settled, in the unit of ``attention``.

    Returns:
        ``(epoch,)`` float64, from 0 to 1. Lazy if ``attention`` is.

    Raises:
        StripeError: As ``epoch_diff``.
    """
    settling = settling_epoch(attention, tolerance)
    return (settling <= attention["epoch"]).mean(settling.dims).rename("settled_fraction")
