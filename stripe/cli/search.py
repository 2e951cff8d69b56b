"""``stripe search``: which attention each block of a network wants, and what a choice at random would have done."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.interrupts import interruptible
from stripe.cli.options import KeyValue, data_options, device_option, option_of, precision_option, workers_option
from stripe.errors import StripeError
from stripe.names import in_brackets
from stripe.tasks.options import SearchOptions
from stripe.training import Recipe, RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from stripe.data import Data, ImageSize, Normalization
    from stripe.training import EpochMetrics, Run

__all__ = ["command"]

_OF_SEARCH = tuple(SearchOptions.__dataclass_fields__)
_MIXED = {"cbam": "sscbam", "mvam": "ssmvam"}


def _search_options(function: Any) -> Any:
    for name in reversed(_OF_SEARCH):
        function = option_of(SearchOptions, name)(function)
    return function


@click.command()
@click.option(
    "--model",
    "model_spec",
    metavar="SPEC",
    default="resnet18-cifar",
    show_default=True,
    help="A network with places for attention, as for `stripe train`.",
)
@click.option("--model-arg", "model_args", type=KeyValue(), multiple=True, help="As for `stripe train`.")
@click.option(
    "--attention",
    type=click.Choice(list(_MIXED)),
    default="cbam",
    show_default=True,
    help="The channel and spatial attention that are put together.",
)
@click.option(
    "--kernel", type=click.Choice(["7", "3"]), default="7", show_default=True, help="Size of the spatial attention's."
)
@data_options
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Run directory.")
@option_of(Recipe, "epochs", default=10, show_default=True)
@option_of(Recipe, "batch_size", absent="the recipe's")
@option_of(Recipe, "lr", absent="the recipe's")
@option_of(RunConfig, "images_per_epoch")
@_search_options
@option_of(RunConfig, "select")
@option_of(RunConfig, "seed")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="N searches, into OUT/seed-0 …, and how they agree.")
@click.option(
    "--control",
    type=click.IntRange(1),
    metavar="N",
    help="Train what was found, N choices at random, and each choice in all blocks, for as many epochs, and compare.",
)
@precision_option
@device_option
@workers_option
def command(
    model_spec: str,
    model_args: tuple[tuple[str, Any], ...],
    attention: str,
    kernel: str,
    data_spec: str | None,
    data_root: str | None,
    download: bool,
    image_size: "ImageSize | None",
    normalize: "Normalization | None",
    channels: int | None,
    out: Path,
    epochs: int,
    batch_size: int | None,
    lr: float | None,
    seed: int,
    seeds: int | None,
    control: int | None,
    device: str | None,
    workers: int | None,
    **options: Any,
) -> None:
    """Search the attention of each block: none, channel and spatial in either order or in parallel, or one of them.

    \b
    stripe search --attention cbam --data cifar100 --seeds 3 --out runs/search
    stripe plot --kind search runs/search
    stripe train --model resnet18-cifar --attention runs/search/seed-0 --data cifar100 --out runs/found

    Weights of the network are trained on one half of the training images, α of each block on the other (DARTS, first
    order), with a penalty that keeps α from the identity. An interrupted search goes on when the same command is given
    again.
    """
    from dataclasses import replace

    from stripe import data as datasets
    from stripe import models
    from stripe.analysis import search_controls
    from stripe.files import write_whole
    from stripe.training import join, recipe_for, train, train_seeds

    if (task := models.task_of(model_spec)) != "classification":
        raise StripeError(
            f"A structure is searched in a classifier, and {model_spec} is a network for {task}: give a "
            "classifier, such as --model resnet18-cifar, or the name of the backbone alone."
        )
    data_spec = data_spec or "shapes"
    changes: dict[str, Any] = {"batch_size": batch_size, "lr": lr}
    recipe = replace(recipe_for(model_spec, data_spec), **{k: v for k, v in changes.items() if v is not None})
    if image_size is None and ":" in model_spec:
        image_size = models.native_image_size(model_spec)
    task_args = {name: options.pop(name) for name in _OF_SEARCH}
    config = RunConfig(
        model=model_spec,
        data=data_spec,
        recipe=recipe.scaled(epochs),
        attention=_MIXED[attention] + ("" if kernel == "7" else f",k={kernel}"),
        args=dict(model_args),
        task="search",
        task_args=task_args,
        seed=seed,
        **options,
    )
    of_machine: dict[str, Any] = {"save_every": 0, "device": device, "workers": workers}
    with join(device) as world, interruptible(tell=world.leads):
        with world.in_turn():
            data = datasets.load(data_spec, root=data_root, download=download, image_size=image_size)
        normalization = normalize or data.normalization
        data = data.normalized(normalization.of_channels(channels) if channels else normalization)

        def tell(text: str) -> None:
            if world.leads:
                click.echo(text, err=True)

        def begin(number: int) -> None:
            tell(f"seed {number}")

        def report(metrics: "EpochMetrics") -> None:
            tell(_epoch(metrics, epochs))

        if seeds is None:
            runs = [train(out, data, config, on_epoch=report, **of_machine)]
        else:
            chosen = range(seed, seed + seeds)
            runs = train_seeds(out, data, chosen, on_seed=begin, config=config, on_epoch=report, **of_machine)
        if world.leads:
            _print_found(out, runs)
        if control is not None:
            table = _train_controls(runs, data, config, control, of_machine, tell)
            if world.leads:
                write_whole(out / search_controls.FILE, table.to_csv(index=False, lineterminator="\n").encode())
                _print_controls(table, f"Trained anew: {runs[0].scale}")
                click.echo(f"Table: {out / search_controls.FILE}")


def _epoch(metrics: "EpochMetrics", epochs: int) -> str:
    """How an epoch of the search went."""
    values: Any = metrics
    return (
        f"epoch {values.epoch:>{len(str(epochs))}}/{epochs}"
        f"  train {values.train_loss:.4f} {values.train_accuracy:5.1f} %"
        f"  test {values.test_loss:.4f} {values.test_accuracy:5.1f} %"
        f"  weight of the identity {values.test_identity:.3f}  {values.seconds:.1f} s"
    )


def _print_found(out: Path, runs: "Sequence[Run]") -> None:
    """The weights of each block and what is chosen; of several searches the choices, and how often each is made."""
    from stripe.cli.tables import print_records
    from stripe.plots.common import short_names
    from stripe.tasks import structure

    searches = [structure.read(run.path) for run in runs]
    blocks, _ = short_names([str(block) for block in searches[0]["block"].to_numpy()])
    rows: list[dict[str, Any]] = [{"block": block} for block in blocks]
    if len(runs) == 1:
        last = searches[0]["weight"].isel(epoch=-1).to_numpy()
        for row, weights in zip(rows, last, strict=True):
            row |= {structure.LABELS[name]: float(p) for name, p in zip(structure.OPERATIONS, weights, strict=True)}
            row["chosen"] = _in_words(weights)
    else:
        for run, search in zip(runs, searches, strict=True):
            for row, weights in zip(rows, search["weight"].isel(epoch=-1).to_numpy(), strict=True):
                row[f"seed {run.settings['seed']}"] = _in_words(weights)
        for row, (choice, count) in zip(rows, structure.agreement(searches).values(), strict=True):
            row |= {"most often": structure.LABELS[choice], "how often": f"{count} of {len(runs)}"}
    print_records(
        rows, "table", title=f"{runs[0].settings['model']}{in_brackets(runs[0].settings['args'])}: {runs[0].scale}"
    )
    click.echo("CA, SA: both in parallel, a half each; chosen where their weights together exceed each of the others.")
    if len(runs) > 1:
        same, chance = structure.unanimous(searches)
        click.echo(
            f"All {len(runs)} seeds decided the same in {same} of {len(rows)} blocks; if each seed's decisions were "
            f"shuffled over the blocks, {chance:.1f} would be expected."
        )
    decided = [choice for search in searches for choice in structure.decisions(search).values()]
    if undecided := decided.count(structure.UNDECIDED):
        click.secho(
            f"{undecided} of {len(decided)} choices are undecided: none leads by {structure.CLOSE:g} over the next "
            "best, and what stands in brackets is only what the rule makes of nearly equal weights. Search for more "
            "epochs, or with a higher --alpha-lr.",
            fg="yellow",
            err=True,
        )
    click.echo(f"Next: stripe plot --kind search {out}\n      {_training_of(runs[0])} --out …")
    if len(runs) > 1:
        click.echo("      (of the first seed; the folders of the others stand beside it)")


def _training_of(run: "Run") -> str:
    """The command that trains what a search has found, in the same network on the same data."""
    settings = run.settings
    size = settings["image_size"]
    size = str(size) if isinstance(size, int) else "x".join(map(str, size))
    arguments = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings["args"].items()
    ]
    words = ["stripe", "train", "--model", settings["model"], *(f"--model-arg={each}" for each in arguments)]
    return shlex.join([*words, "--attention", str(run.path), "--data", settings["data"], "--image-size", size])


def _in_words(weights: Any) -> str:
    """What is chosen by the weights of a block, in brackets where that is not decided."""
    from stripe.tasks import structure

    choice = structure.LABELS[structure.choose(weights)]
    return choice if structure.decide(weights) != structure.UNDECIDED else f"undecided ({choice})"


def _train_controls(
    runs: "Sequence[Run]", data: "Data", config: RunConfig, random: int, of_machine: dict[str, Any], tell: Any
) -> "pd.DataFrame":
    """Train what each search found and its controls, with the seed of the search.

    The table is that of ``stripe.analysis.search_controls``. Where several choices are the same attention, it is
    trained once.
    """
    from dataclasses import replace

    import pandas as pd

    from stripe.analysis import search_controls
    from stripe.tasks import structure
    from stripe.training import train

    rows = []
    for run in runs:
        seed = run.settings["seed"]
        trained: dict[str, Run] = {}
        for name, (kind, attention) in structure.controls(structure.read(run.path), random, seed).items():
            if attention not in trained:
                tell(f"seed {seed}: {name}, {attention}")
                of_control = replace(config, attention=attention, task=None, task_args={}, seed=seed)
                trained[attention] = train(run.path / "control" / name, data, of_control, **of_machine)
            last, best = (each.test_accuracy for each in (trained[attention].history[-1], trained[attention].best))
            rows.append((seed, kind, name, attention, last, best))
    return pd.DataFrame(rows, columns=list(search_controls.COLUMNS))


def _print_controls(table: "pd.DataFrame", title: str) -> None:
    """The test accuracy of what was found beside that of other choices, and how far it is from theirs."""
    from stripe.analysis import search_controls
    from stripe.analysis.wording import difference_text
    from stripe.cli.tables import print_records
    from stripe.tasks import ACCURACY

    by_choice = table.groupby("choice")
    rows = []
    for row in search_controls.compared(table).to_dict("records"):
        of = by_choice.get_group(row["choice"])
        rows.append(
            {
                "choice": row["choice"],
                "runs": len(of),
                "test accuracy, last epoch": ACCURACY.spread(of["last"].tolist()),
                "best epoch": ACCURACY.spread(of["best"].tolist()),
                "minus found": difference_text(row["difference"], row["low"], row["high"]),
            }
        )
    print_records(rows, "table", title=title)
    click.echo("Minus found: of the last epochs, paired by seed, in points of accuracy; in brackets the 95 % interval.")
