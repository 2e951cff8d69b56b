"""What the numbers mean: a category and one honest sentence a site."""

import math

import pandas as pd

__all__ = ["verdicts"]

# Thresholds. A gate that is a constant to 5 % of its size is what the paper's figures show as clean stripes; above
# that, 90 % of the variance between channels still looks striped, but what a constant loses is no longer small.
NEARLY_CONSTANT = 0.05
STRIPED = 0.9
# A site has settled when this share of its values has: the rest are single values among many images and channels.
SETTLED = 0.95
# How near to 0 or 1 a gate that never varies counts as shut or open.
SATURATED = 1e-3


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Say of each site whether its attention is a constant, from the last epoch of its metrics.

    =================== ==============================================================================================
    category            when
    =================== ==============================================================================================
    ``constant``        no channel varies (``frozen`` is 1, or the factor does not depend on the input at all)
    ``nearly constant`` replacing attention by its mean over images changes it by at most 5 % (``constant_error``)
    ``striped``         it changes it by more, but at least 90 % of the variance lies between channels
    ``input-dependent`` neither
    ``unknown``         one image only, or no channel without NaN
    =================== ==============================================================================================

    Args:
        table: What `metrics` returns, or the part of it that is of interest.

    Returns:
        One row a site, in the order of ``table``: ``site``, ``kind``, ``epoch`` (the one judged), ``category``,
        ``constant_error``, ``stripe_index``, ``settled_by`` (the first epoch after which 95 % of the values stay
        within the tolerance; NaN if never, or if one epoch was captured) and ``verdict``, the sentence.
    """
    tolerance = table.attrs.get("tolerance")
    rows = [_judge(site, tolerance) for _, site in table.groupby("site", sort=False)]
    return pd.DataFrame(rows)


def _judge(site: pd.DataFrame, tolerance: float | None) -> dict[str, object]:
    site = site.sort_values("epoch")
    last = site.iloc[-1]
    category = _category(last)
    settled_by = _settled_by(site)
    sentences = [_constancy(last, category), _maps(last), _settling(site, settled_by, tolerance), _nonfinite(last)]
    return {
        "site": last["site"],
        "kind": last["kind"],
        "epoch": int(last["epoch"]),
        "category": category,
        "constant_error": float(last["constant_error"]),
        "stripe_index": float(last["stripe_index"]),
        "settled_by": settled_by,
        "verdict": " ".join(sentence for sentence in sentences if sentence),
    }


def _category(last: pd.Series) -> str:
    if not last["input_dependent"]:
        return "constant"
    if last["images"] < 2 or pd.isna(last["constant_error"]):
        return "unknown"
    if last["frozen"] == 1:
        return "constant"
    if last["constant_error"] <= NEARLY_CONSTANT:
        return "nearly constant"
    return "striped" if last["stripe_index"] >= STRIPED else "input-dependent"


def _constancy(last: pd.Series, category: str) -> str:
    what = "positions" if last["kind"] == "spatial" else "channels"
    if category == "constant":
        return _constant(last, what)
    if category == "unknown":
        if last["images"] < 2:
            return "Unknown: one image cannot show whether attention depends on the image."
        return f"Unknown: none of its {what} is free of NaN and infinite values."
    error, index = last["constant_error"], last["stripe_index"]
    between = "" if pd.isna(index) else f"{index:.0%} of the variance lies between {what}"
    if category == "nearly constant":
        text = f"Nearly constant: its mean over images is {error:.1%} off (RMS)"
    elif category == "striped":
        return f"Striped but not constant: {between}, yet its mean over images is {error:.1%} off (RMS)."
    else:
        text = f"Depends on the image: its mean over images is {error:.1%} off (RMS)"
    frozen = f" {last['frozen']:.0%} of its {what} never vary." if last["frozen"] > 0 else ""
    return f"{text}; {between}.{frozen}" if between else f"{text}.{frozen}"


def _constant(last: pd.Series, what: str) -> str:
    if not last["input_dependent"]:
        return "Constant by construction: it does not depend on the image."
    if max(abs(last["mean_min"]), abs(last["mean_max"])) <= SATURATED:
        return "Constant: saturated at 0, for every image."
    if max(abs(last["mean_min"] - 1), abs(last["mean_max"] - 1)) <= SATURATED:
        return "Constant: saturated at 1, for every image."
    return f"Constant: none of its {what} differs between images."


def _maps(last: pd.Series) -> str:
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
        return f"Still moving: {site['settled'].iloc[-1]:.0%} of its values stay {within} in the end."
    return f"Stays {within} from epoch {settled_by:.0f} on."


def _nonfinite(last: pd.Series) -> str:
    count = int(last["nonfinite"])
    return f"Beware: {count} of its values are NaN or infinite." if count else ""
