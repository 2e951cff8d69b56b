"""A site beside its controls: the same site in a network that has not learned, or whose gate has not."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from stripe.analysis.evidence import evidence
from stripe.analysis.metrics import FROZEN
from stripe.capture import CaptureLike, as_capture

__all__ = ["CONTROLS", "compare_sites", "control_evidence", "controls_of"]

CONTROLS = {"init": "at initialisation", "permuted": "with the gate's parameters permuted"}
"""Name of a control → where its site is, in words."""


def controls_of(names: Iterable[object]) -> list[str]:
    """Return the controls that a verdict, or a table of verdicts, has been compared with.

    Args:
        names: The names of its numbers or columns.

    Example:
        >>> controls_of(["site", "against_init", "init_stripe_index"])
        ['init']
    """
    return [name.removeprefix("against_") for name in map(str, names) if name.startswith("against_")]


def compare_sites(site: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    """Whether a site is nearer to a constant than its control, or than the same site of another network.

    Compared are the intervals of the output errors, or of the constant errors where one of the two has no other. They
    are equal where their intervals overlap, which is the cautious way: two that differ may be called equal.

    Args:
        site: A row of ``evidence``.
        control: The row of the same site in the control.

    Returns:
        ``equal``, ``nearer`` (to a constant), ``further`` (from one), or ``unknown`` where one has no interval, or
        neither its attention nor the input of that varies.
    """
    if not (_varies(site) and _varies(control)):
        return "unknown"
    for name in ("output_error", "constant_error"):
        ends = [float(row.get(f"{name}_{end}", math.nan)) for row in (site, control) for end in ("low", "high")]
        if all(map(math.isfinite, ends)):
            low, high, control_low, control_high = ends
            if high < control_low:
                return "nearer"
            return "further" if low > control_high else "equal"
    return "unknown"


def _varies(row: Mapping[str, Any]) -> bool:
    """Whether anything differs between the images at a site: attention or, as far as it is known, its input."""
    input_varies = row.get("input_varies")
    return bool(pd.isna(input_varies) or input_varies or row["constant_error"] > FROZEN)


def control_evidence(
    capture: CaptureLike, sites: str = "*", *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Measure the controls of a capture as ``evidence`` measures the capture itself.

    Args:
        capture: A capture, its tree or its path.
        sites: Shell pattern of the sites to measure.
        level: Share of the intervals.
        resamples: How often the images are drawn anew.
        seed: Seed of these draws; with that of the capture, both draw the same images.

    Returns:
        Name of a control → its ``evidence``; empty where the capture has no control, as those of the first release.
    """
    return {
        name: evidence(control, sites, level=level, resamples=resamples, seed=seed)
        for name, control in as_capture(capture).controls.items()
    }
