"""Variance shares: how much of the variance of attention is a matter of the channel, of the image, and of both."""

import math

import numpy as np
import xarray as xr

from stripe.analysis.dims import Values, feature_dims, labelled, require

__all__ = ["class_share", "variance_components", "variance_shares"]


def variance_components(attention: Values) -> xr.Dataset:
    r"""Unbiased variance components of a two-way table, image × channel, with one value in each cell.

    The model is :math:`v_{ic} = \mu + \alpha_c + \beta_i + \varepsilon_{ic}`. With the mean squares of the two-way
    analysis of variance without replication, N images and C channels,

    .. math:: \sigma^2_\varepsilon = MS_\varepsilon, \quad
              \sigma^2_\alpha = (MS_\alpha - MS_\varepsilon) / N, \quad
              \sigma^2_\beta = (MS_\beta - MS_\varepsilon) / C

    are the estimates by the method of moments (Searle, Casella and McCulloch, "Variance Components", 4.3). They are
    unbiased, and therefore a component that is 0 is estimated to be negative half of the time.

    Args:
        attention: Attention values with the dimension ``image``, perhaps ``epoch``, and those of one image's values,
            which together count as channels.

    Returns:
        ``channel``, ``image`` and ``interaction``, in the square of the unit of ``attention``, float64; ``(epoch,)``
        if there are epochs. NaN where there is only one image or one channel, and where a value is NaN or infinite.
        Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``image``.
    """
    attention = labelled(attention)
    require(attention, ["image"], "The variance of attention")
    features = feature_dims(attention)
    images, channels = attention.sizes["image"], math.prod(attention.sizes[dim] for dim in features)
    values = attention.astype("float64")
    values = values.where(np.isfinite(values))
    values = values - values.isel({"image": 0} | dict.fromkeys(features, 0), drop=True)  # against cancellation
    of_channels, of_images = values.mean("image", skipna=False), values.mean(features, skipna=False)
    rest = values - of_channels - of_images + of_channels.mean(features, skipna=False)
    freedom = (images - 1) * (channels - 1) or np.nan
    interaction = (rest**2).sum(["image", *features], skipna=False) / freedom
    channel = of_channels.var(features, skipna=False) * channels / (channels - 1 or np.nan) - interaction / images
    image = of_images.var("image", skipna=False) * images / (images - 1 or np.nan) - interaction / channels
    return xr.Dataset({"channel": channel, "image": image, "interaction": interaction})


def variance_shares(attention: Values) -> xr.Dataset:
    """The variance components of ``variance_components`` as shares of their sum.

    Attention that is a constant vector has a channel share of 1. Pure noise has one of 0, where the stripe index η² is
    1/N: what N images of noise have in common by chance is taken off here.

    Args:
        attention: As for ``variance_components``.

    Returns:
        ``channel``, ``image`` and ``interaction``, from 0 to 1, which sum up to 1. A negative component is taken as
        0; ``clipped`` counts such components. NaN where ``variance_components`` is, and where nothing varies at all.

    Raises:
        StripeError: There is no dimension ``image``.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import variance_shares
        >>> v = xr.DataArray([[0.0, 2.0], [1.0, 3.0]], dims=("image", "channel"))
        >>> shares = variance_shares(v)  # two channels 2 apart, two images 1 apart, and nothing else
        >>> float(shares["channel"]), float(shares["image"]), float(shares["interaction"])
        (0.8, 0.2, 0.0)
    """
    components = variance_components(attention)
    kept = components.where(~(components < 0), 0.0)
    total = kept["channel"] + kept["image"] + kept["interaction"]
    shares = kept / total.where(total > 0)
    clipped = sum((component < 0).astype(int) for component in components.values())
    return shares.assign(clipped=clipped)


def class_share(attention: Values, labels: Values) -> xr.DataArray:
    r"""Share of the variance between images that the class of the image explains (ε², the adjusted R²).

    What of attention is not a matter of the channel may be noise, or knowledge of the class. With the sums of squares
    over images and channels about the means of the channels (t), and about those of channel and class (w),

    .. math:: \varepsilon^2 = 1 - \frac{SS_w / (N - K)}{SS_t / (N - 1)}

    for N images of K classes. Plain R² would be (K − 1)/(N − 1) where classes mean nothing; this is 0 on average, and
    is set to 0 where it comes out negative.

    Args:
        attention: As for ``variance_components``.
        labels: ``(image,)`` classes, −1 where unknown.

    Returns:
        ``(epoch,)`` if there are epochs, otherwise a single number, float64, from 0 to 1. NaN where the class of an
        image is unknown, there is one class, no class has two images, nothing varies, or a value is not finite.

    Raises:
        StripeError: There is no dimension ``image``.
    """
    attention = labelled(attention)
    require(attention, ["image"], "The share of the classes")
    features = feature_dims(attention)
    names, members = np.unique(labelled(labels).to_numpy(), return_inverse=True)
    images, classes = len(members), len(names)
    values = attention.astype("float64")
    values = values.where(np.isfinite(values))
    values = values - values.mean("image", skipna=False)
    total = (values**2).sum(["image", *features], skipna=False)
    within = xr.zeros_like(total)
    for number in range(classes):
        own = values.isel(image=np.flatnonzero(members == number))
        within = within + ((own - own.mean("image", skipna=False)) ** 2).sum(["image", *features], skipna=False)
    usable = bool((names >= 0).all()) and 1 < classes < images
    ratio = within / (images - classes or 1) / (total.where(total > 0) / (images - 1 or 1))
    return (1 - ratio).where(usable).clip(min=0).rename("class_share")
