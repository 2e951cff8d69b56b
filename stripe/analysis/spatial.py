"""Spatial attention is *not* a stripe: maps differ from image to image (the paper, figure 30)."""

import numpy as np
import xarray as xr

from stripe.analysis.channel_std import channel_std
from stripe.analysis.dims import Values, labelled, map_dims, require
from stripe.errors import StripeError

__all__ = ["map_correlation", "spatial_std"]


def spatial_std(attention: Values) -> xr.DataArray:
    """Population standard deviation over the images, for every position of an attention map.

    The same statistic as `channel_std`, asked of maps: large where different images are attended to differently.

    Args:
        attention: Attention maps ``(…, image, height, width)`` or ``(…, image, token)``.

    Returns:
        The dimensions of ``attention`` without ``image``, float64: a map. Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``image``, or none of ``height``, ``width``, ``token``.
    """
    attention = labelled(attention, maps=True)
    _require_map(attention, "The spatial std")
    return channel_std(attention).rename("spatial_std")


def map_correlation(attention: Values) -> xr.DataArray:
    r"""Mean Pearson correlation between the attention maps of two different images, over all pairs of images.

    .. math:: \bar r = \frac{\left\|\sum_i z_i\right\|^2 - N}{N(N-1)}

    with :math:`z_i` the map of image i, its mean over positions subtracted, scaled to length 1. No pair is ever formed,
    so time and memory grow with N, not with its square. 1: every image is attended to at the same places; 0: the
    places have nothing in common.

    Args:
        attention: Attention maps ``(…, image, height, width)`` or ``(…, image, token)``.

    Returns:
        The dimensions of ``attention`` without ``image`` and those of the map, float64, from −1/(N−1) to 1. Maps that
        are the same at every position have no correlation and are left out of N, and so are maps with a NaN or
        infinite value; NaN where fewer than two remain. Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``image``, or none of ``height``, ``width``, ``token``.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import map_correlation
        >>> maps = xr.DataArray([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]], dims=("image", "token"))
        >>> round(float(map_correlation(maps)), 12)
        1.0
    """
    attention = labelled(attention, maps=True)
    positions = _require_map(attention, "The map correlation")
    maps = attention.astype("float64")
    maps = maps.where(np.isfinite(maps))
    maps = maps - maps.isel(dict.fromkeys(positions, 0), drop=True)  # makes constant maps exactly 0
    maps = maps - maps.mean(positions, skipna=False)
    length = (maps**2).sum(positions, skipna=False) ** 0.5
    usable = length > 0
    z = (maps / length.where(usable)).where(usable, 0.0)
    count = usable.sum("image")
    pairs = count * (count - 1)
    return (((z.sum("image") ** 2).sum(positions) - count) / pairs.where(pairs > 0)).rename("map_correlation")


def _require_map(attention: xr.DataArray, purpose: str) -> list[str]:
    require(attention, ["image"], purpose)
    positions = map_dims(attention)
    if not positions:
        raise StripeError(
            f"{purpose} needs attention maps, with dimensions height and width, or token; "
            f"this array has {', '.join(map(str, attention.dims))}. For channel attention use channel_std."
        )
    return positions
