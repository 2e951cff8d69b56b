"""``stripe analyze``: measures of how constant the attention in a capture is."""

from pathlib import Path

import click

from stripe.cli.options import format_option

__all__ = ["command"]


@click.command("analyze")
@click.argument("source", metavar="RUN|CAPTURE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True),
    help="Write every number as a table, one row for each site and epoch: .csv, .parquet or .json.",
)
@click.option("--sites", default="*", metavar="GLOB", help="Only the sites whose name matches, e.g. 'layer3.*'.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Largest distance from the value at the last epoch that counts as settled.",
)
@format_option
def command(source: Path, output: str | None, sites: str, tolerance: float, output_format: str) -> None:
    """Measure how constant the attention in a CAPTURE, or in the one of a RUN, is.

    Prints a verdict for each site (as sentences with --format json), with bootstrap intervals over the images of the
    last epoch. -o writes the numbers behind it: channel std before and after, stripe index, variance shares, errors of
    a constant, differences between epochs, correlation of maps, and the errors of the controls. How a CSV was made
    stands in a .json file beside it.
    """
    from stripe.analysis import control_evidence, evidence, metrics, save_table
    from stripe.analysis.evidence import beside
    from stripe.capture import as_capture
    from stripe.cli.runs import capture_of
    from stripe.cli.verdicts import print_verdicts

    capture = capture_of(source)
    opened = as_capture(capture)
    table, measured = metrics(opened, sites=sites, tolerance=tolerance), evidence(opened, sites=sites)
    controls = control_evidence(opened, sites)
    if output:
        for path in save_table(beside(table, measured, controls), output):
            click.echo(f"Wrote {path}", err=True)
    title = f"{capture} (weights: {opened.weights})" if opened.has_random_weights else str(capture)
    print_verdicts(table, measured, controls, output_format, title=title)
