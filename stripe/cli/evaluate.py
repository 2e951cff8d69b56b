"""``stripe evaluate``: how well the network of a checkpoint does."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from stripe.cli.options import (
    data_options,
    device_option,
    format_option,
    model_options,
    weights_option,
    workers_option,
)

__all__ = ["command"]


@click.command()
@click.option("--ckpt", "checkpoint", required=True, type=click.Path(path_type=Path), help="The checkpoint.")
@weights_option
@model_options
@data_options
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), help="Default: 128; of detectors and segmenters 8.")
@device_option
@workers_option
@format_option
def command(
    checkpoint: Path,
    entry: str | None,
    split: str,
    batch_size: int | None,
    device: str | None,
    workers: int | None,
    output_format: str,
    **names: Any,
) -> None:
    """Top-1 and top-5 accuracy in per cent, and the mean cross-entropy, of a checkpoint on a data set.

    Of a network that was trained for another task: what that task measures. The outputs of a detector or segmenter are
    matched with the data's classes by name, as those of torchvision's published ones, whose numbers have gaps.

    \b
    stripe evaluate --ckpt run/best.safetensors
    stripe evaluate --ckpt official/checkpoint.pth.tar --data folder:photos --format json

    Model and data are what the checkpoint says, where the options don't say otherwise. ASR and noise are put in as the
    checkpoint has them.
    """
    import json
    import math

    from stripe import checkpoint as checkpoints
    from stripe.cli.classes import Relabelled, compare_classes
    from stripe.cli.resolve import resolve
    from stripe.cli.tasks import batch_size_for, scoring_task
    from stripe.devices import pick_device
    from stripe.errors import StripeError
    from stripe.tasks import Classification
    from stripe.training import Compute, evaluate

    read = checkpoints.translate(checkpoints.read(checkpoint, weights=entry))
    if names["data_spec"] is None and "data" not in read.meta:
        raise StripeError(f"Name the data with --data: {checkpoint} does not say what it was trained on.")
    resolved = resolve(checkpoint=read, seed=0, **names)
    compute = Compute.on(pick_device(device))
    checkpoints.load_into(resolved.model, read)
    model = compute.place(resolved.model)
    try:
        task = scoring_task(resolved, read, compute, pretrained=names["pretrained"])
    except StripeError as error:
        raise StripeError(f"{checkpoint}: {error}") from error
    data = task.needed(resolved.data)
    images = getattr(data, split)
    batch_size = batch_size_for(resolved.attrs["model"], batch_size)
    batches: Iterable[Any] = images.loader(batch_size, workers=workers)
    if isinstance(task, Classification):
        classes = compare_classes(resolved, read, names)
        if classes.positions is None:
            raise StripeError(
                f"{checkpoint} cannot be judged by the labels of {resolved.data.spec}: {classes.reason}. Take data of "
                "the network's classes, or name the folders after them."
            )
        batches = Relabelled(images.loader(batch_size, workers=workers), classes)
    score = evaluate(model, batches, data, compute, task=task)
    if not math.isfinite(score.loss):
        raise StripeError(
            f"The loss of {checkpoint} is {score.loss}: its weights are no finite numbers, or far too large."
        )
    if isinstance(task, Classification):
        found = {"top1": score.accuracy, "top5": score.top5, "loss": score.loss}
        said = f"top-1 {score.accuracy:.2f} %, top-5 {score.top5:.2f} %, loss {score.loss:.4f}"
    else:
        found = {name: float(getattr(score, name)) for name in task.scoring.measures}
        best = task.scoring.best  # said where there is nothing to measure, too
        measured = [name for name, value in found.items() if name == best or not math.isnan(value)]
        said = ", ".join(f"{task.scoring.label(name)} {task.scoring.text(found[name], name)}" for name in measured)
    about = {"images": len(images), "data": resolved.data.spec, "split": split}
    if output_format == "json":
        numbers = {name: None if math.isnan(value) else value for name, value in found.items()}
        click.echo(json.dumps({**numbers, **about}, indent=2))
        return
    if output_format in ("csv", "tex"):
        from stripe.cli.tables import print_records

        print_records([{"checkpoint": checkpoint, **found, **about}], output_format)
        return
    click.echo(f"{checkpoint}: {said} ({len(images):,} {split} images of {resolved.data.spec})")
