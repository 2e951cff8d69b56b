"""``stripe bench``: the cost of attention before and after fusing."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.options import device_option, format_option, image_size_option
from stripe.cli.outputs import check_output
from stripe.cli.runs import open_runs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["command"]

_EXAMPLE = '--models "resnet11, resnet11+se", in quotes, with commas between.'


@click.command(context_settings={"allow_extra_args": True})
@click.option(
    "--models",
    multiple=True,
    required=True,
    metavar="LIST",
    help="Networks, with commas between: a backbone, then +se (or another attention), +asr(se), +fused; or a "
    "checkpoint.",
)
@image_size_option
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Images a pass.")
@click.option("--num-classes", type=click.IntRange(1), help="Default: the runs', else what the networks expect.")
@click.option("--repeats", type=click.IntRange(1), default=10, show_default=True, help="Rounds, in turns.")
@click.option(
    "--runs",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="Run directory of one of the networks, for its accuracy; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A table (.csv, .parquet, .json) or a picture (.png, .pdf, .svg); may be repeated.",
)
@device_option
@format_option
def command(
    models: tuple[str, ...],
    num_classes: int | None,
    runs: tuple[Path, ...],
    outputs: tuple[Path, ...],
    output_format: str,
    **options: Any,
) -> None:
    """Measure parameters, FLOPs and throughput of networks, side by side.

    \b
    stripe bench --models "resnet164, resnet164+se, resnet164+asr(se)+fused" --num-classes 100
    stripe bench --models "timm:resnet50, timm:seresnet50" --batch-size 16 -o speed.csv -o speed.png
    stripe bench --models "resnet29, run/best.safetensors, folded.safetensors"

    Weights are random where no checkpoint is named. The networks take turns; a speed is the median over the rounds, and
    the range its quartiles. FLOPs are those of convolutions and matrix products, of one image. With accuracies the
    picture is figure 3 of the paper, without it shows bars. What a detector computes depends on how many objects it
    finds, here in images of noise, so that is printed, too.
    """
    from stripe import bench, plots
    from stripe.analysis import save_table
    from stripe.cli.tables import print_records
    from stripe.errors import StripeError
    from stripe.plots.save import FORMATS

    if more := click.get_current_context().args:
        raise click.UsageError(f"{more[0]!r} belongs to no option. Networks are one list: {_EXAMPLE}")
    names = _names(models)
    tables = (".csv", ".parquet", ".json")
    pictures = [path for path in outputs if path.suffix.lower().lstrip(".") in FORMATS]
    for path in outputs:
        if path not in pictures and path.suffix not in tables:
            raise StripeError(f"{path}: end a table in {', '.join(tables)}, a picture in .png, .pdf or .svg")
        check_output(path)
    trained = open_runs(runs)
    if num_classes is None and trained:
        num_classes = trained[0].settings.get("num_classes")
    table = bench.measure(names, num_classes=num_classes, **options)
    if trained:
        table = bench.add_accuracy(table, trained)
    about = table.attrs
    machine = " · ".join(about[key] for key in ("processor", "tuning") if key in about)
    title = f"{machine} · {about['precision']} · {about['batch_size']} × {about['image_size']} px"
    if output_format in ("json", "csv"):
        print_records([{**record, **about} for record in table.to_dict("records")], output_format)  # type: ignore[dict-item]
    else:
        print_records(_rows(table), output_format, title=title)
        if trained and output_format == "table":
            click.echo(" · ".join(about["accuracy_of"]))
    for path in outputs:
        if path in pictures:
            draw = plots.tradeoff if trained else plots.speed
            written = plots.save(draw(table), path)
        else:
            written = save_table(table, path)[0]
        click.echo(written, err=True)


def _names(models: Sequence[str]) -> list[str]:
    """The names of networks in comma-separated lists."""
    from stripe.errors import StripeError

    # After a comma may stand an option of attention, too: resnet11+cbam,k=3.
    names = [name.strip() for name in re.split(r",(?!\s*\w+=)", ",".join(models)) if name.strip()]
    for name in names:
        # Blanks between two names are refused, but not those in a file's name, around + or in parentheses.
        if re.search(r"[^\s+(][\s;]+[^\s+)]", name) and not Path(name.removesuffix("+fused")).is_file():
            raise StripeError(f"{name!r} is more than one network; write {_EXAMPLE}")
    return names


def _rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of the table in the units of the paper's table 1."""
    rows = []
    for row in table.to_dict("records"):
        shown = {
            "model": row["model"],
            "parameters (M)": row["parameters"] / 1e6,
            "GFLOPs": row["flops"] / 1e9,
            "images/s": _rate(row["images_per_second"]),
            "quartiles": f"{_rate(row['lower_quartile'])} – {_rate(row['upper_quartile'])}",
            "relative": row["relative_speed"],
        }
        if "detections" in row:
            shown["objects/image"] = row["detections"]
        if "accuracy" in row:
            shown |= {"best (%)": row["accuracy"], "±": row["accuracy_std"], "last (%)": row["last_accuracy"]}
            shown |= {"runs": row["runs"]}
        rows.append(shown)
    return rows


def _rate(value: float) -> float:
    return round(value) if value >= 100 else round(value, 1)
