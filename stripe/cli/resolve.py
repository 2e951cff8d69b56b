"""Resolution of options and a checkpoint into a data set and a model; options take precedence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from stripe.checkpoint import Checkpoint
    from stripe.data import Data, ImageSize, Normalization, Split
    from stripe.data.base import IntArray

__all__ = ["Resolved", "fed_as", "outputs_for", "resolve", "take_images", "weights_without_checkpoint"]

DEFAULT_IMAGES = 500

OWN_SIZES = ("detection", "segmentation")
"""Tasks whose networks take images of any size."""


@dataclass(frozen=True)
class Resolved:
    """A model on the CPU, a data set, their attributes for a file, and the normalisation of the images.

    ``normalize`` is the normalisation of the data set, or the one that the weights were trained with. ``split`` is the
    default split: ``test``, or ``all`` if the data has no split and the weights were not trained on it. ``fresh``
    builds the network anew with random weights; it is None where the name is that of a file or of the user's code.
    """

    model: "nn.Module"
    data: "Data"
    attrs: dict[str, Any]
    normalize: "Callable[[Tensor], Tensor]"
    split: str
    fresh: "Callable[[], nn.Module] | None"


def resolve(
    *,
    checkpoint: "Checkpoint | None",
    model_spec: str | None,
    attention: str | None,
    num_classes: int | None,
    pretrained: bool,
    model_args: Sequence[tuple[str, Any]],
    data_spec: str | None,
    data_root: str | None,
    download: bool,
    image_size: "ImageSize | None",
    normalize: "Normalization | None",
    channels: int | None,
    seed: int,
) -> Resolved:
    """Build model and data.

    Args:
        checkpoint: Checkpoint of the model, from ``stripe.checkpoint.translate``. It supplies what the options leave
            open; if it has ASR, so has the model. No weights are loaded.
        model_spec: Name of the model.
        attention: Attention module of our own networks.
        num_classes: Number of outputs of the classifier; by default the number of classes of the data.
        pretrained: Whether to fetch published weights.
        model_args: Further arguments of the model.
        data_spec: Name of the data set; by default that of the checkpoint, else ``shapes``.
        data_root: Folder of torchvision's data sets.
        download: Whether to download the data set.
        image_size: Size of the images; by default the size that the model is made for, and of a detector or segmenter
            the images' own sizes, where these differ and are not those that it was trained on.
        normalize: Mean and std of the images; see ``fed_as``.
        channels: Number of channels of the images; see ``fed_as``.
        seed: Seed of random weights.

    Raises:
        StripeError: Neither the options nor the checkpoint name a model, or one of the names is unknown.
    """
    import torch
    from torch import nn

    from stripe import checkpoint as checkpoints
    from stripe import data as datasets
    from stripe import models
    from stripe.errors import StripeError
    from stripe.models.spec import ModelSpec

    meta, saved = (checkpoint.meta, checkpoint.spec) if checkpoint else ({}, ModelSpec())
    if model_spec is None and saved.model is None:
        raise StripeError("Name the model with --model: there is no checkpoint that says which it is of.")
    described = saved if model_spec in (None, saved.model) else ModelSpec()
    spec = model_spec or str(saved.model)
    data_spec = data_spec or str(meta.get("data", "shapes"))
    load = partial(datasets.load, data_spec, root=data_root, download=download)
    if image_size or models.task_of(spec) not in OWN_SIZES:
        size = image_size or described.image_size
        if size is None and ":" in spec:
            size = models.native_image_size(spec, pretrained=pretrained)
        data = load(image_size=size)
    else:
        # The images keep their sizes where each has its own, unless the network was trained on them at another one.
        data = load(own_sizes=True)
        if described.image_size and (data.image_size is not None or _is_of(meta, data)):
            data = load(image_size=described.image_size)
    args = dict(model_args) or dict(described.args)
    attention = attention or described.attention
    in_file = spec.startswith("onnx:")
    if num_classes is None and not in_file:
        num_classes = described.num_classes
        if num_classes is None and not (pretrained or _is_as_published(spec, checkpoint, args)):
            num_classes = outputs_for(spec, data)
    torch.manual_seed(seed)

    def build(published: bool) -> nn.Module:
        if model_spec is None and not model_args:
            built = models.from_meta(replace(saved, attention=attention, num_classes=num_classes).to_meta())
        else:
            built = models.build(
                spec,
                num_classes=num_classes,
                attention=attention,
                pretrained=published,
                args=args,
                image_size=data.image_size if in_file else None,
            )
        if checkpoint:
            checkpoints.prepare(built, checkpoint)
        return built

    model = build(pretrained)
    data = fed_as(
        data,
        model,
        spec,
        meta,
        checkpoint=checkpoint is not None,
        pretrained=pretrained,
        given=normalize,
        channels=channels,
    )
    return Resolved(
        model,
        data,
        {
            "model": spec,
            "attention": attention,
            "args": args,
            "data": data.spec,
            **{f"data_{key}": value for key, value in data.attrs.items() if key != "spec"},
            "classes": list(data.classes),
            "mean": list(data.mean),
            "std": list(data.std),
            **({"model_sha256": models.file_hash(spec)} if in_file else {}),
        },
        data.normalize,
        "test" if data.everything is None or _is_of(meta, data) else "all",
        None if spec.startswith(("onnx:", "python:")) else partial(build, published=False),
    )


def fed_as(
    data: "Data",
    model: "nn.Module",
    spec: str,
    meta: "Mapping[str, Any]",
    *,
    checkpoint: bool,
    pretrained: bool,
    given: "Normalization | None",
    channels: int | None,
) -> "Data":
    """Return the data with the mean and std, and the channels, that a network was trained with.

    These are given by the user; or by the checkpoint or its data set; or by the published weights, which third-party
    checkpoints of the same network mostly share; or by the data set itself, in this order. If the checkpoint does not
    have them, a line on standard error tells which were taken. A detector normalises its images itself.

    Args:
        data: The data set.
        model: The network, whose first convolution tells the channels.
        spec: Name of the network.
        meta: Description in the checkpoint; empty if there is none.
        checkpoint: Whether the weights are those of a checkpoint.
        pretrained: Whether the network was built with published weights.
        given: Mean and std that the user gave.
        channels: Number of channels that the user gave.

    Raises:
        StripeError: Image files cannot have this number of channels.
    """
    from stripe import models
    from stripe.data import Normalization, normalization_of, parse_normalization
    from stripe.data.normalization import OWN_IMAGES
    from stripe.errors import StripeError
    from stripe.models.spec import ModelSpec

    if channels not in (None, 1, 3):
        raise StripeError(
            f"--channels {channels}: image files are of 1 channel (grey) or 3 (colour). For others call stripe from "
            "Python, with a loader of your own."
        )
    said = True
    if given is None and models.normalizes_itself(model):
        found, why = parse_normalization("none"), ""
    elif given:
        found, why, said = given, "--normalize", False
    elif stated := ModelSpec.from_meta(meta).normalization:
        # A description that is not from one of our files comes from the keys of the official code.
        found, why, said = Normalization(*stated), "what the official code feeds such networks", "provenance" in meta
    elif of_training := normalization_of(str(meta.get("data", ""))):
        found, why = of_training, ""
    elif (pretrained or checkpoint) and (published := _published(spec)):
        found, why, said = published, f"as for the published weights of {spec}", False
    else:
        found, said = data.normalization, False
        name = data.spec.partition(":")[0]
        why = "ImageNet's, as is the custom" if name in OWN_IMAGES else f"{name}'s"
    found = found.of_channels(channels or models.input_channels(model) or 3)
    if not said:
        hint = "" if given else "; --normalize says otherwise"
        click.echo(f"Images are normalised with mean/std {found} ({why}{hint}).", err=True)
    return data.normalized(found)


def take_images(resolved: Resolved, split: str | None, wanted: int | None, seed: int) -> "tuple[str, Split, IntArray]":
    """Choose images of the data; a message tells if there are fewer than asked for.

    Args:
        resolved: Model and data.
        split: Name of the split, ``test``, ``train`` or ``all``; by default that of ``resolved``.
        wanted: Number of images; by default 500, or all if there are fewer.
        seed: Seed of the choice.

    Returns:
        The name of the split, the split, and the indices of the images in it.
    """
    from stripe.data import choose_images

    name = split or resolved.split
    data = resolved.data
    images = (data.everything or data.test) if name == "all" else getattr(data, name)
    if wanted is not None and wanted > len(images):
        some = "" if name == "all" else f"{name} "
        click.echo(f"{data.spec} has {len(images):,} {some}images, not {wanted:,}: all of them are taken.", err=True)
    return name, images, choose_images(images.labels, min(wanted or DEFAULT_IMAGES, len(images)), seed)


def outputs_for(spec: str, data: "Data") -> int | None:
    """As many outputs as the data has classes; of a detector or segmenter with the background, if it is annotated."""
    from stripe.models import task_of

    if task_of(spec) == "classification":
        return len(data.classes) or None
    return len(data.classes) + 1 if data.annotations else None


def _is_as_published(spec: str, checkpoint: "Checkpoint | None", args: "Mapping[str, Any]") -> bool:
    """Whether a checkpoint of a detector or segmenter has as many outputs as the published one."""
    from stripe import models

    if checkpoint is None or not spec.startswith("torchvision:") or models.task_of(spec) == "classification":
        return False
    own, state = models.build(spec, args=args).state_dict(), checkpoint.state_dict
    return all(own[name].shape == state[name].shape for name in own.keys() & state.keys())


def _is_of(meta: "Mapping[str, Any]", data: "Data") -> bool:
    """Whether a checkpoint was trained on this data set, in whatever folder it was."""
    files = data.attrs.get("files")
    return meta.get("data") == data.spec or (files is not None and meta.get("data_files") == files)


def weights_without_checkpoint(model_spec: str, pretrained: bool, seed: int) -> str:
    """Describe the weights of a model without a checkpoint, for the attributes of a file; warn of random weights."""
    if pretrained:
        return "published"
    if model_spec.startswith("python:"):
        return "as the factory made them"
    if model_spec.startswith("onnx:"):
        return "of the file"
    click.echo("The weights are random: --ckpt or --pretrained shows what a trained network does.", err=True)
    return f"random, seed {seed}"


def _published(spec: str) -> "Normalization | None":
    """The normalisation of a network's published weights, None if there are none."""
    from stripe.data import Normalization
    from stripe.errors import StripeError
    from stripe.models import native_normalization

    if not spec.startswith(("torchvision:", "timm:")):
        return None
    try:
        return Normalization(*native_normalization(spec))
    except StripeError:
        return None
