"""``stripe compare``: how constant the attention of several networks is, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.options import format_option
from stripe.names import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["command"]


@click.command("compare")
@click.argument("paths", metavar="CAPTURE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--sites", default="*", metavar="GLOB", help="Only the sites whose name matches, e.g. 'layer3.*'.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True),
    help="Write every number as a table, one row for each network and site: .csv, .parquet or .json.",
)
@format_option
def command(paths: tuple[Path, ...], sites: str, output: str | None, output_format: str) -> None:
    """Compare how constant the attention of several networks is: of captures, or of runs that have one.

    \b
    stripe compare run/ untrained.h5
    stripe compare se.h5 srm.h5 --format tex
    stripe plot --kind index run/ untrained.h5

    Prints a summary of each network at its last epoch, and, where names of sites match, the networks site by site.
    --format json or csv has every number with its interval.
    """
    from stripe.analysis import compare, overview, save_table
    from stripe.cli.runs import captures_of
    from stripe.cli.tables import print_records
    from stripe.errors import StripeError

    captures = captures_of(paths)
    if len(captures) < 2:
        raise StripeError(f"{captures[0]} is one capture; name two or more to compare")
    table = compare(captures, sites)
    if output:
        for path in save_table(table, output):
            click.echo(f"Wrote {path}", err=True)
    if output_format in ("json", "csv"):
        print_records(table.to_dict("records"), output_format)  # type: ignore[arg-type]
        return
    attrs = table.attrs
    has_output = bool(table["output_error"].notna().any())
    summed = overview(table).to_dict("records")
    summed_rows = [_network(row, has_output) for row in summed]  # type: ignore[arg-type]
    print_records(summed_rows, output_format, title="Networks: median over the sites [least, greatest]")
    if attrs["matched"]:
        title = f"Site by site; against: {attrs['networks'][0]}"
        print_records([_site(row, has_output) for row in _in_order(table)], output_format, title=title)
    if output_format == "tex":
        return
    for line in _notes(table, has_output):
        click.echo(line)


def _in_order(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows of the matched sites, those of one site together."""
    matched = table.attrs["matched"]
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return sorted((row for row in rows if row["site"] in matched), key=lambda row: matched.index(row["site"]))


def _network(row: dict[str, Any], has_output: bool) -> dict[str, Any]:
    from stripe.analysis.verdict import CATEGORIES
    from stripe.analysis.wording import index_text, interval_text, share_text

    name = "output_error" if has_output else "constant_error"
    index = [index_text(row[f"stripe_index{end}"]) for end in ("", "_min", "_max")]
    error = interval_text({f"{name}{new}": row[f"{name}{old}"] for new, old in _ENDS.items()}, name)
    return {
        "network": row["network"],
        "kind": row["kind"],
        "sites": row["sites"],
        "η²": f"{index[0]} [{index[1]}, {index[2]}]",
        "channel/image/both": share_text(row),
        f"{name} %": error,
        "verdicts": ", ".join(f"{row[category]} {category}" for category in CATEGORIES if row[category]),
    }


_ENDS = {"": "", "_low": "_min", "_high": "_max"}


def _site(row: dict[str, Any], has_output: bool) -> dict[str, Any]:
    from stripe.analysis.wording import index_text, interval_text, share_text

    name = "output_error" if has_output else "constant_error"
    return {
        "site": row["site"],
        "network": row["network"],
        "η²": index_text(row["stripe_index"]),
        "channel/image/both": share_text(row),
        f"{name} %": interval_text(row, name),
        "verdict": row["category"],
        "against": row["against"],
    }


def _notes(table: "pd.DataFrame", has_output: bool) -> list[str]:
    """What the numbers are, and what limits the comparison."""
    matched, networks = table.attrs["matched"], table.attrs["networks"]
    error = (
        "output error: what the output moves in % where attention is replaced by its mean over images"
        if has_output
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
    for name in networks:
        more = int((~table.loc[table["network"] == name, "site"].isin(matched)).sum())
        if more and matched:
            notes.append(f"{name}: {counted(more, 'site')} that not every network has")
    if not matched:
        notes.append("No site has the same name in all networks, so they are compared as a whole.")
    if len(table.attrs["random"]) == len(networks):
        notes.append("The weights are random: attention that has learned nothing looks like a constant, too.")
    if not table.attrs["same_images"]:
        notes.append("The captures are of different images: a difference may be theirs.")
    return notes
