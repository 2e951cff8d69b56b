"""``stripe capture``: attention values of checkpoints over fixed images, in a file."""

from pathlib import Path
from typing import Any

import click

from stripe.cli.interrupts import interruptible
from stripe.cli.options import (
    data_options,
    device_option,
    model_options,
    split_option,
    weights_option,
    workers_option,
)
from stripe.names import counted

__all__ = ["command"]


@click.command()
@click.option("--ckpt", "checkpoints", multiple=True, metavar="PATH", help="Checkpoint, folder or glob; repeatable.")
@click.argument("more_checkpoints", nargs=-1, metavar="[CKPT]...")
@model_options
@data_options
@split_option
@click.option("--images", "num_images", type=click.IntRange(1), help="How many. Default: 500, or all if fewer.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: named after the model and the data, as seresnet50-photos.h5.",
)
@click.option("--overwrite", is_flag=True, help="Replace a capture that is there. Default: complete it.")
@click.option("--sites", default="*", show_default=True, metavar="GLOB", help="Which sites, as `layer3.*`.")
@click.option("--no-input", is_flag=True, help="Don't record the mean of the map before the attention.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the images (and random weights)."
)
@click.option(
    "--controls",
    callback=lambda _context, _parameter, value: _controls(value),
    metavar="NAMES",
    help="Controls, each one more pass over the images: `init`, `permuted`, both with a comma, or `none`. "
    "Default: init, and permuted with checkpoints or an ONNX file; what a model cannot have is left out.",
)
@click.option("--partial", is_flag=True, help="Let keys that don't fit the model pass, and say which.")
@weights_option
@device_option
@workers_option
def command(
    checkpoints: tuple[str, ...],
    more_checkpoints: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    num_images: int | None,
    split: str | None,
    batch_size: int,
    seed: int,
    sites: str,
    no_input: bool,
    dtype: str,
    device: str | None,
    workers: int | None,
    controls: tuple[str, ...] | None,
    partial: bool,
    entry: str | None,
    **names: Any,
) -> None:
    """Record what every attention site does to the same images, at one or many checkpoints.

    \b
    stripe capture --ckpt 'run/checkpoints/*' --data folder:photos --images 500 -o capture.h5
    stripe capture --model timm:seresnet50 --pretrained --data folder:photos

    Without a checkpoint the model is taken as it is. An interrupted capture is completed by the same command.

    The attention of a network that has learned nothing looks like a constant, too. So the same images are also recorded
    in controls: the network at initialisation (init), and the last one with the parameters of each gate permuted within
    their tensors (permuted).
    """
    from stripe import checkpoint as ckpt
    from stripe.capture import Epoch, as_capture, capture
    from stripe.cli.outputs import capture_name
    from stripe.cli.resolve import resolve, take_images, weights_without_checkpoint
    from stripe.devices import pick_device
    from stripe.models import task_of

    patterns = [*checkpoints, *more_checkpoints]
    paths = ckpt.without_copies(ckpt.find(patterns)) if patterns else []
    first = ckpt.translate(ckpt.read(paths[0], weights=entry)) if paths else None
    resolved = resolve(checkpoint=first, seed=seed, **names)
    split, images, chosen = take_images(resolved, split, num_images, seed)
    if resolved.data.image_size is None and task_of(resolved.attrs["model"]) == "segmentation":
        batch_size = 1  # a segmenter takes no list of images of different sizes
    model = resolved.model.to(pick_device(device))
    epochs = [Epoch.of_file(number, path) for number, path in _numbered(paths, entry).items()] or [Epoch(0)]

    def load(epoch: Epoch) -> float:
        checkpoint = ckpt.translate(ckpt.read(epoch.checkpoint, weights=entry))
        for line in ckpt.load_into(model, checkpoint, partial=partial):
            click.echo(f"{epoch.checkpoint}: skipped {line}", err=True)
        rate = checkpoint.meta.get("learning_rate")
        return float("nan") if rate is None else float(rate)

    loaded = f"checkpoints, {entry}" if entry else "checkpoints"
    weights = loaded if paths else weights_without_checkpoint(resolved.attrs["model"], names["pretrained"], seed)
    from_file = bool(paths) or resolved.attrs["model"].startswith("onnx:")
    output = output or capture_name(resolved.attrs, weights)
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
            controls=(("init", "permuted") if from_file else ("init",)) if controls is None else controls,
            fresh=resolved.fresh,
            seed=seed,
            optional_controls=controls is None,
            overwrite=overwrite,
        )
    held = as_capture(output).controls
    beside = f"; controls: {', '.join(held)}" if held else "; no controls"
    size = f"{counted(len(epochs), 'epoch')} × {counted(len(chosen), 'image')}"
    click.echo(f"{output}: {size}{beside}. Next: stripe plot --kind stripe {output}")


def _controls(value: str | None) -> tuple[str, ...] | None:
    """The names in the value of ``--controls``; None where it was not given."""
    if value in (None, "none"):
        return None if value is None else ()
    names = tuple(name.strip() for name in str(value).split(","))
    if unknown := [name for name in names if name not in ("init", "permuted")]:
        raise click.BadParameter(f"{unknown[0]!r} is none of init, permuted and none (init,permuted gives both).")
    return names


def _numbered(paths: list[Path], entry: str | None = None) -> dict[int, Path]:
    """The checkpoints by epoch; if none has an epoch, they are numbered in the order of their names.

    ``last.ckpt`` and ``model_best.pth`` mostly repeat the weights of an epoch: such a file is left out, with a message,
    if another file has the same epoch or the same weights.
    """
    from stripe.checkpoint import epoch_of, names_moment, same_weights
    from stripe.errors import StripeError

    epochs = {path: epoch_of(path) for path in paths}
    silent = [path for path in paths if epochs[path] is None]
    if len(silent) == len(paths):
        return dict(enumerate(paths))
    for path in silent:
        others = (other for other in paths if epochs[other] is not None and same_weights(path, other, entry))
        if not (other := next(others, None)):
            raise StripeError(
                f"{path} says no epoch, the other checkpoints do. Leave it away, or capture it by itself."
            )
        click.echo(f"{path}: left out, the weights are those of {other}", err=True)
    numbered: dict[int, Path] = {}
    for path in sorted(paths, key=names_moment):
        number = epochs[path]
        if number is None:
            continue
        other = numbered.setdefault(number, path)
        if other == path:
            continue
        if same_weights(path, other, entry):
            click.echo(f"{path}: left out, the weights are those of {other}", err=True)
        elif names_moment(path) and not names_moment(other):
            click.echo(f"{path}: left out, it is of epoch {number} as is {other}, whose weights are others", err=True)
        else:
            raise StripeError(f"{other} and {path} are both of epoch {number}. Leave one of them away.")
    return dict(sorted(numbered.items()))
