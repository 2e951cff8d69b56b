"""``stripe report``: one HTML page about a run or a capture."""

from pathlib import Path

import click

__all__ = ["command"]


@click.command("report")
@click.argument(
    "sources", metavar="RUN|CAPTURE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="report.html",
    show_default=True,
    help="The page.",
)
@click.option("--sites", default="*", metavar="GLOB", help="Only the sites whose name matches, e.g. 'layer3.*'.")
@click.option(
    "--frontier",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A table of `stripe fold --frontier`, to be shown, too.",
)
def command(sources: tuple[Path, ...], output: Path, sites: str, frontier: Path | None) -> None:
    """Write one HTML page about a RUN (the folder that `stripe train` made) or a CAPTURE, or about several.

    \b
    stripe report run/
    stripe report run/ untrained.h5 -o both.html

    It holds a verdict in words, the stripe index of every site over the epochs, zoomable heatmaps of attention image ×
    channel with a slider for the epoch, differences, std before and after, average Grad-CAM maps, training curves and
    settings. Of several it shows the tables of `stripe compare`, and one network at a time. It opens in any browser,
    without a network. Large captures are thinned to stay under 15 MB; the page says how, and with fewer --sites shows
    more of each.
    """
    from stripe import bench, report
    from stripe.cli.runs import open_runs

    table = bench.read_table(frontier, "accuracy against speed") if frontier else None
    if len(sources) > 1:
        each = [one for source in sources for one in (open_runs([source]) if source.is_dir() else [source])]
        click.echo(report.save(output, each, sites=sites, frontier=table))
        return
    (source,) = sources
    runs = open_runs([source]) if source.is_dir() else []
    click.echo(report.save(output, None if runs else source, runs, sites=sites, frontier=table))
