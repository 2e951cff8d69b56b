"""Models of timm: ``timm:NAME`` or ``timm:NAME.TAG``."""

from collections.abc import Mapping
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from stripe.data.size import ImageSize, parse_size
from stripe.errors import StripeError
from stripe.models.third_party import building, refuse_arguments
from stripe.names import did_you_mean

__all__ = ["build", "image_size", "names", "normalization"]

RESERVED = ("checkpoint_path", "num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")


def names() -> list[str]:
    """All models that timm has, without the tags of their weights."""
    found: list[str] = timm.list_models()
    return found


def build(name: str, *, num_classes: int | None, pretrained: bool, args: Mapping[str, Any]) -> nn.Module:
    """Build a model of timm.

    Args:
        name: Its name there, with or without the tag of its weights (``resnet50``, ``resnet50.a1_in1k``).
        num_classes: Outputs; None keeps the published number. timm replaces the classifier itself.
        pretrained: Download the published weights.
        args: Further arguments of the constructor.

    Raises:
        StripeError: Unknown name, unfit arguments, no published weights, or a failed download.
    """
    spec = f"timm:{name}"
    config = _config(name)
    refuse_arguments(spec, args, RESERVED)
    if pretrained and not (config and config.has_weights):
        raise StripeError(f"timm publishes no weights of {name}")
    chosen = {} if num_classes is None else {"num_classes": num_classes}
    with building(spec, pretrained):
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **chosen, **args)
    return model


def image_size(name: str) -> ImageSize:
    """Height and width in pixels of the images that the model was trained on, as timm's configuration says; else 224.

    Raises:
        StripeError: Unknown name.
    """
    config = _config(name)
    return parse_size(tuple(config.input_size[-2:])) if config else 224


def normalization(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std, (3,) each, of the images that the published weights were trained on.

    Raises:
        StripeError: Unknown name.
    """
    config = _config(name)
    mean, std = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _config(name: str) -> Any:
    """The configuration that timm has of a model, None where it has none."""
    if not timm.is_model(name):
        raise StripeError(f"timm has no model {name!r}{did_you_mean(name.partition('.')[0], names())}")
    with building(f"timm:{name}"):  # an unknown tag
        return timm.get_pretrained_cfg(name)
