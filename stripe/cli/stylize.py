"""``stripe stylize``: images in the style that a network has learned."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stripe.cli.interrupts import interruptible
from stripe.cli.options import device_option, weights_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["command"]


@click.command()
@click.option(
    "--ckpt", "checkpoint", required=True, type=click.Path(path_type=Path), help="A checkpoint of style transfer."
)
@weights_option
@click.option("--image", required=True, type=click.Path(path_type=Path), help="An image, or a folder of images.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file; of a folder the folder, in which files keep their names.",
)
@click.option(
    "--size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Scale images down to this longer side. Default: as they are.",
)
@device_option
def command(
    checkpoint: Path, entry: str | None, image: Path, output: Path, size: int | None, device: str | None
) -> None:
    """Give images the style that a network has learned with `stripe train --task style`.

    \b
    stripe stylize --ckpt runs/mosaic/best.safetensors --image photo.jpg -o mosaic.png
    stripe stylize --ckpt runs/mosaic/best.safetensors --image photos -o mosaics

    Images have any size and keep it. Grey ones become colour, transparency stays, and a photo is turned as its camera
    noted. ASR is fused before.
    """
    from stripe import asr
    from stripe import checkpoint as checkpoints
    from stripe.data import Normalization
    from stripe.data.pictures import check_picture, count_pictures, read_picture, write_picture
    from stripe.devices import is_out_of_memory, pick_device
    from stripe.errors import StripeError
    from stripe.models import task_of
    from stripe.models.style import stylize

    pairs = list(_pairs(image, output))
    for _, target in pairs:
        check_picture(target)
    read = checkpoints.translate(checkpoints.read(checkpoint, weights=entry))
    normalization = read.spec.normalization
    if (read.meta.get("task") or {}).get("name") != "style" or normalization is None:
        what = f"; it is of {read.spec.model}, trained for {task_of(read.spec.model)}" if read.spec.model else ""
        raise StripeError(f"{checkpoint} is no checkpoint of `stripe train --task style`{what}.")
    network = asr.fuse(checkpoints.restore(read)).to(pick_device(device)).eval()

    def transformed(source: Path) -> "Tensor":
        import torch

        try:
            picture = _fitted(read_picture(source), size)
            made = stylize(network, picture[None, :3], Normalization(*normalization))[0]
            return torch.cat([made, picture[3:]])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise StripeError(f"{source} is too large for the memory; give --size.") from None

    failed = []
    with interruptible("The images that are listed are written."):
        for source, target in pairs:
            if (pictures := count_pictures(source)) > 1:
                click.echo(f"{source} has {pictures} pictures, of which the first is taken.", err=True)
            try:
                write_picture(target, transformed(source))
            except StripeError as error:
                if len(pairs) == 1:
                    raise
                failed.append(source)
                click.secho(str(error), fg="yellow", err=True)
            else:
                click.echo(f"{target}")
    if failed:
        raise StripeError(f"{len(failed)} of {len(pairs)} images could not be transformed, such as {failed[0]}.")


def _pairs(image: Path, output: Path) -> "Iterator[tuple[Path, Path]]":
    """Each image and the file that is written of it."""
    from stripe.data.classfolders import is_clutter
    from stripe.data.files import is_image_name
    from stripe.errors import StripeError

    if not image.is_dir():
        if output.is_dir():
            raise StripeError(
                f"{output} is a folder; name the file, such as {output / image.with_suffix('.png').name}."
            )
        if output.resolve() == image.resolve():
            raise StripeError(f"{output} is the image itself, which would be lost; name another file.")
        yield image, output
        return
    if output.resolve() == image.resolve() or output.is_file():
        raise StripeError(f"-o {output}: the images of a folder go into another folder.")
    inside = image.resolve() in output.resolve().parents  # what an earlier call made is no image of the folder
    sources = [
        path
        for path in sorted(image.rglob("*"))
        if path.is_file()
        and is_image_name(path.name)
        and not any(is_clutter(part) for part in path.relative_to(image).parts)
        and not (inside and output.resolve() in path.resolve().parents)
    ]
    if not sources:
        raise StripeError(
            f"No images were found in {image}: looked for .jpg, .png, .tif and all else that Pillow opens."
        )
    for source in sources:
        target = _writable(output / source.relative_to(image))
        if target.resolve() == source.resolve():
            raise StripeError(f"-o {output}: {source} itself would be lost; name another folder.")
        yield source, target


def _writable(path: Path) -> Path:
    """The name of a file, with the ending .png where its own format cannot be written."""
    from stripe.data.pictures import check_picture
    from stripe.errors import StripeError

    try:
        check_picture(path)
    except StripeError:
        return path.with_name(f"{path.name}.png")
    return path


def _fitted(picture: "Tensor", size: int | None) -> "Tensor":
    """A picture whose longer side has at most so many pixels."""
    from torchvision.transforms.v2.functional import resize

    longer = max(picture.shape[1:])
    if size is None or longer <= size:
        return picture
    height, width = (max(1, round(side * size / longer)) for side in picture.shape[1:])
    scaled: Tensor = resize(picture, [height, width], antialias=True)
    return scaled
