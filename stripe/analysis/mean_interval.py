"""The interval of a mean over few values, such as the results of several seeds."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import special

from stripe.errors import StripeError

__all__ = ["MeanInterval", "mean_interval"]


class MeanInterval(NamedTuple):
    """A mean and its interval.

    Attributes:
        mean: The mean; NaN of no values.
        half: Half the width of the interval; NaN of fewer than two values, which say nothing of their spread.
        number: The number of values.
    """

    mean: float
    half: float
    number: int

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half


def mean_interval(values: Iterable[float], *, level: float = 0.95) -> MeanInterval:
    r"""Return the mean of independent values and its interval by Student's t.

    .. math:: \bar x \pm t_{n-1,\,(1 + p)/2} \, s / \sqrt n

    with the standard deviation s of n values (n − 1) and the level p. It supposes that means of so many values are
    about normal; of two values it is nine times as wide as their standard deviation on either side, as it has to be.

    Args:
        values: The values, such as one for each seed, or the difference of two networks for each seed.
        level: The share p of such intervals that hold the true mean.

    Raises:
        StripeError: The level does not lie between 0 and 1.

    Example:
        >>> found = mean_interval([74.0, 75.0, 76.0])
        >>> round(found.low, 2), found.mean, round(found.high, 2)
        (72.52, 75.0, 77.48)
    """
    if not 0 < level < 1:
        raise StripeError(f"level= must lie between 0 and 1, not {level}.")
    found = np.fromiter(values, np.float64)
    number = len(found)
    mean, half = float(found.mean()) if number else math.nan, math.nan
    if number > 1:
        half = float(special.stdtrit(number - 1, (1 + level) / 2) * found.std(ddof=1) / math.sqrt(number))
    return MeanInterval(mean, half, number)
