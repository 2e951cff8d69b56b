"""``stripe fuse``: conversion of a checkpoint with ASR into one of the plain network."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.options import data_options, format_option, model_options, weights_option
from stripe.cli.outputs import check_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stripe.data import ImageSize, Normalization

__all__ = ["command"]


@click.command()
@click.option("--ckpt", "checkpoint", required=True, type=click.Path(path_type=Path), help="Checkpoint with ASR.")
@weights_option
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file, ….safetensors."
)
@model_options
@data_options
@click.option(
    "--images", "num_images", type=click.IntRange(1), help="How many to compare. Default: 8, of a detector 2."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the images.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-6,
    show_default=True,
    help="Largest permitted difference of the outputs, relative to the largest output.",
)
@click.option(
    "--export",
    "exports",
    type=click.Choice(["onnx", "torch"]),
    multiple=True,
    help="Write it for other runtimes, too: FILE.onnx, or FILE.pt2 (torch.export). May be repeated.",
)
@format_option
def command(
    checkpoint: Path,
    entry: str | None,
    output: Path,
    data_spec: str | None,
    data_root: str | None,
    download: bool,
    image_size: "ImageSize | None",
    normalize: "Normalization | None",
    channels: int | None,
    num_images: int | None,
    seed: int,
    tolerance: float,
    exports: tuple[str, ...],
    output_format: str,
    **model: Any,
) -> None:
    """Fold ASR into the weights: the same outputs, with the plain network's keys, size and speed.

    So is noise that was trained with. Branches that are added up (RepVGG, ACNet) become one convolution as well.

    \b
    stripe fuse --ckpt run/checkpoints/epoch-0164.safetensors -o fused.safetensors
    stripe fuse --ckpt official/checkpoint.pth.tar -o fused.safetensors --export onnx

    Both networks are run on the same images, test images of --data or else random numbers, before anything is written:
    in the network's own precision, and in float64, where the difference is what rounding the folded weights costs. Of a
    detector it is the numbers before the selection of boxes that are compared. An export is run and compared, too; it
    takes any number of normalised images.
    """
    import torch

    from stripe import asr
    from stripe import checkpoint as checkpoints
    from stripe.cli.tables import print_records
    from stripe.errors import StripeError
    from stripe.models import Unselected, fuse_branches, normalizes_itself

    if output.exists() and output.resolve() == checkpoint.resolve():
        raise StripeError(f"{output} is the checkpoint itself, and what was trained would be lost; name another file")
    check_weights(output)
    read = checkpoints.translate(checkpoints.read(checkpoint, weights=entry))
    plain, meta = _plain_model(read.meta, **model)
    network = checkpoints.restore(read, plain).eval()
    fused = asr.fuse(network)
    branches = fuse_branches(fused)
    if fused.state_dict().keys() == network.state_dict().keys():
        raise StripeError(f"{checkpoint} has neither ASR nor noise nor branches in it, so there is nothing to fuse")

    said = {**read.meta, "model": meta["model"]}
    detects = normalizes_itself(network)
    if detects and exports:
        raise StripeError(
            f"--export {exports[0]}: {meta['model']} is a detector, whose number of boxes depends on the images; that "
            "is not exported. Leave --export away: the file of weights loads into the plain network of torchvision"
        )
    count = num_images or (2 if detects else 8)
    images = _images(network, said, data_spec, data_root, download, image_size, normalize, channels, count, seed)
    pair = (Unselected(network), Unselected(fused)) if detects else (network, fused)
    differences = [asr.compare(*pair, images, dtype) for dtype in (torch.float32, torch.float64)]
    print_records([_row(difference) for difference in differences], output_format)
    worst = max(difference.relative for difference in differences)
    if worst > tolerance:
        raise StripeError(
            f"the outputs differ by {worst:.1e} (relative), more than {tolerance:.1e}; nothing is written"
        )
    before_fusing = {f"{key}_before": read.meta[key] for key in ("asr", "noise") if read.meta.get(key)}
    origin = {**before_fusing, "fused_from": checkpoint.name, "epoch": read.epoch}
    checkpoints.save(output, fused, {**meta, **origin, "fused": bool(branches) or meta.get("fused", False)})
    before, after = (sum(parameter.numel() for parameter in net.parameters()) for net in (network, fused))
    click.echo(f"{output}: {after:,} parameters, {before - after:,} fewer than in training", err=True)
    for kind in exports:
        assert isinstance(images, torch.Tensor)  # nothing that is exported takes a list of images
        path = output.with_suffix(asr.EXPORTS[kind])
        difference = asr.export(fused, images, path, kind=kind, meta=meta)
        click.echo(f"{path}: outputs differ by {difference.relative:.1e} (relative) from the fused network's", err=True)


def _images(
    network: "nn.Module",
    meta: dict[str, Any],
    data_spec: str | None,
    data_root: str | None,
    download: bool,
    image_size: "ImageSize | None",
    normalize: "Normalization | None",
    channels: int | None,
    count: int,
    seed: int,
) -> "Tensor | list[Tensor]":
    """The inputs of both networks: normalised test images of the named data, or random numbers."""
    import torch

    from stripe import data as datasets
    from stripe.cli.resolve import fed_as
    from stripe.models import input_channels, native_image_size, normalizes_itself
    from stripe.models.spec import ModelSpec

    spec = ModelSpec.from_meta(meta)
    size = image_size or spec.image_size or native_image_size(str(spec.model))
    if data_spec is None:
        shape = (count, channels or input_channels(network) or 3, *datasets.sides(datasets.parse_size(size or 224)))
        generator = torch.Generator().manual_seed(seed)
        # a detector takes images in 0..1
        return (torch.rand if normalizes_itself(network) else torch.randn)(shape, generator=generator)
    own_sizes = normalizes_itself(network)
    data = datasets.load(data_spec, root=data_root, download=download, image_size=size, own_sizes=own_sizes)
    data = fed_as(
        data, network, str(spec.model), meta, checkpoint=True, pretrained=False, given=normalize, channels=channels
    )
    chosen = datasets.choose_images(data.test.labels, min(count, len(data.test)), seed)
    batches = [data.normalize(images) for images, _ in data.test.loader(128, indices=chosen)]
    if isinstance(batches[0], list):  # images of different sizes
        images = [image for batch in batches for image in batch]
        return images if len({image.shape for image in images}) > 1 else torch.stack(images)
    return torch.cat(batches)


def _plain_model(
    meta: dict[str, Any],
    model_spec: str | None,
    attention: str | None,
    num_classes: int | None,
    pretrained: bool,
    model_args: tuple[tuple[str, Any], ...],
) -> tuple[Any, dict[str, Any]]:
    """The network without ASR, and its description: options take precedence over the checkpoint's description."""
    from stripe.errors import StripeError
    from stripe.models import build, from_meta
    from stripe.models.spec import ModelSpec

    if pretrained:
        raise StripeError("the weights come from --ckpt; leave --pretrained away")
    described = {key: value for key, value in meta.items() if key not in ("asr", "noise", "provenance")}
    given = {"model": model_spec, "attention": attention, "num_classes": num_classes, "args": dict(model_args)}
    described |= {key: value for key, value in given.items() if value}
    if model_spec is None:
        return from_meta(described), described
    spec = ModelSpec.from_meta(described)
    plain = build(model_spec, num_classes=spec.num_classes, attention=spec.attention, args=spec.args, fused=spec.fused)
    return plain, described


def _row(difference: Any) -> dict[str, Any]:
    return {
        "precision": difference.dtype,
        "largest_difference": difference.largest,
        "relative": difference.relative,
    }
