"""From options and a checkpoint to a data set and a model: what is not said is taken from the checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from stripe.data import Data
    from stripe.models.checkpoint import Checkpoint

__all__ = ["Resolved", "resolve", "weights_without_checkpoint"]


@dataclass(frozen=True)
class Resolved:
    """A model on the CPU, a data set, what they were made from (for a file's attributes), and how images become input.

    ``normalize`` is the data set's own normalisation, or, for published weights, the one that these were trained with.
    """

    model: "nn.Module"
    data: "Data"
    attrs: dict[str, Any]
    normalize: "Callable[[Tensor], Tensor]"


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
    image_size: int | None,
    seed: int,
) -> Resolved:
    """Build model and data.

    Args:
        checkpoint: What the model is to be loaded from, as ``stripe.asr.translate`` gives it. It says what the options
            don't; where it was trained with ASR, so is the model. No weights are loaded.
        model_spec: And all further ones: the options of the same names.
        attention: Attention module of our own networks.
        num_classes: Outputs of the classifier; default those of the data.
        pretrained: Whether to fetch published weights.
        model_args: Further arguments of the model.
        data_spec: Default: the checkpoint's, then ``shapes``.
        data_root: Folder of torchvision's data sets.
        download: Whether to fetch the data set.
        image_size: Default: what the model is made for.
        seed: Of random weights.

    Raises:
        StripeError: Neither the options nor the checkpoint name a model, or one of the names is unknown.
    """
    import torch

    from stripe import asr, models
    from stripe import data as datasets
    from stripe.errors import StripeError

    meta = checkpoint.meta if checkpoint else {}
    if model_spec is None and "model" not in meta:
        raise StripeError("Name the model with --model: there is no checkpoint that says which it is of.")
    same_model = model_spec is None or model_spec == meta.get("model")
    described = meta if same_model else {}
    spec = model_spec or str(meta["model"])
    data_spec = data_spec or str(meta.get("data", "shapes"))
    if image_size is None:
        image_size = described.get("image_size") or (
            models.native_image_size(spec, pretrained=pretrained) if ":" in spec else None
        )
    data = datasets.load(data_spec, root=data_root, download=download, image_size=image_size)
    args = dict(model_args) or dict(described.get("args") or {})
    attention = attention or str(described.get("attention", "none"))
    if num_classes is None:
        num_classes = described.get("num_classes") or (None if pretrained else len(data.classes))
    torch.manual_seed(seed)
    if model_spec is None and not model_args:
        model = models.from_meta({**meta, "attention": attention, "num_classes": num_classes})
    else:
        model = models.build(spec, num_classes=num_classes, attention=attention, pretrained=pretrained, args=args)
    if checkpoint:
        asr.prepare(model, checkpoint)
    if normalization := models.native_normalization(spec) if pretrained else _normalization(described):
        data = replace(data, mean=normalization[0], std=normalization[1])
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
            **({"mean": list(data.mean), "std": list(data.std)} if normalization else {}),
        },
        data.normalize,
    )


def weights_without_checkpoint(model_spec: str, pretrained: bool, seed: int) -> str:
    """Which weights a model has that no checkpoint was loaded into, for a file's attributes; warns of random ones."""
    if pretrained:
        return "published"
    if model_spec.startswith("python:"):
        return "as the factory made them"
    click.echo("The weights are random: --ckpt or --pretrained shows what a trained network does.", err=True)
    return f"random, seed {seed}"


def _normalization(described: dict[str, Any]) -> Any:
    """Mean and std of images, where a checkpoint says that its weights were not trained with the data set's own."""
    mean, std = (described.get(name) for name in ("mean", "std"))
    fine = all(isinstance(v, list) and len(v) == 3 and all(isinstance(x, float) for x in v) for v in (mean, std))
    return (tuple(mean), tuple(std)) if fine and mean and std else None
