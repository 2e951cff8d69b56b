"""``stripe plot``: figures of the paper from a capture, runs or a table of speeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from stripe.cli.flags import in_flags
from stripe.cli.options import image_size_option
from stripe.cli.runs import captures_of, open_runs

if TYPE_CHECKING:
    from stripe.plots.kinds import DataType
    from stripe.training import Run

__all__ = ["command"]

# Headings in the help, by the data of the kinds of plot.
HEADINGS: "dict[str, tuple[DataType, ...]]" = {
    "From a capture, or the directory of a run that has one (stripe, std and index: several side by side):": (
        "capture",
        "captures",
    ),
    "From the directories of runs, one or several (predictions: or checkpoints):": ("runs",),
    "From a table of `stripe bench -o`, and runs for the accuracy where the table has none:": ("speeds",),
    "From a table of `stripe fold --frontier`:": ("frontier",),
}


class KindName(click.ParamType[str]):
    """The name of a kind of plot, or ``all``. The kinds are looked up when needed, as this imports matplotlib."""

    name = "kind"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._choice().get_metavar(param, ctx)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        return self._choice().get_missing_message(param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self._choice().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._choice().shell_complete(ctx, param, incomplete)

    @staticmethod
    def _choice() -> click.Choice[str]:
        from stripe.plots.kinds import kinds

        return click.Choice([*kinds(), "all"])


class PlotCommand(click.Command):
    """A command that lists the kinds of plot in its help."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from stripe.plots.kinds import kinds

        super().format_help_text(ctx, formatter)
        name_width, width = max(map(len, kinds())), max(len(kind.shows) for kind in kinds().values())
        for heading, data in HEADINGS.items():
            lines = [
                f"{name:{name_width}}  {kind.shows:{width}}  {kind.paper and f'({kind.paper})'}".rstrip()
                for name, kind in kinds(*data).items()
            ]
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text("\n".join(["\b", heading, *lines]))


class CountOrList(click.ParamType[int | list[int]]):
    """``20`` for a sample of that size; ``3,17,42`` for a list; ``3,`` for a list of one."""

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


class WidthType(click.ParamType[float | str]):
    """``column``, ``page`` or inches."""

    name = "column|page|INCHES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value in ("column", "page") or not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither column nor page nor a number of inches", param, ctx)


@click.command(cls=PlotCommand)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--kind",
    type=KindName(),
    required=True,
    help="What to draw; all: every kind that the capture, or runs without a capture, can show.",
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
@click.option(
    "--over-image",
    is_flag=True,
    default=None,
    help="gradcam, maps: lay the map over the mean of the images, or over its image.",
)
@click.option("--width", type=WidthType(), help="column (3.3 inches), page (7) or inches. Default: as needed.")
@click.option("--cmap", metavar="NAME", help="A colour map of matplotlib.")
@click.option(
    "--data",
    "data_spec",
    metavar="SPEC",
    help="predictions: on test images of other data than the network was trained on, such as scenes or coco:DIR.",
)
@click.option(
    "--model",
    "model_spec",
    metavar="SPEC",
    help="predictions: of a checkpoint that does not say it, such as torchvision:maskrcnn_resnet50_fpn.",
)
@image_size_option
@click.option("--style", default="paper", show_default=True, help="paper, notebook, dark or any matplotlib style.")
def command(
    paths: tuple[Path, ...],
    kind: str,
    output: str | None,
    sites: tuple[str, ...],
    data_spec: str | None,
    model_spec: str | None,
    image_size: Any,
    **options: Any,
) -> None:
    """Draw the paper's figures.

    \b
    stripe plot capture.h5 --kind stripe
    stripe plot runs/det --kind predictions
    stripe plot det.safetensors --kind predictions --data coco:photos
    """
    from stripe import plots
    from stripe.errors import StripeError
    from stripe.plots.save import check_format

    options["sites"] = list(sites) or None
    asked = {"--model": model_spec, "--data": data_spec, "--image-size": image_size}
    if kind != "predictions" and (flags := [flag for flag, value in asked.items() if value is not None]):
        raise StripeError(f"{flags[0]} is for --kind predictions alone")
    if kind == "all":
        if output and Path(output).suffix:
            raise StripeError(f"--kind all draws several pictures; -o is their folder, and {output} looks like a file")
        if runs := _without_capture(paths):
            drawn, left_out = plots.draw_all_of_runs(runs, output or ".", **options)
        else:
            drawn, left_out = plots.draw_all(_capture(kind, paths), output or ".", **options)
        for path in drawn.values():
            click.echo(path)
        for name, reason in left_out.items():
            reason = in_flags(reason, click.get_current_context().command)
            click.secho(f"Left out {name}: {reason}", fg="yellow", err=True)
        return
    target = Path(output or f"{paths[0].stem}-{kind}.png")
    check_format(target)
    captures = captures_of(paths) if kind in plots.BESIDE else []
    if len(captures) > 1:
        given = {name: value for name, value in options.items() if value is not None}
        if given.pop("over_image", None):
            raise StripeError("--over-image is for --kind gradcam and maps alone")
        click.echo(plots.save(plots.beside(kind, captures, **given), target))
        return
    if kind == "predictions":
        data: Any = _predictions(paths, options["images"], *asked.values())
    else:
        data = _data(kind, paths)
    click.echo(plots.save(plots.draw(kind, data, **options), target))


def _predictions(
    paths: Sequence[Path], images: Any, model_spec: str | None, data_spec: str | None, image_size: Any
) -> list[Any]:
    """Runs with their pictures; of checkpoints, and of runs on other data, they are made."""
    from stripe.cli.predictions import predict
    from stripe.errors import StripeError

    if isinstance(images, list):
        raise StripeError("--kind predictions draws the first test images; give --images a number")
    if images is not None and images < 1:
        raise StripeError(f"--images {images}: at least one image is drawn")
    count = 4 if images is None else images
    named = (model_spec, data_spec, image_size)
    found: list[Any] = []
    for path in paths:
        runs = open_runs([path]) if path.is_dir() else []
        if runs and named == (None, None, None):
            found += runs
            continue
        found += [predict(file, *named, count) for file in [run.best_file for run in runs] or [path]]
    return found


def _data(kind: str, paths: Sequence[Path]) -> Any:
    from stripe.plots.kinds import kinds

    match kinds()[kind].data:
        case "capture":
            return _capture(kind, paths)
        case "captures":
            return captures_of(paths)
        case "runs":
            return open_runs(paths)
        case "speeds":
            from stripe import bench

            table, *runs = paths
            speeds = bench.read_table(table)
            return bench.add_accuracy(speeds, open_runs(runs)) if runs else speeds
        case "frontier":
            from stripe import bench

            return bench.read_table(paths[0], "accuracy against speed")


def _without_capture(paths: Sequence[Path]) -> "list[Run]":
    """The runs in some directories; none where one has a capture, or is a file."""
    runs = open_runs(paths) if all(path.is_dir() for path in paths) else []
    return [] if any(run.capture_file.exists() for run in runs) else runs


def _capture(kind: str, paths: Sequence[Path]) -> Path:
    from stripe.errors import StripeError

    capture, *more = captures_of(paths)
    if more:
        raise StripeError(f"--kind {kind} draws one capture, and here are {len(more) + 1}; name {capture}, for example")
    return capture
