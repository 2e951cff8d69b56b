"""Repeatable choice of the sites, images, channels and epoch of a capture to draw."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.names import matching

__all__ = [
    "CHANNEL_KINDS",
    "Choice",
    "NothingToDrawError",
    "Patterns",
    "choose",
    "choose_epoch",
    "choose_sites",
]

Patterns = str | Sequence[str] | None
Choice = int | Sequence[int]

# Kinds whose values are one vector per image, so that images × values shows stripes if they are constant.
CHANNEL_KINDS = ("channel", "branch", "strip")


class NothingToDrawError(StripeError):
    """A valid capture does not hold the values that a kind of plot shows."""


def choose_sites(
    capture: CaptureLike, patterns: Patterns, kinds: Sequence[str], count: int | None = None
) -> dict[str, xr.Dataset]:
    """Choose the sites to draw, in the order of the forward pass.

    Args:
        capture: A capture, its tree or its path.
        patterns: Names of sites or globs (``layer1.*``); if None, sites that depend on the image are preferred.
        kinds: Kinds of site that can be drawn.
        count: Number of sites to choose if ``patterns`` is None, evenly spread over the depth of the network (1 is
            the middle site); None stands for all.

    Raises:
        StripeError: The argument is not a capture, or a pattern matches no site.
        NothingToDrawError: There is no site of these kinds, or none among the named ones.
    """
    opened = as_capture(capture)
    sites, facts = opened.sites, opened.facts
    if not sites:
        if opened.layers:
            raise NothingToDrawError("The capture holds Grad-CAM maps and no attention; draw it with kind='gradcam'.")
        raise StripeError("This is not a capture: it has no group 'sites'. `stripe capture` makes one.")
    if patterns is None:
        named = {name: site for name, site in sites.items() if facts[name].input_dependent} or sites
    else:
        named = {name: sites[name] for name in matching(sites, patterns, "the capture")}
    fitting = {name: site for name, site in named.items() if facts[name].kind in kinds}
    if not fitting:
        wanted = " or ".join(kinds)
        held = ", ".join(sorted({facts[name].kind for name in named})) or "none"
        where = "the capture holds" if patterns is None else "those named are"
        raise NothingToDrawError(
            f"There is no {wanted} attention site to draw ({where}: {held}). "
            "`stripe inspect` lists the sites of a capture; another kind of plot may show them."
        )
    if patterns is not None or count is None or len(fitting) <= count:
        return fitting
    names = list(fitting)
    spread = [len(names) // 2] if count == 1 else np.linspace(0, len(names) - 1, count).round().astype(int)
    return {names[i]: fitting[names[i]] for i in spread}


def choose(
    wanted: Choice,
    available: npt.ArrayLike,
    *,
    what: Literal["image", "channel"],
    seed: int,
    classes: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int64]:
    """Choose images or channels from a list, or as a random sample.

    Args:
        wanted: A list of ids, which keeps its order; or the size of a sample, which is in ascending order and has all
            ids if there are no more.
        available: The ids that exist, as an array (n,).
        what: Name of the chosen things, for the error. It also makes the two samples independent of each other.
        seed: Seed of the sample, which depends on nothing else but ``what`` and the number of available ids.
        classes: Class of each id as an array (n,); if given, the sample is balanced over the classes.

    Returns:
        Positions in ``available``.

    Raises:
        StripeError: A listed id does not exist, or the size of the sample is below 1.
    """
    ids = np.asarray(available)
    if isinstance(wanted, int | np.integer):
        if wanted < 1:
            raise StripeError(f"At least 1 {what} must be drawn, not {wanted}.")
        if wanted >= len(ids):
            return np.arange(len(ids))
        order = np.random.default_rng([seed, int(what == "channel")]).permutation(len(ids))
        if classes is not None:
            order = order[np.argsort(_occurrence(np.asarray(classes)[order]), kind="stable")]
        return np.sort(order[:wanted])
    positions = {int(value): i for i, value in enumerate(ids)}
    missing = [value for value in wanted if int(value) not in positions]
    if missing or not len(wanted):
        lacking = ", ".join(map(str, missing[:5])) or "none named"
        raise StripeError(f"No such {what}: {lacking}. There are {len(ids)}, from {ids.min()} to {ids.max()}.")
    return np.array([positions[int(value)] for value in wanted], dtype=np.int64)


def _occurrence(classes: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Number of earlier elements of the same class, for each element: 0 for the first of a class."""
    seen: dict[object, int] = {}
    result = np.empty(len(classes), dtype=np.int64)
    for i, value in enumerate(classes.tolist()):
        result[i] = seen.get(value, 0)
        seen[value] = result[i] + 1
    return result


def choose_epoch(capture: CaptureLike, epoch: int | None) -> int:
    """Return the given epoch, or the last one if it is None.

    Raises:
        StripeError: The capture does not hold the epoch.
    """
    epochs = [int(value) for value in as_capture(capture).epochs]
    if not epochs:
        raise StripeError("The capture holds no complete epoch yet. Run the command that made it once more.")
    if epoch is None:
        return epochs[-1]
    if epoch not in epochs:
        listed = ", ".join(map(str, epochs)) if len(epochs) <= 8 else f"{len(epochs)} from {epochs[0]} to {epochs[-1]}"
        raise StripeError(f"The capture does not hold epoch {epoch}. It holds {listed}.")
    return epoch
