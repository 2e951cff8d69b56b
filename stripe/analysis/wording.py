"""Numbers in sentences."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stripe.analysis.comparison import controls_of

__all__ = [
    "control_text",
    "difference_text",
    "index_text",
    "interval_text",
    "like_control",
    "percent",
    "percent_interval",
    "share_text",
    "signed",
]

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


def interval_text(row: Mapping[Any, Any], name: str) -> str:
    """A number of a verdict and its interval in percent without the sign, for a table: 1.2 [1.0, 1.5]."""
    if math.isnan(row[name]):
        return "–"
    value, low, high = (_bare(row[f"{name}{end}"], 1) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def share_text(row: Mapping[Any, Any]) -> str:
    """The variance shares of a verdict in percent without the sign, for a table: channel/image/interaction."""
    shares = [row[f"{name}_share"] for name in ("channel", "image", "interaction")]
    return "–" if any(map(math.isnan, shares)) else "/".join(_bare(share, 0) for share in shares)


def control_text(row: Mapping[Any, Any], name: str) -> str:
    """An error of the controls of a verdict in percent, and how the site compares: init 1.2 equal, permuted 9.1 nearer.

    It is a dash where the verdict was given without controls.
    """
    controls = [control for control in controls_of(row) if row[f"against_{control}"]]
    texts = []
    for control in controls:
        error = row.get(f"{control}_{name}", math.nan)
        number = "–" if math.isnan(error) else _bare(error, 1)
        texts.append(f"{control} {number} {row[f'against_{control}']}")
    return ", ".join(texts) or "–"


def like_control(verdicts: pd.DataFrame) -> int:
    """How many of the sites that are a constant, or nearly one, are equal to one of their controls."""
    against = [f"against_{control}" for control in controls_of(verdicts)]
    constant = verdicts["category"].isin(["constant", "nearly constant"])
    return int((constant & (verdicts[against] == "equal").any(axis=1)).sum())


def index_text(index: float) -> str:
    """A stripe index with three decimals, and 1 of nothing but perfect stripes."""
    if math.isnan(index):
        return "–"
    return ">0.999" if 0.9995 <= index < 1 - EXACT else f"{index:.3f}"


def _bare(share: float, decimals: int) -> str:
    return percent(share, decimals).replace("%", "").replace(" ", "")


def difference_text(value: float, low: float, high: float) -> str:
    """Return a difference and its interval, where it has one, and a dash where there is no difference.

    Example:
        >>> difference_text(-1.2, -3.0, 0.6), difference_text(0.5, math.nan, math.nan)
        ('−1.20 (−3.00 … +0.60)', '+0.50')
    """
    if not math.isfinite(value):
        return "–"
    size = max(abs(number) for number in (value, low, high) if math.isfinite(number))
    mean, *ends = (signed(number, size) for number in (value, low, high))
    return f"{mean} ({' … '.join(ends)})" if math.isfinite(low) else mean


def signed(value: float, size: float | None = None) -> str:
    """Return a difference with its sign, and a dash where there is none.

    Args:
        value: The difference.
        size: What decides the number of decimals, if not the difference itself.
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value) if size is None else size
    decimals = 2 - min(0, 1 + math.floor(math.log10(size))) if size else 2
    return f"{'−' if value < 0 else '+'}{abs(value):.{0 if size >= 1000 else decimals}f}"
