"""``stripe demo``: training, capture, analysis and plots in three minutes, without any data."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stripe.cli.options import option_of
from stripe.training import RESNET, RunConfig

if TYPE_CHECKING:
    from torch import Tensor

    from stripe.data import Data, Split
    from stripe.training import Run

__all__ = ["command"]

# Small enough for two cores and three minutes, long enough for the learning rate to drop twice.
MODEL = "resnet11"
IMAGES_PER_EPOCH = 1600
BATCH_SIZE = 32  # batch statistics need some hundred steps
EPOCHS = {"se": 12, "cbam": 4}
# With the weight decay of the recipe, no site of SE is a constant after so few epochs. With 50 times as much all are,
# whatever the seed and the number of threads; with less, that hangs on the rounding of sums.
WEIGHT_DECAY = {"se": 50 * RESNET.weight_decay, "cbam": RESNET.weight_decay}
CAPTURED = 100
FOLDED = 200  # images for the means, and as many to measure on


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="stripe-demo",
    show_default=True,
    help="Folder for the runs and the pictures.",
)
@option_of(RunConfig, "seed")
def command(out: Path, seed: int) -> None:
    """Train a small network with SE attention, watch its attention, say where it is a constant, and what folding costs.

    Needs no data: the images are drawn by the program (`shapes`). A high weight decay makes this attention a constant.
    That of a second, shorter run with CBAM, which is spatial besides, depends on the image. Takes under three minutes
    on two cores.
    """
    from stripe import data as datasets
    from stripe import plots, report
    from stripe.analysis import control_evidence, evidence, metrics, save_table
    from stripe.capture import open_capture
    from stripe.cli.verdicts import print_verdicts

    data = datasets.load("shapes", seed=seed)
    pictures = []
    for attention, kinds in (("se", ["stripe", "std", "diff", "index"]), ("cbam", ["spatial"])):
        run = _train(data, attention, out, seed)
        capture = open_capture(run.capture_file)
        table = metrics(capture)
        save_table(table, out / f"{attention}-metrics.csv")
        click.echo()
        print_verdicts(
            table, evidence(capture), control_evidence(capture), "table", title=f"{MODEL} + {attention}, {run.scale}"
        )
        _say_fold(run, data)
        click.echo(f"Drawing {', '.join(kinds)} and the page …", err=True)
        for kind in kinds:
            pictures.append(plots.save(plots.draw(kind, capture), out / f"{attention}-{kind}.png"))
        pictures.append(report.save(out / f"{attention}-report.html", capture, [run]))
    click.echo("\nPictures, and all of it as pages for a browser:")
    for picture in pictures:
        click.echo(f"  {picture}")
    click.echo(
        "\nA small network and a short training on drawn images: what these show is how stripe works, not what large "
        f"networks do. With a weight decay of {RESNET.weight_decay:g}, no site of SE becomes a constant so soon.\n"
        "Next: stripe inspect --model timm:seresnet50, or stripe train --help"
    )


def _train(data: "Data", attention: str, out: Path, seed: int) -> "Run":
    from stripe.progress import progress_bar
    from stripe.training import EpochMetrics, train

    epochs = EPOCHS[attention]
    decay = WEIGHT_DECAY[attention]
    high = "" if decay == RESNET.weight_decay else f", with a high weight decay ({decay:g})"
    click.echo(f"Training {MODEL} with {attention.upper()} for {epochs} epochs on {data.spec}{high} …", err=True)
    with progress_bar() as progress:
        task = progress.add_task(attention, total=epochs, note="")

        def report(done: EpochMetrics) -> None:
            progress.update(task, completed=done.epoch, note=f"test accuracy {done.test_accuracy:.0f} %")
            if progress.disable:  # there is no terminal: a line an epoch shows that it goes on
                click.echo(f"  epoch {done.epoch} of {epochs}, test accuracy {done.test_accuracy:.0f} %", err=True)

        return train(
            out / attention,
            data,
            model=MODEL,
            attention=attention,
            recipe=replace(RESNET.scaled(epochs), batch_size=BATCH_SIZE, weight_decay=decay),
            seed=seed,
            images_per_epoch=IMAGES_PER_EPOCH,
            capture=CAPTURED,
            save_every=0,
            on_epoch=report,
        )


def _say_fold(run: "Run", data: "Data") -> None:
    """Print what it costs to make each channel site a constant, and all of them together."""
    from stripe import checkpoint
    from stripe.fold import fold

    def few(split: "Split") -> "list[tuple[Tensor, Tensor]]":
        images, labels = next(iter(split.loader(FOLDED)))
        return [(data.normalize(images), labels)]

    click.echo("Folding the channel attention into the weights …", err=True)
    result = fold(checkpoint.restore(checkpoint.read(run.best_file)), few(data.train), held_out=few(data.test))
    for row in result.sites.loc[result.sites["kind"] == "channel"].to_dict("records"):
        click.echo(f"{row['site']} as a constant: {row['accuracy_change']:+.1f} ± {row['uncertainty']:.1f} points")
    before, after = (result.steps["accuracy"].iloc[place] for place in (0, -1))
    click.echo(
        f"All of them folded into the weights: test accuracy {before:.1f} % before, {after:.1f} % after "
        f"(of {FOLDED} images)"
    )
