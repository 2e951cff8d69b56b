"""The channel std: how much an attention value differs from image to image (the paper, figure 1b)."""

import numpy as np
import xarray as xr

from stripe.analysis.dims import Values, labelled, require

__all__ = ["channel_moments", "channel_std"]


def channel_std(values: Values, relative: bool = False) -> xr.DataArray:
    r"""Population standard deviation over the images, for every channel by itself.

    .. math:: \sigma_c = \sqrt{\tfrac1N \sum_i (v_{ic} - \bar v_c)^2}

    Near zero after an attention module and large before it: that is the Stripe Observation in numbers
    ("Stripe Observation Guided Inference Cost-free Attention Mechanism", figure 1b).

    Args:
        values: Attention values, or anything else that was measured per image, with a dimension ``image`` and any
            others: ``(epoch, image, channel)`` in a capture. float16 and float32 are accumulated in float64.
        relative: Divide by \|mean over images\|: the coefficient of variation, which makes the values before and
            after attention comparable. NaN where that mean is 0.

    Returns:
        The dimensions of ``values`` without ``image``, float64, in the unit of ``values`` (a ratio if ``relative``).
        A channel with a NaN or infinite value has the std NaN; a channel that never varies has exactly 0, and so has
        every channel of a single image. Lazy if ``values`` is.

    Raises:
        StripeError: There is no dimension ``image``.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import channel_std
        >>> v = xr.DataArray([[0.1, 0.5], [0.3, 0.5]], dims=("image", "channel"))
        >>> channel_std(v).round(12).values.tolist()
        [0.1, 0.0]
        >>> channel_std(v, relative=True).round(12).values.tolist()
        [0.5, 0.0]
    """
    mean, variance = channel_moments(labelled(values))
    std = variance**0.5
    if relative:
        std = std / abs(mean).where(mean != 0)
    return std.rename("relative_channel_std" if relative else "channel_std")


def channel_moments(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and population variance over the images, in float64, both without the dimension ``image``.

    The first image is subtracted beforehand: nothing is lost to cancellation when the std is far below the mean, and
    what never varies gets a variance of exactly 0.
    """
    require(values, ["image"], "The channel std")
    values = values.astype("float64")
    values = values.where(np.isfinite(values))  # one kind of missing: inf - inf is NaN too, but warns
    first = values.isel(image=0, drop=True)
    deviation = values - first
    return first + deviation.mean("image", skipna=False), deviation.var("image", skipna=False)
