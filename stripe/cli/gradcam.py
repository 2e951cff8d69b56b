"""``stripe gradcam``: Grad-CAM averaged over images, which shows where a network looks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from stripe.gradcam.average import Target

__all__ = ["command"]


class TargetType(click.ParamType["Target"]):
    """``predicted``, ``label`` or the number of a class."""

    name = "predicted|label|K"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Target":
        """Parse a target."""
        if value in ("predicted", "label"):
            return value  # type: ignore[no-any-return]
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither predicted nor label nor the number of a class", param, ctx)


@click.command()
@click.option("--ckpt", metavar="PATH", help="A checkpoint.")
@model_options
@data_options
@split_option
@click.option(
    "--images",
    "num_images",
    type=click.IntRange(1),
    help="How many. Default: as many as an OUTPUT that is there holds, else 500, or all if fewer.",
)
@click.option("--layer", metavar="NAME", help="Name of a module. Default: the last stage.")
@click.option(
    "--target", type=TargetType(), default="predicted", show_default=True, help="Whose evidence is looked for."
)
@click.option("--maps", is_flag=True, help="Keep the map of every image, too (200 kB each at 224 px).")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="gradcam.h5",
    show_default=True,
    help="A capture of the same network and images, to which it is added, or a new file.",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the images (and random weights)."
)
@click.option("--partial", is_flag=True, help="Let keys that don't fit the model pass, and say which.")
@weights_option
@device_option
@workers_option
def command(
    ckpt: str | None,
    split: str | None,
    num_images: int | None,
    layer: str | None,
    target: "Target",
    maps: bool,
    output: Path,
    batch_size: int,
    seed: int,
    partial: bool,
    entry: str | None,
    device: str | None,
    workers: int | None,
    **names: Any,
) -> None:
    """Average Grad-CAM over images: where does the network look?

    \b
    stripe gradcam --ckpt run/best.safetensors --data folder:photos --images 500 -o capture.h5
    stripe gradcam --model timm:resnet50 --pretrained --data folder:photos
    stripe plot --kind gradcam gradcam.h5 other.h5

    Prints the centre bias: the distance of what the network looks at from the centre of the image, 1 where it looks
    everywhere alike.
    """
    from stripe import checkpoint as checkpoints
    from stripe.analysis import center_bias
    from stripe.capture import Epoch, as_capture
    from stripe.cli.classes import compare_classes
    from stripe.cli.resolve import resolve, take_images, weights_without_checkpoint
    from stripe.devices import pick_device
    from stripe.errors import StripeError
    from stripe.gradcam import check, gradcam, save
    from stripe.models import task_of

    epoch = Epoch(0)
    read = None
    if ckpt:
        path, *more = checkpoints.find([ckpt])
        if more:
            raise StripeError(f"--ckpt {ckpt} names {len(more) + 1} checkpoints; Grad-CAM is of one, such as {path}.")
        read = checkpoints.translate(checkpoints.read(path, weights=entry))
        epoch = Epoch.of_file(checkpoints.epoch_of(path) or 0, path)
    named = names["model_spec"] or (read.spec.model if read else None)
    if (task := task_of(named or "")) != "classification":
        raise StripeError(
            f"Grad-CAM shows what speaks for a class of a classifier, and {named} is made for {task}. Take the "
            "classifier that is its backbone."
        )
    resolved = resolve(checkpoint=read, seed=seed, **names)
    if read:
        for line in checkpoints.load_into(resolved.model, read, partial=partial):
            click.echo(f"{ckpt}: skipped {line}", err=True)
    loaded = f"checkpoints, {entry}" if entry else "checkpoints"
    weights = loaded if read else weights_without_checkpoint(resolved.attrs["model"], names["pretrained"], seed)
    if target == "label":
        resolved.data.require_classes()
    classes = compare_classes(resolved, read, names) if target == "label" else None
    if classes and classes.positions is None:
        raise StripeError(
            f"--target label: the labels of {resolved.data.spec} are no classes of the network: {classes.reason}. Take "
            "--target predicted, or the number of a class."
        )
    if output.exists():  # the same images
        held = as_capture(output)
        split, num_images = split or held.split or None, num_images or len(held.images)
    split, images, chosen = take_images(resolved, split, num_images, seed)
    attrs = {**resolved.attrs, "weights": weights, "split": split, "seed": seed}
    paths = [images.paths[index] for index in chosen]
    check(output, attrs=attrs, paths=paths)
    with interruptible("Nothing was written."):
        averages = gradcam(
            resolved.model.to(pick_device(device)),
            images.loader(batch_size, indices=chosen, workers=workers),
            layer,
            target=target,
            classes=classes.positions if classes else None,
            maps=maps,
            preprocess=resolved.normalize,
        )
    replaced = _held(output, str(averages.attrs["layer"]))
    save(averages, output, attrs=attrs, epoch=epoch, paths=paths)
    if replaced:
        click.echo(f"{output}: replaces the average of {replaced}", err=True)
    empty = averages.attrs["empty"]
    if empty:
        click.echo(
            f"In {empty} of {len(chosen)} images nothing at {averages.attrs['layer']} speaks for the class; their maps "
            "are zero everywhere, and count in the average.",
            err=True,
        )
    click.echo(f"{output}: Grad-CAM of {len(chosen)} images at {averages.attrs['layer']}. {center_bias(averages)}")
    click.echo(f"Next: stripe plot --kind gradcam {output}")


def _held(path: Path, layer: str) -> str:
    """Describe the average of a layer that a file holds, in a few words; empty if it holds none."""
    from stripe.capture import as_capture

    held = as_capture(path).layers.get(layer) if path.exists() else None
    if held is None:
        return ""
    return f"epoch {held.epoch}" if held.epoch else held.weights or "before"
