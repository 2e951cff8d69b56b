"""The table of verdicts of ``stripe analyze`` and ``stripe demo``."""

from typing import TYPE_CHECKING

import click

from stripe.cli.tables import print_records

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["print_verdicts"]

# Columns of the table; JSON has the sentences, too, which do not fit into the columns of a terminal.
COLUMNS = ["site", "kind", "category", "constant_error", "stripe_index", "settled_by"]


def print_verdicts(table: "pd.DataFrame", output_format: str, title: str) -> None:
    """Print the verdicts on a capture: one row per site, and the number of sites in each category.

    Args:
        table: Table from ``stripe.analysis.metrics``.
        output_format: ``table``, or ``json`` for the rows of ``stripe.analysis.verdicts`` with their sentences.
        title: Line above the table.
    """
    from stripe.analysis import verdicts

    found = verdicts(table)
    shown = found if output_format == "json" else found[COLUMNS]
    print_records(shown.to_dict("records"), output_format, title=title)  # type: ignore[arg-type]
    if output_format == "table":
        for kind, of_kind in found.groupby("kind", sort=False):
            counts = ", ".join(f"{count} {category}" for category, count in of_kind["category"].value_counts().items())
            click.echo(f"{len(of_kind)} {kind} sites: {counts}")
        broken = table.loc[table["nonfinite"] > 0, "site"].unique()
        if len(broken):
            click.secho(f"Beware: NaN or infinite values in {len(broken)} sites: {', '.join(broken[:5])}", fg="red")
        click.echo(
            "constant error: what the mean over images is off (RMS); stripe index: share of the variance between "
            "channels;\nsettled by: epoch from which 95 % of the values stay within the tolerance"
        )
