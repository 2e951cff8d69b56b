"""Numbers in sentences."""

import math

__all__ = ["percent", "percent_interval"]

# Nearer to 0 or 1 than this a share is one of them, but for rounding of float64.
EXACT = 1e-9


def percent(share: float, decimals: int = 0) -> str:
    """A share in percent that is rounded to neither 0 nor 100 % unless it is that: > 99.9% for 0.9997.

    Example:
        >>> [percent(share) for share in (0.974, 0.996, 0.9997, 1.0, 0.0001)]
        ['97%', '99.6%', '> 99.9%', '100%', '< 0.1%']
    """
    if math.isnan(share):
        return "undefined"
    for places in (decimals, max(decimals, 1)):
        text = f"{share:.{places}%}"
        below, above = share < 1 - EXACT, share > EXACT
        if not (below and text == f"{1:.{places}%}") and not (above and text == f"{0:.{places}%}"):
            return text
    unit = 10.0 ** -(places + 2)
    return f"> {1 - unit:.{places}%}" if share > 0.5 else f"< {unit:.{places}%}"


def percent_interval(low: float, high: float, decimals: int = 1) -> str:
    """The ends of an interval in percent: 1.0–1.5%."""
    return f"{percent(low, decimals)[:-1]}–{percent(high, decimals)}"
