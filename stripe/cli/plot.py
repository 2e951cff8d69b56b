"""``stripe plot``: the paper's figures from a capture, from runs or from a table of speeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from stripe.cli.runs import open_runs

__all__ = ["command"]

# Written out, because importing the registry would import matplotlib for `--help`; a test compares the two.
KINDS = ["stripe", "std", "diff", "spatial", "index", "gradcam"]
RUN_KINDS = ["training"]
TABLE_KINDS = ["tradeoff", "speed", "frontier"]


class CountOrList(click.ParamType[int | list[int]]):
    """``20``: so many, sampled; ``3,17,42``: these; ``3,``: this one."""

    name = "N|LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | list[int]:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            if "," not in value:
                return int(value)
            return [int(part) for part in value.split(",") if part.strip()]
        except ValueError:
            self.fail(f"{value!r} is neither a number nor a list such as 3,17,42", param, ctx)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--kind",
    type=click.Choice([*KINDS, *RUN_KINDS, *TABLE_KINDS, "all"]),
    required=True,
    help="What to draw; all: what a capture can show.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="A .png, .pdf or .svg; with --kind all a folder. Default: PATH's name and the kind, here.",
)
@click.option(
    "--sites",
    multiple=True,
    metavar="GLOB",
    help="Which sites to draw, as `layer3.*`; may be repeated. Default: as many as fit.",
)
@click.option("--images", type=CountOrList(), help="How many images, or which: 20 or 3,17,42.")
@click.option("--channels", type=CountOrList(), help="How many channels, or which.")
@click.option("--epoch", type=int, help="Default: the last.")
@click.option("--seed", type=click.IntRange(0), help="Of the sample of images and channels. Default: 0.")
@click.option("--over-image", is_flag=True, default=None, help="gradcam: lay the map over the mean of the images.")
@click.option("--style", default="paper", show_default=True, help="paper, notebook, dark or any matplotlib style.")
def command(paths: tuple[Path, ...], kind: str, output: str | None, sites: tuple[str, ...], **options: Any) -> None:
    """Draw the paper's figures.

    \b
    From a capture, or the directory of a run that has one:
    stripe    images × channels, before and after attention    (fig. 1a, 23–29)
    std       how far channels differ between images, by site  (fig. 1b)
    diff      change from epoch to epoch, channels × epochs    (fig. 1c, 12–19)
    spatial   maps of spatial attention, images × blocks       (fig. 30)
    index     stripe index of every site over the epochs
    gradcam   mean Grad-CAM; of several captures side by side  (fig. 6)
    \b
    From the directories of runs, one or several:
    training  loss and accuracy over the epochs
    \b
    From a table of `stripe bench -o`, and runs for the accuracy where the table has none:
    tradeoff  accuracy against speed and parameters            (fig. 3)
    speed     throughput, parameters and FLOPs                 (table 1)
    \b
    From a table of `stripe fold --frontier`:
    frontier  accuracy against speed, site by site
    """
    from stripe import plots
    from stripe.errors import StripeError
    from stripe.plots.save import check_format

    options["site"] = list(sites) or None
    if kind == "all":
        if output and Path(output).suffix:
            raise StripeError(f"--kind all draws several pictures; -o is their folder, and {output} looks like a file")
        drawn, left_out = plots.draw_all(_capture(kind, paths), output or ".", **options)
        for path in drawn.values():
            click.echo(path)
        for name, reason in left_out.items():
            click.secho(f"Left out {name}: {reason}", fg="yellow", err=True)
        return
    target = Path(output or f"{paths[0].stem}-{kind}.png")
    check_format(target)
    click.echo(plots.save(plots.draw(kind, _data(kind, paths), **options), target))


def _data(kind: str, paths: Sequence[Path]) -> Any:
    if kind in RUN_KINDS:
        return open_runs(paths)
    if kind in TABLE_KINDS:
        return _table(kind, paths)
    return _captures(paths) if kind == "gradcam" else _capture(kind, paths)


def _capture(kind: str, paths: Sequence[Path]) -> Path:
    from stripe.errors import StripeError

    capture, *more = _captures(paths)
    if more:
        raise StripeError(f"--kind {kind} draws one capture, and here are {len(more) + 1}; name {capture}, for example")
    return capture


def _captures(paths: Sequence[Path]) -> list[Path]:
    """Captures as they are named, and those of runs."""
    return [
        capture
        for path in paths
        for capture in ([run.capture_file for run in open_runs([path])] if path.is_dir() else [path])
    ]


def _table(kind: str, paths: Sequence[Path]) -> Any:
    from stripe import bench

    if kind == "frontier":
        return bench.read_table(paths[0], "accuracy against speed")
    table, *runs = paths
    return bench.add_accuracy(bench.read_table(table), open_runs(runs)) if runs else bench.read_table(table)
