"""``stripe train``: a network, its checkpoints and its attention at every epoch, in a run directory."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.interrupts import interruptible
from stripe.cli.options import data_options, device_option, model_options, option_of, workers_option
from stripe.cli.train_options import (
    TaskCommand,
    asr_options,
    effort_options,
    recipe_options,
    schedule_in_words,
    task_args_of,
    task_options,
)
from stripe.names import counted
from stripe.training import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stripe.data import ImageSize, Normalization
    from stripe.tasks import Scoring
    from stripe.training import EpochMetrics, Recipe, Run, Schedule

__all__ = ["command"]


@click.command(cls=TaskCommand)
@model_options
@asr_options
@data_options
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Run directory.")
@recipe_options
@option_of(RunConfig, "select")
@option_of(RunConfig, "capture")
@click.option(
    "--save-every",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="K",
    help="Keep a checkpoint every K epochs and at the end; 0: only at the end. The best epoch's is kept besides.",
)
@option_of(RunConfig, "seed")
@click.option(
    "--seeds", type=click.IntRange(1), metavar="N", help="N runs, into OUT/seed-0 …, and their mean and deviation."
)
@effort_options
@device_option
@workers_option
@task_options
def command(
    model_spec: str | None,
    attention: str | None,
    num_classes: int | None,
    pretrained: bool,
    model_args: tuple[tuple[str, Any], ...],
    data_spec: str | None,
    data_root: str | None,
    download: bool,
    image_size: "ImageSize | None",
    normalize: "Normalization | None",
    channels: int | None,
    out: Path,
    recipe_name: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    weight_decay: float | None,
    schedule: "Schedule | None",
    label_smoothing: float | None,
    seed: int,
    seeds: int | None,
    device: str | None,
    task: str | None,
    **options: Any,
) -> None:
    """Train a network and record its attention at every epoch.

    \b
    stripe train --attention se --epochs 12 --capture 100 --out runs/se29
    stripe train --model resnet83 --attention cbam --data cifar10 --capture 500 --out runs/cbam83
    stripe train --model resnet83 --mode asr --attention se --data cifar100 --seeds 3 --out runs/asr83
    torchrun --nproc-per-node 4 -m stripe train --model timm:resnet50 --data imagenet --out runs/r50

    Without --model and --data it is resnet29 on shapes. An interrupted run goes on when the same command is given
    again.
    """
    from dataclasses import replace

    from stripe import data as datasets
    from stripe import models
    from stripe.training import Run, join, train, train_seeds

    model, data_spec = model_spec or ("style" if task == "style" else "resnet29"), data_spec or "shapes"
    trained_for = RunConfig(model, task=task).task_name
    task_args = task_args_of(options, trained_for)
    changes = {
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "label_smoothing": label_smoothing,
    }
    recipe = _recipe(recipe_name, model, data_spec, epochs, {k: v for k, v in changes.items() if v is not None})
    # Our own networks take any size, and so do those of other tasks: there the data keeps its own.
    if image_size is None and ":" in model and trained_for == "classification":
        image_size = models.native_image_size(model, pretrained=pretrained)

    folder = out

    def report(metrics: "EpochMetrics") -> None:
        scoring = Run(folder).scoring
        splits = ("train", "val", "test") if config.select == "val" else ("train", "test")
        scores = "  ".join(_score_of(metrics, split, scoring) for split in splits)
        click.echo(
            f"epoch {metrics.epoch:>{len(str(recipe.epochs))}}/{recipe.epochs}  lr {metrics.learning_rate:<7.3g} "
            f"{scores}  {metrics.seconds:.1f} s",
            err=True,
        )

    of_machine = {name: options.pop(name) for name in ("save_every", "compiled", "workers")}
    of_machine |= {"device": device, "on_epoch": report}
    config = RunConfig(
        model=model,
        data=data_spec,
        recipe=recipe,
        attention=attention or "none",
        num_classes=num_classes,
        pretrained=pretrained,
        args=dict(model_args),
        seed=seed,
        task=task,
        task_args=task_args,
        **options,
    )
    with join(device) as world:
        if recipe_name and world.leads:
            click.echo(f"recipe {recipe_name}: {_in_words(recipe)}", err=True)
        with interruptible(tell=world.leads):
            with world.in_turn():
                data = datasets.load(data_spec, root=data_root, download=download, image_size=image_size)
            normalization = normalize or data.normalization
            data = data.normalized(normalization.of_channels(channels) if channels else normalization)
            if config.capture > len(data.test):
                config = replace(config, capture=len(data.test))
                if world.leads:
                    click.echo(f"{data.spec} has {len(data.test):,} test images: all of them are captured.", err=True)
            if seeds is None:
                runs = [train(out, data, config, **of_machine)]
            else:

                def begin(number: int) -> None:
                    nonlocal folder
                    folder = out / f"seed-{number}"
                    if world.leads:
                        click.echo(f"seed {number}", err=True)

                runs = train_seeds(out, data, range(seed, seed + seeds), on_seed=begin, config=config, **of_machine)
        if world.leads and seeds is None:
            _summarise(runs[0])
        elif world.leads:
            _summarise_seeds(out, runs)


def _recipe(name: str | None, model: str, data_spec: str, epochs: int | None, changes: "dict[str, Any]") -> "Recipe":
    """The paper's recipe, or the one of that name, with what is said otherwise."""
    from dataclasses import replace

    from stripe.errors import StripeError
    from stripe.training import RECIPES, RESNET, recipe_for

    if name is not None and name not in RECIPES:
        raise StripeError(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}.")
    recipe = recipe_for(model, data_spec) if name is None else RECIPES[name].recipe
    if changes.get("schedule") == "step" and not recipe.milestones:
        steps = RESNET.scaled(recipe.epochs)
        recipe = replace(recipe, milestones=steps.milestones, gamma=steps.gamma)
    return replace(recipe, **changes).scaled(epochs or recipe.epochs)


def _in_words(recipe: "Recipe") -> str:
    smoothed = f", label smoothing {recipe.label_smoothing:g}" if recipe.label_smoothing else ""
    return (
        f"{counted(recipe.epochs, 'epoch')}, batches of {recipe.batch_size}, {recipe.algorithm}, lr {recipe.lr:g} "
        f"{schedule_in_words(recipe)}, momentum {recipe.momentum:g}, weight decay {recipe.weight_decay:g}{smoothed}"
    )


def _score_of(metrics: "EpochMetrics", split: str, scoring: "Scoring") -> str:
    """Loss and score of a split after an epoch, and of the training images the losses that are recorded by name."""
    values = {name: getattr(metrics, f"{split}_{name}") for name in scoring.measures}
    text = f"{split} {values['loss']:.4f}"
    if split == "train" and scoring.losses:
        text += f" ({', '.join(f'{scoring.label(name)} {values[name]:.3f}' for name in scoring.losses)})"
    best = values[scoring.best]
    if scoring.best in ("loss", *scoring.losses) or math.isnan(best):
        return text
    label = "" if scoring.best == "accuracy" else f"{scoring.label(scoring.best)} "
    return f"{text} {label}" + (f"{best:5.1f} %" if scoring.units.get(scoring.best) == "%" else scoring.text(best))


def _summarise(run: "Run") -> None:
    """What came out, where it lies and what to type next."""
    best, last, scoring = run.best, run.history[-1], run.scoring
    at_best, at_last = (scoring.text(getattr(epoch, f"test_{scoring.best}")) for epoch in (best, last))
    title = f"test {scoring.label(scoring.best)}"
    held_out = run.settings["held_out"]
    by = f"by {counted(held_out['images'], 'held-out training image')}" if held_out else "on the test split itself"
    task = (run.settings.get("task") or {}).get("name")
    folder = run.path / "checkpoints"
    click.echo(
        f"{run.path}: {run.scale}\n"
        f"  {title:<13}  last {at_last}, best {at_best} (epoch {best.epoch}, "
        f"chosen {by})\n"
        f"  metrics        {run.metrics_file}\n"
        f"  checkpoints    {len(run.checkpoints)} in {folder}, and {run.best_file}"
    )
    if run.settings["capture"]:
        kind = "diff" if len(run.history) > 1 else "stripe"
        click.echo(f"  capture        {run.capture_file}\nNext: stripe plot --kind {kind} {run.capture_file}")
    elif task == "style":
        click.echo(f"Next: stripe stylize --ckpt {run.best_file} --image photo.jpg -o styled.png")
    elif run.settings["asr"]:
        click.echo(f"Next: stripe fuse --ckpt {run.best_file} -o fused.safetensors")
    elif run.settings["attention"] == "none" and task in ("detection", "segmentation"):
        click.echo(f"Next: stripe plot --kind predictions {run.path}")
    elif run.settings["attention"] == "none":
        click.echo(f"Next: stripe evaluate --ckpt {run.best_file}")
    else:
        click.echo(f"Next: stripe capture --ckpt {folder}")


def _summarise_seeds(out: Path, runs: "Sequence[Run]") -> None:
    from stripe.cli.tables import print_records
    from stripe.training.seeds import SUMMARY, summarise

    summary = summarise(runs)
    score, number = runs[0].scoring.best, runs[0].scoring.number
    keys = {"best": f"test_{score}_best", "last": f"test_{score}_last"}
    rows = [
        {"seed": str(row["seed"]), "best_epoch": str(row["best_epoch"])}
        | {title: number(row[key]) for key, title in keys.items()}
        for row in summary["runs"]
    ]
    spreads = {
        title: number(summary[key]["mean"])
        + ("" if summary[key]["std"] is None else f" ± {number(summary[key]['std'])}")
        for key, title in keys.items()
    }
    print_records([*rows, {"seed": "mean ± std", "best_epoch": "", **spreads}], "table", title=summary["scale"])
    by = "held-out training images" if summary["select"] == "val" else "the test split itself"
    click.echo(f"The best epoch is chosen by {by}. Summary: {out / SUMMARY}")
