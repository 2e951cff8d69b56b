"""Constants in the places of attention modules."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from stripe.adapter import copy_model
from stripe.fold.sites import Foldable
from stripe.models.surgery import ConstantGate, replace_module

__all__ = ["gated", "put_gates"]


def put_gates(model: nn.Module, places: Iterable[Foldable], values: Mapping[str, Tensor]) -> list[nn.Module]:
    """Put a constant gate in each place, in place.

    Args:
        model: The network.
        places: Where.
        values: Name of the site → v, (C,).

    Returns:
        The modules that were there.
    """
    return [
        replace_module(model, place.module, _gate(model.get_submodule(place.module), model, place, values))
        for place in places
    ]


def gated(model: nn.Module, places: Iterable[Foldable], values: Mapping[str, Tensor]) -> nn.Module:
    """A copy with constant gates. What modules keep of a forward pass (DIA's state) is not copied, so none is stale."""
    copied = copy_model(model)
    put_gates(copied, places, values)
    return copied


def _gate(old: nn.Module, model: nn.Module, place: Foldable, values: Mapping[str, Tensor]) -> ConstantGate:
    # There is attention without parameters, and there are networks without.
    tensors = (*old.parameters(), *model.parameters(), *model.buffers(), torch.zeros(()))
    like = next(tensor for tensor in tensors if tensor.is_floating_point())
    gate = ConstantGate(values[place.site.name].to(like.device, like.dtype), place.axis)
    gate.weight.requires_grad_(False)
    return gate.train(old.training)
