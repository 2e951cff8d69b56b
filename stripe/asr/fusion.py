"""Fusion: from ASR to plain weights."""

import logging
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations

from stripe.adapter import copy_model
from stripe.asr.layers import Scale, has_asr, parametrizations
from stripe.asr.noise import Noise, has_noise
from stripe.errors import StripeError
from stripe.models.frozen_norm import is_frozen_norm

__all__ = ["fuse", "values"]

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


def fuse(model: Model, *, inplace: bool = False) -> Model:
    """Put every ASR's value into the weights of the layer that it scales, and take the ASR away.

    ``g[θ̂, ψ, θ]`` of the paper's equation 5: weight and bias become what they were computed to be, so the outputs stay
    the same bit for bit, and modules and state dict are those of the plain network. Noise (`stripe.asr.noise`) is put
    into the weights likewise. A network with neither stays as it is.

    Args:
        model: Any network; one wrapped in DataParallel stays wrapped.
        inplace: Change ``model`` itself; else a copy, which shares nothing with it.

    Returns:
        The fused network.

    Raises:
        StripeError: The network cannot be copied, or somebody has parametrized a layer further after ASR was put in.

    Example:
        >>> from stripe import asr
        >>> from stripe.models import build
        >>> model = build("resnet11")
        >>> _ = asr.reparameterize(model)
        >>> asr.fuse(model).state_dict().keys() == build("resnet11").state_dict().keys()
        True
    """
    places = [(name, layer) for name, layer in model.named_modules() if has_asr(layer) or has_noise(layer)]
    for name, layer in places:
        entries = [entry for entries in parametrizations(layer).values() for entry in entries]
        others = {type(entry).__name__ for entry in entries if not isinstance(entry, Scale | Noise)}
        if others:
            raise StripeError(
                f"{name} is parametrized by {', '.join(sorted(others))} as well as ASR; remove that first"
            )
    fused = model if inplace else copy_model(model)
    for name, _ in places:
        layer = fused.get_submodule(name)
        _own_class(layer)
        tensors = list(parametrizations(layer))
        for tensor in sorted(tensors):  # the bias first, for noise computes it from the weight, too
            remove_parametrizations(layer, tensor, leave_parametrized=True)
        for tensor in tensors:  # and back in the plain layer's order
            if tensor in layer._parameters:
                layer._parameters[tensor] = layer._parameters.pop(tensor)
        if is_frozen_norm(layer):  # where they are buffers, in front of the statistics
            layer._buffers = {name: layer._buffers[name] for name in dict.fromkeys([*tensors, *layer._buffers])}
    logger.info("fused %d layers", len(places))
    return fused


def values(model: nn.Module) -> dict[str, Tensor]:
    """The constant that each layer with ASR is multiplied by.

    Args:
        model: A network with ASR.

    Returns:
        Name of the layer → v(ψ, θ), (C,), the product where there are several ASR; layers in the order of the network.
    """
    found = {}
    for name, layer in model.named_modules():
        scales = [entry for entry in parametrizations(layer).get("weight", []) if isinstance(entry, Scale)]
        if scales:
            found[name] = torch.stack([scale.source.value() for scale in scales]).prod(0).detach()
    return found


def _own_class(layer: nn.Module) -> None:
    """Give a layer back a class that is its alone.

    Torch puts a parametrized tensor into the layer's class, which it makes for that one layer; a deep copy of the layer
    shares it, and would lose its tensor when that of the other is removed.
    """
    shared = type(layer)
    attributes = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(shared.__name__, shared.__bases__, attributes)
