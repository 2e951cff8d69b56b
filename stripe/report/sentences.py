"""The sentences of the page: the verdict on the network, what folding costs, what is left out."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stripe.analysis.comparison import controls_of
from stripe.analysis.wording import control_text, index_text, interval_text, like_control, share_text
from stripe.names import counted
from stripe.report.budget import Plan

__all__ = ["frontier_sentence", "gradcam_caption", "headline", "number_texts", "site_note", "thinning_note"]

# From attention that could be a constant to attention that couldn't; what each means to a reader in a hurry.
_CATEGORIES = {
    "constant": "the same for every image",
    "nearly constant": "its mean over images is at most 5 % off",
    "striped": "at least 90 % of the variance lies between channels, but a constant would be more than 5 % off",
    "input-dependent": "differs from image to image",
    "undecided": "too few images to tell",
    "unknown": "cannot be told from this capture",
}


_UNLEARNED = "can be seen in a control as well, a network that has not learned, so that training need not be its cause."


def headline(verdicts: pd.DataFrame) -> tuple[str, str]:
    """Say of the whole network whether its attention is a constant.

    Args:
        verdicts: What ``stripe.analysis.verdicts`` returns.

    Returns:
        One sentence, and one that counts the sites of each category. Where some are constant and there is no control,
        a third one that says so, for the attention of an untrained network looks like a constant, too.
    """
    counts = verdicts["category"].value_counts()
    sites = len(verdicts)
    unknown = sum(int(counts.get(category, 0)) for category in ("undecided", "unknown"))
    constant = sum(int(counts.get(category, 0)) for category in ("constant", "nearly constant"))
    if unknown == sites:
        first = "Whether attention depends on the image cannot be told from this capture."
    elif constant == sites == 1:
        first = f"Attention is {'a constant' if 'constant' in counts else 'nearly a constant'}."
    elif constant == sites:
        first = "Attention is a constant, or nearly one, at every site."
    elif constant:
        first = f"Attention is a constant, or nearly one, at {constant} of {sites} sites."
    elif sites == 1:
        first = "Attention is not a constant."
    else:
        first = f"Attention is not a constant at any site{' that could be judged' if unknown else ''}."
    found = [f"{int(counts[name])} {name} ({meaning})" for name, meaning in _CATEGORIES.items() if name in counts]
    of = counted(sites, "site")
    second = f"Of {of} at epoch {int(verdicts['epoch'].max())}: {'; '.join(found)}."
    if constant and not controls_of(verdicts):
        second += " No control was recorded, and the attention of an untrained network looks like a constant, too."
    elif equal := like_control(verdicts):
        which = f"{equal} of these {constant} constants" if constant > 1 else "This constant"
        second += f" {which} {_UNLEARNED}"
    return first, second


def frontier_sentence(record: dict[str, list[Any]]) -> str:
    """What the last point says against the first."""
    sites, accuracy, uncertainty, speed = (
        record[name] for name in ("sites", "accuracy", "uncertainty", "relative_speed")
    )
    return (
        f"With attention {accuracy[0]:.2f} %; with {counted(sites[-1], 'site')} folded, which is all that can be, "
        f"{accuracy[-1]:.2f} % (the difference ± {uncertainty[-1]:.2f}) at {speed[-1]:.2f} × the speed, "
        "before anything is won back."
    )


def number_texts(row: Mapping[Any, Any]) -> dict[str, str]:
    """The cells of a site in the table: variance shares, and errors and stripe index with their intervals.

    Args:
        row: Of ``stripe.analysis.verdicts`` with evidence.

    Returns:
        ``shares``, ``output``, ``off`` and ``controls`` in percent without its sign, and ``index``; a dash where one is
        undefined.
    """
    value, low, high = (index_text(row[f"stripe_index{end}"]) for end in ("", "_low", "_high"))
    return {
        "shares": share_text(row),
        "output": interval_text(row, "output_error"),
        "off": interval_text(row, "constant_error"),
        "controls": control_text(row, "constant_error" if math.isnan(row["output_error"]) else "output_error"),
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
        parts.append(f"mean of {counted(record['images'], 'image')}")
    if record["empty"]:
        parts.append(f"{record['empty']:,} of them without evidence")
    if record["target"]:
        parts.append(record["target"] if record["target"].startswith("class ") else f"{record['target']} class")
    if record["group"] > 1:
        parts.append(f"shown: means of {record['group']} × {record['group']} px")
    return ", ".join(parts)
