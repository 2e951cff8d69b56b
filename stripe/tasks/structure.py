"""What a structure search has found: the weights of the ways to put attention together, block by block, epoch by epoch.

A run of a search holds them in the file ``search.nc``, which ``xarray.open_dataset`` reads without any code of ours.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from stripe.attention.search import OPERATIONS
from stripe.errors import StripeError
from stripe.files import replacing
from stripe.tasks import template

__all__ = [
    "CHOICES",
    "FILE",
    "LABELS",
    "OPERATIONS",
    "PARTS",
    "UNDECIDED",
    "agreement",
    "attention_of",
    "choices",
    "choose",
    "controls",
    "decide",
    "decisions",
    "read",
    "trajectories",
    "unanimous",
    "write",
]

FILE = "search.nc"
"""Name of the file in the run directory."""

PARALLEL = "ca|sa"
UNDECIDED = "undecided"
"""What is said of a block whose choice does not lead, see ``decide``."""

PARTS = {PARALLEL: ("ca", "sa"), UNDECIDED: ()}
"""The operations that make up a choice of several, or of none."""

CHOICES = (*OPERATIONS, PARALLEL)
"""What can be chosen for a block: one of the ways, or channel and spatial attention in parallel, a half each."""

LABELS = {
    "identity": "identity",
    "ca>sa": "CA→SA",
    "sa>ca": "SA→CA",
    "ca": "CA",
    "sa": "SA",
    PARALLEL: "CA, SA",
    UNDECIDED: UNDECIDED,
}
"""What each is called in tables and pictures; that of both in parallel as in the report."""

CLOSE = 0.1
"""Weights less than this apart count as equal: those of CA and SA alone, for both to be taken, and that of a choice and
of the next best, for nothing to be decided."""

_DIMS = ("epoch", "block", "operation")


def choose(weights: npt.ArrayLike) -> str:
    """The choice that the weights of a block say ("Attention Module", section 2).

    That is the way with the largest weight; or, where p₃ + p₄ > max(p₀, p₁, p₂) and |p₃ − p₄| < 0.1, channel and
    spatial attention in parallel.

    Args:
        weights: p, (5,), in the order of ``stripe.attention.search.OPERATIONS``.

    Returns:
        One of ``CHOICES``.

    Example:
        >>> choose([0.1, 0.5, 0.2, 0.1, 0.1]), choose([0.3, 0.1, 0.1, 0.22, 0.28])
        ('ca>sa', 'ca|sa')
    """
    p = np.asarray(weights, dtype=np.float64)
    if p[3] + p[4] > p[:3].max() and abs(p[3] - p[4]) < CLOSE:
        return PARALLEL
    return OPERATIONS[int(p.argmax())]


def decide(weights: npt.ArrayLike) -> str:
    """The choice of ``choose`` where it leads: by 0.1 over the largest of the other weights; else ``UNDECIDED``.

    Every search begins with equal weights, for which the rule says channel and spatial attention in parallel. Here the
    weight of these two together is their mean.

    Args:
        weights: As for ``choose``.

    Returns:
        One of ``CHOICES``, or ``UNDECIDED``.

    Example:
        >>> decide([0.2, 0.2, 0.2, 0.2, 0.2]), decide([0.0, 0.51, 0.49, 0.0, 0.0]), decide([0.0, 0.7, 0.3, 0.0, 0.0])
        ('undecided', 'undecided', 'ca>sa')
    """
    p, choice = np.asarray(weights, dtype=np.float64), choose(weights)
    own = [OPERATIONS.index(part) for part in PARTS.get(choice, (choice,))]
    return choice if p[own].mean() - np.delete(p, own).max() >= CLOSE else UNDECIDED


def write(
    folder: Path,
    epoch: int,
    alpha: Mapping[str, npt.ArrayLike],
    *,
    family: str,
    kernel_size: int,
    attention: str | None = None,
) -> None:
    """Add an epoch to the file of a search; it and later ones that are there, of a training that goes on, are replaced.

    Args:
        folder: The run directory.
        epoch: Which, from 1.
        alpha: Name of each block's module, in the order of the forward pass → its α, (5,).
        family: What the first module has the halves of, ``cbam`` or ``mvam``.
        kernel_size: Of its spatial half.
        attention: The attention that is searched, as ``stripe.attention.attention_factory`` takes it, whose modules
            need not be alike: ``sscbam/none/ssmvam,k=3+se``. None: all are as the first.

    Raises:
        StripeError: The file cannot be written, or the one that is there is damaged.
    """
    values = np.stack([np.asarray(value, dtype=np.float32) for value in alpha.values()])
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    attrs = {"family": family, "kernel_size": kernel_size, **({"attention": attention} if attention else {})}
    row = xr.Dataset(
        {
            "alpha": (_DIMS, values[None], {"long_name": "α"}),
            "weight": (
                _DIMS,
                (exponentials / exponentials.sum(axis=1, keepdims=True))[None],
                {"long_name": "p = softmax(α) over the operations"},
            ),
        },
        {"epoch": [epoch], "block": list(alpha), "operation": list(OPERATIONS)},
    )
    if (folder / FILE).exists():
        before = read(folder)
        if list(before["block"].values) != list(alpha):
            raise StripeError(f"{folder / FILE} is of another network; give this search another folder.")
        before = before.sel(epoch=before["epoch"] < epoch)
        row = xr.concat([before, row], "epoch") if before.sizes["epoch"] else row
    row.attrs = attrs
    with replacing(folder / FILE) as unfinished:
        row.to_netcdf(unfinished, engine="h5netcdf")


def read(folder: Path) -> xr.Dataset:
    """The weights of a search.

    Args:
        folder: The run directory.

    Returns:
        ``alpha`` and ``weight``, both (epoch, block, operation), with the attributes ``family`` and ``kernel_size``,
        and mostly ``attention``, see ``write``.

    Raises:
        StripeError: The run is no search, no epoch of it has ended, or the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        raise StripeError(
            f"{folder} holds no structure search that has finished an epoch: it has no {FILE}, which `stripe search` "
            "writes."
        )
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            found = opened.load()
        if problem := _damage(found):
            raise ValueError(problem)
    except Exception as error:  # a damaged file fails in many ways
        raise StripeError(f"{path} cannot be read: {error}. It is damaged, or no file of a search.") from error
    return found


def _damage(found: xr.Dataset) -> str | None:
    """What is wrong with a file that could be opened."""
    for name in ("alpha", "weight"):
        if name not in found or found[name].dims != _DIMS or not np.isfinite(found[name]).all():
            return f"{name} is not a finite number for each {', '.join(_DIMS)}"
    if list(found["operation"].values) != list(OPERATIONS):
        return f"its operations are not {', '.join(OPERATIONS)}"
    if not found.sizes["epoch"] or not found.sizes["block"]:
        return "it holds no epoch or no block"
    if found.attrs.get("family") not in ("cbam", "mvam") or found.attrs.get("kernel_size", 0) % 2 != 1:
        return "it does not say which attention was searched"
    if len(template.searched(_places(found))) != found.sizes["block"]:
        return "its attention has another number of blocks"
    return None


def choices(search: xr.Dataset) -> dict[str, str]:
    """What is chosen for each block at the last epoch of a search.

    Args:
        search: From ``read``.

    Returns:
        Name of the block's module → one of ``CHOICES``, in the order of the forward pass.
    """
    return {block: choose(weights) for block, weights in _last(search).items()}


def decisions(search: xr.Dataset) -> dict[str, str]:
    """What is decided for each block at the last epoch of a search: its choice, or ``UNDECIDED``.

    Args:
        search: From ``read``.

    Returns:
        As ``choices``.
    """
    return {block: decide(weights) for block, weights in _last(search).items()}


def _last(search: xr.Dataset) -> dict[str, npt.NDArray[np.float32]]:
    """Name of each block's module → its weights at the last epoch, (5,)."""
    last = search["weight"].isel(epoch=-1)
    return {str(block): last.sel(block=block).values for block in search["block"].values}


def attention_of(search: xr.Dataset, chosen: Sequence[str] | None = None) -> str:
    """The name of the attention that was found, as ``stripe.attention.attention_factory`` takes it.

    Args:
        search: From ``read``.
        chosen: One of ``CHOICES`` for each block, in place of what the search has chosen.

    Returns:
        A list with one entry per place of the network, such as ``cbam:ca>sa/none/cbam:sa+se``, in which all that was
        not searched is as it was; ``none`` where no block has attention.

    Raises:
        StripeError: There is not one choice for each block.
    """
    chosen = list(choices(search).values()) if chosen is None else chosen
    if len(chosen) != search.sizes["block"]:
        raise StripeError(f"chosen= has {len(chosen)} choices, and the search {search.sizes['block']} blocks.")
    ways = iter(chosen)
    entries = [template.filled(place, ways) for place in _places(search)]
    return "/".join(entries) if set(entries) != {"none"} else "none"


def _places(search: xr.Dataset) -> list[str]:
    """What was searched, place by place."""
    attrs = search.attrs
    text = attrs.get("attention") or template.of_module(attrs["family"], int(attrs["kernel_size"]))
    return template.places(str(text), search.sizes["block"])


def agreement(searches: Sequence[xr.Dataset]) -> dict[str, tuple[str, int]]:
    """How often searches with different seeds decided the same for each block.

    Args:
        searches: From ``read``, of the same network; at least one.

    Returns:
        Name of the block's module → what was decided most often (the first of those that tie), and how often;
        ``UNDECIDED`` and 0, where no search has decided anything.

    Raises:
        StripeError: They are of different networks.
    """
    each = _decisions_of(searches)
    counts = {block: Counter(found[block] for found in each if found[block] != UNDECIDED) for block in each[0]}
    return {block: (count.most_common(1) or [(UNDECIDED, 0)])[0] for block, count in counts.items()}


def unanimous(searches: Sequence[xr.Dataset]) -> tuple[int, float]:
    """For how many blocks all searches decided the same, and for how many they would by chance.

    Chance is what is to be expected if the decisions of each search were shuffled over its blocks: where all searches
    want the same everywhere, it is the number of blocks, and their agreement says nothing of one block or another.

    Args:
        searches: From ``read``, of the same network; at least one.

    Raises:
        StripeError: They are of different networks.
    """
    each = _decisions_of(searches)
    wanted = {block: {found[block] for found in each} for block in each[0]}
    same = sum(len(choices) == 1 and UNDECIDED not in choices for choices in wanted.values())
    shares = [Counter(found.values()) for found in each]
    blocks = len(each[0])
    chance = sum(math.prod(share[choice] / blocks for share in shares) for choice in CHOICES)
    return same, blocks * chance


def _decisions_of(searches: Sequence[xr.Dataset]) -> list[dict[str, str]]:
    each = [decisions(search) for search in searches]
    if any(list(found) != list(each[0]) for found in each):
        raise StripeError("These searches are of networks with different blocks, so that they cannot be compared.")
    return each


def trajectories(searches: Sequence[xr.Dataset]) -> xr.DataArray:
    """The weights of searches with different seeds, from before the first epoch, when all were equal.

    Args:
        searches: From ``read``, of the same network; at least one.

    Returns:
        p, (seed, epoch, block, operation), the epochs from 0; NaN at those that a search has not finished.
    """
    each = []
    for search in searches:
        weight = search["weight"]
        start = xr.full_like(weight.isel(epoch=[0]), 1 / weight.sizes["operation"]).assign_coords(epoch=[0])
        each.append(xr.concat([start, weight], "epoch"))
    return xr.concat(each, "seed", join="outer")


def controls(search: xr.Dataset, count: int, seed: int) -> dict[str, tuple[str, str]]:
    """What has to be trained along with the network that was found, to see whether the search was worth it.

    Args:
        search: From ``read``.
        count: How many choices at random, each with any of ``CHOICES`` for each block.
        seed: Of these.

    Returns:
        Name of a run, such as ``random-1`` → what kind of choice it is, for a table, and its attention, as of
        ``attention_of``: the one that was found, those at random, and each of ``CHOICES`` in all blocks.
    """
    blocks = search.sizes["block"]
    generator = np.random.default_rng(seed)
    found = {"found": ("found by the search", attention_of(search))}
    for number in range(1, count + 1):
        drawn = [CHOICES[index] for index in generator.integers(len(CHOICES), size=blocks)]
        found[f"random-{number}"] = "at random", attention_of(search, drawn)
    for choice in CHOICES:
        name = f"all-{choice.replace('>', '-').replace('|', '-and-')}"
        found[name] = f"{LABELS[choice]} in all blocks", attention_of(search, [choice] * blocks)
    return found
