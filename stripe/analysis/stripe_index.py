"""The stripe index η²: how much of the variance of attention values is a matter of the channel alone."""

import math

import xarray as xr

from stripe.analysis.channel_std import channel_moments
from stripe.analysis.dims import Values, feature_dims, labelled

__all__ = ["stripe_index"]


def stripe_index(attention: Values) -> xr.DataArray:
    r"""Share of the variance over images and channels that lies between the channels (η², the correlation ratio).

    .. math:: \eta^2 = \frac{\mathrm{Var}_c(\bar v_c)}{\mathrm{Var}_{i,c}(v_{ic})},
              \qquad \bar v_c = \tfrac1N\textstyle\sum_i v_{ic}

    Plotted as image × channel (the paper, figure 1a), 1 is perfect stripes and 0 an image without any: channels whose
    means over the images are all the same. By the law of total variance the denominator is
    :math:`\mathrm{Var}_c(\bar v_c) + \tfrac1C\sum_c\sigma_c^2`, and is computed that way.

    Args:
        attention: Attention values with the dimension ``image``, perhaps ``epoch``, and those of one image's values,
            which together count as channels here: ``channel``, ``branch`` and ``channel``, ``height`` and ``width`` …

    Returns:
        ``(epoch,)`` if there are epochs, otherwise a single number, float64, from 0 to 1. NaN where nothing varies at
        all, where there is only one image or one channel (nothing to compare), and where a value is NaN or infinite.
        Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``image``.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import stripe_index
        >>> stripes = xr.DataArray([[0.2, 0.8], [0.2, 0.8]], dims=("image", "channel"))
        >>> float(stripe_index(stripes))
        1.0
    """
    attention = labelled(attention)
    mean, variance = channel_moments(attention)
    features = feature_dims(attention)
    first = mean.isel(dict.fromkeys(features, 0), drop=True)
    between = (mean - first).var(features, skipna=False)
    within = variance.mean(features, skipna=False)
    total = between + within
    comparable = attention.sizes["image"] > 1 and math.prod(mean.sizes[dim] for dim in features) > 1
    return (between / total.where(total > 0)).where(comparable).rename("stripe_index")
