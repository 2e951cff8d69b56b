"""The selection of the sites to fold: first those that cost the least error for the time that they free."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from stripe.errors import StripeError
from stripe.fold.evaluation import Evaluation
from stripe.fold.sites import Foldable
from stripe.fold.variants import Variants
from stripe.names import fitting
from stripe.progress import track

__all__ = ["Effect", "curve", "effect_of_each", "fast_enough", "in_order", "keeps", "matching", "within"]


logger = logging.getLogger(__name__)


class Effect(NamedTuple):
    """What folding one site alone does.

    Attributes:
        error: Norm of the difference of the outputs, relative to that of the outputs.
        accuracy: Change, in points.
        uncertainty: Standard error of that, in points.
        loss: Change of the mean cross-entropy.
    """

    error: float
    accuracy: float
    uncertainty: float
    loss: float


def matching(places: Sequence[Foldable], patterns: str | Sequence[str], reasons: Mapping[str, str]) -> list[Foldable]:
    """The foldable sites that are meant.

    Args:
        places: All sites that can be folded.
        patterns: ``"all"``, a name or a glob of names, or several.
        reasons: Name of a site that cannot be folded → why not, for the message.

    Raises:
        StripeError: A pattern fits none of them.
    """
    if not patterns:
        raise StripeError("no sites are named; leave sites away to fold all")
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        glob = "*" if pattern == "all" else pattern
        means = fitting((place.site.name for place in places), glob)
        if not means:
            refused = [f"{name}: {reasons[name]}" for name in fitting(reasons, glob)]
            known = f"there are {', '.join(place.site.name for place in places[:4])}, …" if places else "there are none"
            raise StripeError(f"no site that can be folded fits {pattern!r}; {refused[0] if refused else known}")
        found |= set(means)
    return [place for place in places if place.site.name in found]


def effect_of_each(variants: Variants, places: Sequence[Foldable]) -> dict[str, Effect]:
    """Fold each site alone; name of the site → what that does.

    NaN where the network does not run so: attention may need something of the site before (DIA).
    """
    effects, original = {}, variants.original
    for place in track(places, "folding each site alone"):
        try:
            found = variants.evaluate([place])
        except StripeError as error:
            logger.warning("%s cannot be folded alone: %s", place.site.name, error)
            effects[place.site.name] = Effect(math.nan, math.nan, math.nan, math.nan)
            continue
        effects[place.site.name] = Effect(
            found.error(original),
            found.accuracy - original.accuracy,
            found.uncertainty(original),
            found.loss - original.loss,
        )
    return effects


def in_order(places: Sequence[Foldable], effects: Mapping[str, Effect], seconds: Mapping[str, float]) -> list[Foldable]:
    """The sites in the order of error per second freed, the cheapest first.

    Where outputs cannot be compared, it is what is lost by the metric, or by the task's measure, per second freed.
    """
    costs = {name: -effect.accuracy if math.isnan(effect.error) else effect.error for name, effect in effects.items()}
    return sorted(places, key=lambda place: costs[place.site.name] / seconds[place.site.name])


def curve(variants: Variants, ordered: Sequence[Foldable], whole: Evaluation, speeds: Sequence[float]) -> pd.DataFrame:
    """Accuracy against speed, with the first 0, 1, 2 … sites folded.

    Args:
        variants: Scores of the network with some sites folded.
        ordered: The sites, in the order in which they are folded.
        whole: The score with attention, on all images; what the images of ``variants`` say of the changes is added.
        speeds: Relative to none folded, 1 + len(ordered) numbers.

    Returns:
        One row per network: ``sites`` (how many are folded), ``site`` (the one that was folded last), ``accuracy`` or
        ``agreement`` (per cent), ``uncertainty`` (standard error of its change, points), ``loss``, ``error`` (of the
        outputs, relative) and ``relative_speed``.
    """
    original, scores = variants.original, [variants.original]
    for number in track(range(1, len(ordered) + 1), "folding one after the other"):
        scores.append(variants.evaluate(ordered[:number], going_on=True))
        variants.keep(ordered[:number])
    return pd.DataFrame(
        {
            "sites": range(len(scores)),
            "site": ["", *(place.site.name for place in ordered)],
            original.measure: [whole.accuracy + (found.accuracy - original.accuracy) for found in scores],
            "uncertainty": [found.uncertainty(original) for found in scores],
            "loss": [whole.loss + (found.loss - original.loss) for found in scores],
            "error": [found.error(original) for found in scores],
            "relative_speed": speeds,
        }
    )


def within(variants: Variants, ordered: Sequence[Foldable], budget: float) -> list[Foldable]:
    """The sites that a budget allows: one after the other is folded, and those that would exceed it are passed over.

    Args:
        variants: Scores of the network with some sites folded.
        ordered: The sites, the cheapest first.
        budget: Points of accuracy, or of agreement, that may be lost by all together; of a metric in its unit.

    Returns:
        The sites that are folded, in that order.

    Raises:
        StripeError: There are no labels to judge by.
    """
    if math.isnan(variants.original.accuracy):
        raise StripeError(
            'without labels no budget of accuracy can be kept; give batches of (images, labels), or measure="agreement"'
        )
    taken: list[Foldable] = []
    for place in track(ordered, "folding within the budget"):
        found = variants.evaluate([*taken, place], going_on=True)
        if keeps(found, variants.original, budget):
            taken.append(place)
            variants.keep(taken)
    return taken


def keeps(found: Evaluation, original: Evaluation, budget: float) -> bool:
    """Whether a network has lost no more than a budget."""
    return original.accuracy - found.accuracy <= budget + 1e-9  # from 60 to 57 may be more than 3, in binary


def fast_enough(table: pd.DataFrame, target_speed: float, most: int) -> int:
    """How many sites to fold, of a table from `curve`: as few as reach a speed.

    Args:
        table: The curve.
        target_speed: Relative to the network with attention.
        most: How many may be folded.

    Raises:
        StripeError: The speed is not reached.
    """
    allowed = table[table["sites"] <= most]
    fast = allowed[allowed["relative_speed"] >= target_speed]
    if fast.empty:
        best = allowed.iloc[int(allowed["relative_speed"].to_numpy().argmax())]
        limit = " within the budget" if most < len(table) - 1 else ""
        raise StripeError(
            f"× {target_speed:g} is not reached{limit}: the fastest is × {best['relative_speed']:.2f}, with "
            f"{int(best['sites'])} of {len(table) - 1} sites folded"
        )
    return int(fast["sites"].to_numpy().min())
