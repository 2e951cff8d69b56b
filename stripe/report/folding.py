"""What the page shows of folding: accuracy against speed, site by site."""

import math
from typing import Any

import pandas as pd

from stripe.errors import StripeError

__all__ = ["frontier_record", "frontier_sentence"]

_COLUMNS = ("sites", "site", "accuracy", "uncertainty", "error", "relative_speed")


def frontier_record(table: pd.DataFrame) -> dict[str, list[Any]]:
    """The points of a frontier, ready for JSON.

    Args:
        table: From ``stripe fold --frontier``: a row for 0, 1, 2 … folded sites, with ``sites`` (how many), ``site``
            (the one folded last), ``accuracy`` (per cent), ``uncertainty`` (standard error of its change, points),
            ``error`` (of the logits, relative) and ``relative_speed``.

    Raises:
        StripeError: It is another table, or has no accuracies.
    """
    if "agreement" in table:
        raise StripeError(
            "The frontier has no accuracies but agreements with the network with attention: the labels of the images "
            "that it was measured on are no classes of the network. `stripe plot --kind frontier` draws it."
        )
    if missing := [name for name in _COLUMNS if name not in table]:
        raise StripeError(f"This is no table of `stripe fold --frontier`: it lacks {', '.join(missing)}.")
    if table.empty or not all(math.isfinite(value) for value in table["accuracy"]):
        raise StripeError("The frontier has no accuracies: the images that it was measured on had no labels.")
    record: dict[str, list[Any]] = {name: table[name].tolist() for name in _COLUMNS if name != "site"}
    record["site"] = ["" if pd.isna(name) else str(name) for name in table["site"]]
    return record


def frontier_sentence(record: dict[str, list[Any]]) -> str:
    """What the last point says against the first."""
    sites, accuracy, uncertainty, speed = (
        record[name] for name in ("sites", "accuracy", "uncertainty", "relative_speed")
    )
    return (
        f"With attention {accuracy[0]:.2f} %; with {sites[-1]} sites folded, which is all that can be, "
        f"{accuracy[-1]:.2f} % (the difference ± {uncertainty[-1]:.2f}) at {speed[-1]:.2f} × the speed, "
        "before anything is won back."
    )
