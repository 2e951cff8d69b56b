"""Sentences on what the page leaves out."""

import math
from collections.abc import Mapping
from typing import Any

from stripe.analysis.wording import index_text, interval_text, share_text
from stripe.report.thinning import Plan

__all__ = ["gradcam_caption", "number_texts", "site_note", "thinning_note"]


def number_texts(row: Mapping[Any, Any]) -> dict[str, str]:
    """The cells of a site in the table: variance shares, and errors and stripe index with their intervals.

    Args:
        row: Of ``stripe.analysis.verdicts`` with evidence.

    Returns:
        ``shares``, ``output`` and ``off`` in percent without its sign, and ``index``; a dash where one is undefined.
    """
    value, low, high = (index_text(row[f"stripe_index{end}"]) for end in ("", "_low", "_high"))
    return {
        "shares": share_text(row),
        "output": interval_text(row, "output_error"),
        "off": interval_text(row, "constant_error"),
        "index": value if value == "–" else f"{value} [{low}, {high}]",
    }


def thinning_note(plan: Plan, epochs: int) -> str:
    """What of the whole capture is shown, and how exactly."""
    if not plan.thinned:
        return (
            "Every captured value, rounded to one of 65,535 steps from the least to the greatest of its site and epoch."
        )
    shown = f"{len(plan.epochs)} of {epochs} epochs" if len(plan.epochs) < epochs else "every epoch"
    return (
        f"The capture is larger than a page can hold. Shown of it: {shown}, and for each site as many images and "
        "channels as fit, rounded to one of 255 steps from the least to the greatest of a site and epoch. Images are "
        "left out, never averaged, for a mean over images looks like a constant. Verdicts, indices, standard "
        "deviations and differences are computed from every value. Fewer sites (stripe report --sites 'layer3.*') show "
        "more of each."
    )


def site_note(record: Mapping[str, Any], plan: Plan, images: int, epochs: int) -> str:
    """What of a site is shown; nothing where it is everything."""
    parts = []
    if record["step"] > 1:
        parts.append(f"one image of {record['step']} ({record['attention']['shape'][1]:,} of {images:,})")
    if record["group"] > 1:
        before, after = math.prod(record["size"]), math.prod(record["features"])
        square = len(record["size"]) > 1
        what = (
            f"squares of {record['group']} × {record['group']} positions"
            if square
            else f"{record['group']} neighbouring channels"
        )
        parts.append(f"means of {what} ({after:,} of {before:,} columns)")
    if len(plan.epochs) < epochs:
        parts.append(f"{len(plan.epochs)} of {epochs} epochs")
    if record["diff"] is not None and plan.differences > 1:
        parts.append(f"differences averaged over {plan.differences} epochs")
    return f"Shown: {', '.join(parts)}." if parts else ""


def gradcam_caption(record: Mapping[str, Any]) -> str:
    """The size of a Grad-CAM map, of how many images it is the mean, and for which class."""
    height, width = record["size"]
    parts = [f"{height} × {width} px"]
    if record["images"] is not None:
        parts.append(f"mean of {record['images']:,} images")
    if record["empty"]:
        parts.append(f"{record['empty']:,} of them without evidence")
    if record["target"]:
        parts.append(record["target"] if record["target"].startswith("class ") else f"{record['target']} class")
    if record["group"] > 1:
        parts.append(f"shown: means of {record['group']} × {record['group']} px")
    return ", ".join(parts)
