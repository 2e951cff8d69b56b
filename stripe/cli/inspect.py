"""``stripe inspect``: the sites of a model or of a capture."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stripe.cli.options import channels_option, format_option, image_size_option, model_options, weights_option
from stripe.cli.runs import capture_of, is_checkpoint
from stripe.cli.tables import print_records
from stripe.errors import StripeError
from stripe.names import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from stripe.capture import Site
    from stripe.data import ImageSize

__all__ = ["command"]


@click.command()
@click.argument("source", metavar="[RUN|CAPTURE]", required=False, type=click.Path(path_type=Path))
@click.option("--ckpt", metavar="PATH", type=click.Path(path_type=Path), help="A checkpoint, whose network is listed.")
@model_options
@image_size_option
@channels_option
@weights_option
@format_option
def command(
    source: Path | None,
    ckpt: Path | None,
    entry: str | None,
    model_spec: str | None,
    image_size: "ImageSize | None",
    channels: int | None,
    output_format: str,
    **model: Any,
) -> None:
    """List the attention sites of a model, of a checkpoint's network, or of the CAPTURE of a RUN.

    A site is a place where a feature map is multiplied by something smaller. It is attention where that depends on
    the image, and a constant factor (layer scale …) where it does not. ASR is none: it is in the weights of layers,
    which are counted.

    \b
    stripe inspect capture.h5
    stripe inspect --model timm:seresnet50
    stripe inspect --ckpt run/best.safetensors
    """
    if source is not None and ckpt is None and is_checkpoint(source):
        source, ckpt = None, source
    if (source is None) == (model_spec is None and ckpt is None):
        raise click.UsageError("Give either a capture file or --model, or a checkpoint with --ckpt.")
    if source is not None:
        capture = capture_of(source)
        held = _of_capture(capture)
        if held or output_format != "table":
            print_records(held, output_format, title=str(capture))
            if output_format == "table":
                _print_controls(capture)
        else:
            click.echo(f"{capture} holds no attention, but Grad-CAM maps: stripe plot --kind gradcam {capture}")
        return
    if model.pop("pretrained"):
        raise StripeError("--pretrained does not change which sites there are; leave it away.")
    asr: list[str] = []
    if ckpt is not None:
        title = str(ckpt)
        found, asr = _of_checkpoint(ckpt, entry, model_spec, image_size, channels, **model)
    else:
        assert model_spec is not None
        title, found = model_spec, _of_model(model_spec, image_size, channels, **model)
    # Frozen normalisations write their arithmetic out, but no more than others are they constant factors.
    found = [site for site in found if "FrozenBatchNorm" not in site.owner]
    sites = [site.describe() for site in found]
    if sites or output_format != "table":
        print_records(sites, output_format, title=title)
    if sites and output_format == "table":
        click.echo(_summary(found))
    if asr and output_format == "table":
        click.echo(
            f"ASR is in {counted(len(asr), 'layer')}, from {asr[0]} to {asr[-1]}; `stripe fuse --ckpt {title}` puts it "
            "into the weights."
        )
    if not asr and not any(site.is_attention for site in found):
        from stripe.capture import no_attention

        click.secho(f"{title} has no attention site: {no_attention(found)}", err=True)
        if ckpt is None and model_spec is not None:
            _print_places(model_spec, **model)
        sys.exit(1)


def _summary(found: "list[Site]") -> str:
    """How many sites are attention, of which kinds, and how many others there are, which bury them in some graphs."""
    attention = Counter(site.kind for site in found if site.is_attention)
    kinds = ", ".join(f"{count} {kind}" for kind, count in attention.items())
    others = len(found) - attention.total()
    beside = f"; {others} others: constant factors, normalisations, masks" if others else ""
    return f"{attention.total()} attention {'site' if attention.total() == 1 else 'sites'}: {kinds or 'none'}{beside}"


def _print_places(
    spec: str, attention: str | None, num_classes: int | None, model_args: tuple[tuple[str, Any], ...]
) -> None:
    """Say where ASR would go in a network without attention, as far as that is known."""
    from stripe import models
    from stripe.asr import known_places

    try:
        network = models.build(spec, num_classes=num_classes, attention=attention or "none", args=dict(model_args))
        layers = [name for group in known_places(network).groups for name in group]
    except StripeError:
        return
    click.echo(f"ASR would go into {len(layers)} layers, from {layers[0]} to {layers[-1]}.", err=True)


def _print_controls(path: Path) -> None:
    from stripe.capture import as_capture

    controls = as_capture(path).controls
    for name, control in controls.items():
        click.echo(f"control {name}: {control.weights} (epoch {control.epochs[0]})")
    if not controls:
        click.echo("no control: `stripe capture --controls init,permuted` with the same arguments adds them")


def _of_capture(path: Path) -> list[dict[str, Any]]:
    from stripe.capture import as_capture
    from stripe.capture.layout import VARIABLES

    opened = as_capture(path)
    return [
        {
            "name": site,
            "kind": facts.kind,
            "shape": facts.map_shape,
            "input_dependent": facts.input_dependent,
            "owner": facts.owner,
            "residual": facts.residual,
            "controls": ", ".join(opened.controls),
            "recorded": ", ".join(name for name in VARIABLES if name in opened.sites[site]),
        }
        for site, facts in opened.facts.items()
    ]


def _of_model(
    spec: str,
    image_size: "ImageSize | None",
    channels: int | None,
    attention: str | None,
    num_classes: int | None,
    model_args: tuple[tuple[str, Any], ...],
) -> "list[Site]":
    import torch

    from stripe import models
    from stripe.capture import discover, discover_unbuilt
    from stripe.data import sides

    inner = ""

    def build(**more: Any) -> Any:
        nonlocal inner
        built = models.build(
            spec, num_classes=num_classes, attention=attention or "none", args=dict(model_args), **more
        )
        inner, part = _looked_at(built)
        return part

    size = image_size or models.native_image_size(spec) or 224
    if spec.startswith("onnx:"):
        network = build(image_size=size)
        return discover(network, torch.rand(2, channels or models.input_channels(network) or 3, *sides(size)))
    shape = (2, channels or _channels(spec, build, dict(model_args)), *sides(size))
    sites = discover_unbuilt(build, shape)
    return _inside(inner, sites)


def _of_checkpoint(
    pattern: Path,
    entry: str | None,
    spec: str | None,
    image_size: "ImageSize | None",
    channels: int | None,
    attention: str | None,
    num_classes: int | None,
    model_args: tuple[tuple[str, Any], ...],
) -> "tuple[list[Site], list[str]]":
    """The sites of the network of a checkpoint, with its weights, and the names of the layers with ASR."""
    import torch

    from stripe import checkpoint, models
    from stripe.asr.layers import has_asr
    from stripe.capture import discover
    from stripe.data import sides

    paths = checkpoint.find([pattern])
    read = checkpoint.translate(checkpoint.read(paths[-1], weights=entry))
    spec = spec or read.spec.model
    if spec is None:
        raise StripeError(f"{paths[-1]} does not say which network it is of: name it with --model.")
    size = image_size or read.spec.image_size or models.native_image_size(spec) or 224
    network = None
    if spec != read.spec.model or attention or num_classes or model_args:
        network = models.build(
            spec,
            num_classes=num_classes or read.spec.num_classes,
            attention=attention or read.spec.attention,
            args=dict(model_args),
        )
    whole = checkpoint.restore(read, network).eval()
    inner, network = _looked_at(whole)
    images = torch.rand(2, channels or models.input_channels(network) or 3, *sides(size))
    return _inside(inner, discover(network, images)), [name for name, layer in whole.named_modules() if has_asr(layer)]


def _looked_at(network: "nn.Module") -> "tuple[str, nn.Module]":
    """The part of a network that has attention for each image, and its path: of a detector the backbone.

    What comes behind sees proposals, not images.
    """
    from stripe.models import normalizes_itself

    return ("backbone", network.get_submodule("backbone")) if normalizes_itself(network) else ("", network)


def _inside(path: str, sites: "list[Site]") -> "list[Site]":
    """The sites of a part by their names in the whole network."""
    if not path:
        return sites
    return [replace(site, name=f"{path}.{site.name}", module=f"{path}.{site.module}") for site in sites]


def _channels(spec: str, build: "Callable[[], nn.Module]", args: dict[str, Any]) -> int:
    """The channels of a network's images before it is built: timm's networks are given them, the user's tell them."""
    import torch

    from stripe.models import input_channels

    if spec.startswith("timm:"):
        told = args.get("in_chans")
        return told if type(told) is int and told > 0 else 3  # timm says what is wrong with anything else
    if not spec.startswith("python:"):
        return 3
    try:
        with torch.device("meta"):  # allocates nothing
            return input_channels(build()) or 3
    except Exception:  # the code is the user's, and need not run like this
        return 3
