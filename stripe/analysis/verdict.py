"""What the numbers mean: a category and one honest sentence for each site."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stripe.analysis.bootstrap import NUMBERS
from stripe.analysis.comparison import CONTROLS, compare_sites
from stripe.analysis.wording import percent, percent_interval
from stripe.errors import StripeError

__all__ = ["CATEGORIES", "verdicts"]

# Thresholds. What is a constant to 5 % of its size is what the paper's figures show as clean stripes; above that, 90 %
# of the variance between channels still looks striped, but what a constant loses is no longer small.
NEARLY_CONSTANT = 0.05
STRIPED = 0.9
# Of fewer images no mean is known well enough, and no interval either.
FEWEST_IMAGES = 20
# A site has settled when this share of its values has: the rest are single values among many images and channels.
SETTLED = 0.95
# How near to 0 or 1 a gate that never varies counts as shut or open.
SATURATED = 1e-3

CATEGORIES = ("constant", "nearly constant", "striped", "input-dependent", "undecided", "unknown")
"""From attention that could be a constant to attention of which nothing is known."""


def verdicts(
    table: pd.DataFrame, evidence: pd.DataFrame | None = None, controls: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Say of each site whether its attention is a constant, from the last epoch of its metrics.

    *Error* is the ``output_error`` of the evidence, what the next layer sees, and ``constant_error`` where there is
    none.

    =================== ==============================================================================================
    category            when
    =================== ==============================================================================================
    ``constant``        no channel varies (``frozen`` is 1) although the map does, or the factor does not depend on the
                        input at all
    ``nearly constant`` replacing attention by its mean over images costs an error of at most 5 %
    ``striped``         it costs more, but at least 90 % of the variance lies between channels (``stripe_index``)
    ``input-dependent`` neither
    ``undecided``       fewer than 20 images, or the interval of the error holds 5 % or, above that, the one of the
                        stripe index 90 %
    ``unknown``         one image only, no channel without NaN, or neither attention nor its input varies
    =================== ==============================================================================================

    Attention of a network that has learned nothing is nearly constant, too: only what differs from a control has been
    learned. A sentence says how a site compares with its controls, or that none was recorded.

    Args:
        table: What ``metrics`` returns, or the part of it that is of interest.
        evidence: What ``evidence`` returns, of the same sites at the last epoch; without it there are no intervals.
        controls: Name of a control (``init``, the network at initialisation, or ``permuted``, with each gate's
            parameters permuted) → its ``evidence``, of the same sites and images.

    Returns:
        One row for each site, in the order of ``table``: ``site``, ``kind``, ``epoch`` (the one judged), ``category``,
        ``constant_error``, ``stripe_index``, ``settled_by`` (the first epoch from which on 95 % of the values stay
        within the tolerance of their last; NaN if never, or if one epoch was captured) and ``verdict``, the sentence.
        With ``evidence``, all of its numbers with their intervals; with ``controls``, a column such as ``against_init``
        that says ``equal``, ``nearer`` or ``further`` (to or from a constant), or ``unknown``, and the errors of the
        control with their intervals, such as ``init_output_error``.

    Raises:
        StripeError: The evidence or a control lacks a site, or is of another epoch than the last one.
    """
    tolerance, level = table.attrs.get("tolerance"), (evidence.attrs if evidence is not None else {}).get("level", 0.95)
    rows = []
    for name, site in table.groupby("site", sort=False):
        site = site.sort_values("epoch")
        last = {str(key): value for key, value in site.iloc[-1].items()}
        if evidence is not None:
            own = _row(evidence, str(name), "The evidence")
            if own["epoch"] != last["epoch"]:
                raise StripeError(
                    f"The evidence is of epoch {own['epoch']} and the last one of the metrics is {last['epoch']}: give "
                    "evidence(epoch=) the epoch that is to be judged."
                )
            last |= {key: own[key] for key in own.keys() - {"epoch", "channels", "images"}}
        beside = {
            control: _row(found, str(name), f"The control {control}") for control, found in (controls or {}).items()
        }
        rows.append(_judge(site, last, beside, tolerance, level))
    return pd.DataFrame(rows)


def _row(table: pd.DataFrame, site: str, what: str) -> dict[str, Any]:
    found = table[table["site"] == site]
    if len(found) != 1:
        raise StripeError(f"{what} has {len(found)} rows of the site {site}, and needs one: measure the same sites.")
    return {str(key): value for key, value in found.iloc[0].items()}


def _judge(
    site: pd.DataFrame,
    last: dict[str, Any],
    beside: Mapping[str, dict[str, Any]],
    tolerance: float | None,
    level: float,
) -> dict[str, object]:
    category = _category(last)
    settled_by = _settled_by(site)
    against = {control: compare_sites(last, row) for control, row in beside.items()}
    sentences = [
        _constancy(last, category, level, _control_note(against)),
        _carried(last, category),
        _classes(last, category, level),
        *(_against(control, found, beside[control], last) for control, found in against.items()),
        _maps(last),
        _settling(site, settled_by, tolerance),
        _nonfinite(last),
    ]
    names = [f"{number}{end}" for number in NUMBERS for end in ("", "_low", "_high")]
    errors = [f"{number}{end}" for number in ("output_error", "constant_error") for end in ("", "_low", "_high")]
    return {
        "site": last["site"],
        "kind": last["kind"],
        "epoch": int(last["epoch"]),
        "category": category,
        **{name: float(last[name]) for name in names if name in last},
        **{f"against_{control}": found for control, found in against.items()},
        **{f"{control}_{name}": float(row[name]) for control, row in beside.items() for name in errors if name in row},
        "settled_by": settled_by,
        "verdict": " ".join(sentence for sentence in sentences if sentence),
    }


def _error(last: dict[str, Any]) -> tuple[str, float, float, float]:
    """Which error is judged, and its value and interval; without an interval all three are the value."""
    name = "output_error" if math.isfinite(last.get("output_error", math.nan)) else "constant_error"
    value = last[name]
    low, high = (last.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return name, value, *((low, high) if math.isfinite(low) else (value, value))


def _category(last: dict[str, Any]) -> str:
    if not last["input_dependent"]:
        return "constant"
    if last["images"] < 2 or pd.isna(last["constant_error"]):
        return "unknown"
    if last["frozen"] == 1:
        return "unknown" if _input_is_frozen(last) else "constant"
    if last["images"] < FEWEST_IMAGES or _straddled(last):
        return "undecided"
    if _error(last)[1] <= NEARLY_CONSTANT:
        return "nearly constant"
    return "striped" if last["stripe_index"] >= STRIPED else "input-dependent"


def _straddled(last: dict[str, Any]) -> str:
    """The threshold that an interval holds, in words; empty where there is none."""
    _, error, low, high = _error(last)
    if low <= NEARLY_CONSTANT < high:
        return f"{NEARLY_CONSTANT:.0%}, up to which it is nearly constant, lies within the interval"
    low, high = (last.get(f"stripe_index_{end}", last["stripe_index"]) for end in ("low", "high"))
    if error > NEARLY_CONSTANT and low < STRIPED <= high:
        return f"the stripe index may be above or below {STRIPED:g}, from which on it is striped"
    return ""


def _input_is_frozen(last: dict[str, Any]) -> bool:
    varies = last.get("input_varies")
    if varies is None or pd.isna(varies):
        return bool(last.get("input_frozen") == 1)
    return not varies


def _control_note(against: Mapping[str, str]) -> str:
    """What is said behind a constant: that nothing tells whether it was learned."""
    if not against:
        return " (no control was recorded)"
    return ", like its control" if "equal" in against.values() else ""


def _constancy(last: dict[str, Any], category: str, level: float, note: str) -> str:
    what = "positions" if last["kind"] == "spatial" else "channels"
    if category == "constant":
        return _constant(last, what, note)
    if category == "unknown":
        return _unknown(last, what)
    error = _off(last, level)
    index = last["stripe_index"]
    between = "" if pd.isna(index) else f"{percent(index)} of the variance lies between {what}"
    if category == "striped":
        return f"Striped but not constant: {between}, yet {error}."
    if category == "undecided":
        few = last["images"] < FEWEST_IMAGES
        why = (
            f"{last['images']} images are too few to judge by, {FEWEST_IMAGES} are needed" if few else _straddled(last)
        )
        text = f"Undecided: {error}, but {why}"
    elif category == "nearly constant":
        text = f"Nearly constant{note}: {error}"
    else:
        text = f"Depends on the image: {error}"
    frozen = f" {percent(last['frozen'])} of its {what} never vary." if last["frozen"] > 0 else ""
    return f"{text}; {between}.{frozen}" if between else f"{text}.{frozen}"


def _off(last: dict[str, Any], level: float) -> str:
    name, value, low, high = _error(last)
    interval = f"{level:.0%} interval {percent_interval(low, high)}" if low < high else ""
    if name == "output_error":
        return f"its mean over images changes the output by {percent(value, 1)}" + (
            f" ({interval})" if interval else ""
        )
    return f"its mean over images is {percent(value, 1)} off (RMS{f'; {interval}' if interval else ''})"


def _unknown(last: dict[str, Any], what: str) -> str:
    if last["images"] < 2:
        return "Unknown: one image cannot show whether attention depends on the image."
    if pd.isna(last["constant_error"]):
        return f"Unknown: none of its {what} is free of NaN and infinite values."
    return "Unknown: its input does not vary either, as with identical images or a map of zeros."


def _constant(last: dict[str, Any], what: str, note: str) -> str:
    if not last["input_dependent"]:
        return "Constant by construction: it does not depend on the image."
    if max(abs(last["mean_min"]), abs(last["mean_max"])) <= SATURATED:
        return f"Constant{note}: saturated at 0, for every image."
    if max(abs(last["mean_min"] - 1), abs(last["mean_max"] - 1)) <= SATURATED:
        return f"Constant{note}: saturated at 1, for every image."
    return f"Constant{note}: none of its {what} differs between images."


def _carried(last: dict[str, Any], category: str) -> str:
    """Whether the vector of constants matters: what one number in its place would be off."""
    name = "scalar_output_error" if _error(last)[0] == "output_error" else "scalar_error"
    value = last.get(name, math.nan)
    if category in ("constant", "unknown") or math.isnan(value) or math.isnan(last["channel_share"]):
        return ""
    return f"One number in the place of its vector would be {percent(value, 1)} off."


def _classes(last: dict[str, Any], category: str, level: float) -> str:
    """What of the variance between images is a matter of their class."""
    if category in ("constant", "unknown") or math.isnan(last.get("class_share", math.nan)):
        return ""
    interval = percent_interval(last["class_share_low"], last["class_share_high"], 0)
    return (
        f"The class explains {percent(last['class_share'])} of what differs between images ({level:.0%} interval "
        f"{interval})."
    )


def _against(control: str, found: str, row: dict[str, Any], last: dict[str, Any]) -> str:
    where = CONTROLS.get(control, f"in the control {control}")
    if found == "unknown":
        return f"How it compares with the same site {where} is not known."
    name = _error(last)[0]
    value = (
        f"({percent(row[name], 1)} off)" if math.isfinite(row[name]) else f"({percent(row['constant_error'], 1)} off)"
    )
    if found == "equal":
        return f"It is as near to a constant as the same site {where} {value}."
    return f"It is {found} {'to' if found == 'nearer' else 'from'} a constant than the same site {where} {value}."


def _maps(last: dict[str, Any]) -> str:
    correlation = last["map_correlation"]
    return "" if pd.isna(correlation) else f"The maps of two images correlate by {correlation:.2f} on average."


def _settled_by(site: pd.DataFrame) -> float:
    settled = site.loc[site["settled"] >= SETTLED, "epoch"]
    return float(settled.iloc[0]) if len(settled) else float("nan")


def _settling(site: pd.DataFrame, settled_by: float, tolerance: float | None) -> str:
    if len(site) < 2:
        return ""
    within = "within the tolerance" if tolerance is None else f"within {tolerance:g}"
    if math.isnan(settled_by):
        return f"Still moving: {percent(site['settled'].iloc[-1])} of its values stay {within} in the end."
    return f"Stays {within} from epoch {settled_by:.0f} on."


def _nonfinite(last: dict[str, Any]) -> str:
    count = int(last["nonfinite"])
    return f"Beware: {count} of its values are NaN or infinite." if count else ""
