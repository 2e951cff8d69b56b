"""Fusion of ASR into plain weights."""

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
    """Multiply every ASR's value into the weights of the layer that it scales, and remove the ASR.

    This is ``g[θ̂, ψ, θ]`` of the paper's equation 5. The scaled weights and biases replace the original ones, so that
    the outputs are equal bit for bit, and modules and state dict are those of the plain network. Noise
    (``stripe.asr.noise``) is fused, too. A network with neither is not changed.

    Args:
        model: Any network; one that is wrapped in DataParallel stays wrapped.
        inplace: Whether ``model`` itself is changed; otherwise a copy that shares nothing with it.

    Returns:
        The fused network.

    Raises:
        StripeError: The network cannot be copied, or a layer got other parametrizations after ASR was inserted.

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
        for tensor in sorted(tensors):  # the bias first, as noise computes it from the weight
            remove_parametrizations(layer, tensor, leave_parametrized=True)
        for tensor in tensors:  # restore the order of the plain layer
            if tensor in layer._parameters:
                layer._parameters[tensor] = layer._parameters.pop(tensor)
        if is_frozen_norm(layer):  # if they are buffers, they come before the statistics
            layer._buffers = {name: layer._buffers[name] for name in dict.fromkeys([*tensors, *layer._buffers])}
    logger.info("fused %d layers", len(places))
    return fused


def values(model: nn.Module) -> dict[str, Tensor]:
    """Return the constant that each layer with ASR is multiplied by.

    Args:
        model: A network with ASR.

    Returns:
        A dictionary from the name of each layer to v(ψ, θ) of shape (C,), in the order of the network. If a layer has
        several ASR, it is their product.
    """
    found = {}
    for name, layer in model.named_modules():
        scales = [entry for entry in parametrizations(layer).get("weight", []) if isinstance(entry, Scale)]
        if scales:
            found[name] = torch.stack([scale.source.value() for scale in scales]).prod(0).detach()
    return found


def _own_class(layer: nn.Module) -> None:
    """Give a layer a class of its own.

    Torch makes a class for each parametrized layer and puts the parametrized tensor into it. A deep copy of the layer
    shares this class, and would lose its tensor when that of the other layer is removed.
    """
    shared = type(layer)
    attributes = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(shared.__name__, shared.__bases__, attributes)
