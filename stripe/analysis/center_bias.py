"""How far from the centre a network looks: one number of its Grad-CAM maps, with an interval."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stripe.analysis.dims import require
from stripe.errors import StripeError

__all__ = ["CenterBias", "center_bias"]


@dataclass(frozen=True)
class CenterBias:
    """The centre bias and its bootstrap interval.

    Attributes:
        value: Mean distance from the centre, divided by that of a uniform map: 1 where a network looks everywhere
            alike, 0 where it looks at the central pixel alone, above 1 where it looks at the border.
        low: Lower end of the interval.
        high: Upper end.
        level: Share of the interval, 0 to 1.
        images: How many images have a map that is not all zeros.
        resamples: How often the images were drawn anew.
        seed: Of these draws.
    """

    value: float
    low: float
    high: float
    level: float
    images: int
    resamples: int
    seed: int

    def __str__(self) -> str:
        """As a sentence."""
        if not self.images:
            return "Centre bias: undefined, every map is all zeros."
        return (
            f"Centre bias {self.value:.3f} ({self.level:.0%} interval {self.low:.3f}–{self.high:.3f}; 1: looks "
            "everywhere alike, below 1: towards the centre)."
        )


def center_bias(averages: xr.Dataset, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> CenterBias:
    r"""Mass-weighted distance of Grad-CAM maps from the centre of the image, divided by that of a uniform map.

    .. math:: b = \frac{\sum_i \sum_p m_i(p)\, r(p)}{\bar r \sum_i \sum_p m_i(p)}

    with :math:`m_i(p)` the map of image i, :math:`r(p)` the distance of pixel p from the centre and :math:`\bar r` its
    mean. It is the number of the mean map that the Stripe Observation paper shows in fig. 6. The interval is the
    percentile bootstrap over images: it tells what another sample of images would give, not another training.

    Args:
        averages: What `stripe.gradcam.gradcam` gives, or a group ``/gradcam/<layer>`` of a capture: of each image
            ``mass`` :math:`\langle m_i\rangle_p` and ``moment`` :math:`\langle m_i r\rangle_p / \bar r`.
        level: Share of the interval, between 0 and 1.
        resamples: How often the images are drawn anew.
        seed: Of these draws.

    Returns:
        Value and interval; NaN where every map is all zeros.

    Raises:
        StripeError: There is no ``mass`` or ``moment``, no image, or a level or number out of range.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import center_bias
        >>> maps = xr.Dataset({"mass": ("image", [0.2, 0.2]), "moment": ("image", [0.1, 0.1])})
        >>> center_bias(maps).value
        0.5
    """
    if not {"mass", "moment"} <= set(averages.data_vars):
        raise StripeError("The centre bias needs mass and moment of each image, as `stripe gradcam` writes them.")
    require(averages["mass"], ["image"], "The centre bias")
    if not 0 < level < 1 or resamples < 1:
        raise StripeError(f"The level must lie between 0 and 1 and be drawn at least once: {level}, {resamples}.")
    mass, moment = (averages[name].to_numpy().astype(np.float64) for name in ("mass", "moment"))
    used = mass > 0
    mass, moment = mass[used], moment[used]
    if not len(mass):
        return CenterBias(np.nan, np.nan, np.nan, level, 0, resamples, seed)
    random = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for index in range(resamples):  # one by one: all at once would take images × resamples of memory
        picked = random.integers(0, len(mass), len(mass))
        drawn[index] = moment[picked].sum() / mass[picked].sum()
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return CenterBias(float(moment.sum() / mass.sum()), float(low), float(high), level, len(mass), resamples, seed)
