"""Layers that a factor per channel can be multiplied into: their outputs' channels, or their inputs'."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.models.dataflow import Call, Value

__all__ = ["Absorption", "absorb", "absorption_of", "input_axis", "layer_of", "output_axis"]

_NORMS = frozenset({"batch_norm", "instance_norm", "group_norm"})
_CONVS = frozenset({"conv1d", "conv2d", "conv3d"})
_LEARNED = frozenset({"weight", "bias"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})


@dataclass(frozen=True)
class Absorption:
    """A layer that takes a constant into its weights.

    Attributes:
        layer: Its path.
        forwards: Whether its input channels are scaled, else its output channels.
        channels: Number of the site's channel for each of these, int64.
        groups: Of a convolution.
        transposed: Whether it is a transposed one, whose weight is (in, out / groups, …).
    """

    layer: str
    forwards: bool
    channels: Tensor
    groups: int = 1
    transposed: bool = False


def output_axis(call: Call) -> int | None:
    """The axis along which a layer's weight scales its output; None where the function is none of a layer."""
    if call.name in _NORMS | _CONVS | _TRANSPOSED:
        return 1
    if call.name == "linear" or (call.name == "layer_norm" and len(call.argument("normalized_shape", 1)) == 1):
        return -1
    return None


def input_axis(call: Call) -> int | None:
    """The axis of a layer's input along which its weight can be scaled."""
    if call.name in _CONVS | _TRANSPOSED:
        return 1
    return -1 if call.name == "linear" else None


def layer_of(call: Call) -> str | None:
    """Path of the module whose ``weight`` (and ``bias``) a function takes; both must be its own and used only here."""
    owned = [value for value in call.inputs[1:] if value.owner is not None]
    if len(owned) != len(call.inputs) - 1:  # a weight that is computed: parametrized, standardised
        return None
    paths = {value.owner[0] for value in owned if value.owner}
    # Frozen normalisations have them as buffers.
    learned = [
        value
        for value in owned
        if isinstance(value.tensor, nn.Parameter) or (value.owner and value.owner[1] in _LEARNED)
    ]
    names = [value.owner[1] for value in learned if value.owner]
    if len(paths) != 1 or "weight" not in names or not set(names) <= _LEARNED:
        return None
    return paths.pop() if all(_used_once(value) for value in learned) else None


def absorption_of(call: Call, layer: str, channels: Tensor, *, forwards: bool) -> Absorption:
    """How a layer takes a constant, by the function that it calls: any class of module may call it."""
    convolves = call.name in _CONVS | _TRANSPOSED
    groups = call.argument("groups", 6) if convolves else None
    return Absorption(layer, forwards, channels, groups or 1, call.name in _TRANSPOSED)


def absorb(model: nn.Module, absorption: Absorption, value: Tensor) -> None:
    """Multiply a constant into a layer, in place.

    Args:
        model: The network.
        absorption: Where in it.
        value: v of the site, (C,).
    """
    layer = model.get_submodule(absorption.layer)
    factor = value[absorption.channels]
    weight, bias = layer.weight, None if absorption.forwards else getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    groups = absorption.groups
    with torch.no_grad():
        if weight.ndim == 1 or absorption.forwards == absorption.transposed:  # it is the weight's first axis
            weight.mul_(factor.view(-1, *[1] * (weight.ndim - 1)))
        else:  # (out, in / groups, …), or (in, out / groups, …) of a transposed convolution: a row has its group's
            rows = factor.view(groups, 1, -1).expand(-1, len(weight) // groups, -1).flatten(0, 1)
            weight.mul_(rows.view(*rows.shape, *[1] * (weight.ndim - 2)))
        if isinstance(bias, Tensor):
            bias.mul_(factor)


def _used_once(value: Value) -> bool:
    return len(value.uses) == 1
