"""Models of torchvision: ``torchvision:NAME``, every classifier, detector and segmenter of images that it has."""

from collections.abc import Mapping
from typing import Any

import torchvision
from torch import nn

from stripe.errors import StripeError
from stripe.models.backbones import backbone_of
from stripe.models.composed import task_of
from stripe.models.detection import normalizes_itself
from stripe.models.frozen_norm import freeze
from stripe.models.graph import replace_module
from stripe.models.third_party import building, refuse_arguments, refuse_unknown
from stripe.names import did_you_mean

__all__ = ["build", "image_size", "names", "normalization"]

RESERVED = ("num_classes", "pretrained", "weights")


def names() -> list[str]:
    """All classifiers, detectors and segmenters that torchvision has."""
    models = torchvision.models
    kinds = (models, models.detection, models.segmentation)
    return [name for kind in kinds for name in models.list_models(module=kind)]


def build(name: str, *, num_classes: int | None, pretrained: bool, args: Mapping[str, Any]) -> nn.Module:
    """Build a network of torchvision.

    Args:
        name: Its name there.
        num_classes: Outputs; None keeps the published number. Where it differs from the published one,
            published weights are loaded first and the classifier is then replaced by a fresh one.
        pretrained: Download the weights that torchvision recommends.
        args: Further arguments of the constructor. A detector or segmenter also takes ``frozen_norm``.

    Raises:
        StripeError: Unknown name, unfit arguments, or a failed download.
    """
    spec = f"torchvision:{name}"
    _check(name)
    refuse_arguments(spec, args, RESERVED)
    model: nn.Module
    if task_of(spec) != "classification":
        return _dense(name, num_classes, pretrained, args)
    if not pretrained:
        chosen = {} if num_classes is None else {"num_classes": num_classes}
        with building(spec):
            model = torchvision.models.get_model(name, weights=None, **chosen, **args)
        return model
    weights = torchvision.models.get_model_weights(name)
    if not len(weights):
        raise StripeError(f"torchvision publishes no weights of {name}")
    with building(spec, pretrained=True):
        model = torchvision.models.get_model(name, weights=weights.DEFAULT, **args)
    published = len(weights.DEFAULT.meta["categories"])
    if num_classes is not None and num_classes != published:
        _replace_classifier(model, published, num_classes)
    return model


def _dense(name: str, num_classes: int | None, pretrained: bool, args: Mapping[str, Any]) -> nn.Module:
    """A detector or segmenter; weights of its backbone alone are not downloaded."""
    spec = f"torchvision:{name}"
    refuse_arguments(spec, args, ("weights_backbone",))
    rest = dict(args)
    frozen = rest.pop("frozen_norm", False)
    if not isinstance(frozen, bool):
        raise StripeError(f"{spec}: the argument frozen_norm= must be true or false")
    chosen = {} if num_classes is None else {"num_classes": num_classes}
    rest |= {"weights": None, "weights_backbone": None}
    with building(spec):
        model: nn.Module = torchvision.models.get_model(name, **chosen, **rest)
    inner = (type(model), type(model.transform)) if normalizes_itself(model) else ()
    refuse_unknown(spec, rest, (torchvision.models.get_model_builder(name), *inner))
    if pretrained:
        weights = torchvision.models.get_model_weights(name).DEFAULT
        with building(spec, pretrained=True):
            published = torchvision.models.get_model(name, **{**rest, "weights": weights})
        if num_classes not in (None, len(weights.meta["categories"])):
            _take_outputs(published, model)
        model = published
    if frozen:
        freeze(backbone_of(model))
    return model


def normalization(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std, (3,) each, of the images that the published weights were trained on.

    Raises:
        StripeError: Unknown name, or there are no weights of it.
    """
    _check(name)
    weights = torchvision.models.get_model_weights(name)
    if not len(weights):
        raise StripeError(f"there are no published weights of torchvision:{name}")
    transforms = weights.DEFAULT.transforms()
    if not hasattr(transforms, "mean"):  # of detectors, which normalise themselves
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = transforms.mean, transforms.std
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def image_size(name: str, pretrained: bool = False) -> int:
    """Side in pixels of the images that the recommended weights were made for; 224 where there are none.

    Raises:
        StripeError: Unknown name.
    """
    _check(name)
    weights = torchvision.models.get_model_weights(name)
    if not len(weights):
        return 224
    # Without weights a transformer is built for the smallest of the published sizes.
    chosen = [weights.DEFAULT] if pretrained else list(weights)
    return min(int(entry.transforms().crop_size[0]) for entry in chosen)


def _check(name: str) -> None:
    if name not in names():
        raise StripeError(
            f"torchvision has no classifier {name!r}, nor a detector or segmenter of that name"
            f"{did_you_mean(name, names())}"
        )


def _replace_classifier(model: nn.Module, published: int, num_classes: int) -> None:
    """Replace each layer that has one output a class: the classifier, and auxiliary ones."""
    for path, layer in list(model.named_modules()):
        parent_path, _, attribute = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        if isinstance(layer, nn.Linear) and layer.out_features == published:
            setattr(parent, attribute, nn.Linear(layer.in_features, num_classes, bias=layer.bias is not None))
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == published:  # SqueezeNet's 1×1 convolution
            setattr(parent, attribute, nn.Conv2d(layer.in_channels, num_classes, kernel_size=1))


def _take_outputs(model: nn.Module, other: nn.Module) -> None:
    """Give a network the layers of another of the same class with another number of classes, where they differ."""
    others = dict(other.named_modules())
    for path, module in list(model.named_modules()):
        counterpart = others.get(path)
        if counterpart is None:  # an auxiliary classifier, which only the training of the published weights needed
            continue
        own = [parameter.shape for parameter in module.parameters(recurse=False)]
        if own != [parameter.shape for parameter in counterpart.parameters(recurse=False)]:
            replace_module(model, path, counterpart)
        for name, value in vars(counterpart).items():
            if isinstance(value, int):  # num_classes, by which some heads shape their outputs
                setattr(module, name, value)
