"""``stripe capture``: attention values of checkpoints over fixed images, into a file."""

from pathlib import Path
from typing import Any

import click

from stripe.cli.interrupts import interruptible
from stripe.cli.options import data_options, device_option, model_options, split_option, workers_option

__all__ = ["command"]


@click.command()
@click.option("--ckpt", "checkpoints", multiple=True, metavar="PATH", help="Checkpoint, folder or glob; repeatable.")
@click.argument("more_checkpoints", nargs=-1, metavar="[CKPT]...")
@model_options
@data_options
@split_option
@click.option("--images", "num_images", type=click.IntRange(1), help="How many. Default: 500, or all if fewer.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="capture.h5", show_default=True
)
@click.option("--sites", default="*", show_default=True, metavar="GLOB", help="Which sites, as `layer3.*`.")
@click.option("--no-input", is_flag=True, help="Don't record the mean of the map before the attention.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the images (and random weights)."
)
@click.option("--partial", is_flag=True, help="Let keys that don't fit the model pass, and say which.")
@device_option
@workers_option
def command(
    checkpoints: tuple[str, ...],
    more_checkpoints: tuple[str, ...],
    output: Path,
    num_images: int | None,
    split: str | None,
    batch_size: int,
    seed: int,
    sites: str,
    no_input: bool,
    dtype: str,
    device: str | None,
    workers: int | None,
    partial: bool,
    **names: Any,
) -> None:
    """Record what every attention site does to the same images, at one or many checkpoints.

    \b
    stripe capture --ckpt 'run/checkpoints/*' --data folder:photos --images 500 -o capture.h5
    stripe capture --model timm:seresnet50 --pretrained --data folder:photos

    Without a checkpoint the model is taken as it is. An interrupted capture is completed by the same command.
    """
    from stripe import asr
    from stripe.capture import Epoch, capture
    from stripe.cli.resolve import resolve, take_images, weights_without_checkpoint
    from stripe.devices import pick_device
    from stripe.models import checkpoint as ckpt

    patterns = [*checkpoints, *more_checkpoints]
    paths = ckpt.find(patterns) if patterns else []
    first = asr.translate(ckpt.read(paths[0])) if paths else None
    resolved = resolve(checkpoint=first, seed=seed, **names)
    split, images, chosen = take_images(resolved, split, num_images, seed)
    model = resolved.model.to(pick_device(device))
    epochs = [Epoch.of_file(number, path) for number, path in _numbered(paths).items()] or [Epoch(0)]

    def load(epoch: Epoch) -> float:
        checkpoint = asr.translate(ckpt.read(epoch.checkpoint))
        for line in ckpt.load_into(model, checkpoint, partial=partial):
            click.echo(f"{epoch.checkpoint}: skipped {line}", err=True)
        return float(checkpoint.meta.get("learning_rate", "nan"))

    weights = "checkpoints" if paths else weights_without_checkpoint(resolved.attrs["model"], names["pretrained"], seed)
    with interruptible():
        capture(
            model,
            images.loader(batch_size, indices=chosen, workers=workers),
            output,
            epochs=epochs,
            load=load if paths else None,
            preprocess=resolved.normalize,
            paths=[images.paths[index] for index in chosen],
            sites=sites,
            record_input=not no_input,
            dtype=dtype,
            attrs={**resolved.attrs, "weights": weights, "split": split, "seed": seed},
        )
    click.echo(f"{output}: {len(epochs)} epochs × {len(chosen)} images. Next: stripe plot --kind stripe {output}")


def _numbered(paths: list[Path]) -> dict[int, Path]:
    """Checkpoints by epoch; where none says its epoch, they are numbered in the order of their names."""
    from stripe.errors import StripeError
    from stripe.models.checkpoint import epoch_of

    epochs = [epoch_of(path) for path in paths]
    if None in epochs and any(epoch is not None for epoch in epochs):
        unknown = paths[epochs.index(None)]
        raise StripeError(f"{unknown} says no epoch, the other checkpoints do. Leave it away, or capture it by itself.")
    numbered: dict[int, Path] = {}
    for path, epoch in zip(paths, epochs, strict=True):
        number = max(numbered, default=-1) + 1 if epoch is None else epoch
        if number in numbered:
            raise StripeError(f"{numbered[number]} and {path} are both of epoch {number}. Leave one of them away.")
        numbered[number] = path
    return numbered
