"""``stripe compare``: how constant the attention of several networks is, side by side."""

from pathlib import Path

import click

from stripe.cli.options import format_option

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
    from stripe.analysis import compare, save_table
    from stripe.analysis.side_by_side import comparison_notes, network_rows, site_rows
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
    print_records(network_rows(table), output_format, title="Networks: median over the sites [least, greatest]")
    if table.attrs["matched"]:
        print_records(site_rows(table), output_format, title=f"Site by site; against: {table.attrs['networks'][0]}")
    if output_format == "tex":
        return
    for line in comparison_notes(table):
        click.echo(line)
