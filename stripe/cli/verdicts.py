"""The table of verdicts of ``stripe analyze`` and ``stripe demo``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.tables import print_records
from stripe.names import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["print_verdicts"]


def print_verdicts(
    table: "pd.DataFrame",
    evidence: "pd.DataFrame",
    controls: Mapping[str, "pd.DataFrame"],
    output_format: str,
    title: str,
) -> None:
    """Print what the numbers of a capture mean: one row for each site, and how many sites are of which category.

    A table shows what fits a terminal; JSON and CSV have every number with its interval, and the sentences.

    Args:
        table: What ``stripe.analysis.metrics`` returns.
        evidence: What ``stripe.analysis.evidence`` returns, of the same sites at the last epoch.
        controls: What ``stripe.analysis.control_evidence`` returns, of the same sites.
        output_format: ``table`` or ``tex``; ``json`` or ``csv`` for the rows of ``stripe.analysis.verdicts``.
        title: A line above the table.
    """
    from stripe.analysis import verdicts
    from stripe.analysis.wording import like_control

    found = verdicts(table, evidence, controls)
    rows: list[dict[str, Any]] = found.to_dict("records")  # type: ignore[assignment]
    if output_format in ("json", "csv"):
        print_records(rows, output_format)
        return
    channels = dict(zip(evidence["site"], evidence["channels"], strict=True))
    has_output = bool(found["output_error"].notna().any())
    print_records([_shown(row, channels[row["site"]], has_output) for row in rows], output_format, title=title)
    if output_format == "tex":
        return
    for kind, of_kind in found.groupby("kind", sort=False):
        counts = ", ".join(f"{count} {category}" for category, count in of_kind["category"].value_counts().items())
        equal = like_control(of_kind)
        beside = f"; {equal} of these constants are equal to a control, which has not learned" if equal else ""
        click.echo(f"{counted(len(of_kind), f'{kind} site')}: {counts}{beside}")
    broken = table.loc[table["nonfinite"] > 0, "site"].unique()
    if len(broken):
        click.secho(
            f"Beware: NaN or infinite values in {counted(len(broken), 'site')}: {', '.join(broken[:5])}", fg="red"
        )
    click.echo(
        "η²: share of the variance between channels, 1/N for noise; channel/image/both: unbiased shares of it in %;\n"
        + (
            "output error: what the output moves in % where attention is replaced by its mean over images, with its "
            if has_output
            else "constant error: what the mean of attention over images is off in % (RMS), with its "
        )
        + f"{evidence.attrs.get('level', 0.95):.0%} interval;\n"
        "settled by: epoch from which on 95 % of the values stay within the tolerance of their last"
    )
    if not has_output and not table["input_std_mean"].isna().all():
        click.echo(
            "No output error: the maps are 0 in every image, or the capture is by an earlier release, which did not "
            "hold their size (input_rms); then capture again to know what the next layer sees."
        )
    if controls:
        click.echo("controls: the same of a control, and whether the site is nearer to a constant (init: untrained)")
    else:
        click.echo("No control was recorded: the attention of an untrained network looks like a constant, too.")


def _shown(row: dict[str, Any], channels: int, has_output: bool) -> dict[str, Any]:
    """What a table shows of a site."""
    from stripe.analysis.comparison import controls_of
    from stripe.analysis.wording import control_text, index_text, interval_text, share_text

    name = "output_error" if has_output else "constant_error"
    return {
        "site": row["site"],
        "kind": row["kind"],
        "channels": channels,
        "η²": index_text(row["stripe_index"]),
        "channel/image/both": share_text(row),
        name: interval_text(row, name),
        **({"controls": control_text(row, name)} if controls_of(row) else {}),
        "settled_by": row["settled_by"],
        "verdict": row["category"],
    }
