"""A comparison of networks in words: rows of tables, and the sentences below them."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from stripe.analysis.comparison import CONTROLS, controls_of
from stripe.analysis.networks import overview
from stripe.analysis.verdict import CATEGORIES
from stripe.analysis.wording import control_text, index_text, interval_text, share_text
from stripe.names import counted

__all__ = ["comparison_notes", "network_rows", "site_rows"]

_ENDS = {"": "", "_low": "_min", "_high": "_max"}


def network_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Sum up each network and kind of site as the texts of a row: medians over the sites [least, greatest].

    Below a network stand its controls, and how many of its sites are equal to them, or nearer to a constant.

    Args:
        table: What ``stripe.analysis.compare`` returns.
    """
    name = _error(table)
    rows = []
    for row in overview(table).to_dict("records"):
        rows.append(_network(row, name, ", ".join(f"{row[each]} {each}" for each in CATEGORIES if row[each])))
        own = table[(table["network"] == row["network"]) & (table["kind"] == row["kind"])]
        rows += [_control(own, control, name) for control in _controls(own)]
    return rows


def site_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Describe the sites that every network has as the texts of a row, those of one site together.

    Args:
        table: What ``stripe.analysis.compare`` returns.
    """
    name, matched = _error(table), table.attrs["matched"]
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    controlled = bool(_controls(table))
    held = sorted((row for row in rows if row["site"] in matched), key=lambda row: matched.index(row["site"]))
    return [
        {
            "site": row["site"],
            "network": row["network"],
            "η²": index_text(row["stripe_index"]),
            "channel/image/both": share_text(row),
            f"{name} %": interval_text(row, name),
            **({"controls": control_text(row, name)} if controlled else {}),
            "verdict": row["category"],
            "against": row["against"],
        }
        for row in held
    ]


def comparison_notes(table: pd.DataFrame) -> list[str]:
    """Say what the numbers are, and what limits the comparison.

    Args:
        table: What ``stripe.analysis.compare`` returns.
    """
    matched, networks = table.attrs["matched"], table.attrs["networks"]
    error = (
        "output error: what the output moves in % where attention is replaced by its mean over images"
        if _error(table) == "output_error"
        else "constant error: what the mean of attention over images is off in % (RMS)"
    )
    notes = [
        "η²: share of the variance between channels, 1/N for noise; channel/image/both: unbiased shares of it in %;",
        f"{error}; of a site with its 95 % interval;",
    ]
    if matched:
        notes.append(
            f"against: nearer to a constant than in {networks[0]}, further from one, or equal, where intervals overlap"
        )
    if controls := _controls(table):
        said = ", ".join(f"{CONTROLS.get(control, control)} ({control})" for control in controls)
        notes.append(f"control: the same network {said}, and how many sites are nearer to a constant than in it")
    for name in networks:
        more = int((~table.loc[table["network"] == name, "site"].isin(matched)).sum())
        if more and matched:
            notes.append(f"{name}: {counted(more, 'site')} that not every network has")
    if not matched:
        notes.append("No site has the same name in all networks, so they are compared as a whole.")
    if len(table.attrs["random"]) == len(networks):
        notes.append("The weights are random: attention that has learned nothing looks like a constant, too.")
    unlearned = table[table["network"].isin(table.attrs["random"]) & (table["category"] == "unknown")]
    for name in dict.fromkeys(unlearned["network"]):
        notes.append(
            f"{name}: nothing is known where its map is 0, as behind a normalisation whose gains begin at 0. The "
            "control init of a trained network's capture has gains of 1 there: stripe analyze and stripe plot show it."
        )
    if not table.attrs["same_images"]:
        notes.append("The captures are of different images: a difference may be theirs.")
    return notes


def _error(table: pd.DataFrame) -> str:
    """The error of a constant that is shown."""
    return "output_error" if table["output_error"].notna().any() else "constant_error"


def _controls(table: pd.DataFrame) -> list[str]:
    """The controls that some of these sites have."""
    return [control for control in controls_of(table) if (table[f"against_{control}"] != "").any()]


def _control(own: pd.DataFrame, control: str, name: str) -> dict[str, Any]:
    """Sum up a control of the sites of a network."""
    numbers = {
        column: str(column).removeprefix(f"{control}_") for column in own if str(column).startswith(f"{control}_")
    }
    there = own[own[f"against_{control}"] != ""]
    (row,) = overview(there.drop(columns=list(numbers.values())).rename(columns=numbers)).to_dict("records")
    counts = there[f"against_{control}"].value_counts()
    against = ", ".join(f"{count} {how}" for how, count in counts.items())
    return _network({**row, "network": f"{row['network']}, control {control}"}, name, f"network: {against}")


def _network(row: Mapping[Hashable, Any], name: str, verdicts: str) -> dict[str, Any]:
    index = [index_text(row[f"stripe_index{end}"]) for end in ("", "_min", "_max")]
    error = interval_text({f"{name}{new}": row[f"{name}{old}"] for new, old in _ENDS.items()}, name)
    return {
        "network": row["network"],
        "kind": row["kind"],
        "sites": row["sites"],
        "η²": f"{index[0]} [{index[1]}, {index[2]}]",
        "channel/image/both": share_text(row),
        f"{name} %": error,
        "verdicts": verdicts,
    }
