"""``stripe fuse``: from a checkpoint with ASR to one of the plain network."""

from pathlib import Path
from typing import Any

import click

from stripe.cli.options import format_option, model_options

__all__ = ["command"]


@click.command()
@click.option("--ckpt", "checkpoint", required=True, type=click.Path(path_type=Path), help="Checkpoint with ASR.")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file, ….safetensors."
)
@model_options
@click.option("--image-size", type=click.IntRange(8), help="Side of the test images. Default: what the model expects.")
@click.option(
    "--images", "num_images", type=click.IntRange(1), default=8, show_default=True, help="How many to compare."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the test images, which are noise.")
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
    output: Path,
    image_size: int | None,
    num_images: int,
    seed: int,
    tolerance: float,
    exports: tuple[str, ...],
    output_format: str,
    **model: Any,
) -> None:
    """Fold ASR into the weights: the same outputs, with the plain network's keys, size and speed.

    Branches that are added up (RepVGG, ACNet) become one convolution as well.

    \b
    stripe fuse --ckpt run/checkpoints/epoch-0164.safetensors -o fused.safetensors
    stripe fuse --ckpt official/checkpoint.pth.tar -o fused.safetensors --export onnx

    Both networks are run on the same images before anything is written: in the network's own precision, and in
    float64, where the difference is what rounding the folded weights costs. An export is run and compared, too; it
    takes any number of normalised images.
    """
    import torch

    from stripe import asr
    from stripe.cli.tables import print_records
    from stripe.errors import StripeError
    from stripe.models import checkpoint as checkpoints
    from stripe.models import fuse_branches, native_image_size

    if output.exists() and output.resolve() == checkpoint.resolve():
        raise StripeError(f"{output} is the checkpoint itself, and what was trained would be lost; name another file")
    read = asr.translate(checkpoints.read(checkpoint))
    plain, meta = _plain_model(read.meta, **model)
    network = asr.restore(read, plain).eval()
    fused = asr.fuse(network)
    branches = fuse_branches(fused)
    if not branches and not asr.values(network):
        raise StripeError(f"{checkpoint} has neither ASR nor branches in it, so there is nothing to fuse")

    size = image_size or meta.get("image_size") or native_image_size(meta["model"]) or 224
    images = torch.randn(num_images, 3, size, size, generator=torch.Generator().manual_seed(seed))
    differences = [asr.compare(network, fused, images, dtype) for dtype in (torch.float32, torch.float64)]
    print_records([_row(difference) for difference in differences], output_format)
    worst = max(difference.relative for difference in differences)
    if worst > tolerance:
        raise StripeError(
            f"the outputs differ by {worst:.1e} (relative), more than {tolerance:.1e}; nothing is written"
        )
    origin = {"asr_before": read.meta.get("asr"), "fused_from": checkpoint.name, "epoch": read.epoch}
    checkpoints.save(output, fused, {**meta, **origin, "fused": bool(branches) or meta.get("fused", False)})
    before, after = (sum(parameter.numel() for parameter in net.parameters()) for net in (network, fused))
    click.echo(f"{output}: {after:,} parameters, {before - after:,} fewer than in training", err=True)
    for kind in exports:
        path = output.with_suffix(asr.EXPORTS[kind])
        difference = asr.export(fused, images, path, kind=kind, meta=meta)
        click.echo(f"{path}: outputs differ by {difference.relative:.1e} (relative) from the fused network's", err=True)


def _plain_model(
    meta: dict[str, Any],
    model_spec: str | None,
    attention: str | None,
    num_classes: int | None,
    pretrained: bool,
    model_args: tuple[tuple[str, Any], ...],
) -> tuple[Any, dict[str, Any]]:
    """The network without ASR, and its description: the checkpoint's, where the options don't say otherwise."""
    from stripe.errors import StripeError
    from stripe.models import build, from_meta

    if pretrained:
        raise StripeError("the weights come from --ckpt; leave --pretrained away")
    described = {key: value for key, value in meta.items() if key not in ("asr", "provenance")}
    given = {"model": model_spec, "attention": attention, "num_classes": num_classes, "args": dict(model_args)}
    described |= {key: value for key, value in given.items() if value}
    if model_spec is None:
        return from_meta(described), described
    names = ("num_classes", "attention", "args", "fused")
    return build(model_spec, **{name: described[name] for name in names if name in described}), described


def _row(difference: Any) -> dict[str, Any]:
    return {
        "precision": difference.dtype,
        "largest_difference": difference.largest,
        "relative": difference.relative,
    }
