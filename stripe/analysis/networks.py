"""Several networks side by side: the numbers of their sites in one table, and those of each network as a whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stripe.analysis.comparison import compare_sites, control_evidence, controls_of
from stripe.analysis.evidence import evidence
from stripe.analysis.metrics import metrics
from stripe.analysis.verdict import CATEGORIES, verdicts
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.names import without_folders

__all__ = ["compare", "network_names", "overview"]

_SUMMED = ("stripe_index", "channel_share", "image_share", "interaction_share", "output_error", "constant_error")


def compare(
    captures: Mapping[str, CaptureLike] | Sequence[CaptureLike], sites: str = "*", *, resamples: int = 1000
) -> pd.DataFrame:
    """Measure the sites of several captures at their last epochs, and put them side by side.

    The networks may be the same one at two times, or two that have nothing in common. Sites of two networks are each
    other's counterparts where they have the same name; ``attrs["matched"]`` lists those that every network has.

    Args:
        captures: Two or more captures, their trees or paths; or a dictionary from the name that a network shall have
            to its capture.
        sites: Shell pattern of the sites to compare, such as ``"layer3.*"``.
        resamples: How often the images are drawn anew for the intervals.

    Returns:
        One row for each network and site: ``network``, then the columns of ``verdicts`` with ``evidence`` and the
        controls that a capture has, and ``against``, which says how the site compares with the one of the same name in
        the first network: ``equal``, ``nearer`` or ``further`` (to or from a constant), ``unknown`` where an interval
        is missing or nothing is known of one of the two, and ``""`` in the first network and where it has no such site.
        Of each control stand beside the errors also the shares and the stripe index, such as ``init_stripe_index``.
        ``attrs["networks"]`` lists the networks, ``attrs["random"]`` those that were never trained, and
        ``attrs["same_images"]`` says whether all captures are of the same images. ``overview`` sums the table up.

    Raises:
        StripeError: There are fewer than two captures, or one has no site that matches.

    Example:
        >>> from stripe.analysis import compare
        >>> compare({"trained": "run/capture.h5", "untrained": "init.h5"})  # doctest: +SKIP
    """
    if isinstance(captures, Mapping):
        opened = {name: as_capture(capture) for name, capture in captures.items()}
    else:
        each = [as_capture(capture) for capture in captures]
        opened = dict(zip(network_names(each), each, strict=True))
    if len(opened) < 2:
        raise StripeError(f"A comparison needs two captures or more, and here is {len(opened)}.")
    tables: list[pd.DataFrame] = []
    first: dict[str, dict[str, Any]] = {}
    for name, capture in opened.items():
        numbers = evidence(capture, sites, resamples=resamples)
        controls = control_evidence(capture, sites, resamples=resamples)
        found = verdicts(metrics(capture, sites), numbers, controls)
        found.insert(0, "network", name)
        rows: dict[str, dict[str, Any]] = {row["site"]: row for row in numbers.to_dict("records")}  # type: ignore[misc]
        if controls:
            found = found.join(_of_controls(controls, [*found]), on="site")
        found["against"] = [compare_sites(rows[site], first[site]) if site in first else "" for site in found["site"]]
        first = first or rows
        tables.append(found)
    table = pd.concat(tables, ignore_index=True)
    for column in (f"against_{control}" for control in controls_of(table)):
        table[column] = table[column].fillna("")  # of a network without that control
    common = set.intersection(*(set(found["site"]) for found in tables))
    table.attrs = {
        "networks": list(opened),
        "matched": [name for name in tables[0]["site"] if name in common],
        "random": [name for name, capture in opened.items() if capture.has_random_weights],
        "same_images": _same_images(list(opened.values())),
    }
    return table


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """Sum up a comparison: one row for each network and kind of site.

    Args:
        table: What ``compare`` returns.

    Returns:
        ``network``, ``kind``, ``sites`` (their number), the median over the sites of ``stripe_index``, the variance
        shares, ``output_error`` and ``constant_error``, with the least and greatest site of each as ``_min`` and
        ``_max``; and the number of sites of each category of ``verdicts``, in columns of that name.
    """
    rows = []
    for (network, kind), part in table.groupby(["network", "kind"], sort=False):
        row: dict[str, object] = {"network": network, "kind": kind, "sites": len(part)}
        for name in _SUMMED:
            middle, low, high = part[name].median(), part[name].min(), part[name].max()
            row |= {name: middle, f"{name}_min": low, f"{name}_max": high}
        counts = Counter(part["category"])
        rows.append(row | {category: counts[category] for category in CATEGORIES})
    return pd.DataFrame(rows)


def network_names(captures: Sequence[Capture]) -> list[str]:
    """A name for each capture that tells it from the others: its network, and its file where others are of that, too.

    Of a network with random weights, which no other capture is of, that is said instead of the file. The file of a run
    has the name of its folder.
    """
    networks = [" + ".join(map(without_folders, capture.network)) or "network" for capture in captures]
    random = [capture.has_random_weights for capture in captures]
    names = [
        name + " (random weights)" if is_random and not all(random) else name
        for name, is_random in zip(networks, random, strict=True)
    ]
    told = list(names)
    for network in dict.fromkeys(networks):
        alike = [number for number, name in enumerate(networks) if name == network]
        files = dict(zip(alike, _files([Path(captures[number].path) for number in alike]), strict=True))
        for number in alike:
            said = len(alike) == 1 or (random[number] and names.count(names[number]) == 1)
            told[number] = names[number] if said or not files[number] else f"{names[number]}, {files[number]}"
    return [name if told.count(name) == 1 else f"{name}, {number}" for number, name in enumerate(told, 1)]


def _files(paths: Sequence[Path]) -> list[str]:
    """The names of some files, with as many of their folders as tell them apart; three names at most."""
    parts = []
    for path in paths:
        whole = (*path.parent.parts, path.stem)
        while len(whole) > 1 and whole[-1] == "capture":  # which is what every run calls it
            whole = whole[:-1]
        parts.append(whole)
    for count in (1, 2, 3):
        names = ["/".join(whole[-count:]).removeprefix("//") for whole in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(whole[-1:]) for whole in parts]


def _of_controls(controls: Mapping[str, pd.DataFrame], known: Sequence[str]) -> pd.DataFrame:
    """The numbers of controls by site, with their intervals, as ``init_stripe_index``, without those that are known."""
    ends = [f"{name}{end}" for name in _SUMMED for end in ("", "_low", "_high")]
    each = [found.set_index("site")[ends].add_prefix(f"{control}_") for control, found in controls.items()]
    both = pd.concat(each, axis=1)
    return both[[name for name in both if name not in known]]


def _same_images(captures: Sequence[Capture]) -> bool:
    """Whether all captures are of the same images: the same data and, one by one, the same paths or numbers."""

    def identity(capture: Capture) -> tuple[str, list[object], list[object]]:
        root = capture.tree.dataset
        paths = np.asarray(root["path"]).tolist() if "path" in root else []
        return capture.data, paths, capture.images.tolist()

    first, *others = map(identity, captures)
    return all(other == first for other in others)
